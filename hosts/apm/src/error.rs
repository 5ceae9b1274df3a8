//! Application side: why a processor cannot be created or reconfigured.

use std::fmt;
use std::time::Duration;

use handsfree_core::audio_io::Direction;

/// Reason why a processor cannot be created or reconfigured; its text names what was found and what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApmError {
    /// The processor does not accept this sample rate.
    Rate {
        /// Direction that the rate was requested for.
        direction: Direction,
        /// Rate requested, in hertz.
        rate_hz: u32,
    },
    /// The processor does not accept this number of channels.
    Channels {
        /// Direction that the channels were requested for.
        direction: Direction,
        /// Number of channels requested.
        channels: usize,
    },
    /// The library could not create an instance.
    Create {
        /// Error code of the library.
        code: i32,
    },
    /// The library failed on a frame of silence under this configuration.
    Backend {
        /// Error code of the library.
        code: i32,
    },
    /// A control is reconfiguring this processor at this moment.
    Busy,
    /// No frame was processed while the control waited, so the worker could not lend the library's instance.
    NoFrame {
        /// Time that the control waited.
        waited: Duration,
    },
    /// The processor was dropped.
    Gone,
    /// This build does not link the library.
    NotLinked,
}

fn name(direction: Direction) -> &'static str {
    match direction {
        Direction::Capture => "capture",
        Direction::Playback => "playback",
    }
}

impl fmt::Display for ApmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Rate { direction, rate_hz } => write!(
                f,
                "{} at {rate_hz} Hz: the voice processor accepts 8000, 16000, 24000, 32000, 44100 or 48000 Hz",
                name(direction)
            ),
            Self::Channels { direction, channels } => {
                write!(f, "{} with {channels} channels: the voice processor accepts 1 or 2", name(direction))
            }
            Self::Create { code } => {
                write!(f, "the audio processing library created no instance: code {code}, expected 0")
            }
            Self::Backend { code } => write!(
                f,
                "the audio processing library failed with code {code} under this configuration, expected 0"
            ),
            Self::Busy => f.write_str(
                "a control is changing the voice processor's settings: try again after the next frame",
            ),
            Self::NoFrame { waited } => write!(
                f,
                "the voice processor received no frame within {} ms, and settings change between frames: expected a running stream",
                waited.as_millis()
            ),
            Self::Gone => f.write_str("the voice processor was dropped, so its settings cannot change"),
            Self::NotLinked => f.write_str(
                "this build lacks WebRTC's audio processing: expected a build with the feature `apm` of handsfree or \
                 `webrtc` of handsfree-apm",
            ),
        }
    }
}

impl std::error::Error for ApmError {}
