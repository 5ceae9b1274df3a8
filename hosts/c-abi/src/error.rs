//! Application side: the status codes of all functions; errors are negative.

use core::ffi::c_char;

use handsfree_core::ConfigError;
use handsfree_core::playback::TrackError;

/// Status code that a function returns.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum handsfree_status {
    /// The call succeeded.
    HANDSFREE_OK = 0,
    /// A pointer is null that must not be null.
    HANDSFREE_ERROR_NULL = -1,
    /// The memory is smaller than handsfree_memory_bytes().
    HANDSFREE_ERROR_MEMORY = -2,
    /// The memory or a buffer is not aligned for its type.
    HANDSFREE_ERROR_ALIGNMENT = -3,
    /// The memory holds no terminal: none was created, or it was destroyed.
    HANDSFREE_ERROR_NOT_CREATED = -4,
    /// The memory already holds a terminal.
    HANDSFREE_ERROR_CREATED_TWICE = -5,
    /// The device was not configured, or was stopped.
    HANDSFREE_ERROR_NOT_CONFIGURED = -6,
    /// The number of samples is not a whole number of sample frames, exceeds the configured period, or
    /// does not match the required size of a buffer.
    HANDSFREE_ERROR_LENGTH = -7,
    /// The sample rate is not supported, or differs from the terminal's in a build without rate
    /// conversion.
    HANDSFREE_ERROR_RATE = -8,
    /// The number of channels is not supported.
    HANDSFREE_ERROR_CHANNELS = -9,
    /// A frame of 10 ms in this format exceeds HANDSFREE_FRAME_SAMPLES.
    HANDSFREE_ERROR_FRAME = -10,
    /// The period is empty or longer than the rings.
    HANDSFREE_ERROR_PERIOD = -11,
    /// The latency is longer than HANDSFREE_HISTORY_SAMPLES.
    HANDSFREE_ERROR_LATENCY = -12,
    /// The gain is outside 0 to 64.
    HANDSFREE_ERROR_GAIN = -13,
    /// Another value is outside its documented range.
    HANDSFREE_ERROR_VALUE = -14,
    /// All tracks are in use.
    HANDSFREE_ERROR_NO_TRACK = -15,
    /// No track with this number is open.
    HANDSFREE_ERROR_UNKNOWN_TRACK = -16,
    /// The queue is full; retry after about 10 ms.
    HANDSFREE_ERROR_FULL = -17,
    /// A terminal uses the canceller.
    HANDSFREE_ERROR_IN_USE = -18,
}

use handsfree_status::*;

/// Result of an internal function.
pub(crate) type StatusResult<T> = Result<T, handsfree_status>;

/// Converts to the return value of a function that returns a count or a status code.
pub(crate) fn count(result: StatusResult<u32>) -> i32 {
    match result {
        Ok(count) => i32::try_from(count).unwrap_or(i32::MAX),
        Err(status) => status as i32,
    }
}

/// Converts to the return value of a function that returns a status code.
pub(crate) fn status(result: StatusResult<()>) -> handsfree_status {
    match result {
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

/// Returns a readable name of a status code, "unknown" for any other number. The string is static.
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
        -18 => c"in use",
        _ => c"unknown",
    };
    name.as_ptr()
}
