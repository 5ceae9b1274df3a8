//! A simulated device: its sample format, its clock, its periods, its latency and the errors of its timestamps.

mod clock;
mod samples;

use handsfree_core::time::Duration;
use handsfree_core::{ConfigError, SampleRate};

pub(crate) use clock::DeviceClock;
pub(crate) use samples::{DeviceBuffers, average_channels, serve_capture, serve_playback};

/// Format in which a simulated device delivers or takes samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceSampleFormat {
    /// 16-bit integers.
    #[default]
    I16,
    /// 24-bit integers in 32-bit words.
    I24,
    /// 32-bit integers.
    I32,
    /// 32-bit floats, full scale at 1.0.
    F32,
}

impl DeviceSampleFormat {
    /// Returns the name that Linux (ALSA) gives the format.
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

/// Random error that a device adds to its timestamps.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Jitter {
    /// Timestamps are exact.
    #[default]
    None,
    /// Errors are uniformly distributed between minus and plus `micros`.
    Uniform {
        /// Largest error, in microseconds.
        micros: f64,
    },
    /// Errors are normally distributed around 0.
    Normal {
        /// Standard deviation of the error, in microseconds.
        micros: f64,
    },
}

/// What is wrong with a device's timestamps, apart from [`Jitter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeFault {
    /// Each timestamp is 0, as drivers without timestamps report.
    Zero,
    /// Each timestamp is the last true one.
    Frozen,
    /// Time runs backwards from the last true timestamp on.
    Backwards,
    /// Timestamps alternate between the ends of the range.
    Wrapping,
}

/// Configuration of one simulated device: the microphone or the loudspeaker of a board.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceConfig {
    /// Nominal sample rate. A stream request for another rate gets this one.
    pub rate: SampleRate,
    /// Clock error: how much faster than nominal the device runs, in parts per million.
    pub ppm: f64,
    /// Period lengths in sample frames. The device cycles through the list.
    pub periods: Vec<u32>,
    /// Number of channels of the device.
    pub device_channels: u32,
    /// Format of the samples that the interrupt half is given.
    pub format: DeviceSampleFormat,
    /// Time between the interrupt and the converter.
    pub latency: Duration,
    /// Random error of the timestamps.
    pub jitter: Jitter,
    /// Constant error of the timestamps.
    pub bias: Duration,
    /// Largest number of periods that the device delivers or takes at one moment: when the last of them is due.
    /// Each group has a random length from 1 to this number, and its timestamps share one error, which is late.
    /// 0 and 1 mean that each period comes alone.
    pub burst_periods: u32,
    /// Stream position that the device reports for the first sample frame of each stream.
    pub first_position: u64,
}

impl DeviceConfig {
    /// Returns a mono 16-bit device with one period length, no latency, and an exact clock and timestamps.
    #[must_use]
    pub fn new(rate: SampleRate, period: u32) -> Self {
        Self {
            rate,
            ppm: 0.0,
            periods: vec![period],
            device_channels: 1,
            format: DeviceSampleFormat::I16,
            latency: Duration::ZERO,
            jitter: Jitter::None,
            bias: Duration::ZERO,
            burst_periods: 1,
            first_position: 0,
        }
    }

    /// Returns the true rate of the device's clock, its error included, in hertz.
    #[must_use]
    pub fn true_hz(&self) -> f64 {
        f64::from(self.rate.hz()) * (1.0 + self.ppm * 1e-6)
    }

    /// Returns the latency as a whole number of sample frames.
    #[must_use]
    pub fn latency_sample_frames(&self) -> i64 {
        (self.latency.as_nanos() as f64 * f64::from(self.rate.hz()) / 1e9).round() as i64
    }

    /// Checks that the device can run.
    ///
    /// # Errors
    /// [`ConfigError::EmptyPeriod`] if the period list is empty or holds only zeros.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.longest_period() == 0 { Err(ConfigError::EmptyPeriod) } else { Ok(()) }
    }

    /// Returns the longest period, in sample frames.
    #[must_use]
    pub fn longest_period(&self) -> u32 {
        self.periods.iter().copied().max().unwrap_or(0)
    }
}
