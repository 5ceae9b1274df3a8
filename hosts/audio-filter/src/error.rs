//! Control side: why a filter cannot be loaded, used or told something.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::SampleType;

/// Why a filter cannot be loaded, used or told something, naming what was found and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FilterError {
    /// There is no such file.
    NotFound {
        /// The path as given.
        file: PathBuf,
    },
    /// There is something, but it cannot be read as a file.
    Unreadable {
        /// Its path.
        file: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The system's loader does not take it.
    NotALibrary {
        /// Its path.
        file: PathBuf,
        /// What the loader says, for instance which symbol it found nowhere.
        reason: String,
    },
    /// One of the libraries that the filter depends on cannot be loaded.
    Dependency {
        /// The filter's path.
        file: PathBuf,
        /// What is wrong with the dependency.
        error: Box<FilterError>,
    },
    /// It is a library, but no filter.
    MissingSymbols {
        /// Its path.
        file: PathBuf,
        /// All functions that the interface requires and the library does not export.
        symbols: Vec<&'static str>,
    },
    /// The filter's `on_load` did not accept.
    Refused {
        /// The filter's path.
        file: PathBuf,
        /// What `on_load` returned; 0 would have been acceptance.
        code: i32,
    },
    /// The module id stands for another file already.
    ModuleTaken {
        /// The module id.
        module_id: String,
        /// The file that has it.
        loaded: PathBuf,
        /// The file that was to have it.
        asked: PathBuf,
    },
    /// The file is loaded under another module id, and its `on_load` is called once.
    FileTaken {
        /// The file.
        file: PathBuf,
        /// The module id that it has.
        module_id: String,
    },
    /// A text holds a NUL, where it would end for a filter.
    NulInText {
        /// Which text.
        field: &'static str,
        /// The byte at which the NUL stands.
        at: usize,
    },
    /// The filter made no session, so it is off for this stream.
    NoSession {
        /// The filter's path.
        file: PathBuf,
        /// The channel that the session was for, counted from 0.
        channel: usize,
        /// The rate that goes in, in hertz.
        in_rate_hz: u32,
        /// The rate that comes out, in hertz.
        out_rate_hz: u32,
    },
    /// Two different rates need version 2 of the interface.
    NeedsV2 {
        /// The filter's path.
        file: PathBuf,
        /// The samples that it was to process.
        samples: SampleType,
        /// The rate that goes in, in hertz.
        in_rate_hz: u32,
        /// The rate that comes out, in hertz.
        out_rate_hz: u32,
    },
    /// The filter was processing a frame the whole time.
    Busy {
        /// How long the control waited for it.
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
                write!(f, "{}: a library that it depends on: {error}", file.display())
            }
            Self::MissingSymbols { file, symbols } => {
                write!(f, "{} is no audio filter: it does not export {}", file.display(), symbols.join(", "))
            }
            Self::Refused { file, code } => {
                write!(f, "{}: audio_filter_on_load refused with code {code}, expected 0", file.display())
            }
            Self::ModuleTaken { module_id, loaded, asked } => write!(
                f,
                "module id {module_id:?} is {} already, so it cannot be {}",
                loaded.display(),
                asked.display()
            ),
            Self::FileTaken { file, module_id } => {
                write!(f, "{} is loaded already: find it by its module id {module_id:?}", file.display())
            }
            Self::NulInText { field, at } => {
                write!(f, "{field} holds a NUL at byte {at}: expected text without one")
            }
            Self::NoSession { file, channel, in_rate_hz, out_rate_hz } => write!(
                f,
                "{} made no session for channel {channel} from {in_rate_hz} to {out_rate_hz} Hz: it is off",
                file.display()
            ),
            Self::NeedsV2 { file, samples, in_rate_hz, out_rate_hz } => write!(
                f,
                "{} from {in_rate_hz} to {out_rate_hz} Hz: expected one rate, for it lacks {} or \
                 audio_filter_create_v2",
                file.display(),
                samples.process_v2_name()
            ),
            Self::Busy { waited } => write!(
                f,
                "the filter was still processing a frame after {} ms: expected it to end within 10 ms",
                waited.as_millis()
            ),
            Self::Closed => {
                f.write_str("the filter processor was closed: its control changes nothing any more")
            }
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
