//! Worker side: lets the reading of the echo reference follow the echo, by what the canceller sees of its place.
//!
//! Timestamps that scatter by a millisecond leave the rate of a clock uncertain by some 10 ppm. A canceller that removes
//! 50 dB sees a thousandth of a sample. A Kalman filter for the shift in a frame and for its rate (a phase-locked
//! loop of second order whose gains follow from the noise, as in the stream clock: Bar-Shalom, Li and Kirubarajan,
//! "Estimation with Applications to Tracking and Navigation", 2001, section 6.2) steers the speed of reading by it. The
//! timestamps still pull the position to its place, far more slowly, so that filter and reference cannot wander together.
//!
//! Where the echo stays, the times err by a bias, which is their mean error there. They pull to that place, not to their own:
//! otherwise a rate has to hold against the pull, and in a silence, in which nothing is seen, the two drift apart.

use super::stream_clock::SOUND_SERVER;
use crate::capture::EchoShift;

/// Variance by which the shift changes in a frame, in square frames: 0.005 samples of 160. Tuned on the storm's seeds
/// 1 to 50 with [`RATE_CHANGE`], some fifteen settings of both and of the threshold in `canceller/path_shift.rs`.
const SHIFT_CHANGE: f32 = 1e-9;
/// Variance by which the rate changes in a frame: 0.3 ppm, which is 10 ppm in 10 s.
const RATE_CHANGE: f32 = 1e-13;
/// Largest variance of the rate: 50 ppm.
const MOST_RATE_VARIANCE: f32 = 2.5e-9;
/// Part of the rate that is kept in a frame in which the echo is seen: a time constant of 20 s. In the long run the
/// timestamps tell the rate.
const RATE_KEPT: f32 = 0.999_5;
/// Largest rate that is followed: 200 ppm. More is a fault of the times, which the acoustic search steers against.
const MOST_RATE: f32 = 2e-4;
/// Part of the times' bias that is learned in a frame at most: a time constant of 10 s.
const BIAS_STEP: f32 = 1e-3;
/// The same in terms of the filter's gain, which is small where the echo's place is not seen well.
const BIAS_GAIN: f32 = 0.0125;
/// Largest bias of the times that is learned, in frames: 1 ms.
const MOST_BIAS: f32 = 0.1;
/// Largest shift that is followed in a frame, as a part of it: a tenth of a sample at 16 kHz. A larger one takes
/// several frames, so that the canceller can learn what it is.
const MOST_SHIFT: f32 = 6e-4;

/// Follows the echo; does nothing for devices without an operating system, whose times are exact.
#[derive(Debug)]
pub(super) struct ShiftFollower([EchoMotion; SOUND_SERVER as usize]);

/// Estimate of how the echo moves against the reference, in frames.
#[derive(Debug)]
struct EchoMotion {
    /// What the next frame is read later, besides the rate.
    shift: f32,
    rate: f32,
    /// Last position error by the times, and its mean while the echo is seen: the times' bias. In sample frames.
    error: f32,
    bias: f32,
    shift_variance: f32,
    covariance: f32,
    rate_variance: f32,
}

impl ShiftFollower {
    pub(super) const fn new() -> Self {
        Self([const { EchoMotion::new() }; SOUND_SERVER as usize])
    }

    /// Takes the shift of a frame of `sample_frames` that was read as [`step`](Self::step) told.
    pub(super) fn observe(&mut self, seen: EchoShift, sample_frames: f32) {
        for motion in &mut self.0 {
            motion.observe(seen, sample_frames);
        }
    }

    /// Takes the position error of a frame by the times, in sample frames, and returns it without their bias.
    pub(super) fn without_bias(&mut self, error: f32) -> f32 {
        self.0.first_mut().map_or(error, |motion| {
            motion.error = error;
            error - motion.bias
        })
    }

    /// Returns by how much the next frame is read later, as a part of its length.
    pub(super) fn step(&self) -> f32 {
        self.0.first().map_or(0.0, |motion| motion.shift + motion.rate)
    }

    /// Notes that a frame was read with [`step`](Self::step). A frame without an observation follows the rate alone.
    pub(super) fn end_step(&mut self) {
        for motion in &mut self.0 {
            motion.shift = 0.0;
        }
    }
}

impl EchoMotion {
    const fn new() -> Self {
        Self {
            shift: 0.0,
            rate: 0.0,
            error: 0.0,
            bias: 0.0,
            shift_variance: 1e-8,
            covariance: 0.0,
            rate_variance: 1e-10,
        }
    }

    fn observe(&mut self, seen: EchoShift, sample_frames: f32) {
        let per_frame = 1.0 / sample_frames;
        let (later, noise) =
            (seen.later_sample_frames * per_frame, seen.variance_sample_frames2 * per_frame * per_frame);
        self.shift_variance += 2.0 * self.covariance + self.rate_variance + SHIFT_CHANGE;
        self.covariance += self.rate_variance;
        self.rate_variance = (self.rate_variance + RATE_CHANGE).min(MOST_RATE_VARIANCE);
        let reciprocal = 1.0 / (self.shift_variance + noise);
        let (gain, rate_gain) = (self.shift_variance * reciprocal, self.covariance * reciprocal);
        if !(gain * later).is_finite() {
            *self = Self::new();
            return;
        }
        self.rate_variance -= rate_gain * self.covariance;
        self.covariance -= gain * self.covariance;
        self.shift_variance -= gain * self.shift_variance;
        let most = MOST_BIAS * sample_frames;
        let step = (BIAS_GAIN * gain).min(BIAS_STEP);
        self.bias = (self.bias + step * (self.error - self.bias)).clamp(-most, most);
        self.shift = (gain * later).clamp(-MOST_SHIFT, MOST_SHIFT);
        self.rate = (RATE_KEPT * self.rate + rate_gain * later).clamp(-MOST_RATE, MOST_RATE);
    }
}

#[cfg(all(test, feature = "sound-server"))]
mod tests {
    use super::*;
    use crate::timing::acoustic::tests::scene::SceneRandom;

    /// Follows an echo that drifts by `ppm` for 60 s against a filter that learns 2 % of a shift a frame, seen with noise
    /// of `noise` sample frames. Returns the largest shift of the last 30 s, in sample frames of 160.
    fn largest_shift(ppm: f32, noise: f32, seed: u64) -> f32 {
        let mut follower = ShiftFollower::new();
        let mut random = SceneRandom::new(seed);
        let (mut shift, mut largest) = (0.0f32, 0.0f32);
        for frame in 0..6_000 {
            shift += 160.0 * (ppm * 1e-6 - follower.step());
            follower.end_step();
            let seen = EchoShift {
                later_sample_frames: shift + noise * random.gaussian() as f32,
                variance_sample_frames2: noise * noise,
            };
            follower.observe(seen, 160.0);
            shift *= 0.98;
            if frame > 3_000 {
                largest = largest.max(shift.abs());
            }
        }
        largest
    }

    #[test]
    fn drift_within_200_ppm_leaves_no_shift() {
        for (seed, ppm) in [(1, -150.0), (2, -20.0), (3, 0.0), (4, 5.0), (5, 150.0)] {
            let largest = largest_shift(ppm, 1e-3, seed);
            assert!(largest < 0.01, "{ppm} ppm, seed {seed}: {largest} samples");
        }
    }

    #[test]
    fn a_shift_that_is_not_known_moves_little() {
        // The filter's standard deviation is the root of what a frame changes (0.005) times the noise (0.5).
        for seed in 1..=5 {
            let largest = largest_shift(0.0, 0.5, seed);
            assert!(largest < 4.0 * 0.05, "seed {seed}: {largest} samples");
        }
    }

    /// The times err by 5 samples where the echo stays, and pull to their place by 2 % of the error in a frame.
    #[test]
    fn biased_times_do_not_move_the_echo_in_a_silence() {
        let mut follower = ShiftFollower::new();
        let mut random = SceneRandom::new(1);
        // The place of the reading, against that of the echo, in sample frames.
        let mut place = 0.0f32;
        for frame in 0..8_000 {
            place += 0.02 * follower.without_bias(5.0 - place) + 160.0 * follower.step();
            follower.end_step();
            if frame < 6_000 {
                let seen = EchoShift {
                    later_sample_frames: -place + 0.01 * random.gaussian() as f32,
                    variance_sample_frames2: 1e-4,
                };
                follower.observe(seen, 160.0);
            }
            if frame > 5_000 {
                assert!(place.abs() < 0.1, "frame {frame}: {place} samples");
            }
        }
    }

    #[test]
    fn no_observation_makes_it_run_away() {
        let mut follower = ShiftFollower::new();
        for later in [f32::NAN, f32::INFINITY, 1e30, -1e30, f32::MIN_POSITIVE] {
            for variance in [f32::MIN_POSITIVE, 1.0, 1e30, f32::NAN] {
                for _ in 0..200 {
                    follower.observe(
                        EchoShift { later_sample_frames: later, variance_sample_frames2: variance },
                        480.0,
                    );
                    let step = follower.step();
                    assert!(step.abs() <= MOST_RATE + MOST_SHIFT, "{later} of variance {variance}: {step}");
                }
            }
        }
    }
}
