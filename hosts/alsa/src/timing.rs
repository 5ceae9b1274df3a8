//! Board's thread: computes the time at which samples were or will be at a device's converter, from the driver's
//! timestamps and delays.
//!
//! Drivers have known faults: missing timestamps, timestamps of a different clock, timestamps that stand still or run
//! backwards, and negative or absurdly large delays. Such implausible values are rejected here; the core's clock model
//! filters ordinary jitter.

use handsfree_core::SampleRate;
use handsfree_core::audio_io::Direction;
use handsfree_core::time::{Duration, Instant};

use crate::pcm::PcmStatus;

/// Longest plausible delay beyond the buffer, in seconds: wireless loudspeakers have up to one and a half.
const MAX_HARDWARE_DELAY_S: i64 = 3;

/// Largest plausible deficit of the delay against the buffer's fill, as a fraction of a second (1/1000): a plug-in reads
/// the free space and the delay one after the other, and the device moves on in between.
const DELAY_TOLERANCE_PER_SECOND: i64 = 1_000;

/// Number of consecutive implausible timestamps after which all timestamps are distrusted.
const DISTRUST_AFTER: u32 = 4;

/// Number of consecutive plausible timestamps after which they are trusted again.
const TRUST_AFTER: u32 = 100;

/// Longest plausible lead of a timestamp over the clock, which is read after it: covers rounding.
const MAX_LEAD: Duration = Duration::from_micros(100);

/// Numbers of rejected timestamps and delays; they wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RejectedCounts {
    pub(crate) times: u32,
    pub(crate) delays: u32,
}

/// Converts a device's status into the converter time of the next sample frame that the application reads or writes.
#[derive(Debug)]
pub(crate) struct ConverterTiming {
    direction: Direction,
    rate: SampleRate,
    buffer_sample_frames: i64,
    last_time: Option<Instant>,
    /// Last known position of the device in the stream, and the first timestamp with that position.
    first_seen: Option<(u64, Instant)>,
    /// Last plausible delay beyond the buffer, in sample frames.
    hardware_delay: i64,
    consecutive_implausible: u32,
    consecutive_plausible: u32,
    distrusts: bool,
    rejected: RejectedCounts,
}

impl ConverterTiming {
    pub(crate) fn new(direction: Direction, rate: SampleRate, buffer_sample_frames: u32) -> Self {
        Self {
            direction,
            rate,
            buffer_sample_frames: buffer_sample_frames.into(),
            last_time: None,
            first_seen: None,
            hardware_delay: 0,
            consecutive_implausible: 0,
            consecutive_plausible: 0,
            distrusts: false,
            rejected: RejectedCounts::default(),
        }
    }

    /// Forgets the position and time of the stream, which is restarted. Keeps what was learned about the device.
    pub(crate) fn restart(&mut self) {
        self.last_time = None;
        self.first_seen = None;
    }

    pub(crate) fn rejected_counts(&self) -> RejectedCounts {
        self.rejected
    }

    /// Returns the number of sample frames in the buffer, between 0 and its capacity.
    pub(crate) fn queued(&self, status: &PcmStatus) -> i64 {
        let avail = status.avail.clamp(0, self.buffer_sample_frames);
        match self.direction {
            Direction::Capture => avail,
            Direction::Playback => self.buffer_sample_frames - avail,
        }
    }

    /// Returns the time at which the sample frame at `position`, the next one that the application reads or writes, was
    /// or will be at the converter. `status` was read just before `now`.
    pub(crate) fn converter(&mut self, status: &PcmStatus, position: u64, now: Instant) -> Instant {
        let queued = self.queued(status);
        let beyond_buffer = status.delay.saturating_sub(queued);
        let hz = i64::from(self.rate.hz());
        if (-hz / DELAY_TOLERANCE_PER_SECOND..=MAX_HARDWARE_DELAY_S * hz).contains(&beyond_buffer) {
            self.hardware_delay = beyond_buffer.max(0);
        } else {
            self.rejected.delays = self.rejected.delays.wrapping_add(1);
        }
        let delay = Duration::of_sample_frames((queued + self.hardware_delay).unsigned_abs(), self.rate);
        let device_position = match self.direction {
            Direction::Capture => position.wrapping_add(queued.unsigned_abs()),
            Direction::Playback => position.wrapping_sub(queued.unsigned_abs()),
        };
        let time = self.plausible_time(status.time, device_position, now);
        match self.direction {
            Direction::Capture => time - delay,
            Direction::Playback => time + delay,
        }
    }

    /// Returns the driver's `timestamp` of the status if it is plausible, or else the time at which the status was read.
    ///
    /// Many devices move in steps: of a transfer, a millisecond or a timer tick. The best time of a position is the first
    /// timestamp with that position; the timestamp of a later status would be late by the time that the worker took in
    /// between. It therefore makes no difference whether a kernel stamps each status or each step: while the device stays
    /// at its position the timestamp may advance or not, and once the device has moved the timestamp must advance.
    fn plausible_time(&mut self, timestamp: Instant, device_position: u64, now: Instant) -> Instant {
        let buffer_duration = Duration::of_sample_frames(self.buffer_sample_frames.unsigned_abs(), self.rate);
        let advances = self.first_seen.is_none_or(|(position, time)| {
            if device_position == position { timestamp >= time } else { timestamp > time }
        });
        let first_seen = self
            .first_seen
            .filter(|(position, _)| device_position == *position)
            .map_or(timestamp, |(_, time)| time);
        if advances && timestamp >= now - buffer_duration && timestamp <= now + MAX_LEAD {
            self.first_seen = Some((device_position, first_seen));
            self.consecutive_plausible += 1;
            self.consecutive_implausible = 0;
            self.distrusts &= self.consecutive_plausible < TRUST_AFTER;
        } else {
            self.rejected.times = self.rejected.times.wrapping_add(1);
            self.consecutive_implausible += 1;
            self.consecutive_plausible = 0;
            self.distrusts |= self.consecutive_implausible >= DISTRUST_AFTER;
        }
        let time = if self.distrusts || self.consecutive_plausible == 0 { now } else { first_seen };
        let monotonic = self.last_time.map_or(time, |last| time.max(last));
        self.last_time = Some(monotonic);
        monotonic
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pcm::PcmState;

    const MS: i64 = 1_000_000;

    fn at(ms: i64) -> Instant {
        Instant::from_nanos(ms * MS)
    }

    fn status(time: i64, avail: i64, delay: i64) -> PcmStatus {
        PcmStatus { state: PcmState::Running, avail, delay, time: Instant::from_nanos(time) }
    }

    fn timing(direction: Direction) -> ConverterTiming {
        ConverterTiming::new(direction, SampleRate::new(48_000).unwrap(), 4_800)
    }

    #[test]
    fn converter_time_is_timestamp_plus_or_minus_delay() {
        let now = Instant::from_nanos(1_000 * MS);
        let read = timing(Direction::Capture).converter(&status(999 * MS, 480, 528), 0, now);
        assert_eq!(read.as_nanos(), 999 * MS - 11 * MS);
        let written = timing(Direction::Playback).converter(&status(999 * MS, 4_800 - 480, 528), 480, now);
        assert_eq!(written.as_nanos(), 999 * MS + 11 * MS);
    }

    #[test]
    fn an_implausible_delay_keeps_the_last_plausible_one() {
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
        assert_eq!(timing.rejected_counts().delays, 5);
        assert_eq!(timing.converter(&status(30 * MS, queued, 480 + 48), 900, at(30)), at(41));
        let absurd = timing.converter(&status(31 * MS, i64::MAX, 48), 901, at(31));
        assert_eq!(absurd, at(32), "the free space is limited to the buffer");
    }

    #[test]
    fn implausible_timestamps_are_replaced_and_then_distrusted() {
        for wrong in [0, i64::MIN, i64::MAX, 1_700_000_000_000 * MS] {
            let mut timing = timing(Direction::Capture);
            let mut last = Instant::from_nanos(i64::MIN);
            for k in 1_i64..=20 {
                let now = Instant::from_nanos(1_000 * MS + k * 10 * MS);
                let timestamp = if k < 10 { wrong } else { now.as_nanos() - 2 * MS };
                let time = timing.converter(&status(timestamp, 0, 0), k as u64, now);
                assert!(time > last, "monotonic with {wrong}");
                assert_eq!(time, now, "distrusted after {wrong}, even when {timestamp} is plausible");
                last = time;
            }
            assert_eq!(timing.rejected_counts().times, 9);
        }
    }

    #[test]
    fn timestamps_that_stop_or_run_backwards_are_rejected() {
        let mut timing = timing(Direction::Capture);
        assert_eq!(timing.converter(&status(99 * MS, 0, 0), 0, at(100)), at(99));
        assert_eq!(timing.converter(&status(99 * MS, 0, 0), 480, at(110)), at(110), "stands still");
        assert_eq!(timing.converter(&status(50 * MS, 0, 0), 960, at(120)), at(120), "runs backwards");
        assert_eq!(
            timing.converter(&status(129 * MS, 0, 0), 1_440, at(130)),
            at(129),
            "accepted, because implausible timestamps were rare"
        );
        assert_eq!(timing.rejected_counts().times, 2);
        assert_eq!(
            timing.converter(&status(129 * MS, 0, 0), 1_440, at(131)),
            at(129),
            "neither position nor timestamp has moved"
        );
        assert_eq!(timing.rejected_counts().times, 2);
    }

    #[test]
    fn a_position_keeps_its_first_timestamp() {
        // The buffer holds a period and a half, written in two rounds with the worker in between.
        let mut timing = timing(Direction::Playback);
        let space = |queued: i64| 4_800 - queued;
        assert_eq!(timing.converter(&status(100 * MS, space(480), 480), 480, at(100)), at(110));
        assert_eq!(timing.converter(&status(103 * MS, space(960), 960), 960, at(103)), at(120));
        assert_eq!(
            timing.converter(&status(108 * MS, space(768), 768), 960, at(108)),
            at(124),
            "the device has moved"
        );
        assert_eq!(timing.rejected_counts().times, 0);
    }

    #[test]
    fn timestamps_are_trusted_again_after_a_hundred() {
        let mut timing = timing(Direction::Capture);
        let mut trusted_at = None;
        for k in 0_i64..300 {
            let now = Instant::from_nanos(1_000 * MS + k * 10 * MS);
            let timestamp = if k < 5 { 0 } else { now.as_nanos() - MS };
            if timing.converter(&status(timestamp, 0, 0), k as u64, now) < now && trusted_at.is_none() {
                trusted_at = Some(k);
            }
        }
        assert_eq!(trusted_at, Some(4 + i64::from(TRUST_AFTER)));
    }
}
