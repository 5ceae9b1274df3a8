//! Control side: what can go wrong when devices are looked at, opened and started.

use std::fmt;

use handsfree_core::ConfigError;
use handsfree_core::audio_io::{Direction, ErrorKind, HostError};

/// Why a device was not found, opened or started.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum CpalError {
    /// A request that cannot work on any host.
    Config(ConfigError),
    /// No audio system of this name is built in.
    NoHost {
        /// The name asked for.
        asked: String,
        /// Those that are there.
        known: Vec<String>,
    },
    /// No device has this name, or there is no default one.
    NotFound {
        /// The name asked for, or `the default`.
        device: String,
        /// Which direction.
        direction: Direction,
    },
    /// Somebody else uses the device.
    Busy {
        /// The device.
        device: String,
    },
    /// The process may not use the device.
    Denied {
        /// The device.
        device: String,
    },
    /// The device has no format, rate or channel count that can be used.
    Unsupported {
        /// The device.
        device: String,
        /// What was needed.
        needed: String,
        /// What it has instead.
        offered: String,
    },
    /// An end was given that runs already, none was given, or a request has no end.
    Misuse(&'static str),
    /// The audio system did not answer in time; it is left alone, and may be asked again.
    NoAnswer {
        /// What was being done.
        doing: String,
        /// How long it was waited for, in milliseconds.
        waited_ms: u32,
    },
    /// The device or its server went away.
    Lost {
        /// What was being done.
        doing: String,
        /// What the audio system said.
        message: String,
    },
    /// Anything else that the audio system says.
    Backend {
        /// What was being done.
        doing: String,
        /// What the audio system said.
        message: String,
    },
}

impl CpalError {
    /// An error of cpal's, told apart by kind.
    pub(crate) fn on(device: &str, direction: Direction, doing: &str, error: &cpal::Error) -> Self {
        use cpal::ErrorKind as Kind;
        let owned = || device.to_owned();
        let what = || format!("{doing} '{device}'");
        match error.kind() {
            Kind::DeviceNotAvailable => Self::NotFound { device: owned(), direction },
            Kind::DeviceBusy => Self::Busy { device: owned() },
            Kind::PermissionDenied => Self::Denied { device: owned() },
            Kind::UnsupportedConfig | Kind::UnsupportedOperation | Kind::InvalidInput => Self::Unsupported {
                device: owned(),
                needed: what(),
                offered: format!("the refusal '{error}'"),
            },
            Kind::StreamInvalidated | Kind::HostUnavailable => {
                Self::Lost { doing: what(), message: error.to_string() }
            }
            _ => Self::Backend { doing: what(), message: error.to_string() },
        }
    }

    /// An error of a whole audio system.
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
            Self::NoHost { asked, known } => {
                write!(f, "no audio system '{asked}': expected one of {}", known.join(" "))
            }
            Self::NotFound { device, direction } => write!(
                f,
                "no {} device '{device}': expected one that `handsfree devices --io cpal` lists",
                word(*direction)
            ),
            Self::Busy { device } => write!(f, "device '{device}' is in use by another program"),
            Self::Denied { device } => {
                write!(
                    f,
                    "device '{device}' may not be used: expected the system to allow it to this program"
                )
            }
            Self::Unsupported { device, needed, offered } => {
                write!(f, "device '{device}' offers {offered}: expected {needed}")
            }
            Self::Misuse(what) => write!(f, "wrong order of calls: {what}"),
            Self::NoAnswer { doing, waited_ms } => {
                write!(f, "{doing}: the audio system gave no answer for {waited_ms} ms")
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
