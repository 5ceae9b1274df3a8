//! One direction of the simulated board: its clock, its periods, its latency, its lies about time.

use handsfree_core::time::{Duration, Instant, PeriodTime};
use handsfree_core::{ConfigError, SampleRate};

use crate::noise::Rng;

/// In what form a simulated device delivers or takes samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SampleFormat {
    /// 16-bit integers.
    #[default]
    I16,
    /// 24 bits in 32.
    I24,
    /// 32-bit integers.
    I32,
    /// 32-bit floats, full scale at 1.0.
    F32,
}

impl SampleFormat {
    /// What Linux calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::I16 => "S16_LE",
            Self::I24 => "S24_LE",
            Self::I32 => "S32_LE",
            Self::F32 => "FLOAT_LE",
        }
    }
}

/// How wrong a device's timestamps are around the truth.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Jitter {
    /// Not at all.
    #[default]
    None,
    /// Evenly within plus or minus so many microseconds.
    Uniform {
        /// Half the width.
        micros: f64,
    },
    /// Normally distributed with this standard deviation in microseconds.
    Normal {
        /// Standard deviation.
        micros: f64,
    },
}

/// One direction of a board.
#[derive(Clone, Debug, PartialEq)]
pub struct SideConfig {
    /// The device's nominal rate; a stream request for another one is answered with this one.
    pub rate: SampleRate,
    /// How much faster than nominal its clock runs.
    pub ppm: f64,
    /// Lengths of its periods in sample frames, taken in turn for ever.
    pub periods: Vec<u32>,
    /// Channels of the device.
    pub device_channels: u32,
    /// In what form samples come and go.
    pub format: SampleFormat,
    /// Between interrupt and converter.
    pub latency: Duration,
    /// How its timestamps scatter.
    pub jitter: Jitter,
    /// A constant error of its timestamps.
    pub bias: Duration,
    /// The device's position at the start of each stream.
    pub first_position: u64,
}

impl SideConfig {
    /// A mono 16-bit device with one period length and an honest clock.
    #[must_use]
    pub fn new(rate: SampleRate, period: u32) -> Self {
        Self {
            rate,
            ppm: 0.0,
            periods: vec![period],
            device_channels: 1,
            format: SampleFormat::I16,
            latency: Duration::ZERO,
            jitter: Jitter::None,
            bias: Duration::ZERO,
            first_position: 0,
        }
    }

    /// The rate its clock really has, in hertz.
    #[must_use]
    pub fn true_hz(&self) -> f64 {
        f64::from(self.rate.hz()) * (1.0 + self.ppm * 1e-6)
    }

    /// The latency as a whole number of sample frames.
    #[must_use]
    pub fn latency_sample_frames(&self) -> i64 {
        (self.latency.as_nanos() as f64 * f64::from(self.rate.hz()) / 1e9).round() as i64
    }

    /// # Errors
    /// Names a list of periods without a single sample frame in it.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.longest_period() == 0 { Err(ConfigError::EmptyPeriod) } else { Ok(()) }
    }

    /// The longest of its periods.
    #[must_use]
    pub fn longest_period(&self) -> u32 {
        self.periods.iter().copied().max().unwrap_or(0)
    }
}

/// A stretch of a clock at one rate.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    index: u64,
    start_ns: f64,
    true_hz: f64,
}

impl Stretch {
    fn at_ns(&self, index: f64) -> f64 {
        self.start_ns + (index - self.index as f64) * 1e9 / self.true_hz
    }
}

/// A running stream of one direction, on the board's virtual clock.
#[derive(Debug)]
pub(crate) struct SideClock {
    now: Stretch,
    /// The rate before it changed last: what is still under way belongs to it.
    before: Stretch,
    /// Sample frames delivered or taken since the start.
    pub(crate) done: u64,
    turn: usize,
    rng: Rng,
}

impl SideClock {
    pub(crate) fn new(config: &SideConfig, start: Instant, rng: Rng) -> Self {
        let now = Stretch { index: 0, start_ns: start.as_nanos() as f64, true_hz: config.true_hz() };
        Self { now, before: now, done: 0, turn: 0, rng }
    }

    /// The clock goes on at another rate from the next period on.
    pub(crate) fn change_rate(&mut self, true_hz: f64) {
        self.before = self.now;
        self.now = Stretch { index: self.done, start_ns: self.now.at_ns(self.done as f64), true_hz };
    }

    /// The next period's length.
    pub(crate) fn period(&self, config: &SideConfig) -> u32 {
        config.periods[self.turn % config.periods.len()]
    }

    /// When sample frame `index` of the stream is due.
    pub(crate) fn at(&self, index: u64) -> Instant {
        Instant::from_nanos(self.at_ns(index).round() as i64)
    }

    /// The sample frame that is at the converter at a moment, by the clock's own truth; it may be
    /// before the stream's start.
    pub(crate) fn index_at(&self, moment: Instant) -> f64 {
        let time_ns = moment.as_nanos() as f64;
        let here = self.stretch_at(time_ns);
        (time_ns - here.start_ns) * here.true_hz / 1e9 + here.index as f64
    }

    /// Where on this clock another one's sample frame `index` is, and how far one of its sample
    /// frames goes here. On one clock both are whole numbers.
    pub(crate) fn reading(&self, other: &Self, index: u64) -> ((i64, f64), f64) {
        let time_ns = other.at_ns(index);
        let here = self.stretch_at(time_ns);
        let there = other.stretch_of(index);
        let step = here.true_hz / there.true_hz;
        if step == 1.0 {
            let offset = (there.start_ns - here.start_ns) * here.true_hz / 1e9;
            let whole = index as i64 - there.index as i64 + here.index as i64 + offset.round() as i64;
            return ((whole, 0.0), 1.0);
        }
        let position = (time_ns - here.start_ns) * here.true_hz / 1e9;
        let whole = position.floor();
        ((here.index as i64 + whole as i64, position - whole), step)
    }

    fn at_ns(&self, index: u64) -> f64 {
        self.stretch_of(index).at_ns(index as f64)
    }

    fn stretch_of(&self, index: u64) -> &Stretch {
        if index < self.now.index { &self.before } else { &self.now }
    }

    fn stretch_at(&self, time_ns: f64) -> &Stretch {
        if time_ns < self.now.start_ns { &self.before } else { &self.now }
    }

    pub(crate) fn advance(&mut self, sample_frames: u32) {
        self.done += u64::from(sample_frames);
        self.turn += 1;
    }

    /// What the device says of a period whose first sample is at the converter at `truth`.
    pub(crate) fn stamp(&mut self, config: &SideConfig, truth: Instant, called: Instant) -> PeriodTime {
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
