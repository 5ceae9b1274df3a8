//! Worker side: the high-pass filter, which removes what is below a voice.

use core::array::from_fn;

use super::subnormal::flush_samples;
use crate::dsp::special::sin_pi;

/// Frequency of -3 dB, in hertz: below the lowest male voice, above mains hum.
const CORNER_HZ: f64 = 80.0;

/// Butterworth filter of second order by the bilinear transform (Bristow-Johnson, "Cookbook formulae for audio
/// equalizer biquad filter coefficients"), in the transposed direct form II.
#[derive(Clone, Copy, Debug)]
pub(super) struct VoiceHighPass {
    state: [f32; 2],
}

/// Coefficients of the filter, normalised.
#[derive(Clone, Copy, Debug)]
pub(super) struct HighPassShape {
    b0: f32,
    a1: f32,
    a2: f32,
}

impl HighPassShape {
    /// Returns the filter for frames of `hop` samples.
    pub(super) const fn new(hop: usize) -> Self {
        // Angle of the corner in half turns.
        let corner = 2.0 * CORNER_HZ / (hop as f64 * 100.0);
        let (sin, cos) = (sin_pi(corner), sin_pi(corner + 0.5));
        // The quality of a Butterworth filter is 1 / sqrt(2).
        let alpha = sin * core::f64::consts::FRAC_1_SQRT_2;
        let a0 = 1.0 + alpha;
        Self {
            b0: ((1.0 + cos) / 2.0 / a0) as f32,
            a1: (-2.0 * cos / a0) as f32,
            a2: ((1.0 - alpha) / a0) as f32,
        }
    }

    /// Filters one sample of each of several signals, in place.
    #[inline]
    pub(super) fn next<const N: usize>(&self, state: &mut [[f32; N]; 2], values: &mut [f32; N]) {
        let [first, second] = *state;
        let scaled: [f32; N] = from_fn(|k| self.b0 * values[k]);
        let filtered: [f32; N] = from_fn(|k| scaled[k] + first[k]);
        *state = [
            from_fn(|k| second[k] - 2.0 * scaled[k] - self.a1 * filtered[k]),
            from_fn(|k| scaled[k] - self.a2 * filtered[k]),
        ];
        *values = filtered;
    }
}

impl VoiceHighPass {
    pub(super) const fn new() -> Self {
        Self { state: [0.0; 2] }
    }

    /// Forgets what is left of a sound that ended, once a frame.
    pub(super) fn flush(&mut self) {
        flush_samples(&mut self.state);
    }

    #[inline]
    pub(super) fn next(&mut self, shape: &HighPassShape, x: f32) -> f32 {
        let scaled = shape.b0 * x;
        let y = scaled + self.state[0];
        self.state[0] = self.state[1] - 2.0 * scaled - shape.a1 * y;
        self.state[1] = scaled - shape.a2 * y;
        y
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gain_db(hop: usize, hz: f64) -> f64 {
        let shape = HighPassShape::new(hop);
        let mut filter = VoiceHighPass::new();
        let rate = hop * 100;
        let mut energy = 0.0;
        for n in 0..2 * rate {
            let x = (core::f64::consts::TAU * hz * n as f64 / rate as f64).sin() as f32;
            let y = f64::from(filter.next(&shape, x));
            energy += if n >= rate { y * y } else { 0.0 };
        }
        10.0 * (energy / (rate as f64 / 2.0)).log10()
    }

    #[test]
    fn the_high_pass_has_its_corner_at_every_rate() {
        for hop in [80, 160, 320, 480] {
            let corner_db = gain_db(hop, CORNER_HZ);
            assert!((corner_db + 3.01).abs() < 0.05, "{hop}: {corner_db} dB at the corner");
            assert!(gain_db(hop, 20.0) < -23.0 && gain_db(hop, 300.0) > -0.1, "{hop}");
        }
    }
}
