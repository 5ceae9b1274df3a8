//! Worker side: reads a signal between its samples, for two clocks that differ by little.
//!
//! The kernel is a windowed sinc in rows, one for each of 128 fractions of a sample, interpolated linearly
//! (J. O. Smith, "Digital Audio Resampling Home Page"). The window is Kaiser's with beta 9. There is no
//! anti-aliasing filter, because the step differs from 1 only by parts per million. Frequencies up to 0.9 of
//! the Nyquist frequency keep amplitude and phase with an error below -75 dB.

use crate::dsp::products::dot;
use crate::dsp::special::{bessel_i0_of_quarter_square, sinc};
use crate::sample::nearest_16_bits;
use crate::timing::HistorySample;

mod quick;

pub(crate) use self::quick::{MediumReader, QuickReader};

/// Number of samples around a position that contribute to its value.
const TAPS: usize = 64;

/// Index in the window of the last sample at or before the position.
const CENTRE: usize = TAPS / 2 - 1;

/// Number of fractions of a sample that have a row.
const PHASES: usize = 128;
/// Shape of the Kaiser window.
const BETA: f64 = 9.0;

static ROWS: [[f32; TAPS]; PHASES + 1] = rows::<TAPS, PHASES, { PHASES + 1 }>(BETA);

/// A way to read a signal between its samples. An image links only the tables of the readers that it names.
pub(crate) trait FractionalReader {
    /// Number type of the computation.
    type Sample: HistorySample;
    /// Number of samples that the window needs before the position.
    const BEFORE: usize;
    /// Number of samples that the window needs in addition to those that are read.
    const AROUND: usize;

    /// Reads `out` from `window`, which begins [`BEFORE`](Self::BEFORE) samples before a position. The first
    /// sample is read `at` after that position, each further one `step` later, both in 1/2^32 of a sample.
    fn read(window: &[Self::Sample], at_q32: u64, step_q32: u64, out: &mut [i16]);
}

/// The reader with the quality that echo cancellers need.
pub(crate) struct FullReader;

impl FractionalReader for FullReader {
    type Sample = f32;
    const BEFORE: usize = CENTRE;
    const AROUND: usize = TAPS;

    fn read(window: &[f32], at_q32: u64, step_q32: u64, out: &mut [i16]) {
        let mut at = at_q32;
        for sample in out {
            let from = (at >> 32) as usize;
            let fraction = (at & u64::from(u32::MAX)) as f32 / Q32;
            let taps = window.get(from..).and_then(|rest| rest.first_chunk::<TAPS>());
            *sample = taps.map_or(0, |taps| interpolate(taps, fraction));
            at += step_q32;
        }
    }
}

const Q32: f32 = 4_294_967_296.0;

/// Returns the signal at `fraction` (0 to 1) of a sample after `window[CENTRE]`.
#[inline]
fn interpolate(window: &[f32; TAPS], fraction: f32) -> i16 {
    let scaled = fraction * PHASES as f32;
    let phase = (scaled as usize).min(PHASES - 1);
    let blend = scaled - phase as f32;
    let Some([low, high]) = ROWS.get(phase..phase + 2) else { return 0 };
    let (low, high) = (dot(window, low), dot(window, high));
    nearest_16_bits(low + (high - low) * blend)
}

/// Computes a row of `N` weights for each of `PHASES` fractions of a sample, and one for the next sample.
const fn rows<const N: usize, const PHASES: usize, const ROWS: usize>(beta: f64) -> [[f32; N]; ROWS] {
    let mut rows = [[0.0; N]; ROWS];
    let mut phase = 0;
    while phase <= PHASES {
        let fraction = phase as f64 / PHASES as f64;
        let mut exact = [0.0; N];
        let mut sum = 0.0;
        let mut tap = 0;
        while tap < N {
            let signed = tap as f64 - (N / 2 - 1) as f64 - fraction;
            let distance = if signed < 0.0 { -signed } else { signed };
            let edge = distance / (N / 2) as f64;
            // Without its constant factor, which the division by the sum removes.
            let window = bessel_i0_of_quarter_square(beta * beta / 4.0 * (1.0 - edge * edge));
            exact[tap] = if edge < 1.0 { sinc(distance) * window } else { 0.0 };
            sum += exact[tap];
            tap += 1;
        }
        tap = 0;
        while tap < N {
            // A row that does not sum to 1 would modulate the amplitude with the phase.
            rows[phase][tap] = (exact[tap] / sum) as f32;
            tap += 1;
        }
        phase += 1;
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_quality_reads_sines_between_samples() {
        for part in [0.02, 0.3, 0.6, 0.85] {
            let omega = core::f64::consts::PI * part;
            let wave = |x: f64| 20_000.0 * (omega * x + 0.3).sin();
            let (mut signal, mut noise) = (0.0, 0.0);
            for n in 0..2_000 {
                let x = n as f64 * 1.000_37 + 100.0;
                let base = x as usize;
                let window = core::array::from_fn(|k| wave((base + k - CENTRE) as f64).round() as f32);
                let read = f64::from(interpolate(&window, (x - base as f64) as f32));
                signal += wave(x).powi(2);
                noise += (wave(x) - read).powi(2);
            }
            let snr = 10.0 * (signal / noise).log10();
            assert!(snr > 75.0, "at {part} of the band: {snr:.1} dB");
        }
    }

    #[test]
    fn whole_positions_return_the_samples() {
        let window = core::array::from_fn(|k| (k as f32 - 30.0) * 900.0);
        assert_eq!(interpolate(&window, 0.0), window[CENTRE] as i16);
        assert_eq!(interpolate(&window, 1.0), window[CENTRE + 1] as i16);
    }
}
