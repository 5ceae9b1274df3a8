//! Application side: why something about the devices did not work.

use std::fmt;

use handsfree_core::ConfigError;
use handsfree_core::audio_io::HostError;
use handsfree_core::playback::TrackError;

use crate::failure::Failure;

/// Why a device, player or track did not do what it was asked for.
#[derive(Debug)]
#[non_exhaustive]
pub enum MediaError {
    /// The microphone is open already; close that capture first.
    InputOpen,
    /// There is no such device.
    NoSuchDevice {
        /// The id asked for.
        id: String,
    },
    /// The device has no such channel.
    NoSuchChannel {
        /// Which was asked for, counted from 0.
        index: u8,
        /// How many there are.
        channels: u32,
    },
    /// Another player plays on another device; the echo of one loudspeaker is taken out, not of two.
    OtherOutput {
        /// The device that plays.
        playing: String,
    },
    /// The player or track was closed or removed.
    Closed,
    /// A configuration that cannot work on any host.
    Config(ConfigError),
    /// A track could not do it.
    Track(TrackError),
    /// The host refused.
    Host {
        /// What it says.
        message: String,
    },
    /// Something outside failed.
    Failed(Failure),
}

impl MediaError {
    pub(super) fn host(error: &impl HostError) -> Self {
        Self::Host { message: error.to_string() }
    }
}

impl fmt::Display for MediaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InputOpen => f.write_str("the microphone is open: expected its capture to be closed first"),
            Self::NoSuchDevice { id } => write!(f, "'{id}': expected the id of a device that is listed"),
            Self::NoSuchChannel { index, channels } => {
                write!(
                    f,
                    "channel {index}: expected 0 to {}, as the device has {channels}",
                    channels.saturating_sub(1)
                )
            }
            Self::OtherOutput { playing } => {
                write!(
                    f,
                    "a player plays on '{playing}': expected the same device, or that it is stopped first"
                )
            }
            Self::Closed => {
                f.write_str("it was closed: expected an open player and a track that was not removed")
            }
            Self::Config(error) => error.fmt(f),
            Self::Track(error) => error.fmt(f),
            Self::Host { message } => f.write_str(message),
            Self::Failed(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for MediaError {}

impl From<ConfigError> for MediaError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<TrackError> for MediaError {
    fn from(error: TrackError) -> Self {
        Self::Track(error)
    }
}

impl From<Failure> for MediaError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}
