//! Interrupt side: when a callback's samples were or will be at the converter, from what cpal says.
//!
//! cpal's instants have an origin of their own, one for each stream and host, so only their differences are
//! of use: between the callback and the converter, at the same moment by one clock. The callback's own time
//! is read from the system's clock at its entry. What a difference cannot be is not believed: some hosts give
//! zero, the same instant for ever, or the instants in the wrong order, and after a fault anything.

use cpal::StreamInstant;
use handsfree_core::audio_io::Direction;
use handsfree_core::time::Duration;

/// A difference of this or more is no latency: wireless loudspeakers take up to one and a half seconds.
const MAX_LATENCY: Duration = Duration::from_millis(3_000);

/// What cpal said of one callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// When the callback was called.
    pub(crate) callback: StreamInstant,
    /// When its first sample was or will be at the converter.
    pub(crate) converter: StreamInstant,
}

/// Turns what cpal says into a latency that can be.
#[derive(Debug)]
pub(crate) struct Timing {
    direction: Direction,
    last: Option<StreamInstant>,
    /// The last one that could be.
    latency: Duration,
}

impl Timing {
    /// `expected` is the latency until one is known.
    pub(crate) fn new(direction: Direction, expected: Duration) -> Self {
        Self { direction, last: None, latency: expected }
    }

    /// How long before the callback its first sample was at the converter, or how long after it will be,
    /// and whether what was said could be believed. `period` is how long the callback's samples last.
    pub(crate) fn latency(&mut self, said: Said, period: Duration) -> (Duration, bool) {
        let moved = self.last.is_none_or(|last| said.callback > last);
        if moved {
            self.last = Some(said.callback);
        }
        let difference = match self.direction {
            Direction::Capture => said.callback.checked_duration_since(said.converter),
            Direction::Playback => said.converter.checked_duration_since(said.callback),
        };
        let latency = difference
            .and_then(|difference| i64::try_from(difference.as_nanos()).ok())
            .map(Duration::from_nanos)
            .filter(|&latency| moved && latency > Duration::ZERO && latency < MAX_LATENCY);
        if let Some(latency) = latency {
            self.latency = latency;
        }
        // The first sample of a period that was captured is at least the period old.
        let floor = if self.direction == Direction::Capture { period } else { Duration::ZERO };
        (self.latency.max(floor), latency.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(10);

    fn said(callback_ms: u64, converter_ms: u64) -> Said {
        Said {
            callback: StreamInstant::from_millis(callback_ms),
            converter: StreamInstant::from_millis(converter_ms),
        }
    }

    fn ms(ms: i64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn capture_was_before_the_callback_and_playback_is_after_it() {
        let mut capture = Timing::new(Direction::Capture, ms(10));
        assert_eq!(capture.latency(said(100, 70), PERIOD), (ms(30), true));
        let mut playback = Timing::new(Direction::Playback, ms(20));
        assert_eq!(playback.latency(said(100, 145), PERIOD), (ms(45), true));
    }

    #[test]
    fn what_cannot_be_leaves_the_last_good_one() {
        for direction in [Direction::Capture, Direction::Playback] {
            let mut timing = Timing::new(direction, ms(25));
            let fair = |callback: u64, latency: u64| match direction {
                Direction::Capture => said(callback, callback - latency),
                Direction::Playback => said(callback, callback + latency),
            };
            let wrong_order =
                Said { callback: fair(5_000, 40).converter, converter: fair(5_000, 40).callback };
            assert_eq!(timing.latency(said(0, 0), PERIOD), (ms(25), false), "zero, nothing known yet");
            assert_eq!(timing.latency(fair(4_000, 40), PERIOD), (ms(40), true));
            assert_eq!(timing.latency(fair(4_000, 50), PERIOD), (ms(40), false), "stands still");
            assert_eq!(timing.latency(fair(3_990, 50), PERIOD), (ms(40), false), "backwards");
            assert_eq!(timing.latency(wrong_order, PERIOD), (ms(40), false), "operands in the wrong order");
            assert_eq!(timing.latency(fair(6_000, 3_000), PERIOD), (ms(40), false), "absurd");
            assert_eq!(timing.latency(fair(6_010, 0), PERIOD), (ms(40), false), "none");
            assert_eq!(timing.latency(fair(6_020, 60), PERIOD), (ms(60), true));
        }
    }

    #[test]
    fn origins_do_not_matter() {
        let far = StreamInstant::new(u64::MAX / 2, 5);
        let mut timing = Timing::new(Direction::Capture, ms(1));
        let said = Said { callback: far, converter: far - std::time::Duration::from_millis(30) };
        assert_eq!(timing.latency(said, PERIOD), (ms(30), true));
    }

    #[test]
    fn a_captured_period_is_at_least_as_old_as_it_is_long() {
        let mut timing = Timing::new(Direction::Capture, ms(10));
        assert_eq!(timing.latency(said(100, 98), PERIOD), (ms(10), true));
        assert_eq!(timing.latency(said(110, 108), ms(1)), (ms(2), true));
    }
}
