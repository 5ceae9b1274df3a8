//! Interrupt side: when a callback's samples were or will be at the converter, from what cpal says.
//!
//! cpal's instants have an origin of their own, one for each stream and host, so only their differences are
//! of use: between the callback and the converter, at the same moment by one clock. The callback's own time
//! is read from the system's clock at its entry. What a difference cannot be is not believed: some hosts give
//! zero, the same instant for ever, or the instants in the wrong order, and after a fault anything.

use cpal::StreamInstant;
use handsfree_core::audio_io::Direction;
use handsfree_core::time::{Duration, Instant};

/// A difference of this or more is no latency: wireless loudspeakers take up to one and a half seconds.
const MAX_LATENCY: Duration = Duration::from_millis(3_000);

/// Converter instants that are no farther apart than this are the same one.
const SAME_NANOS: u128 = 5_000;

/// For so long a converter instant that stands still is carried on by counting; then it is not believed.
const CARRY: Duration = Duration::from_millis(1_000);

/// What cpal said of one callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// When the callback was called.
    pub(crate) callback: StreamInstant,
    /// When its first sample was or will be at the converter.
    pub(crate) converter: StreamInstant,
}

/// When a callback's first sample was or will be at the converter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) time: Instant,
    /// How long before or after the call that is.
    pub(crate) latency: Duration,
    /// Whether what cpal said could be.
    pub(crate) believed: bool,
}

/// Turns what cpal says into times that can be.
///
/// cpal's PulseAudio host asks its server for the latency now and then, and between two answers says the same
/// converter instant for each period. Only the first of them is meant: those after it follow it by their
/// lengths.
#[derive(Debug)]
pub(crate) struct Timing {
    direction: Direction,
    last: Option<StreamInstant>,
    /// The converter instant that was last measured, and when that was.
    measured: Option<(StreamInstant, Instant)>,
    /// Where the next period will be if it follows the last one.
    next: Instant,
    /// The latency that was last measured.
    latency: Duration,
}

impl Timing {
    /// `expected` is the latency until one is known.
    pub(crate) fn new(direction: Direction, expected: Duration) -> Self {
        let next = Instant::from_nanos(0);
        Self { direction, last: None, measured: None, next, latency: expected }
    }

    /// Where a callback's first sample is, by what was said; `period` is how long its samples last.
    pub(crate) fn place(&mut self, said: Said, called: Instant, period: Duration) -> Place {
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
        let carried = self.measured.filter(|(instant, _)| is_same(*instant, said.converter));
        let (time, believed) = match (latency, carried) {
            (Some(_), Some((_, at))) => {
                let fresh = called - at < CARRY;
                (if fresh { self.next } else { self.by_latency(called, period) }, fresh)
            }
            (Some(latency), None) => {
                self.latency = latency;
                self.measured = Some((said.converter, called));
                (self.by_latency(called, period), true)
            }
            (None, _) => (self.by_latency(called, period), false),
        };
        self.next = time + period;
        Place { time, latency: (time - called).abs(), believed }
    }

    fn by_latency(&self, called: Instant, period: Duration) -> Instant {
        match self.direction {
            // The first sample of a period that was captured is at least the period old.
            Direction::Capture => called - self.latency.max(period),
            Direction::Playback => called + self.latency,
        }
    }
}

fn is_same(a: StreamInstant, b: StreamInstant) -> bool {
    a.as_nanos().abs_diff(b.as_nanos()) <= SAME_NANOS
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(10);
    const NOW: Instant = Instant::from_nanos(50_000_000_000);

    fn instant(ms: u64) -> StreamInstant {
        StreamInstant::from_nanos(ms * 1_000_000)
    }

    fn said(callback_ms: u64, converter_ms: u64) -> Said {
        Said { callback: instant(callback_ms), converter: instant(converter_ms) }
    }

    fn ms(ms: i64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Latency and belief of a call at the same moment each time.
    fn latency(timing: &mut Timing, said: Said, period: Duration) -> (Duration, bool) {
        let place = timing.place(said, NOW, period);
        let expected = match timing.direction {
            Direction::Capture => NOW - place.latency,
            Direction::Playback => NOW + place.latency,
        };
        assert_eq!(place.time, expected);
        (place.latency, place.believed)
    }

    #[test]
    fn capture_was_before_the_callback_and_playback_is_after_it() {
        let mut capture = Timing::new(Direction::Capture, ms(10));
        assert_eq!(latency(&mut capture, said(100, 70), PERIOD), (ms(30), true));
        let mut playback = Timing::new(Direction::Playback, ms(20));
        assert_eq!(latency(&mut playback, said(100, 145), PERIOD), (ms(45), true));
    }

    #[test]
    fn what_cannot_be_leaves_the_last_good_one() {
        for direction in [Direction::Capture, Direction::Playback] {
            let mut timing = Timing::new(direction, ms(25));
            let fair = |callback: u64, latency: u64| match direction {
                Direction::Capture => said(callback, callback - latency),
                Direction::Playback => said(callback, callback + latency),
            };
            let turned = fair(5_000, 40);
            let turned = Said { callback: turned.converter, converter: turned.callback };
            let mut say = |said| latency(&mut timing, said, PERIOD);
            assert_eq!(say(said(0, 0)), (ms(25), false), "zero, nothing known yet");
            assert_eq!(say(fair(4_000, 40)), (ms(40), true));
            assert_eq!(say(fair(4_000, 50)), (ms(40), false), "stands still");
            assert_eq!(say(fair(3_990, 50)), (ms(40), false), "backwards");
            assert_eq!(say(turned), (ms(40), false), "operands in the wrong order");
            assert_eq!(say(fair(6_000, 3_000)), (ms(40), false), "absurd");
            assert_eq!(say(fair(6_010, 0)), (ms(40), false), "none");
            assert_eq!(say(fair(6_020, 60)), (ms(60), true));
        }
    }

    #[test]
    fn origins_do_not_matter() {
        let far = StreamInstant::new(u64::MAX / 2, 5);
        let mut timing = Timing::new(Direction::Capture, ms(1));
        let said = Said { callback: far, converter: far - std::time::Duration::from_millis(30) };
        assert_eq!(latency(&mut timing, said, PERIOD), (ms(30), true));
    }

    #[test]
    fn a_captured_period_is_at_least_as_old_as_it_is_long() {
        let mut timing = Timing::new(Direction::Capture, ms(10));
        assert_eq!(latency(&mut timing, said(100, 98), PERIOD), (ms(10), true));
        assert_eq!(latency(&mut timing, said(110, 108), ms(1)), (ms(2), true));
    }

    #[test]
    fn periods_that_are_said_to_be_at_one_instant_follow_each_other() {
        for direction in [Direction::Capture, Direction::Playback] {
            let mut timing = Timing::new(direction, ms(10));
            let converter =
                |callback: u64| if direction == Direction::Capture { callback - 30 } else { callback + 30 };
            let first = timing.place(said(1_000, converter(1_000)), NOW, PERIOD);
            // A burst: the calls come at once, and nothing was measured in between.
            for k in 1..=3 {
                let next = timing.place(said(1_000 + k, converter(1_000)), NOW + ms(k as i64), PERIOD);
                assert_eq!((next.time, next.believed), (first.time + ms(10 * k as i64), true), "{k}");
            }
            let new = timing.place(said(1_050, converter(1_050)), NOW + ms(50), PERIOD);
            assert_eq!(new.time, first.time + ms(50));
            // One that stands still for long is no measure.
            let late = timing.place(said(3_000, converter(1_050)), NOW + ms(2_000), PERIOD);
            assert!(!late.believed);
            assert_eq!((late.time - NOW - ms(2_000)).abs(), ms(30));
        }
    }
}
