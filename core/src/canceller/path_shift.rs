//! Worker side: tells the error of an echo path that moved as a whole from a near talker.
//!
//! When the clock estimate is corrected or a device changes its latency, the whole path moves by a fraction of a sample.
//! The error of a filter that was sure of the path is then the derivative of the estimated echo, times the shift; if the
//! level changed too, it has a part of the estimated echo itself. Least squares over the last frames show how much of the
//! error these two explain, as in B. D. Lucas and T. Kanade, "An iterative image registration technique with an
//! application to stereo vision", IJCAI 1981, whose one-dimensional case is this. A talker's voice is not explained by
//! them, unless it has the pitch of the echo.

use super::ceiling::energy;
use crate::capture::EchoShift;

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
/// Energy of the estimated echo in a frame above which its shift is measured; full scale is 1 a sample.
const MEASURED_ABOVE: f32 = 1e-6;
/// Part of the echo's energy that a shift may leave unexplained where it is measured: -17 dB. A filter that has not
/// learned the path, or a talker, leaves more, and its error has a part of the derivative by chance. With -13 dB, music
/// whose echo came before its reference was followed instead of searched.
const MOST_UNEXPLAINED: f32 = 0.02;
/// Factor by which the variance of a shift is larger than that of white noise, because voices are not white.
const COLOURED: f32 = 10.0;
/// Least energy of an error that counts as noise: 16-bit samples.
const LEAST_UNEXPLAINED: f32 = 1e-9;

/// Products of the error, the estimated echo and its derivative.
#[derive(Clone, Copy, Debug)]
struct Products {
    error: f32,
    echo: f32,
    slope: f32,
    error_echo: f32,
    error_slope: f32,
    echo_slope: f32,
}

impl Products {
    const ZERO: Self =
        Self { error: 0.0, echo: 0.0, slope: 0.0, error_echo: 0.0, error_slope: 0.0, echo_slope: 0.0 };

    /// Returns the products of a frame of the microphone and of the filter's error.
    fn of_frame(near: &[f32], error: &[f32]) -> Self {
        let mut sums = Self { error: energy(error), ..Self::ZERO };
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
        sums
    }

    /// Adds the products of a frame to what is kept of earlier ones.
    fn add(&mut self, now: &Self) {
        for (sum, now) in [
            (&mut self.error, now.error),
            (&mut self.echo, now.echo),
            (&mut self.slope, now.slope),
            (&mut self.error_echo, now.error_echo),
            (&mut self.error_slope, now.error_slope),
            (&mut self.echo_slope, now.echo_slope),
        ] {
            *sum = KEPT * *sum + now;
        }
    }

    /// Returns the determinant of the least squares, if the echo is stronger than `above` and no pure tone.
    fn determinant(&self, above: f32) -> Option<f32> {
        let determinant = self.echo * self.slope - self.echo_slope * self.echo_slope;
        (self.echo >= above && determinant > 1e-3 * self.echo * self.slope).then_some(determinant)
    }

    /// Returns the determinant times the part of the error's energy that the echo and its derivative explain.
    fn explained(&self) -> f32 {
        let (by_echo, by_slope) = (self.error_echo, self.error_slope);
        by_echo * by_echo * self.slope - 2.0 * by_echo * by_slope * self.echo_slope
            + by_slope * by_slope * self.echo
    }
}

/// Least squares of the error against the estimated echo and its derivative.
#[derive(Debug)]
pub(super) struct PathShift {
    recent_frames: Products,
    last_frame: Products,
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
        Self { recent_frames: Products::ZERO, last_frame: Products::ZERO, recent: 0.0 }
    }

    pub(super) fn reset(&mut self) {
        *self = Self::new();
    }

    /// Takes a frame of the microphone and of the main filter's error.
    pub(super) fn observe(&mut self, near: &[f32], error: &[f32]) -> ShiftReading {
        self.last_frame = Products::of_frame(near, error);
        self.recent_frames.add(&self.last_frame);
        let Products { error, echo, slope, .. } = self.recent_frames;
        if !(error + echo + slope).is_finite() {
            self.reset();
        }
        self.reading()
    }

    /// Returns by how much the echo of the last frame came later than the filter expected, if the shift explains
    /// the error. `samples` is the length of the frame.
    pub(super) fn shift(&self, samples: usize) -> Option<EchoShift> {
        let frame = &self.last_frame;
        let reciprocal = 1.0 / frame.determinant(MEASURED_ABOVE)?;
        let unexplained = (frame.error - frame.explained() * reciprocal).max(0.0) + LEAST_UNEXPLAINED;
        let variance = COLOURED / samples as f32 * unexplained * frame.echo * reciprocal;
        let later = (frame.error_echo * frame.echo_slope - frame.error_slope * frame.echo) * reciprocal;
        (unexplained < MOST_UNEXPLAINED * frame.echo && variance > 0.0)
            .then_some(EchoShift { later_sample_frames: later, variance_sample_frames2: variance })
    }

    fn reading(&mut self) -> ShiftReading {
        let sums = &self.recent_frames;
        let Some(determinant) = sums.determinant(ECHO_ABOVE).filter(|_| sums.error > 0.0) else {
            return ShiftReading::default();
        };
        let explained = sums.explained() / (determinant * sums.error);
        let from = EXPLAINED_FROM - LENIENCE * self.recent;
        let likelihood = ((explained - from) * (1.0 / (EXPLAINED_SURE - EXPLAINED_FROM))).clamp(0.0, 1.0);
        self.recent = likelihood.max(RECENT_KEPT * self.recent);
        ShiftReading { likelihood, change: likelihood * (sums.error / sums.echo).min(1.0) }
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
    fn the_shift_of_a_frame_is_measured_with_its_sign() {
        for by in [-0.2, -0.01, 0.001, 0.05, 0.3] {
            let mut shift = PathShift::new();
            // The echo comes later than the estimate by `by`, and noise at -50 dB of it remains.
            let noise = |at: f64| 0.000_3 * sin_pi(at * at * 0.37) as f32;
            let errors: [f32; HOP] = core::array::from_fn(|n| {
                voice(130.0, n as f64 - by) - voice(130.0, n as f64) + noise(n as f64)
            });
            let near: [f32; HOP] = core::array::from_fn(|n| voice(130.0, n as f64) + errors[n]);
            shift.observe(&near, &errors);
            let found = shift.shift(HOP).expect("a shift");
            let error = f64::from(found.later_sample_frames) - by;
            assert!(
                error * error < 9.0 * f64::from(found.variance_sample_frames2) + 1e-4 * by * by,
                "{by} samples: {found:?}"
            );
            assert!(found.variance_sample_frames2 < 1e-2, "{by} samples: {found:?}");
        }
    }

    #[test]
    fn a_talker_and_silence_have_no_shift() {
        let mut shift = PathShift::new();
        assert_eq!(shift.shift(HOP), None);
        shift.observe(&[0.0; HOP], &[0.0; HOP]);
        assert_eq!(shift.shift(HOP), None);
        let errors: [f32; HOP] = core::array::from_fn(|n| voice(211.0, n as f64));
        let near: [f32; HOP] = core::array::from_fn(|n| voice(130.0, n as f64) + errors[n]);
        shift.observe(&near, &errors);
        assert_eq!(shift.shift(HOP), None);
        shift.observe(&[f32::NAN; HOP], &[f32::NAN; HOP]);
        assert_eq!(shift.shift(HOP), None);
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
