//! Control side: the errors of loading, using and updating a filter.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::SampleType;

/// Reason why a filter cannot be loaded, used or updated. Each message names what was found and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FilterError {
    /// The file does not exist.
    NotFound {
        /// Path of the filter or dependency, as given.
        file: PathBuf,
    },
    /// The path exists, but cannot be read as a file.
    Unreadable {
        /// Path of the file.
        file: PathBuf,
        /// Reason that the system reports.
        reason: String,
    },
    /// The system's loader rejects the file.
    NotALibrary {
        /// Path of the file.
        file: PathBuf,
        /// Reason that the loader reports, such as the name of an undefined symbol.
        reason: String,
    },
    /// A library that the filter depends on cannot be loaded.
    Dependency {
        /// Path of the filter.
        file: PathBuf,
        /// Error of the dependency.
        error: Box<FilterError>,
    },
    /// The file is a shared library, but not a filter.
    MissingSymbols {
        /// Path of the file.
        file: PathBuf,
        /// All functions that the interface requires and that the library does not export.
        symbols: Vec<&'static str>,
    },
    /// The filter's `on_load` reported a failure.
    Refused {
        /// Path of the filter.
        file: PathBuf,
        /// Return value of `on_load`; 0 means success.
        code: i32,
    },
    /// The module id refers to a different file already.
    ModuleTaken {
        /// Module id of the request.
        module_id: String,
        /// File that is loaded under the module id.
        loaded: PathBuf,
        /// File that was requested.
        asked: PathBuf,
    },
    /// The file is loaded under a different module id already; a file is loaded only once.
    FileTaken {
        /// File that was requested.
        file: PathBuf,
        /// Module id under which the file is loaded.
        module_id: String,
    },
    /// A text contains a NUL byte, at which it would end for a filter.
    NulInText {
        /// Name of the text.
        field: &'static str,
        /// Position of the NUL, in bytes.
        at: usize,
    },
    /// The filter refused to make a session, so it is off for this stream.
    NoSession {
        /// Path of the filter.
        file: PathBuf,
        /// Channel of the session, counted from 0.
        channel: usize,
        /// Input sample rate, in hertz.
        in_rate_hz: u32,
        /// Output sample rate, in hertz.
        out_rate_hz: u32,
    },
    /// Two different rates need version 2 of the interface, which the filter lacks.
    NeedsV2 {
        /// Path of the filter.
        file: PathBuf,
        /// Sample type of the session.
        samples: SampleType,
        /// Input sample rate, in hertz.
        in_rate_hz: u32,
        /// Output sample rate, in hertz.
        out_rate_hz: u32,
    },
    /// The filter was processing one frame during the whole wait.
    Busy {
        /// Time that the control waited.
        waited: Duration,
    },
    /// The processor was closed or dropped.
    Closed,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { file } => write!(f, "{}: there is no such file", file.display()),
            Self::Unreadable { file, reason } => write!(f, "{} cannot be read: {reason}", file.display()),
            Self::NotALibrary { file, reason } => {
                write!(f, "{} cannot be loaded as a shared library: {reason}", file.display())
            }
            Self::Dependency { file, error } => {
                write!(
                    f,
                    "{}: a library that the filter depends on cannot be loaded: {error}",
                    file.display()
                )
            }
            Self::MissingSymbols { file, symbols } => {
                write!(
                    f,
                    "{} is not an audio filter: it does not export {}",
                    file.display(),
                    symbols.join(", ")
                )
            }
            Self::Refused { file, code } => {
                write!(f, "{}: audio_filter_on_load returned {code}: expected 0", file.display())
            }
            Self::ModuleTaken { module_id, loaded, asked } => write!(
                f,
                "module id {module_id:?} refers to {} already: expected a different module id for {}",
                loaded.display(),
                asked.display()
            ),
            Self::FileTaken { file, module_id } => {
                write!(
                    f,
                    "{} is loaded already under module id {module_id:?}: expected a file that is not loaded",
                    file.display()
                )
            }
            Self::NulInText { field, at } => {
                write!(f, "{field} contains a NUL at byte {at}: expected text without NUL")
            }
            Self::NoSession { file, channel, in_rate_hz, out_rate_hz } => write!(
                f,
                "{} made no session for channel {channel} from {in_rate_hz} to {out_rate_hz} Hz: the filter is off",
                file.display()
            ),
            Self::NeedsV2 { file, samples, in_rate_hz, out_rate_hz } => write!(
                f,
                "{} from {in_rate_hz} to {out_rate_hz} Hz: expected equal rates, because the filter lacks {} or \
                 audio_filter_create_v2",
                file.display(),
                samples.process_v2_name()
            ),
            Self::Busy { waited } => write!(
                f,
                "the filter was still processing a frame after {} ms: expected less than 10 ms",
                waited.as_millis()
            ),
            Self::Closed => f.write_str("the filter processor is closed: its control has no effect"),
        }
    }
}

impl Error for FilterError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Dependency { error, .. } => Some(error),
            _ => None,
        }
    }
}
