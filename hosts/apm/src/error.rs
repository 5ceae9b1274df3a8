//! Application side: why a processor cannot be made or changed.

use std::fmt;
use std::time::Duration;

/// Which of the two streams an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The microphone.
    Capture,
    /// The loudspeaker, which the library calls the reverse stream.
    Playback,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Capture => "capture",
            Self::Playback => "playback",
        })
    }
}

/// Why a processor cannot be made or changed, naming what was found and what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApmError {
    /// A rate that the library does not take.
    Rate {
        /// The stream it was for.
        direction: Direction,
        /// The rate asked for.
        rate_hz: u32,
    },
    /// More channels than the processor takes.
    Channels {
        /// The stream it was for.
        direction: Direction,
        /// The channels asked for.
        channels: usize,
    },
    /// The library could not make an instance.
    Create {
        /// As the library numbers it.
        code: i32,
    },
    /// The library refused silence under this configuration.
    Backend {
        /// As the library numbers it.
        code: i32,
    },
    /// A control is changing this processor at this moment.
    Busy,
    /// No frame came by at which the worker could have lent the library's instance.
    NoFrame {
        /// How long the control waited.
        waited: Duration,
    },
    /// The processor was dropped.
    Gone,
}

impl fmt::Display for ApmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rate { direction, rate_hz } => write!(
                f,
                "{direction} at {rate_hz} Hz: the voice processor takes 8000, 16000, 24000, 32000, 44100 or 48000 Hz"
            ),
            Self::Channels { direction, channels } => {
                write!(f, "{direction} with {channels} channels: the voice processor takes 1 or 2")
            }
            Self::Create { code } => {
                write!(f, "the audio processing library made no instance: code {code}, expected 0")
            }
            Self::Backend { code } => write!(
                f,
                "the audio processing library failed with code {code} under this configuration, expected 0"
            ),
            Self::Busy => {
                f.write_str("a control is changing the voice processor: try again after the next frame")
            }
            Self::NoFrame { waited } => write!(
                f,
                "the voice processor saw no frame within {} ms, and settings change between frames: expected a running stream",
                waited.as_millis()
            ),
            Self::Gone => {
                f.write_str("the voice processor was dropped: its control changes nothing any more")
            }
        }
    }
}

impl std::error::Error for ApmError {}
