//! Control side: errors of the host.

use core::fmt;

use handsfree_core::audio_io::{Direction, ErrorKind, HostError};
use handsfree_core::limits::MAX_DEVICE_CHANNELS;
use handsfree_core::{ConfigError, SampleRate};

/// Error of the host, with the value that was found and what was expected.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum DmaError {
    /// The half does not support what the hardware has.
    Config(ConfigError),
    /// The direction has no hardware.
    NotInstalled {
        /// Requested direction.
        direction: Direction,
    },
    /// The request names another device.
    NoSuchDevice {
        /// Name of the device that there is.
        name: &'static str,
    },
    /// The request asks for another rate than the hardware's.
    Rate {
        /// Requested rate.
        asked: SampleRate,
        /// Rate of the hardware.
        expected: SampleRate,
    },
    /// The request's channels, or those of its map, are not the slots.
    Channels {
        /// Requested number of channels.
        asked: u32,
        /// Number of slots.
        expected: u32,
    },
    /// The properties have no slots or too many.
    Slots {
        /// Number of slots in the properties.
        slots: u32,
    },
    /// The period does not agree with the port's.
    Period {
        /// Number of samples in the period of the properties.
        samples: usize,
        /// The port's.
        expected: usize,
    },
    /// The ring has too few periods or too many.
    Periods {
        /// Number of periods in the properties.
        periods: u32,
    },
    /// A call in the wrong order, and what was expected.
    Misuse(&'static str),
}

impl fmt::Display for DmaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::NotInstalled { direction } => {
                write!(f, "{direction:?} has no hardware: expected DmaPort::install before")
            }
            Self::NoSuchDevice { name } => write!(f, "no such device: expected {name} or none"),
            Self::Rate { asked, expected } => {
                write!(f, "{} Hz: expected {} Hz, the hardware's rate", asked.hz(), expected.hz())
            }
            Self::Channels { asked, expected } => {
                write!(f, "{asked} channels: expected {expected}, the number of slots")
            }
            Self::Slots { slots } => write!(f, "{slots} slots: expected 1 to {MAX_DEVICE_CHANNELS}"),
            Self::Period { samples, expected } => {
                write!(f, "a period of {samples} samples: expected {expected}, the port's PERIOD")
            }
            Self::Periods { periods } => write!(f, "{periods} periods in the ring: expected 2 to 64"),
            Self::Misuse(text) => f.write_str(text),
        }
    }
}

impl core::error::Error for DmaError {}

impl HostError for DmaError {
    fn kind(&self) -> ErrorKind {
        match *self {
            Self::Config(error) => ErrorKind::Config(error),
            Self::NotInstalled { .. } | Self::NoSuchDevice { .. } => ErrorKind::NotFound,
            Self::Rate { .. } | Self::Channels { .. } => ErrorKind::Unsupported,
            Self::Slots { .. } | Self::Period { .. } | Self::Periods { .. } | Self::Misuse(_) => {
                ErrorKind::Misuse
            }
        }
    }
}

impl From<ConfigError> for DmaError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}
