//! Control side: the errors of listing, opening and starting devices.

use std::fmt;

use handsfree_core::ConfigError;
use handsfree_core::audio_io::{Direction, ErrorKind, HostError};

use crate::format::SampleFormat;

/// Reason why a device was not found, opened or started.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum AlsaError {
    /// The request is invalid on every host.
    Config(ConfigError),
    /// No device has the requested name.
    NotFound {
        /// Requested name.
        device: String,
    },
    /// Another program uses the device.
    Busy {
        /// Name of the device.
        device: String,
    },
    /// The process lacks the permission to use the device.
    Denied {
        /// Name of the device.
        device: String,
    },
    /// The device has none of the supported sample formats, or not the requested one.
    Format {
        /// Name of the device.
        device: String,
        /// Requested sample format; `None` if any supported one was acceptable.
        asked: Option<SampleFormat>,
        /// Sample formats of the device, under their ALSA names.
        offered: Vec<String>,
    },
    /// The device has no rate that is a whole number of samples in 10 ms.
    Rate {
        /// Name of the device.
        device: String,
        /// Lowest and highest rate of the device, in hertz.
        offered_hz: (u32, u32),
    },
    /// The device does not have the number of channels that the channel map needs.
    Channels {
        /// Name of the device.
        device: String,
        /// Channel count of the map.
        needed: u32,
        /// Smallest and largest channel count of the device.
        offered: (u32, u32),
    },
    /// The request names no direction or a running one, or the halves do not match its directions.
    Misuse(&'static str),
    /// The board's thread does not run: `Board::run` or `Board::spawn` must be called first.
    BoardNotRunning,
    /// The device was started, but no sample moved.
    NoProgress {
        /// Direction of the device.
        direction: Direction,
    },
    /// The device is gone, or failed and could not be restarted.
    Lost {
        /// Direction of the device.
        direction: Direction,
    },
    /// Any other error of ALSA.
    Alsa {
        /// Operation that failed.
        doing: String,
        /// Name of the ALSA function that failed.
        function: &'static str,
        /// Error number of the system.
        errno: i32,
    },
    /// The system refused an operation outside ALSA.
    System {
        /// Operation that failed.
        doing: &'static str,
        /// Error number of the system.
        errno: i32,
    },
}

impl AlsaError {
    /// Converts the error of a call on a device, by its error number.
    pub(crate) fn on(device: &str, doing: &str, error: alsa::Error) -> Self {
        let device = device.to_owned();
        match error.errno() {
            libc::ENOENT | libc::ENODEV | libc::ENXIO => Self::NotFound { device },
            libc::EBUSY | libc::EAGAIN => Self::Busy { device },
            libc::EACCES | libc::EPERM => Self::Denied { device },
            errno => Self::Alsa { doing: format!("{doing} '{device}'"), function: error.func(), errno },
        }
    }
}

impl fmt::Display for AlsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let because = |errno: &i32| std::io::Error::from_raw_os_error(*errno);
        match self {
            Self::Config(error) => error.fmt(f),
            Self::NotFound { device } => {
                write!(f, "no device '{device}': expected one that `handsfree devices --io alsa` lists")
            }
            Self::Busy { device } => write!(f, "device '{device}' is in use by another program"),
            Self::Denied { device } => write!(
                f,
                "device '{device}' may not be used: expected access to its file in /dev/snd, which \
                 members of the group 'audio' have"
            ),
            Self::Format { device, asked, offered } => {
                write!(f, "device '{device}' offers {}: expected ", or_none(offered))?;
                match asked {
                    Some(format) => write!(f, "{format}"),
                    None => write!(f, "one of {}", SampleFormat::ALL.map(SampleFormat::name).join(" ")),
                }?;
                f.write_str("; a plughw: name instead of hw: converts formats")
            }
            Self::Rate { device, offered_hz: (low, high) } => write!(
                f,
                "device '{device}' offers {low} to {high} Hz: expected a multiple of 100 from 8000 to 192000"
            ),
            Self::Channels { device, needed, offered: (low, high) } => {
                write!(f, "device '{device}' has {low} to {high} channels: expected {needed}")
            }
            Self::Misuse(what) => write!(f, "wrong order of calls: {what}"),
            Self::BoardNotRunning => f.write_str(
                "the board's thread does not run: expected a call of Board::run or Board::spawn before",
            ),
            Self::NoProgress { direction } => {
                write!(
                    f,
                    "the {} device was started: expected samples to move, but none did",
                    direction_name(*direction)
                )
            }
            Self::Lost { direction } => {
                write!(f, "the {} device is gone: expected it to stay connected", direction_name(*direction))
            }
            Self::Alsa { doing, function, errno } => {
                write!(f, "{doing}: {function}: {}", because(errno))
            }
            Self::System { doing, errno } => write!(f, "{doing}: {}", because(errno)),
        }
    }
}

fn or_none(offered: &[String]) -> String {
    if offered.is_empty() { "no sample format".to_owned() } else { offered.join(" ") }
}

pub(crate) const fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Capture => "capture",
        Direction::Playback => "playback",
    }
}

impl std::error::Error for AlsaError {}

impl HostError for AlsaError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Config(error) => ErrorKind::Config(*error),
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Busy { .. } => ErrorKind::Busy,
            Self::Denied { .. } => ErrorKind::Denied,
            Self::Format { .. } | Self::Rate { .. } | Self::Channels { .. } => ErrorKind::Unsupported,
            Self::Misuse(_) | Self::BoardNotRunning => ErrorKind::Misuse,
            Self::Lost { .. } => ErrorKind::Lost,
            Self::NoProgress { .. } | Self::Alsa { .. } | Self::System { .. } => ErrorKind::Backend,
        }
    }
}

impl From<ConfigError> for AlsaError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}
