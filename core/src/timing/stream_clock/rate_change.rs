//! Worker side: notices in the mean residual that the rate of a stream changed, and makes the clock learn it again.

use super::{SOUND_SERVER, StreamClock, slow_error};
use crate::time::Duration;

/// Averaging length of the mean residual, which reveals a change of the rate, in observations.
const RATE_CHECK: f32 = 64.0;
/// Residual threshold, in standard deviations of the mean. The standard deviation of the mean residual is
/// that of the jitter, divided by the root of 2 [`RATE_CHECK`].
const RATE_CHECK_SIGMAS: f32 = 7.0;
/// Variance of the time after it moved to the mean residual, in squares of that.
const MEAN_DOUBT: f32 = 0.25;
/// Least uncertainty added to the rate when the mean residual exceeds its threshold: a drift, as a fraction of the
/// rate.
pub(super) const RATE_DRIFT: f32 = 10e-6;
/// Uncertainty added to the rate when that happens again within [`RATE_JUMP_WINDOW`] observations: a jump, as
/// a fraction of the rate.
const RATE_JUMP: f32 = 150e-6;
/// Observations within which a second rate change is taken for a jump.
const RATE_JUMP_WINDOW: u32 = 300;
/// Observations after a change of the rate in which the rate is learned again.
pub(super) const RATE_LEARNT: u32 = 1_000;

impl StreamClock {
    /// Detects a change of the rate, which shows as a mean residual that is not zero.
    pub(super) fn check_rate(&mut self, residual_ns: f32) {
        self.mean_residual_ns += (residual_ns - self.mean_residual_ns) / RATE_CHECK;
        let chance_ns2 = self.jitter_ns2 * (RATE_CHECK_SIGMAS * RATE_CHECK_SIGMAS / (2.0 * RATE_CHECK));
        let mean_ns2 = self.mean_residual_ns * self.mean_residual_ns;
        if mean_ns2 > chance_ns2 + self.slow_error.peak_ns2() {
            let mut drift = RATE_DRIFT;
            if SOUND_SERVER && mean_ns2 > slow_error::MOST_NS * slow_error::MOST_NS {
                self.follow_mean();
            } else {
                self.p_tt += self.jitter_ns2;
            }
            if SOUND_SERVER {
                // The rate may have been wrong since it was last made uncertain.
                let since = self.since_rate_change.max(RATE_CHECK as u32);
                drift = drift.max(self.mean_residual_ns.abs() / (since as f32 * self.interval_ns));
            }
            if self.slow_error.learn(mean_ns2, self.since_rate_change) {
                // The clock has followed the error instead of its mean.
                let change = self.mean_residual_ns / (RATE_CHECK * self.interval_ns);
                self.p_ss += change * change;
                self.since_rate_change = RATE_JUMP_WINDOW;
                drift = RATE_DRIFT;
            }
            self.doubt_rate(self.mean_residual_ns, RATE_CHECK as u32, drift);
            self.mean_residual_ns = 0.0;
        }
        self.since_rate_change = self.since_rate_change.saturating_add(1);
    }

    /// Moves the time to the mean of the last times, because the next one alone may err by milliseconds. They may have moved on since:
    /// the mean is some 64 observations old.
    #[cold]
    fn follow_mean(&mut self) {
        self.time += Duration::from_nanos(self.mean_residual_ns as i64);
        self.p_tt += MEAN_DOUBT * self.mean_residual_ns * self.mean_residual_ns;
        self.last_residual_ns -= self.mean_residual_ns;
    }

    /// Makes the rate uncertain by `drift` after times that came later than predicted by `late_ns` within `observations`. A
    /// second time within [`RATE_JUMP_WINDOW`] allows for a rate that explains all of it, which may be per cents.
    #[cold]
    #[inline(never)]
    pub(super) fn doubt_rate(&mut self, late_ns: f32, observations: u32, drift: f32) {
        let mut change = drift;
        if self.since_rate_change < RATE_JUMP_WINDOW {
            change = RATE_JUMP.max(late_ns.abs() / (observations as f32 * self.interval_ns));
        }
        self.p_ss += change * change;
        self.since_rate_change = 0;
    }
}
