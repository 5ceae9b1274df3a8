//! Worker side: the step of the chain that calls a filter.

use std::fmt;

use handsfree_core::capture::{Credentials, FrameProcessor, ProcessError, ProcessorFault, StreamIdentity};
use handsfree_core::{Format, PcmMut};

use crate::control::FilterControl;
use crate::engine::{Engine, check_frame};

/// A loaded filter as a step of the capture chain, made by [`AudioFilter::session`](crate::AudioFilter::session).
///
/// Each channel has a session of its own. A frame in which any of them gives what is no sound passes as it came, all
/// channels; the filter then rests for a second and is tried again, three times, and given up after that (see
/// [`FilterState`](crate::FilterState) and [`Fault`](crate::Fault)). Whether it was slow is only known when it is
/// done: such a frame is late once. A filter that never returns cannot be helped within its process.
pub struct FilterProcessor {
    engine: Engine,
}

impl FilterProcessor {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// A handle for other threads.
    #[must_use]
    pub fn control(&self) -> FilterControl {
        self.engine.control()
    }

    /// The frames it is for.
    #[must_use]
    pub fn format(&self) -> Format {
        self.engine.input()
    }
}

impl FrameProcessor for FilterProcessor {
    /// # Errors
    /// A frame of another format or length, and each fault of the filter as [`ProcessError::Backend`] with
    /// [`Fault::code`](crate::Fault::code). A frame that passes because the filter rests is no error.
    fn process(&mut self, frame: PcmMut<'_>) -> Result<(), ProcessError> {
        check_frame(self.engine.input(), frame.format, frame.samples.len())?;
        if let Some(filtered) = self.engine.filter(frame.samples)? {
            frame.samples.copy_from_slice(filtered);
        }
        Ok(())
    }

    /// Its own guard's: a filter needs no other around it.
    fn take_fault(&mut self) -> Option<ProcessorFault> {
        self.engine.take_fault()
    }

    fn enabled(&self) -> bool {
        self.engine.shared().enabled()
    }

    fn set_enabled(&mut self, enabled: bool) {
        self.engine.shared().set_enabled(enabled);
    }

    /// Nothing: the interface has no call for it, and new sessions would allocate. A control can
    /// [`restart`](FilterControl::restart) them.
    fn reset(&mut self) {}

    /// As [`FilterControl::update_stream_info`]; what fails is counted.
    fn on_stream(&mut self, stream: &StreamIdentity<'_>) {
        self.engine.on_stream(stream);
    }

    /// As [`FilterControl::update_token`]; what fails is counted.
    fn on_credentials(&mut self, credentials: &Credentials<'_>) {
        self.engine.on_credentials(credentials);
    }

    /// Destroys the sessions, as dropping it does. Waits for a control that is telling them something, so it is not
    /// for an audio thread.
    fn close(&mut self) {
        self.engine.shared().close();
    }
}

impl fmt::Debug for FilterProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilterProcessor")
            .field("format", &self.format())
            .field("control", &self.control())
            .finish_non_exhaustive()
    }
}
