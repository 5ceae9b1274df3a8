//! Application side: the error of microphones, players and tracks.

use std::fmt;

use handsfree_core::ConfigError;
use handsfree_core::audio_io::HostError;
use handsfree_core::playback::TrackError;

use crate::failure::Failure;

/// Reason why a device, player or track could not do what was requested.
#[derive(Debug)]
#[non_exhaustive]
pub enum MediaError {
    /// The microphone is already open. The other capture must be closed first.
    InputOpen,
    /// The host has no device of this name.
    NoSuchDevice {
        /// Requested id.
        id: String,
    },
    /// The device has no such channel.
    NoSuchChannel {
        /// Requested channel, counted from 0.
        index: u8,
        /// Number of channels of the device.
        channels: u32,
    },
    /// Another player plays on a different device. Only one loudspeaker can be used at a time, because the echo of
    /// only one is removed.
    OtherOutput {
        /// Id of the device that is playing.
        playing: String,
    },
    /// The track was removed, or its player was closed.
    Closed,
    /// The configuration cannot work on any host.
    Config(ConfigError),
    /// A track refused the request.
    Track(TrackError),
    /// The host refused the request.
    Host {
        /// Message of the host.
        message: String,
    },
    /// Something outside the program failed.
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
            Self::InputOpen => {
                f.write_str("the microphone is already open: expected the other capture to be closed first")
            }
            Self::NoSuchDevice { id } => {
                write!(f, "no device '{id}': expected a name that the host can open")
            }
            Self::NoSuchChannel { index, channels } => {
                write!(
                    f,
                    "channel {index}: expected 0 to {}, because the device has {channels} channels",
                    channels.saturating_sub(1)
                )
            }
            Self::OtherOutput { playing } => {
                write!(
                    f,
                    "another player plays on '{playing}': expected the same device, or that player to be stopped first"
                )
            }
            Self::Closed => {
                f.write_str("the track is closed: expected an open player and a track that was not removed")
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
