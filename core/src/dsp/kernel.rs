//! Worker side: the windowed-sinc kernel behind rate conversion, computed at compile time.
//!
//! A half kernel sampled finely and read with linear interpolation, after J. O. Smith, "Digital
//! Audio Resampling Home Page" (bandlimited interpolation); the window is Kaiser's with beta 9,
//! about 90 dB of stop-band rejection. The pass band reaches 0.82 of the
//! lower Nyquist frequency, the stop band begins just above it.

/// Zero crossings on either side of the centre.
pub(crate) const ZERO_CROSSINGS: usize = 32;

/// Table entries between two zero crossings.
pub(crate) const RESOLUTION: usize = 256;

const LEN: usize = ZERO_CROSSINGS * RESOLUTION + 2;
const CUTOFF: f64 = 0.92;
const BETA: f64 = 9.0;

/// The half kernel; the entry behind the last is zero, so that interpolation needs no check.
pub(crate) static HALF_KERNEL: [f32; LEN] = half_kernel();

/// The kernel at `index` table entries from its centre, 0 beyond its end.
#[inline]
pub(crate) fn at(index: f32) -> f32 {
    let whole = index as usize;
    let fraction = index - whole as f32;
    match HALF_KERNEL.get(whole..whole + 2) {
        Some(&[low, high]) => low + (high - low) * fraction,
        _ => 0.0,
    }
}

const fn half_kernel() -> [f32; LEN] {
    let mut table = [0.0; LEN];
    let mut i = 0;
    while i + 1 < LEN {
        let x = i as f64 / RESOLUTION as f64;
        let edge = x / ZERO_CROSSINGS as f64;
        table[i] =
            (CUTOFF * sinc(CUTOFF * x) * bessel_i0(BETA * sqrt(1.0 - edge * edge)) / bessel_i0(BETA)) as f32;
        i += 1;
    }
    table
}

const PI: f64 = core::f64::consts::PI;

/// sin(pi x) / (pi x) for x >= 0.
pub(crate) const fn sinc(x: f64) -> f64 {
    if x < 1e-9 { 1.0 } else { sin_pi(x) / (PI * x) }
}

/// sin(pi x) for x >= 0, by reduction to +-1/2 and the Taylor series (error below 1e-15).
const fn sin_pi(x: f64) -> f64 {
    let nearest = (x + 0.5) as u64;
    let r = PI * (x - nearest as f64);
    let square = r * r;
    let mut term = r;
    let mut sum = r;
    let mut n = 1.0;
    while n < 20.0 {
        term = -term * square / ((n + 1.0) * (n + 2.0));
        sum += term;
        n += 2.0;
    }
    if nearest.is_multiple_of(2) { sum } else { -sum }
}

pub(crate) const fn sqrt(x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    let mut root = 0.5 * (x + 1.0);
    let mut i = 0;
    while i < 40 {
        root = 0.5 * (root + x / root);
        i += 1;
    }
    root
}

/// The modified Bessel function of order 0, by its power series.
pub(crate) const fn bessel_i0(x: f64) -> f64 {
    let half_square = x * x / 4.0;
    let mut term = 1.0;
    let mut sum = 1.0;
    let mut k = 1.0;
    while k < 40.0 {
        term *= half_square / (k * k);
        sum += term;
        k += 1.0;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compile_time_functions_agree_with_the_library() {
        for i in 0..1_600 {
            let x = f64::from(i) / 100.0;
            assert!((sin_pi(x) - (PI * x).sin()).abs() < 1e-12, "sin_pi({x})");
            assert!((sqrt(x) - x.sqrt()).abs() < 1e-9, "sqrt({x})");
        }
        assert!((bessel_i0(9.0) - 1_093.588_354_511_37).abs() < 1e-6);
    }

    #[test]
    fn the_kernel_sums_to_one_at_every_phase() {
        for phase in 0..100 {
            let start = phase as f32 / 100.0;
            let sum: f32 = (0..ZERO_CROSSINGS)
                .map(|n| {
                    at((n as f32 + start) * RESOLUTION as f32)
                        + at((n as f32 + 1.0 - start) * RESOLUTION as f32)
                })
                .sum();
            assert!((sum - 1.0).abs() < 1e-3, "phase {start}: {sum}");
        }
    }
}
