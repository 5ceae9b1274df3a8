//! Application side: what can be wrong with a configuration, always with the value that was wrong.

use core::fmt;

use crate::dsp::MIN_RESAMPLER_RATE_HZ;
use crate::limits::{
    MAX_CHAIN_STEPS, MAX_CHANNELS, MAX_DEVICE_CHANNELS, MAX_FADE, MAX_RATE_HZ, MIN_FADE, MIN_RATE_HZ,
};

/// A configuration that cannot work, naming the value found and what was expected.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ConfigError {
    /// A sample rate outside the supported range, in hertz.
    RateOutOfRange {
        /// The rate asked for.
        rate_hz: u32,
    },
    /// A sample rate that has no whole number of samples in 10 ms, in hertz.
    RateNotWhole {
        /// The rate asked for.
        rate_hz: u32,
    },
    /// A device of another rate than the terminal's, in a core that was built without
    /// `rate-conversion`, in hertz.
    RateNotTerminal {
        /// The rate asked for.
        rate_hz: u32,
        /// The terminal's.
        terminal_hz: u32,
    },
    /// A frame with no channels or too many.
    Channels {
        /// The channels asked for.
        channels: u32,
    },
    /// A device with no channels or too many.
    DeviceChannels {
        /// The channels asked for.
        channels: u32,
    },
    /// A channel map that names a channel which is not there.
    NoSuchChannel {
        /// The zero-based channel named.
        channel: u8,
        /// How many channels there are.
        channels: u8,
    },
    /// 10 ms of this format do not fit the frame's capacity.
    FrameTooLarge {
        /// Samples in 10 ms, all channels.
        samples: usize,
        /// Samples the frame type holds.
        capacity: usize,
    },
    /// A period or buffer of no length.
    EmptyPeriod,
    /// A period longer than the rings can bridge.
    PeriodTooLong {
        /// The period in sample frames.
        period_sample_frames: u32,
        /// The longest period the rings hold, in sample frames.
        longest_sample_frames: u32,
    },
    /// A device latency that the reference history does not reach across.
    LatencyTooLong {
        /// The device's latency in milliseconds.
        latency_ms: i64,
        /// The longest that the history allows, in milliseconds.
        longest_ms: i64,
    },
    /// A gain that is not a finite number from 0 to 64.
    Gain {
        /// The gain asked for, linear.
        gain: f32,
    },
    /// A chain of more frame processors than one can have.
    ChainTooLong {
        /// The steps given.
        steps: usize,
    },
    /// A fade that is not 3 to 10 ms.
    Fade {
        /// The fade asked for, in microseconds.
        us: i64,
    },
    /// A sample rate that a resampler does not convert, in hertz.
    ResamplerRate {
        /// The rate asked for.
        rate_hz: u32,
    },
    /// A resampler with less memory than its quality and channels need.
    ResamplerMemory {
        /// `f32` words needed.
        needed: usize,
        /// `f32` words the resampler has.
        capacity: usize,
    },
    /// A video rate that is not a number from 0.1 to 1000 frames a second.
    VideoRate {
        /// The rate asked for.
        fps: f64,
    },
    /// A video queue that does not fit its memory.
    VideoQueue {
        /// The length asked for, in milliseconds.
        queue_ms: u32,
        /// Frames in that time.
        frames: usize,
        /// Frames the queue type holds.
        capacity: usize,
    },
    /// A tolerance for late video outside 1 to 60,000 ms.
    VideoTolerance {
        /// The tolerance asked for, in milliseconds.
        tolerance_ms: u32,
    },
    /// A tone that its sample rate does not carry.
    ToneFrequency {
        /// The frequency asked for, in hertz.
        frequency_hz: f64,
        /// The sample rate.
        rate_hz: u32,
    },
    /// A tone of no length.
    ToneDuration {
        /// The duration asked for, in microseconds.
        duration_us: i64,
    },
    /// A tone's amplitude that is not a number from 0 to 1.
    ToneAmplitude {
        /// The amplitude asked for, where 1 is full scale.
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
                "a device of {rate_hz} Hz: expected the terminal's {terminal_hz} Hz, for the core was built without rate-conversion"
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
                "a device latency of {latency_ms} ms: expected at most {longest_ms} ms, which the reference history reaches across"
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
