//! Worker side: turns down the room's steady noise, in what the suppressor of the echo left.
//!
//! The gain is that of Ephraim and Malah, "Speech enhancement using a minimum mean-square error short-time spectral
//! amplitude estimator", IEEE Trans. ASSP 32 (1984), equation 51, with a floor (Berouti, Schwartz and Makhoul,
//! "Enhancement of speech corrupted by acoustic noise", ICASSP 1979). It comes after the comfort noise, so that the
//! noise is as loud in suppressed bins as in others.

use super::CancellerSettings;
use crate::dsp::fft::Complex;
use crate::dsp::select::larger;

/// Weight of the previous frame in the estimate of how far a bin is above the noise: a time constant of 0.5 s.
const DIRECTED: f32 = 0.98;
/// Power below every noise: -120 dB.
const LEAST_NOISE: f32 = 1e-12;

/// Amplitude factor of each depth, of which the index is in decibels.
const GAINS: [f32; CancellerSettings::MAX_NOISE_REDUCTION_DB as usize + 1] = {
    let mut gains = [1.0; CancellerSettings::MAX_NOISE_REDUCTION_DB as usize + 1];
    let mut db = 1;
    while db < gains.len() {
        // 10^(-1/20)
        gains[db] = gains[db - 1] * 0.891_250_94;
        db += 1;
    }
    gains
};

/// Returns the least gain of a depth, or none if the noise stays as it is.
pub(super) fn least_gain(depth_db: u8) -> Option<f32> {
    if depth_db == 0 {
        return None;
    }
    let [.., deepest] = GAINS;
    Some(GAINS.get(usize::from(depth_db)).copied().unwrap_or(deepest))
}

/// State of the noise reduction.
#[derive(Debug)]
pub(super) struct NoiseReduction<const BINS: usize> {
    /// Power of the last frame after its noise was reduced.
    clean_power: [f32; BINS],
}

impl<const BINS: usize> NoiseReduction<BINS> {
    pub(super) const fn new() -> Self {
        Self { clean_power: [0.0; BINS] }
    }

    pub(super) fn reset(&mut self) {
        self.clean_power.fill(0.0);
    }

    /// Turns each bin down by no more than `least_gain`.
    // Not inlined, because products without noise reduction would pay for its registers.
    #[inline(never)]
    pub(super) fn apply(
        &mut self,
        spectrum: &mut [Complex; BINS],
        noise_power: impl Iterator<Item = f32>,
        least_gain: f32,
    ) {
        for ((z, clean), noise) in spectrum.iter_mut().zip(&mut self.clean_power).zip(noise_power) {
            let power = z.power();
            let reciprocal = 1.0 / (noise + LEAST_NOISE);
            let above = larger(power * reciprocal - 1.0, 0.0);
            let ratio = DIRECTED * *clean * reciprocal + (1.0 - DIRECTED) * above;
            let gain = larger(ratio / (1.0 + ratio), least_gain);
            *z = z.scaled(gain);
            *clean = gain * gain * power;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINS: usize = 161;

    /// Returns complex Gaussian noise of power 1 in each bin, nearly.
    fn noise(random: &mut u32) -> Complex {
        let mut next = || {
            (0..6).fold(0.0, |sum, _| {
                *random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                sum + ((*random >> 8) as f32 / (1 << 23) as f32 - 1.0) * 0.5
            })
        };
        Complex { re: next(), im: next() }
    }

    #[test]
    fn steady_noise_is_turned_down_by_the_depth() {
        for depth_db in [6, 12, 24, 200] {
            let least_gain = least_gain(depth_db).unwrap();
            let (mut reduction, mut random) = (NoiseReduction::<BINS>::new(), 1);
            let (mut before, mut after) = (0.0_f32, 0.0_f32);
            for _ in 0..300 {
                let mut spectrum = [Complex::ZERO; BINS].map(|_| noise(&mut random));
                before += spectrum.iter().map(|z| z.power()).sum::<f32>();
                reduction.apply(&mut spectrum, core::iter::repeat(1.0), least_gain);
                after += spectrum.iter().map(|z| z.power()).sum::<f32>();
            }
            let reduced = 10.0 * (before / after).log10();
            let expected = f32::from(depth_db.min(CancellerSettings::MAX_NOISE_REDUCTION_DB));
            assert!(reduced < expected + 0.1 && reduced > 0.75 * expected, "{depth_db} dB: {reduced}");
        }
        assert_eq!(least_gain(0), None);
    }

    #[test]
    fn what_is_20_db_above_the_noise_is_kept() {
        let (mut reduction, mut random) = (NoiseReduction::<BINS>::new(), 1);
        let (mut before, mut after) = (0.0_f32, 0.0_f32);
        for _ in 0..100 {
            let mut spectrum = [Complex::ZERO; BINS].map(|_| noise(&mut random).scaled(10.0));
            before += spectrum.iter().map(|z| z.power()).sum::<f32>();
            reduction.apply(&mut spectrum, core::iter::repeat(1.0), 0.06);
            after += spectrum.iter().map(|z| z.power()).sum::<f32>();
        }
        let reduced = 10.0 * (before / after).log10();
        assert!(reduced < 0.5, "{reduced} dB");
    }
}
