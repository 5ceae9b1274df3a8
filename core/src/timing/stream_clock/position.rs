//! Worker side: positions between sample frames, and spans of time in periods of a sample frame, on integers.

/// 1 in 1/2^32.
pub(super) const Q32: f32 = 4_294_967_296.0;

/// Fractional bits of the period, in nanoseconds, that a span is divided by.
const DIVISION_BITS: u32 = 14;
/// Longest span that can be divided by a period: 6.5 days.
pub(super) const LONGEST_SPAN_NS: i64 = i64::MAX >> DIVISION_BITS;

/// Returns the number of whole periods in a span and the rest in 1/2^32 ns, or `None` for a period of 0. The
/// number is approximate, so that the rest may be negative or a few periods long, but their sum is exact.
/// Spans longer than the longest one are cut to it.
#[inline(never)]
pub(crate) fn whole_and_rest(span_ns: i64, period_q32: i64) -> Option<(i64, i64)> {
    let period = period_q32 >> (32 - DIVISION_BITS);
    if period <= 0 {
        return None;
    }
    let span_ns = span_ns.clamp(-LONGEST_SPAN_NS, LONGEST_SPAN_NS);
    let whole = (span_ns << DIVISION_BITS) / period;
    // The same bits overflow on both sides and cancel out.
    Some((whole, (span_ns << 32).wrapping_sub(whole.wrapping_mul(period_q32))))
}

/// A position in a stream, as whole sample frames and a fraction of one. Integers keep it as exact after
/// years as at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FractionalPosition {
    pub(crate) index: i64,
    pub(crate) fraction_q32: u32,
}

impl FractionalPosition {
    /// Returns the position `sample_frames_q32` further on, in 1/2^32 of a sample frame.
    pub(crate) const fn plus_q32(self, sample_frames_q32: i64) -> Self {
        let fraction = (self.fraction_q32 as i64) + (sample_frames_q32 & (u32::MAX as i64));
        let index = self.index.wrapping_add((sample_frames_q32 >> 32) + (fraction >> 32));
        Self { index, fraction_q32: fraction as u32 }
    }

    /// Returns the distance from `other` to this position, in sample frames.
    #[inline(never)]
    pub(crate) fn since(self, other: Self) -> f32 {
        let apart_q32 = i64::from(self.fraction_q32) - i64::from(other.fraction_q32);
        self.index.wrapping_sub(other.index) as f32 + apart_q32 as f32 / Q32
    }

    /// Returns the nearest whole sample frame.
    pub(crate) const fn nearest(self) -> i64 {
        self.index.wrapping_add((self.fraction_q32 >> 31) as i64)
    }
}
