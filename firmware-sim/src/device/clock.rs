//! The clock of a running simulated stream: sample frames against the board's virtual time.

use handsfree_core::time::{Duration, Instant, PeriodTime};

use super::{DeviceConfig, Jitter};
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
    current: ClockSegment,
    /// Segment before the last rate change. Sample frames that are still in flight belong to it.
    previous: ClockSegment,
    /// Sample frames delivered or taken since the start.
    pub(crate) done: u64,
    /// Number of periods since the start. It selects the length of the next one.
    period_count: usize,
    rng: Rng,
}

impl DeviceClock {
    pub(crate) fn new(config: &DeviceConfig, start: Instant, rng: Rng) -> Self {
        let current = ClockSegment { index: 0, start_ns: start.as_nanos() as f64, true_hz: config.true_hz() };
        Self { current, previous: current, done: 0, period_count: 0, rng }
    }

    /// Changes the true rate from the next period on.
    pub(crate) fn change_rate(&mut self, true_hz: f64) {
        self.previous = self.current;
        let start_ns = self.current.at_ns(self.done as f64);
        self.current = ClockSegment { index: self.done, start_ns, true_hz };
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
        if index < self.current.index { &self.previous } else { &self.current }
    }

    fn segment_at(&self, time_ns: f64) -> &ClockSegment {
        if time_ns < self.current.start_ns { &self.previous } else { &self.current }
    }

    pub(crate) fn advance(&mut self, sample_frames: u32) {
        self.done += u64::from(sample_frames);
        self.period_count += 1;
    }

    /// Returns the period time that the device reports for a period whose first sample is at the converter at
    /// `truth`, jitter and bias included.
    pub(crate) fn stamp(&mut self, config: &DeviceConfig, truth: Instant, called: Instant) -> PeriodTime {
        let error_us = match config.jitter {
            Jitter::None => 0.0,
            Jitter::Uniform { micros } => (self.rng.uniform() * 2.0 - 1.0) * micros,
            Jitter::Normal { micros } => self.rng.gaussian() * micros,
        };
        let error = Duration::from_nanos((error_us * 1e3).round() as i64);
        PeriodTime {
            position: config.first_position.wrapping_add(self.done),
            converter: truth + error + config.bias,
            called,
        }
    }
}
