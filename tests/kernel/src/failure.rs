//! The error type of this crate: a message for a person.

use std::fmt;

/// An error message with details. `Debug` prints the same text as `Display`, so that a test may return it.
pub struct MachineFailure(String);

/// Result of an operation that may fail with a [`MachineFailure`].
pub type Result<T> = std::result::Result<T, MachineFailure>;

impl MachineFailure {
    /// Creates a failure with a message.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns a function for `map_err`, which prefixes the error with what was tried.
    pub(crate) fn of<E: fmt::Display>(what: impl fmt::Display) -> impl FnOnce(E) -> Self {
        move |error| Self(format!("{what}: {error}"))
    }
}

impl fmt::Display for MachineFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MachineFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for MachineFailure {}
