//! Board's thread: when a device's samples were or will be at its converter, from what drivers say.
//!
//! Drivers get it wrong in known ways: no timestamp, one of another clock, one that stands still or runs
//! backwards, a delay that is negative or absurd. What cannot be is not believed; the core's clock model
//! takes care of what merely scatters.

use handsfree_core::SampleRate;
use handsfree_core::audio_io::Direction;
use handsfree_core::time::{Duration, Instant};

use crate::pcm::Status;

/// What a device may hold beyond its buffer, in seconds: wireless loudspeakers take up to one and a half.
const MAX_HARDWARE_DELAY_S: i64 = 3;

/// A plug-in reads the room and the delay one after the other: so small a part of a second, this is
/// how many there are in one, may lie between them.
const ASIDE_PER_SECOND: i64 = 1_000;

/// Timestamps in a row that cannot be, after which none is believed for a while.
const DISTRUST_AFTER: u32 = 4;

/// Timestamps in a row that can be, after which they are believed again.
const TRUST_AFTER: u32 = 100;

/// A timestamp may be so far ahead of the clock that is read after it, for rounding.
const AHEAD: Duration = Duration::from_micros(100);

/// What was not believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Disbelieved {
    pub(crate) times: u32,
    pub(crate) delays: u32,
}

/// Turns a device's status into the converter time of the next sample frame to be read or written.
#[derive(Debug)]
pub(crate) struct Timing {
    direction: Direction,
    rate: SampleRate,
    buffer: i64,
    last_time: Option<Instant>,
    /// Where the device was in the stream when it was last seen, and the first timestamp from there.
    seen: Option<(u64, Instant)>,
    /// Delay beyond what is in the buffer, when it last could be.
    hardware_delay: i64,
    wrong_in_a_row: u32,
    right_in_a_row: u32,
    distrusts: bool,
    disbelieved: Disbelieved,
}

impl Timing {
    pub(crate) fn new(direction: Direction, rate: SampleRate, buffer_sample_frames: u32) -> Self {
        Self {
            direction,
            rate,
            buffer: buffer_sample_frames.into(),
            last_time: None,
            seen: None,
            hardware_delay: 0,
            wrong_in_a_row: 0,
            right_in_a_row: 0,
            distrusts: false,
            disbelieved: Disbelieved::default(),
        }
    }

    /// The stream starts anew; what was learned of the device stays.
    pub(crate) fn restart(&mut self) {
        self.last_time = None;
        self.seen = None;
    }

    pub(crate) fn disbelieved(&self) -> Disbelieved {
        self.disbelieved
    }

    /// Sample frames in the buffer, between 0 and all of it.
    pub(crate) fn queued(&self, status: &Status) -> i64 {
        let avail = status.avail.clamp(0, self.buffer);
        match self.direction {
            Direction::Capture => avail,
            Direction::Playback => self.buffer - avail,
        }
    }

    /// When the next sample frame that the application reads was at the converter, or the next that it
    /// writes will be; `position` is that sample frame's. `status` was asked for just before `now`.
    pub(crate) fn converter(&mut self, status: &Status, position: u64, now: Instant) -> Instant {
        let queued = self.queued(status);
        let beyond = status.delay.saturating_sub(queued);
        let hz = i64::from(self.rate.hz());
        if (-hz / ASIDE_PER_SECOND..=MAX_HARDWARE_DELAY_S * hz).contains(&beyond) {
            self.hardware_delay = beyond.max(0);
        } else {
            self.disbelieved.delays = self.disbelieved.delays.wrapping_add(1);
        }
        let delay = Duration::of_sample_frames((queued + self.hardware_delay).unsigned_abs(), self.rate);
        let device = match self.direction {
            Direction::Capture => position.wrapping_add(queued.unsigned_abs()),
            Direction::Playback => position.wrapping_sub(queued.unsigned_abs()),
        };
        let time = self.time(status.time, device, now);
        match self.direction {
            Direction::Capture => time - delay,
            Direction::Playback => time + delay,
        }
    }

    /// The driver's time of the status where it can be, else the time it was asked at.
    ///
    /// Many a device moves in steps: of a transfer, a millisecond, a timer's tick. What tells when it was where
    /// it is, is the first time it was seen there; a later look would make it late by however long the worker
    /// took meanwhile. So it does not matter whether a kernel stamps each look or each move: while the device
    /// has not moved the timestamp may go on or stand, once it has moved it may not stand.
    fn time(&mut self, said: Instant, device: u64, now: Instant) -> Instant {
        let longest = Duration::of_sample_frames(self.buffer.unsigned_abs(), self.rate);
        let follows =
            self.seen.is_none_or(|(was, time)| if device == was { said >= time } else { said > time });
        let first_seen = self.seen.filter(|(was, _)| device == *was).map_or(said, |(_, time)| time);
        if follows && said >= now - longest && said <= now + AHEAD {
            self.seen = Some((device, first_seen));
            self.right_in_a_row += 1;
            self.wrong_in_a_row = 0;
            self.distrusts &= self.right_in_a_row < TRUST_AFTER;
        } else {
            self.disbelieved.times = self.disbelieved.times.wrapping_add(1);
            self.wrong_in_a_row += 1;
            self.right_in_a_row = 0;
            self.distrusts |= self.wrong_in_a_row >= DISTRUST_AFTER;
        }
        let time = if self.distrusts || self.right_in_a_row == 0 { now } else { first_seen };
        let monotonic = self.last_time.map_or(time, |last| time.max(last));
        self.last_time = Some(monotonic);
        monotonic
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pcm::State;

    const MS: i64 = 1_000_000;

    fn at(ms: i64) -> Instant {
        Instant::from_nanos(ms * MS)
    }

    fn status(time: i64, avail: i64, delay: i64) -> Status {
        Status { state: State::Running, avail, delay, time: Instant::from_nanos(time) }
    }

    fn timing(direction: Direction) -> Timing {
        Timing::new(direction, SampleRate::new(48_000).unwrap(), 4_800)
    }

    #[test]
    fn a_sample_is_at_the_converter_its_delay_before_or_after_the_timestamp() {
        let now = Instant::from_nanos(1_000 * MS);
        let read = timing(Direction::Capture).converter(&status(999 * MS, 480, 528), 0, now);
        assert_eq!(read.as_nanos(), 999 * MS - 11 * MS);
        let written = timing(Direction::Playback).converter(&status(999 * MS, 4_800 - 480, 528), 480, now);
        assert_eq!(written.as_nanos(), 999 * MS + 11 * MS);
    }

    #[test]
    fn a_delay_that_cannot_be_leaves_the_last_good_one() {
        let mut timing = timing(Direction::Playback);
        let queued = 4_800 - 480;
        assert_eq!(timing.converter(&status(10 * MS, queued, 480 + 96), 480, at(10)), at(22));
        for (k, delay) in [-5, i64::MIN, 7_000_000_000_000_000_000, i64::MAX, 400].into_iter().enumerate() {
            let ms = 11 + k as i64;
            assert_eq!(
                timing.converter(&status(ms * MS, queued, delay), 480 + ms as u64, at(ms)),
                at(ms + 12),
                "{delay}"
            );
        }
        assert_eq!(timing.disbelieved().delays, 5);
        assert_eq!(timing.converter(&status(30 * MS, queued, 480 + 48), 900, at(30)), at(41));
        let absurd = timing.converter(&status(31 * MS, i64::MAX, 48), 901, at(31));
        assert_eq!(absurd, at(32), "no more room than the buffer has");
    }

    #[test]
    fn timestamps_that_cannot_be_are_replaced_and_after_a_few_not_asked_for() {
        for wrong in [0, i64::MIN, i64::MAX, 1_700_000_000_000 * MS] {
            let mut timing = timing(Direction::Capture);
            let mut last = Instant::from_nanos(i64::MIN);
            for k in 1_i64..=20 {
                let now = Instant::from_nanos(1_000 * MS + k * 10 * MS);
                let said = if k < 10 { wrong } else { now.as_nanos() - 2 * MS };
                let time = timing.converter(&status(said, 0, 0), k as u64, now);
                assert!(time > last, "monotonic with {wrong}");
                assert_eq!(time, now, "distrusted with {wrong}, also when {said} could be");
                last = time;
            }
            assert_eq!(timing.disbelieved().times, 9);
        }
    }

    #[test]
    fn a_timestamp_that_stands_still_or_runs_backwards_is_noticed() {
        let mut timing = timing(Direction::Capture);
        assert_eq!(timing.converter(&status(99 * MS, 0, 0), 0, at(100)), at(99));
        assert_eq!(timing.converter(&status(99 * MS, 0, 0), 480, at(110)), at(110), "stands still");
        assert_eq!(timing.converter(&status(50 * MS, 0, 0), 960, at(120)), at(120), "runs backwards");
        assert_eq!(
            timing.converter(&status(129 * MS, 0, 0), 1_440, at(130)),
            at(129),
            "believed: it was rare"
        );
        assert_eq!(timing.disbelieved().times, 2);
        assert_eq!(timing.converter(&status(129 * MS, 0, 0), 1_440, at(131)), at(129), "neither has moved");
        assert_eq!(timing.disbelieved().times, 2);
    }

    #[test]
    fn a_device_is_where_it_is_since_it_was_first_seen_there() {
        // A period and half of one are in the buffer, and are written in two rounds with the worker between.
        let mut timing = timing(Direction::Playback);
        let room = |queued: i64| 4_800 - queued;
        assert_eq!(timing.converter(&status(100 * MS, room(480), 480), 480, at(100)), at(110));
        assert_eq!(timing.converter(&status(103 * MS, room(960), 960), 960, at(103)), at(120));
        assert_eq!(
            timing.converter(&status(108 * MS, room(768), 768), 960, at(108)),
            at(124),
            "it has moved"
        );
        assert_eq!(timing.disbelieved().times, 0);
    }

    #[test]
    fn trust_comes_back_slowly() {
        let mut timing = timing(Direction::Capture);
        let mut believed_at = None;
        for k in 0_i64..300 {
            let now = Instant::from_nanos(1_000 * MS + k * 10 * MS);
            let said = if k < 5 { 0 } else { now.as_nanos() - MS };
            if timing.converter(&status(said, 0, 0), k as u64, now) < now && believed_at.is_none() {
                believed_at = Some(k);
            }
        }
        assert_eq!(believed_at, Some(4 + i64::from(TRUST_AFTER)));
    }
}
