//! Control side: errors of listing, opening and starting devices.

use std::fmt;

use handsfree_core::ConfigError;
use handsfree_core::audio_io::{Direction, ErrorKind, HostError};

/// Reason why a device was not found, opened or started.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum CpalError {
    /// The request cannot work on any host.
    Config(ConfigError),
    /// No audio system of this name is built in, or none answers.
    NoHost {
        /// Name requested.
        requested: String,
        /// Names of the audio systems that are built in.
        known: Vec<String>,
    },
    /// No device has this name, or there is no default device.
    NotFound {
        /// Name requested, or `the default`.
        device: String,
        /// Direction that the device was requested for.
        direction: Direction,
    },
    /// Another program uses the device.
    Busy {
        /// Name of the device.
        device: String,
    },
    /// The system does not permit this process to use the device.
    Denied {
        /// Name of the device.
        device: String,
    },
    /// The device has no usable combination of sample format, rate and channel count.
    Unsupported {
        /// Name of the device.
        device: String,
        /// Description of the configurations that would be usable.
        needed: String,
        /// Description of the configurations that the device offers.
        offered: String,
    },
    /// The call is not allowed in this state, for example because the direction runs already, or a half and its
    /// request were not given together.
    Misuse(&'static str),
    /// The audio system did not answer in time. The call continues in the background and a retry is allowed.
    NoAnswer {
        /// Operation that failed.
        doing: String,
        /// Time waited for an answer, in milliseconds.
        waited_ms: u32,
    },
    /// The device or its server went away.
    Lost {
        /// Operation that failed.
        doing: String,
        /// Error message of the audio system.
        message: String,
    },
    /// The audio system reported another error.
    Backend {
        /// Operation that failed.
        doing: String,
        /// Error message of the audio system.
        message: String,
    },
}

impl CpalError {
    /// Converts an error of cpal that occurred on a device.
    pub(crate) fn on(device: &str, direction: Direction, doing: &str, error: &cpal::Error) -> Self {
        use cpal::ErrorKind as Kind;
        let owned = || device.to_owned();
        let operation = || format!("{doing} '{device}'");
        match error.kind() {
            Kind::DeviceNotAvailable => Self::NotFound { device: owned(), direction },
            Kind::DeviceBusy => Self::Busy { device: owned() },
            Kind::PermissionDenied => Self::Denied { device: owned() },
            Kind::UnsupportedConfig | Kind::UnsupportedOperation | Kind::InvalidInput => Self::Unsupported {
                device: owned(),
                needed: operation(),
                offered: format!("the error '{error}'"),
            },
            Kind::StreamInvalidated | Kind::HostUnavailable => {
                Self::Lost { doing: operation(), message: error.to_string() }
            }
            _ => Self::Backend { doing: operation(), message: error.to_string() },
        }
    }

    /// Converts an error that concerns the whole audio system.
    pub(crate) fn of_host(doing: &str, error: &cpal::Error) -> Self {
        Self::Lost { doing: doing.to_owned(), message: error.to_string() }
    }
}

pub(crate) const fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Capture => "capture",
        Direction::Playback => "playback",
    }
}

impl fmt::Display for CpalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::NoHost { requested, known } => {
                write!(f, "found no audio system '{requested}': expected one of {}", known.join(" "))
            }
            Self::NotFound { device, direction } => write!(
                f,
                "found no {} device '{device}': expected one that `handsfree devices --io cpal` lists",
                word(*direction)
            ),
            Self::Busy { device } => write!(f, "device '{device}' is in use by another program"),
            Self::Denied { device } => {
                write!(
                    f,
                    "the system denies access to device '{device}': expected permission for this program"
                )
            }
            Self::Unsupported { device, needed, offered } => {
                write!(f, "device '{device}' offers {offered}: expected {needed}")
            }
            Self::Misuse(what) => write!(f, "invalid call: {what}"),
            Self::NoAnswer { doing, waited_ms } => {
                write!(f, "{doing}: the audio system did not answer within {waited_ms} ms")
            }
            Self::Lost { doing, message } | Self::Backend { doing, message } => {
                write!(f, "{doing}: {message}")
            }
        }
    }
}

impl std::error::Error for CpalError {}

impl HostError for CpalError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Config(error) => ErrorKind::Config(*error),
            Self::NotFound { .. } | Self::NoHost { .. } => ErrorKind::NotFound,
            Self::Busy { .. } => ErrorKind::Busy,
            Self::Denied { .. } => ErrorKind::Denied,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Misuse(_) => ErrorKind::Misuse,
            Self::Lost { .. } => ErrorKind::Lost,
            Self::NoAnswer { .. } | Self::Backend { .. } => ErrorKind::Backend,
        }
    }
}

impl From<ConfigError> for CpalError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}
