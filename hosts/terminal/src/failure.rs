//! Any side: an error with a message for the user and an exit code for a command.

use std::fmt;

/// Error with a message for the user, which names the value found and what was expected.
#[derive(Debug)]
pub struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// Makes the error for an invalid request, with exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 2 }
    }

    /// Makes the error for a failure outside the program, such as a missing file or device, with exit code 1.
    pub fn run(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1 }
    }

    /// Returns the exit code for a command: 1 or 2.
    #[must_use]
    pub const fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<handsfree_core::ConfigError> for Failure {
    fn from(error: handsfree_core::ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<handsfree_apm::ApmError> for Failure {
    fn from(error: handsfree_apm::ApmError) -> Self {
        Self::usage(error.to_string())
    }
}

#[cfg(feature = "sim")]
impl From<handsfree_sim::wav::WavError> for Failure {
    fn from(error: handsfree_sim::wav::WavError) -> Self {
        Self::run(error.to_string())
    }
}

#[cfg(feature = "sim")]
impl From<handsfree_sim::room::RoomError> for Failure {
    fn from(error: handsfree_sim::room::RoomError) -> Self {
        Self::usage(error.to_string())
    }
}

#[cfg(feature = "sim")]
impl From<handsfree_sim::scenario::SimError> for Failure {
    fn from(error: handsfree_sim::scenario::SimError) -> Self {
        Self::usage(error.to_string())
    }
}
