//! Capture worker to application: the playback clock at one moment, in integers.

use crate::time::Instant;
use crate::timing::whole_and_rest;

/// A stream position in 1/2^16 of a device sample frame: fine enough for what rates and clocks leave of a
/// sample frame, and wide enough for 20 years of the fastest stream.
pub(super) type Q16 = i64;

/// A thousandth of a sample frame, which covers rounding errors.
pub(super) const ROUNDING_TOLERANCE: Q16 = 1 << 6;

/// A position before every other.
pub(super) const NEVER: Q16 = Q16::MIN;

/// Position of a stream at one time and the period of its clock: what an application needs to ask with a time
/// of its own.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ClockAnchor {
    pub(super) time_ns: i64,
    /// Stream position at `time_ns`.
    pub(super) position: Q16,
    /// Period of a device sample frame, in 1/2^32 ns.
    pub(super) period_q32: i64,
    pub(super) ratio: RateRatio,
}

impl ClockAnchor {
    /// Returns how long a span of the stream takes, to the nearest nanosecond.
    pub(super) fn nanos(&self, span: Q16) -> i64 {
        ((i128::from(span) * i128::from(self.period_q32) + (1 << 47)) >> 48) as i64
    }

    /// Returns the stream position that is at the converter at `time`.
    pub(super) fn at(&self, time: Instant) -> Q16 {
        let span_ns = time.as_nanos().saturating_sub(self.time_ns);
        match whole_and_rest(span_ns, self.period_q32) {
            Some((whole, rest_q32)) => {
                self.position + (whole << 16) + rest_q32 / (self.period_q32 >> 16).max(1)
            }
            None => NEVER,
        }
    }
}

/// Sample frames in 10 ms, at the session's rate and at the device's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RateRatio {
    pub(super) terminal: u32,
    pub(super) device: u32,
}

impl RateRatio {
    /// Returns the span on the device's stream of a number of sample frames at the session's rate.
    #[inline(never)]
    pub(super) fn on_stream(self, sample_frames: u64) -> Q16 {
        if self.terminal == self.device {
            return (sample_frames << 16) as i64;
        }
        ((sample_frames << 16) * u64::from(self.device) / u64::from(self.terminal.max(1))) as i64
    }

    /// Returns how many whole sample frames at the session's rate a span of the device's stream is, 0 for a
    /// negative span.
    #[inline(never)]
    pub(super) fn of_terminal(self, span: Q16) -> u64 {
        let span = span.max(0) as u64;
        if self.terminal == self.device {
            return span >> 16;
        }
        (span.saturating_mul(u64::from(self.terminal)) / u64::from(self.device.max(1))) >> 16
    }
}

/// Returns whole sample frames as a stream position.
pub(super) const fn on_stream(sample_frames: u64) -> Q16 {
    (sample_frames << 16) as i64
}
