//! Interrupt side: the time at which a callback's samples were or will be at the converter, derived from cpal's
//! timestamps.
//!
//! cpal's instants have a different origin for each host and stream, so only differences of instants are
//! useful: the difference between callback and converter is a latency. The callback's own time is read from the
//! system's clock when it is called. Impossible differences are distrusted: some hosts report zero, a constant
//! instant or the instants in the wrong order, and after a fault any value may appear.

use cpal::StreamInstant;
use handsfree_core::audio_io::Direction;
use handsfree_core::time::{Duration, Instant};

/// Differences of this length or more are not latencies. Wireless loudspeakers have up to 1.5 s.
const MAX_LATENCY: Duration = Duration::from_millis(3_000);

/// Largest difference between two converter instants that count as the same instant. It covers the
/// rounding of conversions between time formats.
const SAME_NANOS: u128 = 5_000;

/// Maximum time for which a constant converter instant is extrapolated by counting samples. Later it is
/// distrusted.
const MAX_EXTRAPOLATION: Duration = Duration::from_millis(1_000);

/// Timestamps that cpal reported for one callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CpalTimestamps {
    /// Instant at which the callback was called.
    pub(crate) callback: StreamInstant,
    /// Instant at which the callback's first sample was or will be at the converter.
    pub(crate) converter: StreamInstant,
}

/// Time at which a callback's first sample was or will be at the converter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConverterTime {
    pub(crate) time: Instant,
    /// Distance between `time` and the call.
    pub(crate) latency: Duration,
    /// Whether cpal's timestamps were plausible.
    pub(crate) is_trusted: bool,
}

/// Converts cpal's timestamps into plausible times.
///
/// A host that asks its server for the latency from time to time may report the same converter instant for each period until
/// the next reply. The instant is correct for the first of these periods; the others follow it by their lengths.
#[derive(Debug)]
pub(crate) struct CallbackTiming {
    direction: Direction,
    last_callback: Option<StreamInstant>,
    /// Last measured converter instant, and the time of its measurement.
    last_measurement: Option<(StreamInstant, Instant)>,
    /// Converter time of the next period if it follows the last one without a gap.
    next: Instant,
    /// Last measured latency.
    latency: Duration,
}

impl CallbackTiming {
    /// Creates a state that assumes the latency `expected` until one is measured.
    pub(crate) fn new(direction: Direction, expected: Duration) -> Self {
        let next = Instant::from_nanos(0);
        Self { direction, last_callback: None, last_measurement: None, next, latency: expected }
    }

    /// Returns the converter time of the first sample of a callback that was called at `called` with samples that
    /// last for `period`.
    pub(crate) fn converter_time(
        &mut self,
        timestamps: CpalTimestamps,
        called: Instant,
        period: Duration,
    ) -> ConverterTime {
        let has_advanced = self.last_callback.is_none_or(|last| timestamps.callback > last);
        if has_advanced {
            self.last_callback = Some(timestamps.callback);
        }
        let difference = match self.direction {
            Direction::Capture => timestamps.callback.checked_duration_since(timestamps.converter),
            Direction::Playback => timestamps.converter.checked_duration_since(timestamps.callback),
        };
        let latency = difference
            .and_then(|difference| i64::try_from(difference.as_nanos()).ok())
            .map(Duration::from_nanos)
            .filter(|&latency| has_advanced && latency > Duration::ZERO && latency < MAX_LATENCY);
        let repeated = self.last_measurement.filter(|(instant, _)| is_same(*instant, timestamps.converter));
        let (time, is_trusted) = match (latency, repeated) {
            (Some(_), Some((_, measured_at))) => {
                let is_recent = called - measured_at < MAX_EXTRAPOLATION;
                (if is_recent { self.next } else { self.by_latency(called, period) }, is_recent)
            }
            (Some(latency), None) => {
                self.latency = latency;
                self.last_measurement = Some((timestamps.converter, called));
                (self.by_latency(called, period), true)
            }
            (None, _) => (self.by_latency(called, period), false),
        };
        self.next = time + period;
        ConverterTime { time, latency: (time - called).abs(), is_trusted }
    }

    fn by_latency(&self, called: Instant, period: Duration) -> Instant {
        match self.direction {
            // A captured period is delivered once it is complete, so its first sample is at least one period old.
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

    fn timestamps(callback_ms: u64, converter_ms: u64) -> CpalTimestamps {
        CpalTimestamps { callback: instant(callback_ms), converter: instant(converter_ms) }
    }

    fn ms(ms: i64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Returns the latency and whether it is trusted of a callback that is called at `NOW`.
    fn latency(
        timing: &mut CallbackTiming,
        timestamps: CpalTimestamps,
        period: Duration,
    ) -> (Duration, bool) {
        let converter = timing.converter_time(timestamps, NOW, period);
        let expected = match timing.direction {
            Direction::Capture => NOW - converter.latency,
            Direction::Playback => NOW + converter.latency,
        };
        assert_eq!(converter.time, expected);
        (converter.latency, converter.is_trusted)
    }

    #[test]
    fn capture_precedes_the_callback_and_playback_follows_it() {
        let mut capture = CallbackTiming::new(Direction::Capture, ms(10));
        assert_eq!(latency(&mut capture, timestamps(100, 70), PERIOD), (ms(30), true));
        let mut playback = CallbackTiming::new(Direction::Playback, ms(20));
        assert_eq!(latency(&mut playback, timestamps(100, 145), PERIOD), (ms(45), true));
    }

    #[test]
    fn impossible_timestamps_keep_the_last_plausible_latency() {
        for direction in [Direction::Capture, Direction::Playback] {
            let mut timing = CallbackTiming::new(direction, ms(25));
            let plausible = |callback: u64, latency: u64| match direction {
                Direction::Capture => timestamps(callback, callback - latency),
                Direction::Playback => timestamps(callback, callback + latency),
            };
            let ordered = plausible(5_000, 40);
            let swapped = CpalTimestamps { callback: ordered.converter, converter: ordered.callback };
            let mut report = |timestamps| latency(&mut timing, timestamps, PERIOD);
            assert_eq!(report(timestamps(0, 0)), (ms(25), false), "zero, before any measurement");
            assert_eq!(report(plausible(4_000, 40)), (ms(40), true));
            assert_eq!(report(plausible(4_000, 50)), (ms(40), false), "constant");
            assert_eq!(report(plausible(3_990, 50)), (ms(40), false), "backwards");
            assert_eq!(report(swapped), (ms(40), false), "instants in the wrong order");
            assert_eq!(report(plausible(6_000, 3_000)), (ms(40), false), "too large");
            assert_eq!(report(plausible(6_010, 0)), (ms(40), false), "zero");
            assert_eq!(report(plausible(6_020, 60)), (ms(60), true));
        }
    }

    #[test]
    fn the_origin_of_the_instants_does_not_matter() {
        let far = StreamInstant::new(u64::MAX / 2, 5);
        let mut timing = CallbackTiming::new(Direction::Capture, ms(1));
        let timestamps =
            CpalTimestamps { callback: far, converter: far - std::time::Duration::from_millis(30) };
        assert_eq!(latency(&mut timing, timestamps, PERIOD), (ms(30), true));
    }

    #[test]
    fn a_captured_period_is_at_least_as_old_as_its_length() {
        let mut timing = CallbackTiming::new(Direction::Capture, ms(10));
        assert_eq!(latency(&mut timing, timestamps(100, 98), PERIOD), (ms(10), true));
        assert_eq!(latency(&mut timing, timestamps(110, 108), ms(1)), (ms(2), true));
    }

    #[test]
    fn periods_with_one_converter_instant_follow_each_other() {
        for direction in [Direction::Capture, Direction::Playback] {
            let mut timing = CallbackTiming::new(direction, ms(10));
            let converter =
                |callback: u64| if direction == Direction::Capture { callback - 30 } else { callback + 30 };
            let first = timing.converter_time(timestamps(1_000, converter(1_000)), NOW, PERIOD);
            // A burst: the calls follow at once, and the server was not queried in between.
            for k in 1..=3 {
                let next = timing.converter_time(
                    timestamps(1_000 + k, converter(1_000)),
                    NOW + ms(k as i64),
                    PERIOD,
                );
                assert_eq!((next.time, next.is_trusted), (first.time + ms(10 * k as i64), true), "{k}");
            }
            let new = timing.converter_time(timestamps(1_050, converter(1_050)), NOW + ms(50), PERIOD);
            assert_eq!(new.time, first.time + ms(50));
            // An instant that stays constant for too long is distrusted.
            let late = timing.converter_time(timestamps(3_000, converter(1_050)), NOW + ms(2_000), PERIOD);
            assert!(!late.is_trusted);
            assert_eq!((late.time - NOW - ms(2_000)).abs(), ms(30));
        }
    }
}
