//! Worker side: tells errors of the times that last for seconds from changes of the rate.
//!
//! A device that counts its position in steps has such errors, because the steps beat with its rate. For a second
//! they look like another rate, and then they turn.

use super::SOUND_SERVER;

/// Observations within which a third change of the rate shows that the times err slowly.
const RATE_CHANGE_WINDOW: u32 = 1_000;
/// Variance that the mean residual may have without a change of the rate, in variances of the slow error.
const PEAK: f32 = 4.0;
/// Mean residual beyond which times do not err slowly, in nanoseconds: the rate is wrong.
pub(super) const MOST_NS: f32 = 0.2e6;
/// Number of successive times that share one slow error, and so count as one observation of it.
const MEMORY: f32 = 64.0;

/// What is known of the slow error; nothing for devices without an operating system, which do not have it.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlowError([KnownError; SOUND_SERVER as usize]);

#[derive(Clone, Copy, Debug)]
struct KnownError {
    /// Variance, in ns^2.
    ns2: f32,
    /// Number of changes of the rate, none of which came more than [`RATE_CHANGE_WINDOW`] after the one before.
    rate_changes: u32,
}

impl SlowError {
    pub(super) const UNKNOWN: Self = Self([KnownError { ns2: 0.0, rate_changes: 0 }; SOUND_SERVER as usize]);

    fn variance_ns2(&self) -> f32 {
        self.0.first().map_or(0.0, |known| known.ns2)
    }

    /// Returns the variance that one time adds to the estimate's.
    pub(super) fn of_one_time_ns2(&self) -> f32 {
        MEMORY * self.variance_ns2()
    }

    /// Returns the square that the mean residual has without a change of the rate.
    pub(super) fn peak_ns2(&self) -> f32 {
        PEAK * self.variance_ns2()
    }

    /// Learns from the square of a mean residual that is not zero, `observations` after the last one. Returns whether
    /// it is a slow error: the first two make the rate uncertain enough for any change of it, so that those which
    /// soon follow are none.
    #[cold]
    pub(super) fn learn(&mut self, mean_ns2: f32, observations: u32) -> bool {
        let Some(known) = self.0.first_mut() else { return false };
        if observations > RATE_CHANGE_WINDOW {
            *known = KnownError { ns2: 0.5 * known.ns2, rate_changes: 0 };
        }
        known.rate_changes += 1;
        let is_slow_error = known.rate_changes > 2 && mean_ns2 < MOST_NS * MOST_NS;
        if is_slow_error {
            known.ns2 += mean_ns2;
        }
        is_slow_error
    }
}
