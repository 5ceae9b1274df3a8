//! Interrupt side: keeps a stream's position monotonic whatever the device counts.

use crate::format::SampleRate;
use crate::limits::MAX_GAP_SECONDS;

/// What a period's position says about the samples before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Continuity {
    /// The period follows the one before.
    Follows,
    /// This many sample frames were lost in between.
    Gap(u32),
    /// The position ran backwards or absurdly far; it is believed from here on, nothing is counted
    /// as lost.
    Fault,
}

/// Follows a device's count and turns it into a position that never runs backwards.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PositionTracker {
    expected: Option<u64>,
}

impl PositionTracker {
    pub(crate) const fn new() -> Self {
        Self { expected: None }
    }

    /// Takes note of a period of `sample_frames` at the device's `position`.
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
    fn gaps_are_counted_and_nonsense_is_not_believed() {
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
}
