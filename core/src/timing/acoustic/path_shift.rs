//! Worker side: measures by how much one estimate of an echo path is later than another, from the phases of
//! all bins.

use super::{BINS, FIRST_BIN, WINDOW, rotator};
use crate::dsp::fft::{Complex, fast_inverse_sqrt, transform};

/// Least standard deviation that a measurement claims, in samples.
const LEAST_NOISE: f64 = 0.01;

/// The measured shift of a block against the template.
#[derive(Clone, Copy, Debug)]
pub(super) struct PathShift {
    /// Samples by which the block is later.
    pub(super) samples: f64,
    /// Share of the block that agrees with the template shifted by that, 0 to 1.
    pub(super) agreement: f32,
    /// Variance of `samples`.
    pub(super) variance: f64,
}

/// Measures by how much `block` is later than `template`.
pub(super) fn compare(
    block: &[Complex; BINS],
    template: &[Complex; BINS],
    scratch: &mut [Complex; WINDOW],
) -> PathShift {
    scratch.fill(Complex::ZERO);
    let mut total = 0.0;
    for ((point, &block), template) in scratch.iter_mut().skip(FIRST_BIN).zip(block).zip(template) {
        let cross = block.times(template.conj());
        total += magnitude(cross);
        *point = cross.conj();
    }
    transform(scratch);
    // With the true shift all phases are zero, so it is the real part that peaks.
    let best = scratch.iter().enumerate().fold(
        (0, 0.0),
        |best, (index, x)| {
            if x.re > best.1 { (index, x.re) } else { best }
        },
    );
    let mut samples = best.0 as f64 - if best.0 > WINDOW / 2 { WINDOW as f64 } else { 0.0 };
    let per_bin = core::f32::consts::TAU / WINDOW as f32;
    let (mut real, mut squares, mut weights) = (0.0f32, 0.0f32, 1e-20f32);
    for _ in 0..4 {
        let (mut slope, mut curve) = (0.0, 1e-20f32);
        (real, squares, weights) = (0.0, 0.0, 1e-20);
        let pairs = block.iter().zip(template);
        for (k, ((&block, template), turn)) in pairs.zip(rotator(FIRST_BIN, samples)).enumerate() {
            let cross = block.times(template.conj()).times(turn);
            let omega = per_bin * (FIRST_BIN + k) as f32;
            let weight = cross.power() * omega * omega;
            real += cross.re;
            slope += omega * cross.im;
            curve += omega * omega * cross.re;
            squares += weight;
            weights += omega * omega * magnitude(cross);
        }
        let step = slope / curve.max(0.1 * weights);
        samples -= f64::from(step.clamp(-1.0, 1.0));
    }
    let agreement = if total > 0.0 { (real / total).clamp(0.0, 1.0) } else { 0.0 };
    // Variance of the phases. Neighbouring bins of a Hann window are not independent, hence the factor 3 below.
    let scatter = 2.0 * (1.0 - agreement);
    let variance = f64::from(3.0 * scatter * squares / (weights * weights)) + LEAST_NOISE * LEAST_NOISE;
    PathShift { samples, agreement, variance }
}

fn magnitude(x: Complex) -> f32 {
    let power = x.power() + 1e-20;
    power * fast_inverse_sqrt(power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_path_is_measured_to_a_thousandth_of_a_sample() {
        let path: [Complex; BINS] = core::array::from_fn(|k| Complex {
            re: ((k * k * 31 + 7) % 41) as f32 - 20.0,
            im: ((k * k * 17 + k) % 37) as f32 - 18.0,
        });
        for samples in [0.0, 0.3, -0.77, 5.5, -41.2, 127.9] {
            let mut later = path;
            for (x, turn) in later.iter_mut().zip(rotator(FIRST_BIN, -samples)) {
                *x = x.times(turn);
            }
            let shift = compare(&later, &path, &mut [Complex::ZERO; WINDOW]);
            assert!((shift.samples - samples).abs() < 1e-3, "{samples}: {shift:?}");
            assert!(shift.agreement > 0.999, "{samples}: {shift:?}");
        }
    }
}
