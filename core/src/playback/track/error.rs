//! Application side: why a track refuses a call.

use core::fmt;

use crate::error::ConfigError;

/// Why a track refused a call.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TrackError {
    /// All of the session's slots are in use.
    NoSlot {
        /// Number of slots of the session.
        slots: usize,
    },
    /// The track's frame or command queue is full. A retry after about 10 ms may succeed.
    Full,
    /// The track was interrupted under manual control and takes no audio until
    /// [`enable_input`](super::Track::enable_input) is called.
    InputClosed,
    /// The mixer was closed, or its input ended before the track was opened.
    Closed,
    /// The source cannot be converted.
    Config(ConfigError),
}

impl fmt::Display for TrackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSlot { slots } => write!(f, "all {slots} track slots are in use"),
            Self::Full => f.write_str("the track's queue is full"),
            Self::InputClosed => {
                f.write_str("the track was interrupted and takes nothing until its input is enabled")
            }
            Self::Closed => f.write_str("the mixer's input has ended"),
            Self::Config(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for TrackError {}

impl From<ConfigError> for TrackError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}
