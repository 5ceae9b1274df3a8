//! Worker side: tells the error of an echo path that moved as a whole from a near talker.
//!
//! When the clock estimate is corrected or a device changes its latency, the whole path moves by a fraction of a sample.
//! The error of a filter that was sure of the path is then the derivative of the estimated echo, times the shift; if the
//! level changed too, it has a part of the estimated echo itself. Least squares over the last frames show how much of the
//! error these two explain, as in B. D. Lucas and T. Kanade, "An iterative image registration technique with an
//! application to stereo vision", IJCAI 1981, whose one-dimensional case is this. A talker's voice is not explained by
//! them, unless it has the pitch of the echo.

use super::ceiling::energy;

/// Part of the sums that is kept in 10 ms: a time constant of 28 ms. The error of a sure filter is so small before a
/// shift that the first frame after it already decides.
const KEPT: f32 = 0.7;
/// Part of the error that must be explained before it counts as an echo at all. A voice reaches it by chance when both
/// sides speak at one pitch.
const EXPLAINED_FROM: f32 = 0.6;
/// Part of the error that is explained from which all of it counts as an echo.
const EXPLAINED_SURE: f32 = 0.9;
/// How much smaller the explained part may be soon after a shift, because the filter follows in some bins first.
const LENIENCE: f32 = 0.3;
/// Part of a shift's likelihood that is remembered after 10 ms: a time constant of 0.14 s.
const RECENT_KEPT: f32 = 0.93;
/// Energy of the estimated echo in a frame above which a shift can be seen; full scale is 1 a sample.
const ECHO_ABOVE: f32 = 1e-5;

/// Products of the error, the estimated echo and its derivative, over the last frames.
#[derive(Debug)]
pub(super) struct PathShift {
    error: f32,
    echo: f32,
    slope: f32,
    error_echo: f32,
    error_slope: f32,
    echo_slope: f32,
    /// Largest likelihood of the last frames; older ones count less.
    recent: f32,
}

/// What a shift explains.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct ShiftReading {
    /// Likelihood that the error is that of a shifted path, from 0 to 1.
    pub(super) likelihood: f32,
    /// Power by which the path changed, as a part of the path's power; 0 if it did not.
    pub(super) change: f32,
}

impl PathShift {
    pub(super) const fn new() -> Self {
        Self {
            error: 0.0,
            echo: 0.0,
            slope: 0.0,
            error_echo: 0.0,
            error_slope: 0.0,
            echo_slope: 0.0,
            recent: 0.0,
        }
    }

    pub(super) fn reset(&mut self) {
        *self = Self::new();
    }

    /// Takes a frame of the microphone and of the main filter's error.
    pub(super) fn observe(&mut self, near: &[f32], error: &[f32]) -> ShiftReading {
        let mut sums = Self::new();
        let echoes = near.windows(3).zip(error.windows(3));
        for (near, error) in echoes {
            let ([n0, n1, n2], [e0, e1, e2]) = (near, error) else { continue };
            let (echo, slope) = (n1 - e1, 0.5 * ((n2 - e2) - (n0 - e0)));
            sums.echo += echo * echo;
            sums.slope += slope * slope;
            sums.error_echo += e1 * echo;
            sums.error_slope += e1 * slope;
            sums.echo_slope += echo * slope;
        }
        sums.error = energy(error);
        let pairs = [
            (&mut self.error, sums.error),
            (&mut self.echo, sums.echo),
            (&mut self.slope, sums.slope),
            (&mut self.error_echo, sums.error_echo),
            (&mut self.error_slope, sums.error_slope),
            (&mut self.echo_slope, sums.echo_slope),
        ];
        for (sum, now) in pairs {
            *sum = KEPT * *sum + now;
        }
        if !(self.error + self.echo + self.slope).is_finite() {
            self.reset();
        }
        self.reading()
    }

    fn reading(&mut self) -> ShiftReading {
        let determinant = self.echo * self.slope - self.echo_slope * self.echo_slope;
        if self.echo < ECHO_ABOVE || determinant <= 1e-3 * self.echo * self.slope || self.error <= 0.0 {
            return ShiftReading::default();
        }
        let (by_echo, by_slope) = (self.error_echo, self.error_slope);
        let product = by_echo * by_echo * self.slope - 2.0 * by_echo * by_slope * self.echo_slope
            + by_slope * by_slope * self.echo;
        let explained = product / (determinant * self.error);
        let from = EXPLAINED_FROM - LENIENCE * self.recent;
        let likelihood = ((explained - from) * (1.0 / (EXPLAINED_SURE - EXPLAINED_FROM))).clamp(0.0, 1.0);
        self.recent = likelihood.max(RECENT_KEPT * self.recent);
        ShiftReading { likelihood, change: likelihood * (self.error / self.echo).min(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsp::special::sin_pi;

    const HOP: usize = 160;

    /// Returns a voice with six harmonics of a pitch, at 16 kHz.
    fn voice(pitch_hz: f64, at: f64) -> f32 {
        let harmonic = |k: i32| sin_pi(2.0 * pitch_hz * f64::from(k) * at / 16_000.0) / f64::from(k);
        (1..=6).map(harmonic).sum::<f64>() as f32 * 0.1
    }

    /// Returns the least and the mean likelihood over 40 frames of an echo of `pitch_hz` whose error is `error(sample)`.
    fn likelihood(pitch_hz: f64, error: impl Fn(f64) -> f32) -> (f32, f32) {
        let mut shift = PathShift::new();
        let (mut least, mut sum) = (1.0f32, 0.0);
        for frame in 0..40 {
            let at = |n: usize| f64::from(frame * HOP as i32) + n as f64;
            let errors: [f32; HOP] = core::array::from_fn(|n| error(at(n)));
            let near: [f32; HOP] = core::array::from_fn(|n| voice(pitch_hz, at(n)) + errors[n]);
            let reading = shift.observe(&near, &errors);
            assert!((0.0..=1.0).contains(&reading.likelihood) && (0.0..=1.0).contains(&reading.change));
            sum += reading.likelihood;
            least = least.min(reading.likelihood);
        }
        (least, sum / 40.0)
    }

    #[test]
    fn a_shifted_path_is_seen_from_its_first_frame_on() {
        for by in [0.02, -0.1, 0.5, 1.0] {
            let (least, _) = likelihood(130.0, |at| voice(130.0, at - by) - voice(130.0, at));
            assert!(least > 0.95, "{by} samples: {least}");
        }
        let (louder, _) = likelihood(130.0, |at| 0.2 * voice(130.0, at));
        assert!(louder > 0.95, "a louder echo: {louder}");
    }

    #[test]
    fn a_talker_is_no_shifted_path() {
        for pitch_hz in [90.0, 117.0, 170.0, 211.0, 260.0] {
            for level in [0.05, 0.3, 2.0] {
                let (_, mean) = likelihood(130.0, |at| level * voice(pitch_hz, at));
                assert!(mean < 0.02, "{pitch_hz} Hz at {level}: {mean}");
            }
        }
    }

    #[test]
    fn silence_and_no_numbers_are_no_shifted_path() {
        let mut shift = PathShift::new();
        assert_eq!(shift.observe(&[0.0; HOP], &[0.0; HOP]), ShiftReading::default());
        assert_eq!(shift.observe(&[0.1; HOP], &[0.0; HOP]).likelihood, 0.0);
        let reading = shift.observe(&[f32::NAN; HOP], &[f32::NAN; HOP]);
        assert_eq!(reading, ShiftReading::default());
        let error: [f32; HOP] = core::array::from_fn(|n| if n % 2 == 0 { 0.01 } else { -0.01 });
        assert!(shift.observe(&[0.1; HOP], &error).likelihood.is_finite());
    }
}
