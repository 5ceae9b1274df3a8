//! Worker side: the windowed-sinc kernel behind rate conversion, computed at compile time.
//!
//! A half kernel sampled finely and read with linear interpolation, after J. O. Smith, "Digital
//! Audio Resampling Home Page" (bandlimited interpolation); the window is Kaiser's with beta 9,
//! about 90 dB of stop-band rejection. The pass band reaches 0.82 of the
//! lower Nyquist frequency, the stop band begins just above it.

use crate::dsp::special::{bessel_i0_of_quarter_square, sinc};

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

/// The window at `edge`, from 0 at its centre to 1 at its end.
const fn kaiser(edge: f64) -> f64 {
    let quarter = BETA * BETA / 4.0;
    bessel_i0_of_quarter_square(quarter * (1.0 - edge * edge)) / bessel_i0_of_quarter_square(quarter)
}

const fn half_kernel() -> [f32; LEN] {
    let mut table = [0.0; LEN];
    let mut i = 0;
    while i + 1 < LEN {
        let x = i as f64 / RESOLUTION as f64;
        let edge = x / ZERO_CROSSINGS as f64;
        table[i] = (CUTOFF * sinc(CUTOFF * x) * kaiser(edge)) as f32;
        i += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

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
