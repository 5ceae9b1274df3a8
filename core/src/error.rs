//! Application side: the errors of a configuration, each with the value that is wrong.

use core::fmt;

use crate::limits::{
    MAX_CHAIN_STEPS, MAX_CHANNELS, MAX_DEVICE_CHANNELS, MAX_FADE, MAX_RATE_HZ, MIN_FADE, MIN_RATE_HZ,
    MIN_RESAMPLER_RATE_HZ,
};

/// A configuration that cannot work, naming the value found and what was expected.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ConfigError {
    /// The sample rate is outside the supported range.
    RateOutOfRange {
        /// Requested rate, in hertz.
        rate_hz: u32,
    },
    /// The sample rate has no whole number of samples in 10 ms.
    RateNotWhole {
        /// Requested rate, in hertz.
        rate_hz: u32,
    },
    /// The device's rate is not the session's, and the core was built without the feature `rate-conversion`.
    RateNotTerminal {
        /// Rate of the device, in hertz.
        rate_hz: u32,
        /// Rate of the session, in hertz.
        terminal_hz: u32,
    },
    /// The channel count of a frame is 0 or too large.
    Channels {
        /// Requested channel count.
        channels: u32,
    },
    /// The channel count of a device is 0 or too large.
    DeviceChannels {
        /// Requested channel count.
        channels: u32,
    },
    /// A channel map names a channel that does not exist.
    NoSuchChannel {
        /// Index of the channel, counted from 0.
        channel: u8,
        /// Number of channels that exist.
        channels: u8,
    },
    /// 10 ms of the format do not fit the frame's capacity.
    FrameTooLarge {
        /// Number of samples in 10 ms, all channels.
        samples: usize,
        /// Number of samples that the frame type holds.
        capacity: usize,
    },
    /// A period or buffer is empty.
    EmptyPeriod,
    /// The period is longer than the rings can bridge.
    PeriodTooLong {
        /// Requested period, in sample frames.
        period_sample_frames: u32,
        /// Longest period that the rings hold, in sample frames.
        longest_sample_frames: u32,
    },
    /// The device's latency is longer than the echo history.
    LatencyTooLong {
        /// Latency of the device, in milliseconds.
        latency_ms: i64,
        /// Longest latency that the echo history covers, in milliseconds.
        longest_ms: i64,
    },
    /// The gain is not a finite number from 0 to 64.
    Gain {
        /// Requested gain, linear.
        gain: f32,
    },
    /// The chain has too many frame processors.
    ChainTooLong {
        /// Number of frame processors.
        steps: usize,
    },
    /// The fade is not 3 to 10 ms long.
    Fade {
        /// Requested fade, in microseconds.
        us: i64,
    },
    /// The resampler does not support the sample rate.
    ResamplerRate {
        /// Requested rate, in hertz.
        rate_hz: u32,
    },
    /// The resampler has less memory than its quality and channels need.
    ResamplerMemory {
        /// Number of `f32` words needed.
        needed: usize,
        /// Number of `f32` words that the resampler has.
        capacity: usize,
    },
    /// The video rate is not a number from 0.1 to 1000 frames a second.
    VideoRate {
        /// Requested rate, in frames a second.
        fps: f64,
    },
    /// The video queue does not fit its memory.
    VideoQueue {
        /// Requested length, in milliseconds.
        queue_ms: u32,
        /// Number of frames in that time.
        frames: usize,
        /// Number of frames that the queue type holds.
        capacity: usize,
    },
    /// The tolerance for late video is not 1 to 60,000 ms.
    VideoTolerance {
        /// Requested tolerance, in milliseconds.
        tolerance_ms: u32,
    },
    /// The tone's frequency is not between 0 and half the sample rate.
    ToneFrequency {
        /// Requested frequency, in hertz.
        frequency_hz: f64,
        /// Sample rate of the tone, in hertz.
        rate_hz: u32,
    },
    /// The tone is shorter than a sample frame.
    ToneDuration {
        /// Requested duration, in microseconds.
        duration_us: i64,
    },
    /// The tone's amplitude is not a number from 0 to 1.
    ToneAmplitude {
        /// Requested amplitude, where 1 is full scale.
        amplitude: f32,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::RateOutOfRange { rate_hz } => {
                write!(f, "sample rate {rate_hz} Hz: expected {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz")
            }
            Self::RateNotWhole { rate_hz } => write!(
                f,
                "sample rate {rate_hz} Hz: expected a multiple of 100 Hz, so that 10 ms hold whole samples"
            ),
            Self::RateNotTerminal { rate_hz, terminal_hz } => write!(
                f,
                "a device of {rate_hz} Hz: expected the session's {terminal_hz} Hz, because the core was built without rate-conversion"
            ),
            Self::Channels { channels } => {
                write!(f, "{channels} channels: expected 1 to {MAX_CHANNELS}")
            }
            Self::DeviceChannels { channels } => {
                write!(f, "{channels} device channels: expected 1 to {MAX_DEVICE_CHANNELS}")
            }
            Self::NoSuchChannel { channel, channels } => {
                write!(f, "channel {channel} (counted from 0): expected one of the {channels} there are")
            }
            Self::FrameTooLarge { samples, capacity } => {
                write!(f, "10 ms hold {samples} samples: expected at most the frame's capacity of {capacity}")
            }
            Self::EmptyPeriod => f.write_str("a period of 0 sample frames: expected at least 1"),
            Self::PeriodTooLong { period_sample_frames, longest_sample_frames } => write!(
                f,
                "a period of {period_sample_frames} sample frames: expected at most {longest_sample_frames}, which the rings hold"
            ),
            Self::LatencyTooLong { latency_ms, longest_ms } => write!(
                f,
                "a device latency of {latency_ms} ms: expected at most {longest_ms} ms, the length of the echo history"
            ),
            Self::Fade { us } => write!(
                f,
                "a fade of {us} us: expected {} to {} us",
                MIN_FADE.as_micros(),
                MAX_FADE.as_micros()
            ),
            Self::ResamplerRate { rate_hz } => write!(
                f,
                "sample rate {rate_hz} Hz: expected {MIN_RESAMPLER_RATE_HZ} to {MAX_RATE_HZ} Hz for a resampler"
            ),
            Self::ResamplerMemory { needed, capacity } => {
                write!(
                    f,
                    "a resampler needs {needed} words of memory: expected at most its capacity of {capacity}"
                )
            }
            Self::VideoRate { fps } => {
                write!(f, "{fps} video frames a second: expected 0.1 to 1000")
            }
            Self::VideoQueue { queue_ms, frames, capacity } => write!(
                f,
                "a video queue of {queue_ms} ms, {frames} frames: expected at most its capacity of {capacity} frames"
            ),
            Self::VideoTolerance { tolerance_ms } => {
                write!(f, "a tolerance of {tolerance_ms} ms for late video: expected 1 to 60000 ms")
            }
            Self::ToneFrequency { frequency_hz, rate_hz } => {
                let half_hz = f64::from(rate_hz) / 2.0;
                write!(
                    f,
                    "a tone of {frequency_hz} Hz: expected above 0 and below {half_hz} Hz, half the rate"
                )
            }
            Self::ToneDuration { duration_us } => {
                write!(f, "a tone of {duration_us} us: expected at least one sample frame")
            }
            Self::ToneAmplitude { amplitude } => {
                write!(f, "a tone of amplitude {amplitude}: expected 0 to 1, which is full scale")
            }
            Self::ChainTooLong { steps } => {
                write!(f, "a chain of {steps} frame processors: expected at most {MAX_CHAIN_STEPS}")
            }
            Self::Gain { gain } => write!(f, "gain {gain}: expected a finite number from 0 to 64"),
        }
    }
}

impl core::error::Error for ConfigError {}
