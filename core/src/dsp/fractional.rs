//! Worker side: a signal read between its samples, for two clocks that differ by little.
//!
//! A windowed sinc in rows, one for each of 128 fractions of a sample, blended linearly (J. O. Smith,
//! "Digital Audio Resampling Home Page"). The window is Kaiser's with beta 9. There is no
//! anti-aliasing, for the step is 1 but for parts per million; frequencies up to 0.9 of the Nyquist
//! frequency keep amplitude and phase within -75 dB.

use crate::dsp::products::dot;
use crate::dsp::special::{bessel_i0_of_quarter_square, sinc};

/// Samples around a position that shape it.
pub(crate) const TAPS: usize = 64;

/// The position lies between this sample of the window and the next.
pub(crate) const CENTRE: usize = TAPS / 2 - 1;

const PHASES: usize = 128;
const BETA: f64 = 9.0;

static ROWS: [[f32; TAPS]; PHASES + 1] = rows();

/// The signal at `fraction` (0 to 1) of a sample behind `window[CENTRE]`.
#[inline]
pub(crate) fn interpolate(window: &[f32; TAPS], fraction: f32) -> i16 {
    let scaled = fraction * PHASES as f32;
    let phase = (scaled as usize).min(PHASES - 1);
    let blend = scaled - phase as f32;
    let Some([low, high]) = ROWS.get(phase..phase + 2) else { return 0 };
    let (low, high) = (dot(window, low), dot(window, high));
    let value = low + (high - low) * blend;
    let rounded = if value < 0.0 { value - 0.5 } else { value + 0.5 };
    (rounded as i32).clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
}

const fn rows() -> [[f32; TAPS]; PHASES + 1] {
    let mut rows = [[0.0; TAPS]; PHASES + 1];
    let mut phase = 0;
    while phase <= PHASES {
        let fraction = phase as f64 / PHASES as f64;
        let mut exact = [0.0; TAPS];
        let mut sum = 0.0;
        let mut tap = 0;
        while tap < TAPS {
            let signed = tap as f64 - CENTRE as f64 - fraction;
            let distance = if signed < 0.0 { -signed } else { signed };
            let edge = distance / (TAPS / 2) as f64;
            // But for a constant factor, which the sum takes out.
            let window = bessel_i0_of_quarter_square(BETA * BETA / 4.0 * (1.0 - edge * edge));
            exact[tap] = if edge < 1.0 { sinc(distance) * window } else { 0.0 };
            sum += exact[tap];
            tap += 1;
        }
        tap = 0;
        while tap < TAPS {
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
