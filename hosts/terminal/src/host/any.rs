//! Control side: one type for all hosts, whatever their own types are.

use std::fmt;

use handsfree_core::audio_io::{
    AudioIo, DeviceInfo, Directions, ErrorKind, Event, HostError, StartError, StreamInfo, StreamRequest,
};

use crate::failure::Failure;
use crate::terminal::{CAP, HostStreamHalves, SLOTS};

/// Error of a host, with its kind and message.
#[derive(Clone, Debug, PartialEq)]
pub struct AnyHostError {
    kind: ErrorKind,
    message: String,
}

impl fmt::Display for AnyHostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for AnyHostError {}

impl HostError for AnyHostError {
    fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl AnyHostError {
    fn of(error: &impl HostError) -> Self {
        Self { kind: error.kind(), message: error.to_string() }
    }
}

impl From<AnyHostError> for Failure {
    /// A request that cannot work on any host is a usage error; everything else is an error of the system.
    fn from(error: AnyHostError) -> Self {
        match error.kind {
            ErrorKind::Config(_) => Self::usage(error.message),
            _ => Self::run(error.message),
        }
    }
}

type DynIo = dyn AudioIo<'static, CAP, SLOTS, Error = AnyHostError> + Send;

/// Running host of any kind, behind one type.
pub struct AnyIo(Box<DynIo>);

impl fmt::Debug for AnyIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnyIo").finish()
    }
}

impl AnyIo {
    /// Wraps a host. Its errors become [`AnyHostError`].
    pub fn new(io: impl AudioIo<'static, CAP, SLOTS> + Send + 'static) -> Self {
        Self(Box::new(Erased(io)))
    }
}

impl AudioIo<'static, CAP, SLOTS> for AnyIo {
    type Error = AnyHostError;

    fn devices(&self, visit: &mut dyn FnMut(&DeviceInfo<'_>)) -> Result<(), AnyHostError> {
        self.0.devices(visit)
    }

    fn start(
        &mut self,
        request: &StreamRequest<'_>,
        halves: HostStreamHalves,
    ) -> Result<StreamInfo, StartError<'static, CAP, SLOTS, AnyHostError>> {
        self.0.start(request, halves)
    }

    fn stop(&mut self, directions: Directions) -> HostStreamHalves {
        self.0.stop(directions)
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.0.poll_event()
    }
}

/// Host that converts its errors to [`AnyHostError`].
struct Erased<Io>(Io);

impl<Io: AudioIo<'static, CAP, SLOTS>> AudioIo<'static, CAP, SLOTS> for Erased<Io> {
    type Error = AnyHostError;

    fn devices(&self, visit: &mut dyn FnMut(&DeviceInfo<'_>)) -> Result<(), AnyHostError> {
        self.0.devices(visit).map_err(|error| AnyHostError::of(&error))
    }

    fn start(
        &mut self,
        request: &StreamRequest<'_>,
        halves: HostStreamHalves,
    ) -> Result<StreamInfo, StartError<'static, CAP, SLOTS, AnyHostError>> {
        self.0
            .start(request, halves)
            .map_err(|refused| StartError { halves: refused.halves, error: AnyHostError::of(&refused.error) })
    }

    fn stop(&mut self, directions: Directions) -> HostStreamHalves {
        self.0.stop(directions)
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.0.poll_event()
    }
}
