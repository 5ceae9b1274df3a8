//! Interrupt side: keeps a stream's position monotonic, however the device counts.

use crate::format::SampleRate;
use crate::limits::MAX_GAP_SECONDS;

/// Relation of a period's position to the period before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Continuity {
    /// The period directly follows the one before.
    Follows,
    /// The given number of sample frames was lost in between.
    Gap(u32),
    /// The position ran backwards or implausibly far ahead. Counting restarts there, and no sample frames
    /// count as lost.
    Fault,
}

/// Compares the position of each period with the one expected after the period before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PositionTracker {
    expected: Option<u64>,
}

impl PositionTracker {
    pub(crate) const fn new() -> Self {
        Self { expected: None }
    }

    /// Takes a period of `sample_frames` at the device's `position` and returns how it continues the stream.
    pub(crate) fn advance(&mut self, position: u64, sample_frames: usize, rate: SampleRate) -> Continuity {
        let expected = self.expected.unwrap_or(position);
        self.expected = Some(position.wrapping_add(sample_frames as u64));
        let ahead = position.wrapping_sub(expected);
        match u32::try_from(ahead) {
            Ok(0) => Continuity::Follows,
            Ok(gap) if gap <= rate.hz().saturating_mul(MAX_GAP_SECONDS) => Continuity::Gap(gap),
            _ => Continuity::Fault,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_counted_and_implausible_positions_are_faults() {
        let rate = SampleRate::new(48_000).unwrap();
        let start = u64::from(u32::MAX) - 100;
        let mut tracker = PositionTracker::new();
        assert_eq!(tracker.advance(start, 480, rate), Continuity::Follows);
        assert_eq!(tracker.advance(start + 480, 480, rate), Continuity::Follows);
        assert_eq!(tracker.advance(start + 1_060, 480, rate), Continuity::Gap(100));
        assert_eq!(tracker.advance(start, 480, rate), Continuity::Fault);
        assert_eq!(tracker.advance(start + 480, 480, rate), Continuity::Follows);
        assert_eq!(tracker.advance(7_000_000_000_000_000_000, 480, rate), Continuity::Fault);
        assert_eq!(tracker.advance(u64::MAX - 479, 480, rate), Continuity::Fault);
        assert_eq!(tracker.advance(0, 480, rate), Continuity::Follows);
    }

    #[test]
    fn the_longest_gap_is_a_minute() {
        let rate = SampleRate::new(8_000).unwrap();
        let minute = 8_000 * MAX_GAP_SECONDS;
        for (gap, continuity) in [(minute, Continuity::Gap(minute)), (minute + 1, Continuity::Fault)] {
            let mut tracker = PositionTracker::new();
            tracker.advance(0, 80, rate);
            assert_eq!(tracker.advance(80 + u64::from(gap), 80, rate), continuity);
        }
    }
}
