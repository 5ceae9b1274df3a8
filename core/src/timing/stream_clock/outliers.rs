//! Worker side: tells a jump of a device's latency from times that are outliers.
//!
//! Outliers that agree with each other are a jump. How many must agree is learned from the stream: a device whose
//! times have always been true is believed after four; one whose times went away and came back, after more of
//! them than came back lately.

use super::SOUND_SERVER;

/// Residual beyond which a time may be an outlier, in nanoseconds. It must also exceed [`OUTLIER_SIGMAS`].
const OUTLIER_NS: f32 = if SOUND_SERVER { 0.4e6 } else { 4e6 };
/// Residual beyond which a time may be an outlier, in standard deviations. It must also exceed [`OUTLIER_NS`].
const OUTLIER_SIGMAS: f32 = 6.0;
/// Distance from the mean of the previous ones within which an outlier agrees, in nanoseconds. A device that
/// stalled goes on at its rate; times that only arrive late differ by milliseconds.
const CLOSE_NS: f32 = 0.3e6;
/// Distance within which an outlier agrees that is farther from the clock than twice this distance, in
/// nanoseconds. Frozen times move by 10 ms from one frame to the next; those of a rate that changed by 8 % by 0.8 ms.
const NEAR_NS: f32 = 6e6;
/// Distance within which the outliers of two devices show the same jump, in nanoseconds: what jitter of 5 ms makes of two means of a
/// few times.
const SAME_NS: u64 = 20_000_000;
/// Longest jump that two devices may show by chance, in nanoseconds: a time that came late.
const SHARED_NS: u64 = 100_000_000;
/// Number of successive outliers that agree, not closely, and so are a jump.
const JUMP_AFTER: u32 = 12;
/// Number of successive outliers that agree closely and so are a jump, if none came back before. If some did, it is
/// [`AFTER_RETURN`] more than these.
const CLOSE_JUMP_AFTER: u32 = 4;
/// Number of outliers that agree closely beyond those that came back, and so are a jump.
const AFTER_RETURN: u32 = 5;
/// Longest run of outliers that came back which is remembered.
const MAX_RETURNED: u32 = 8;
/// Number of observations after which the longest run that came back is taken for one shorter; a power of two.
const FORGET_AFTER: u32 = 128;

/// A run of outliers that agree.
#[derive(Clone, Copy, Debug)]
pub(super) struct LatencyJump {
    /// Mean residual of the outliers, in nanoseconds.
    pub(super) late_ns: i64,
    /// Mean residual of the outliers after the first one's, in nanoseconds. It grows if the rate is wrong.
    pub(super) growth_ns: f32,
    /// Number of outliers that agree.
    pub(super) agreeing: u32,
    /// Number of outliers since the last time that was used.
    pub(super) outliers: u32,
}

/// The outliers since the last time that was used.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OutlierRun {
    /// Number of successive outliers that agree with each other.
    agreeing: u32,
    /// Number of these that agree closely.
    close: u32,
    /// Number of successive outliers.
    outliers: u32,
    /// Longest run of outliers after which the times came back.
    returned: u32,
    /// Residual of the first outlier that agrees. An integer, because it may be hours, with nanoseconds that
    /// matter.
    first_ns: i64,
    /// Mean residual of the agreeing outliers after the first one's.
    mean_ns: f32,
}

impl OutlierRun {
    /// Returns whether a time is an outlier. `variance_ns2` is the variance expected of the residual.
    pub(super) fn is_outlier(residual_ns: f32, variance_ns2: f32) -> bool {
        // Squares, because a root is expensive on a small processor.
        residual_ns.abs() > OUTLIER_NS
            && residual_ns * residual_ns > OUTLIER_SIGMAS * OUTLIER_SIGMAS * variance_ns2
    }

    /// Ends the run, because a time was used. `taken` counts the times used.
    pub(super) fn end(&mut self, taken: u32) {
        if SOUND_SERVER {
            self.returned = self.returned.max(self.outliers).min(MAX_RETURNED);
            if taken.is_multiple_of(FORGET_AFTER) {
                self.returned = self.returned.saturating_sub(1);
            }
        }
        self.forget();
    }

    /// Forgets the run, because the clock was moved.
    pub(super) fn forget(&mut self) {
        self.agreeing = 0;
        if SOUND_SERVER {
            self.outliers = 0;
        }
    }

    /// Takes an outlier. Returns the jump once enough outliers agree.
    #[inline(always)]
    pub(super) fn take(&mut self, residual_ns: i64, variance_ns2: f32) -> Option<LatencyJump> {
        if SOUND_SERVER {
            self.outliers = self.outliers.saturating_add(1);
        }
        let apart_ns = residual_ns.wrapping_sub(self.first_ns) as f32 - self.mean_ns;
        let is_close = SOUND_SERVER && apart_ns.abs() < CLOSE_NS;
        let is_far = !SOUND_SERVER || residual_ns.unsigned_abs() > 2 * NEAR_NS as u64;
        let is_near = is_far && apart_ns * apart_ns <= (NEAR_NS * NEAR_NS).max(9.0 * variance_ns2);
        if self.agreeing == 0 || !(is_close || is_near) {
            self.agreeing = 1;
            if SOUND_SERVER {
                self.close = 1;
            }
            self.first_ns = residual_ns;
            self.mean_ns = 0.0;
            return None;
        }
        self.agreeing += 1;
        if SOUND_SERVER {
            self.close += u32::from(is_close);
        }
        self.mean_ns += apart_ns / self.agreeing as f32;
        let all_close = SOUND_SERVER && self.close == self.agreeing;
        let needed = match (all_close, self.returned) {
            (false, _) => JUMP_AFTER,
            (true, 0) => CLOSE_JUMP_AFTER,
            (true, returned) => returned + AFTER_RETURN,
        };
        if self.agreeing < needed.min(JUMP_AFTER) {
            return None;
        }
        let late_ns = self.first_ns.wrapping_add(self.mean_ns as i64);
        let jump = LatencyJump {
            late_ns,
            growth_ns: self.mean_ns,
            agreeing: if SOUND_SERVER { self.agreeing } else { JUMP_AFTER },
            outliers: if SOUND_SERVER { self.outliers } else { JUMP_AFTER },
        };
        self.forget();
        Some(jump)
    }

    /// Returns whether a few more outliers will decide if the latency jumped.
    pub(super) const fn is_soon_decided(&self) -> bool {
        self.agreeing > 1 && self.close == self.agreeing && self.returned < 3
    }

    /// Returns whether the last outliers of this device show a jump of `late_ns` that another device's do, so that it is no chance.
    pub(super) fn agree_with(&self, late_ns: i64) -> bool {
        let apart_ns = late_ns.wrapping_sub(self.first_ns).wrapping_sub(self.mean_ns as i64);
        self.agreeing > 0 && late_ns.unsigned_abs() > SHARED_NS && apart_ns.unsigned_abs() < SAME_NS
    }

    /// Returns whether the last outlier did not agree with those before it.
    pub(super) fn disagrees(&self) -> bool {
        self.agreeing == 1 && self.outliers > 1
    }
}
