//! Worker side: a signal read between its samples, for two clocks that differ by little.
//!
//! A windowed sinc in rows, one for each of 128 fractions of a sample, blended linearly (J. O. Smith,
//! "Digital Audio Resampling Home Page"). The window is Kaiser's with beta 9. There is no
//! anti-aliasing, for the step is 1 but for parts per million; frequencies up to 0.9 of the Nyquist
//! frequency keep amplitude and phase within -75 dB.

use crate::dsp::products::dot;
use crate::dsp::special::{bessel_i0_of_quarter_square, sinc};
use crate::timing::Number;

mod quick;

pub(crate) use self::quick::Quick;

/// Samples around a position that shape it.
const TAPS: usize = 64;

/// The position lies between this sample of the window and the next.
const CENTRE: usize = TAPS / 2 - 1;

const PHASES: usize = 128;
const BETA: f64 = 9.0;

static ROWS: [[f32; TAPS]; PHASES + 1] = rows::<TAPS, PHASES, { PHASES + 1 }>(BETA);

/// A way to read a signal between its samples. An image links only the rows of those it names.
pub(crate) trait Between {
    /// What it computes with.
    type Number: Number;
    /// Samples of the window before the position, and in all, beside those that are read.
    const BEFORE: usize;
    const AROUND: usize;

    /// Reads `out` from `window`, which begins [`BEFORE`](Self::BEFORE) samples before a position;
    /// the first is read `at` behind it, each next one `step` further, both in 1/2^32.
    fn read(window: &[Self::Number], at_q32: u64, step_q32: u64, out: &mut [i16]);
}

/// The one that echo cancellers get.
pub(crate) struct Full;

impl Between for Full {
    type Number = f32;
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

/// The signal at `fraction` (0 to 1) of a sample behind `window[CENTRE]`.
#[inline]
fn interpolate(window: &[f32; TAPS], fraction: f32) -> i16 {
    let scaled = fraction * PHASES as f32;
    let phase = (scaled as usize).min(PHASES - 1);
    let blend = scaled - phase as f32;
    let Some([low, high]) = ROWS.get(phase..phase + 2) else { return 0 };
    let (low, high) = (dot(window, low), dot(window, high));
    let value = low + (high - low) * blend;
    let rounded = if value < 0.0 { value - 0.5 } else { value + 0.5 };
    (rounded as i32).clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
}

/// A row of `N` weights for each of `PHASES` fractions of a sample, and one for the next sample.
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
            // But for a constant factor, which the sum takes out.
            let window = bessel_i0_of_quarter_square(beta * beta / 4.0 * (1.0 - edge * edge));
            exact[tap] = if edge < 1.0 { sinc(distance) * window } else { 0.0 };
            sum += exact[tap];
            tap += 1;
        }
        tap = 0;
        while tap < N {
            // A row that does not sum to 1 would turn the phase into an amplitude.
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
    fn sines_are_read_between_their_samples() {
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
    fn whole_positions_are_copies() {
        let window = core::array::from_fn(|k| (k as f32 - 30.0) * 900.0);
        assert_eq!(interpolate(&window, 0.0), window[CENTRE] as i16);
        assert_eq!(interpolate(&window, 1.0), window[CENTRE + 1] as i16);
    }
}
