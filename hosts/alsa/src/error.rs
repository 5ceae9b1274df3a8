//! Control side: what can go wrong when devices are looked at, opened and started.

use std::fmt;

use handsfree_core::ConfigError;
use handsfree_core::audio_io::{Direction, ErrorKind, HostError};

use crate::format::SampleFormat;

/// Why a device was not found, opened or started.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum AlsaError {
    /// A request that cannot work on any host.
    Config(ConfigError),
    /// No device has this name.
    NotFound {
        /// The name asked for.
        device: String,
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
    /// The device has none of the sample formats that are spoken here, or not the one asked for.
    Format {
        /// The device.
        device: String,
        /// The only format that was allowed, if one was.
        asked: Option<SampleFormat>,
        /// What it has instead, as ALSA names it.
        offered: Vec<String>,
    },
    /// The device has no rate that is a whole number of samples in 10 ms.
    Rate {
        /// The device.
        device: String,
        /// Its lowest and highest rate in hertz.
        offered_hz: (u32, u32),
    },
    /// The device does not have as many channels as the channel map speaks of.
    Channels {
        /// The device.
        device: String,
        /// How many were needed.
        needed: u32,
        /// The fewest and most that it has.
        offered: (u32, u32),
    },
    /// An end was given that runs already, none was given, or a request has no end.
    Misuse(&'static str),
    /// The board's thread did not take the streams over: `Board::run` or `Board::spawn` comes first.
    BoardStandsStill,
    /// The device was started and no sample moved.
    NoProgress {
        /// Which direction.
        direction: Direction,
    },
    /// The device went away, or failed and could not be started again.
    Lost {
        /// Which direction.
        direction: Direction,
    },
    /// Anything else that ALSA says.
    Alsa {
        /// What was being done.
        doing: String,
        /// The failing function.
        function: &'static str,
        /// The system's error number.
        errno: i32,
    },
    /// The system refused something that is not ALSA's.
    System {
        /// What was being done.
        doing: &'static str,
        /// The system's error number.
        errno: i32,
    },
}

impl AlsaError {
    /// The error of a call on a device, told apart by number.
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
                "device '{device}' may not be used: expected the right to its file in /dev/snd, which \
                 members of the group 'audio' have"
            ),
            Self::Format { device, asked, offered } => {
                write!(f, "device '{device}' offers {}: expected ", or_none(offered))?;
                match asked {
                    Some(format) => write!(f, "{format}"),
                    None => write!(f, "one of {}", SampleFormat::ALL.map(SampleFormat::name).join(" ")),
                }?;
                f.write_str("; plughw: instead of hw: converts")
            }
            Self::Rate { device, offered_hz: (low, high) } => write!(
                f,
                "device '{device}' offers {low} to {high} Hz: expected a multiple of 100 from 8000 to 192000"
            ),
            Self::Channels { device, needed, offered: (low, high) } => {
                write!(f, "device '{device}' has {low} to {high} channels: expected {needed}")
            }
            Self::Misuse(what) => write!(f, "wrong order of calls: {what}"),
            Self::BoardStandsStill => {
                f.write_str("the board's thread takes no streams: expected Board::run or Board::spawn before")
            }
            Self::NoProgress { direction } => {
                write!(f, "the {} device was started, and no sample moved", word(*direction))
            }
            Self::Lost { direction } => write!(f, "the {} device went away", word(*direction)),
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

pub(crate) const fn word(direction: Direction) -> &'static str {
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
            Self::Misuse(_) | Self::BoardStandsStill => ErrorKind::Misuse,
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
