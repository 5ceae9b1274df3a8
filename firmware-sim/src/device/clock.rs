//! The clock of a running simulated stream: sample frames against the board's virtual time.

use handsfree_core::time::{Duration, Instant, PeriodTime};

use super::{DeviceConfig, Jitter, TimeFault};
use crate::noise::Rng;

/// Part of a clock's history during which its rate is constant.
#[derive(Clone, Copy, Debug)]
struct ClockSegment {
    index: u64,
    start_ns: f64,
    true_hz: f64,
}

impl ClockSegment {
    fn at_ns(&self, index: f64) -> f64 {
        self.start_ns + (index - self.index as f64) * 1e9 / self.true_hz
    }
}

/// Clock of one running stream. It relates sample frames, counted from the stream's start, to virtual time.
#[derive(Debug)]
pub(crate) struct DeviceClock {
    /// One segment for each rate since the start, in order. Sample frames in flight may belong to an earlier
    /// one than the last.
    segments: Vec<ClockSegment>,
    /// Sample frames delivered or taken since the start.
    pub(crate) done: u64,
    /// Sample frames delivered or taken since the start when the current group of periods is complete.
    group_end: u64,
    /// First sample frame of the last period of the current group.
    group_last: u64,
    /// Error of the timestamps of the current group.
    group_error: Duration,
    /// Number of periods since the start. It selects the length of the next one.
    period_count: usize,
    /// What is wrong with the timestamps, and the last one before.
    time_fault: Option<(TimeFault, Instant)>,
    /// Converter time of the last period, as the device reported it.
    last_stamp: Instant,
    rng: Rng,
}

impl DeviceClock {
    pub(crate) fn new(config: &DeviceConfig, start: Instant, rng: Rng) -> Self {
        let first = ClockSegment { index: 0, start_ns: start.as_nanos() as f64, true_hz: config.true_hz() };
        let mut clock = Self {
            segments: vec![first],
            done: 0,
            group_end: 0,
            group_last: 0,
            group_error: Duration::ZERO,
            period_count: 0,
            time_fault: None,
            last_stamp: start,
            rng,
        };
        clock.begin_group(config);
        clock
    }

    /// Changes the true rate from the next period on.
    pub(crate) fn change_rate(&mut self, true_hz: f64) {
        let start_ns = self.current().at_ns(self.done as f64);
        self.segments.push(ClockSegment { index: self.done, start_ns, true_hz });
    }

    /// Stands still for a time before the next sample frame.
    pub(crate) fn stall(&mut self, span: Duration) {
        let ClockSegment { true_hz, .. } = *self.current();
        let start_ns = self.current().at_ns(self.done as f64) + span.as_nanos() as f64;
        self.segments.push(ClockSegment { index: self.done, start_ns, true_hz });
    }

    /// Makes the timestamps false from the next period on, or true again.
    pub(crate) fn falsify(&mut self, fault: Option<TimeFault>) {
        self.time_fault = fault.map(|fault| (fault, self.last_stamp));
    }

    fn current(&self) -> &ClockSegment {
        self.segments.last().expect("a clock has at least one segment")
    }

    /// Starts a group of periods that are delivered together. Without bursts each period is a group.
    fn begin_group(&mut self, config: &DeviceConfig) {
        if config.burst_periods <= 1 {
            return;
        }
        let periods = self.rng.range(1, u64::from(config.burst_periods) + 1) as usize;
        self.group_end = self.done;
        for ahead in 0..periods {
            self.group_last = self.group_end;
            self.group_end += u64::from(config.periods[(self.period_count + ahead) % config.periods.len()]);
        }
        self.group_error = self.timestamp_error(config);
    }

    /// Returns when the next capture period is complete, or the group to which it belongs.
    pub(crate) fn capture_due(&self, config: &DeviceConfig) -> Instant {
        self.at((self.done + u64::from(self.period(config))).max(self.group_end))
    }

    /// Returns when the next playback period is due, or the last one of the group to which it belongs.
    pub(crate) fn playback_due(&self) -> Instant {
        self.at(self.done.max(self.group_last))
    }

    /// Returns the length of the next period, in sample frames.
    pub(crate) fn period(&self, config: &DeviceConfig) -> u32 {
        config.periods[self.period_count % config.periods.len()]
    }

    /// Returns when sample frame `index` of the stream is due.
    pub(crate) fn at(&self, index: u64) -> Instant {
        Instant::from_nanos(self.at_ns(index).round() as i64)
    }

    /// Returns the index of the sample frame that is at the converter at `moment`. It is negative before the
    /// stream's start. Jitter and bias do not affect it.
    pub(crate) fn index_at(&self, moment: Instant) -> f64 {
        let time_ns = moment.as_nanos() as f64;
        let segment = self.segment_at(time_ns);
        (time_ns - segment.start_ns) * segment.true_hz / 1e9 + segment.index as f64
    }

    /// Returns where sample frame `index` of the clock `other` lies on this clock, as a whole part and a
    /// fraction, and how many of this clock's sample frames pass in one of the other's. At equal rates the
    /// fraction is exactly 0 and the step exactly 1.
    pub(crate) fn position_of(&self, other: &Self, index: u64) -> ((i64, f64), f64) {
        let time_ns = other.at_ns(index);
        let own_segment = self.segment_at(time_ns);
        let other_segment = other.segment_of(index);
        let step = own_segment.true_hz / other_segment.true_hz;
        if step == 1.0 {
            let offset = (other_segment.start_ns - own_segment.start_ns) * own_segment.true_hz / 1e9;
            let whole =
                index as i64 - other_segment.index as i64 + own_segment.index as i64 + offset.round() as i64;
            return ((whole, 0.0), 1.0);
        }
        let position = (time_ns - own_segment.start_ns) * own_segment.true_hz / 1e9;
        let whole = position.floor();
        ((own_segment.index as i64 + whole as i64, position - whole), step)
    }

    fn at_ns(&self, index: u64) -> f64 {
        self.segment_of(index).at_ns(index as f64)
    }

    fn segment_of(&self, index: u64) -> &ClockSegment {
        let found = self.segments.iter().rev().find(|segment| segment.index <= index);
        found.unwrap_or(&self.segments[0])
    }

    fn segment_at(&self, time_ns: f64) -> &ClockSegment {
        let found = self.segments.iter().rev().find(|segment| segment.start_ns <= time_ns);
        found.unwrap_or(&self.segments[0])
    }

    pub(crate) fn advance(&mut self, sample_frames: u32, config: &DeviceConfig) {
        self.done += u64::from(sample_frames);
        self.period_count += 1;
        if self.done >= self.group_end {
            self.begin_group(config);
        }
    }

    /// Draws a random error of a timestamp. Bursts make timestamps late, never early.
    fn timestamp_error(&mut self, config: &DeviceConfig) -> Duration {
        let error_us = match config.jitter {
            Jitter::None => 0.0,
            Jitter::Uniform { micros } => (self.rng.uniform() * 2.0 - 1.0) * micros,
            Jitter::Normal { micros } => self.rng.gaussian() * micros,
        };
        let error_us = if config.burst_periods > 1 { error_us.abs() } else { error_us };
        Duration::from_nanos((error_us * 1e3).round() as i64)
    }

    /// Returns the period time that the device reports for a period whose first sample is at the converter at
    /// `truth`, jitter and bias included.
    pub(crate) fn stamp(&mut self, config: &DeviceConfig, truth: Instant, called: Instant) -> PeriodTime {
        let error = if config.burst_periods > 1 { self.group_error } else { self.timestamp_error(config) };
        let honest = truth + error + config.bias;
        let converter = match self.time_fault {
            None => {
                self.last_stamp = honest;
                honest
            }
            Some((TimeFault::Zero, _)) => Instant::ORIGIN,
            Some((TimeFault::Frozen, last)) => last,
            Some((TimeFault::Backwards, last)) => last - (honest - last),
            // One end of the range after the other.
            Some((TimeFault::Wrapping, _)) if self.period_count.is_multiple_of(2) => {
                Instant::from_nanos(i64::MAX)
            }
            Some((TimeFault::Wrapping, _)) => Instant::from_nanos(i64::MIN),
        };
        PeriodTime { position: config.first_position.wrapping_add(self.done), converter, called }
    }
}

#[cfg(test)]
mod tests {
    use handsfree_core::SampleRate;

    use super::*;

    #[test]
    fn timestamps_are_false_for_as_long_as_they_are_asked_to_be() {
        let config = DeviceConfig::new(SampleRate::new(48_000).unwrap(), 480);
        let start = Instant::from_nanos(1_000_000_000);
        let mut clock = DeviceClock::new(&config, start, Rng::new(1));
        let mut stamp = |fault: Option<TimeFault>, falsify: bool| {
            if falsify {
                clock.falsify(fault);
            }
            let truth = clock.at(clock.done);
            let found = clock.stamp(&config, truth, truth).converter.as_nanos();
            clock.advance(480, &config);
            found / 1_000_000
        };
        assert_eq!((stamp(None, false), stamp(None, false)), (1_000, 1_010));
        assert_eq!((stamp(Some(TimeFault::Zero), true), stamp(None, false)), (0, 0));
        assert_eq!(stamp(None, true), 1_040, "the clock itself goes on");
        assert_eq!((stamp(Some(TimeFault::Frozen), true), stamp(None, false)), (1_040, 1_040));
        assert_eq!((stamp(Some(TimeFault::Backwards), true), stamp(None, false)), (1_010, 1_000));
        let wrapped = [stamp(Some(TimeFault::Wrapping), true), stamp(None, false)];
        assert!(wrapped[0].signum() != wrapped[1].signum(), "{wrapped:?}");
        assert_eq!(stamp(None, true), 1_110);
    }
}
