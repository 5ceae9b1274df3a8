//! Interrupt side: the times at which a stream's bytes are at the converter, from the server's replies about its latency.
//!
//! A reply holds a position of the stream, the time at which the server looked, and the latency of the device at that
//! time (`pa_timing_info` in PulseAudio's documentation). Any other position lies its length before or after it. A reply that
//! took long, or for which a thread of the server was called late, may be wrong by as much, because the server looked at its
//! parts at different times. Such replies are left out, as in the clock filter of NTP (Mills, RFC 5905, section 10).

use std::time::{Duration as Span, Instant as Moment, SystemTime};

use cpal::StreamInstant;
use handsfree_core::audio_io::Direction;
use pulseaudio::protocol::{PlaybackLatency, RecordLatency};

/// Conversion from positions in bytes to times. Times count from the start of the stream.
#[derive(Debug)]
pub(super) struct PulseTiming {
    started: Moment,
    bytes_per_second: i64,
    /// Position in bytes and its time in nanoseconds, by the last reply that counted.
    known: Option<(i64, i64)>,
    /// Arrival of that reply.
    known_at: Moment,
    /// Shortest time that a reply took lately.
    quickest: Span,
}

/// A reply counts if it took at most this multiple of the quickest one's time.
const SLOW_FROM: u32 = 2;
/// A reply counts if it puts the stream at most this much later than the last one did, besides what a clock may be off. A
/// server that is called late finds positions that are behind, never ahead.
const LATE_NANOS: i64 = 200_000;
/// Inverse of the most that a device's clock may be off: 2.5 %, of which the terminal tracks 2 %.
const CLOCK_PART: i64 = 40;
/// Part by which the quickest reply is forgotten with each further one: the replies of half a second count.
const FORGOTTEN_PART: u32 = 50;
/// Time after the last reply that counted after which any reply counts.
const KEPT: Span = Span::from_millis(200);

/// A request for the latency.
#[derive(Clone, Copy, Debug)]
pub(super) struct LatencyQuery {
    pub(super) sequence: u32,
    pub(super) sent: Moment,
}

/// The part of a reply that both directions share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latency {
    /// Time from the read position to the loudspeaker, or from the microphone to the write position.
    device: Span,
    /// Position of the stream's buffer, in bytes, that the device's latency belongs to.
    position: i64,
    /// Time at which the server looked, by the wall clock.
    looked: SystemTime,
}

impl From<PlaybackLatency> for Latency {
    fn from(reply: PlaybackLatency) -> Self {
        Self {
            device: Span::from_micros(reply.sink_usec),
            position: reply.read_offset,
            looked: reply.remote_time,
        }
    }
}

impl From<RecordLatency> for Latency {
    fn from(reply: RecordLatency) -> Self {
        Self {
            device: Span::from_micros(reply.source_usec),
            position: reply.write_offset,
            looked: reply.remote_time,
        }
    }
}

impl PulseTiming {
    pub(super) fn new(bytes_per_second: u32) -> Self {
        Self {
            started: Moment::now(),
            bytes_per_second: i64::from(bytes_per_second.max(1)),
            known: None,
            known_at: Moment::now(),
            quickest: Span::MAX,
        }
    }

    /// Returns the present time.
    pub(super) fn now(&self) -> StreamInstant {
        stream_instant(nanos(self.started.elapsed()))
    }

    /// Takes the reply to a query, which arrived at `arrived`, and by the wall clock at `arrived_wall`.
    pub(super) fn observe(
        &mut self,
        direction: Direction,
        latency: Latency,
        query: LatencyQuery,
        (arrived, arrived_wall): (Moment, SystemTime),
    ) {
        let round_trip = arrived.saturating_duration_since(query.sent);
        self.quickest = round_trip.min(self.quickest.saturating_add(self.quickest / FORGOTTEN_PART));
        let is_slow = round_trip > self.quickest.saturating_mul(SLOW_FROM);
        // The server reads the wall clock of this machine, which tells how long ago that was however late this thread is
        // called. A wall clock that was set meanwhile does not.
        let age = arrived_wall.duration_since(latency.looked).ok().filter(|&age| age <= round_trip);
        let age = age.unwrap_or(round_trip / 2);
        let looked = nanos(arrived.saturating_duration_since(self.started)) - nanos(age);
        let at_converter = match direction {
            Direction::Capture => looked - nanos(latency.device),
            Direction::Playback => looked + nanos(latency.device),
        };
        let since = arrived.saturating_duration_since(self.known_at);
        let latest = LATE_NANOS + nanos(since) / CLOCK_PART;
        let is_late =
            self.nanos_at(latency.position).is_some_and(|expected| at_converter > expected + latest);
        let is_known = self.known.is_some() && since < KEPT;
        if is_known && (is_slow || is_late) {
            return;
        }
        self.known = Some((latency.position, at_converter));
        self.known_at = arrived;
    }

    /// Returns the time at which the byte at `position` was or will be at the converter; `None` before the first reply.
    pub(super) fn converter_time(&self, position: i64) -> Option<StreamInstant> {
        self.nanos_at(position).map(stream_instant)
    }

    fn nanos_at(&self, position: i64) -> Option<i64> {
        let (known, at) = self.known?;
        let distance = i128::from(position - known) * 1_000_000_000 / i128::from(self.bytes_per_second);
        Some(at.saturating_add(i64::try_from(distance).ok()?))
    }
}

/// Origin of the times that are handed on, so that a time before the stream's start is not negative.
const ORIGIN_NANOS: i64 = 10_000_000_000;

fn stream_instant(nanos: i64) -> StreamInstant {
    StreamInstant::from_nanos(u64::try_from(nanos.saturating_add(ORIGIN_NANOS)).unwrap_or(0))
}

fn nanos(span: Span) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES_PER_SECOND: u32 = 96_000;

    fn ms(span: u64) -> Span {
        Span::from_millis(span)
    }

    /// Returns the time of the byte at `position` relative to the stream's start in ms, after a reply that the server wrote
    /// `looked` after it and that arrived `late` later.
    fn time_ms(direction: Direction, position: i64, looked: Span, late: Span, wall_step_s: i64) -> f64 {
        let mut timing = PulseTiming::new(BYTES_PER_SECOND);
        let wall = SystemTime::now();
        let query = LatencyQuery { sequence: 1, sent: timing.started + looked - ms(1) };
        let latency = Latency { device: ms(25), position: 9_600, looked: wall + looked };
        let arrived_wall = wall + looked + late;
        let arrived_wall = if wall_step_s < 0 { arrived_wall - Span::from_secs(60) } else { arrived_wall };
        timing.observe(direction, latency, query, (timing.started + looked + late, arrived_wall));
        let time = timing.converter_time(position).unwrap();
        (time.as_nanos() as f64 - ORIGIN_NANOS as f64) / 1e6
    }

    #[test]
    fn a_position_is_at_the_converter_its_length_after_the_one_that_the_server_reported() {
        for late in [0, 1, 40] {
            let at = |direction, position| time_ms(direction, position, ms(500), ms(late), 0);
            assert!((at(Direction::Playback, 9_600) - 525.0).abs() < 1e-3, "{late}");
            assert!((at(Direction::Playback, 9_600 + 960) - 535.0).abs() < 1e-3, "{late}");
            assert!((at(Direction::Capture, 9_600) - 475.0).abs() < 1e-3, "{late}");
            assert!((at(Direction::Capture, 9_600 - 1_920) - 455.0).abs() < 1e-3, "{late}");
        }
    }

    #[test]
    fn a_wall_clock_that_was_set_costs_no_more_than_half_of_the_round_trip() {
        let time = time_ms(Direction::Playback, 9_600, ms(500), ms(3), -60);
        assert!((time - 526.0).abs() < 1e-3, "{time}: the middle of the round trip is 1 ms late");
    }

    #[test]
    fn a_slow_or_late_reply_counts_only_when_there_was_no_other_for_a_while() {
        let mut timing = PulseTiming::new(BYTES_PER_SECOND);
        let wall = SystemTime::now();
        // A reply for the position that is played 25 ms after it, which took `took` and whose parts do not fit by `wrong`.
        let mut reply = |at: u64, took: Span, wrong: Span| {
            let latency = Latency { device: ms(25) + wrong, position: at as i64 * 96, looked: wall + ms(at) };
            let query = LatencyQuery { sequence: 1, sent: timing.started + ms(at) - took };
            timing.observe(Direction::Playback, latency, query, (timing.started + ms(at), wall + ms(at)));
            (timing.converter_time(0).unwrap().as_nanos() as f64 - ORIGIN_NANOS as f64) / 1e6
        };
        assert_eq!(reply(1_000, ms(1), ms(0)), 25.0);
        for k in 1..20 {
            assert_eq!(reply(1_000 + 10 * k, ms(5), ms(4)), 25.0, "{k}");
        }
        assert_eq!(reply(1_200, ms(5), ms(4)), 29.0);
        assert_eq!(reply(1_210, ms(1), ms(0)), 25.0);
        // Nor does a quick one that is late, whereas an early one does.
        assert_eq!(reply(1_220, ms(1), ms(2)), 25.0);
        assert_eq!(reply(1_410, ms(1), ms(2)), 27.0);
        assert_eq!(reply(1_420, ms(1), ms(1)), 26.0);
    }

    #[test]
    fn each_reply_of_a_device_that_is_two_percent_slow_counts() {
        let mut timing = PulseTiming::new(BYTES_PER_SECOND);
        let wall = SystemTime::now();
        for at in (0..2_000_u64).step_by(40) {
            // In `at` ms the device plays 98 % of `at` ms.
            let position = at as i64 * 96 * 98 / 100;
            let latency = Latency { device: ms(25), position, looked: wall + ms(at) };
            let query = LatencyQuery { sequence: 1, sent: timing.started + ms(at) };
            let arrived = (timing.started + ms(at + 1), wall + ms(at + 1));
            timing.observe(Direction::Playback, latency, query, arrived);
            let time = timing.converter_time(position).unwrap().as_nanos() as f64 - ORIGIN_NANOS as f64;
            assert!((time / 1e6 - (at as f64 + 25.0)).abs() < 1e-3, "{at}: {time}");
        }
    }

    #[test]
    fn nothing_is_known_before_the_first_reply() {
        assert!(PulseTiming::new(BYTES_PER_SECOND).converter_time(0).is_none());
    }
}
