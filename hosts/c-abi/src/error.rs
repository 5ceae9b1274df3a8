//! What can go wrong, as codes below 0.

use core::ffi::c_char;

use handsfree_core::ConfigError;
use handsfree_core::playback::TrackError;

/// What a function answers.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum handsfree_status {
    /// It worked.
    HANDSFREE_OK = 0,
    /// A pointer that must not be null is.
    HANDSFREE_ERROR_NULL = -1,
    /// The memory is smaller than handsfree_memory_bytes().
    HANDSFREE_ERROR_MEMORY = -2,
    /// The memory, or a buffer, is not aligned.
    HANDSFREE_ERROR_ALIGNMENT = -3,
    /// The memory holds no terminal: it was not created, or was destroyed.
    HANDSFREE_ERROR_NOT_CREATED = -4,
    /// The memory holds a terminal already.
    HANDSFREE_ERROR_CREATED_TWICE = -5,
    /// The device was not configured, or was stopped.
    HANDSFREE_ERROR_NOT_CONFIGURED = -6,
    /// A number of samples that is no whole number of sample frames, more than the configured period, or
    /// more or less than a buffer must have.
    HANDSFREE_ERROR_LENGTH = -7,
    /// A sample rate that is not supported, or not the terminal's where rates are not converted.
    HANDSFREE_ERROR_RATE = -8,
    /// A number of channels that is not supported.
    HANDSFREE_ERROR_CHANNELS = -9,
    /// 10 ms of the format do not fit HANDSFREE_FRAME_SAMPLES.
    HANDSFREE_ERROR_FRAME = -10,
    /// A period of no length, or longer than the rings.
    HANDSFREE_ERROR_PERIOD = -11,
    /// A latency that HANDSFREE_HISTORY_SAMPLES do not reach across.
    HANDSFREE_ERROR_LATENCY = -12,
    /// A gain that is not 0 to 64.
    HANDSFREE_ERROR_GAIN = -13,
    /// Another value that is none of those listed for it.
    HANDSFREE_ERROR_VALUE = -14,
    /// All tracks are in use.
    HANDSFREE_ERROR_NO_TRACK = -15,
    /// No track of that number is open.
    HANDSFREE_ERROR_UNKNOWN_TRACK = -16,
    /// The queue is full; try again after some 10 ms.
    HANDSFREE_ERROR_FULL = -17,
}

use handsfree_status::*;

/// What goes wrong inside.
pub(crate) type Answer<T> = Result<T, handsfree_status>;

/// A count, or a code.
pub(crate) fn count(answer: Answer<u32>) -> i32 {
    match answer {
        Ok(count) => i32::try_from(count).unwrap_or(i32::MAX),
        Err(status) => status as i32,
    }
}

/// A code.
pub(crate) fn status(answer: Answer<()>) -> handsfree_status {
    match answer {
        Ok(()) => HANDSFREE_OK,
        Err(status) => status,
    }
}

impl From<ConfigError> for handsfree_status {
    fn from(error: ConfigError) -> Self {
        match error {
            ConfigError::RateOutOfRange { .. }
            | ConfigError::RateNotWhole { .. }
            | ConfigError::RateNotTerminal { .. }
            | ConfigError::ResamplerRate { .. } => HANDSFREE_ERROR_RATE,
            ConfigError::Channels { .. }
            | ConfigError::DeviceChannels { .. }
            | ConfigError::NoSuchChannel { .. } => HANDSFREE_ERROR_CHANNELS,
            ConfigError::FrameTooLarge { .. } => HANDSFREE_ERROR_FRAME,
            ConfigError::EmptyPeriod | ConfigError::PeriodTooLong { .. } => HANDSFREE_ERROR_PERIOD,
            ConfigError::LatencyTooLong { .. } => HANDSFREE_ERROR_LATENCY,
            ConfigError::Gain { .. } => HANDSFREE_ERROR_GAIN,
            _ => HANDSFREE_ERROR_VALUE,
        }
    }
}

impl From<TrackError> for handsfree_status {
    fn from(error: TrackError) -> Self {
        match error {
            TrackError::NoSlot { .. } => HANDSFREE_ERROR_NO_TRACK,
            TrackError::Full => HANDSFREE_ERROR_FULL,
            TrackError::Config(error) => error.into(),
            _ => HANDSFREE_ERROR_UNKNOWN_TRACK,
        }
    }
}

/// The name of a code, for people; "unknown" for a number that is none.
#[unsafe(no_mangle)]
pub extern "C" fn handsfree_status_name(code: i32) -> *const c_char {
    let name = match code {
        0 => c"ok",
        -1 => c"null pointer",
        -2 => c"too little memory",
        -3 => c"not aligned",
        -4 => c"not created",
        -5 => c"created twice",
        -6 => c"device not configured",
        -7 => c"wrong length",
        -8 => c"sample rate",
        -9 => c"channels",
        -10 => c"frame too large",
        -11 => c"period",
        -12 => c"latency",
        -13 => c"gain",
        -14 => c"value",
        -15 => c"no free track",
        -16 => c"unknown track",
        -17 => c"queue full",
        _ => c"unknown",
    };
    name.as_ptr()
}
