//! Worker side: runs frames through a filter, as a step of the capture chain.

use std::fmt;

use handsfree_core::capture::{Credentials, FrameProcessor, ProcessError, ProcessorFault, StreamIdentity};
use handsfree_core::{Format, PcmMut};

use crate::control::FilterControl;
use crate::engine::{FilterEngine, check_frame};

/// Loaded filter as a step of the capture chain, made by [`AudioFilter::session`](crate::AudioFilter::session).
///
/// Each channel has its own session of the filter. When any session fails in a frame, the frame passes unfiltered on
/// all channels. The filter then backs off for a second and is retried, up to three times, and is disabled after that
/// (see [`FilterState`](crate::FilterState) and [`FilterFault`](crate::FilterFault)). A slow filter is detected only
/// when it returns, so its frame is late. A filter that never returns blocks the worker; nothing within the process
/// can stop it.
pub struct FilterProcessor {
    engine: FilterEngine,
}

impl FilterProcessor {
    pub(crate) fn new(engine: FilterEngine) -> Self {
        Self { engine }
    }

    /// Returns a handle for other threads.
    #[must_use]
    pub fn control(&self) -> FilterControl {
        self.engine.control()
    }

    /// Returns the format of the frames that the processor accepts.
    #[must_use]
    pub fn format(&self) -> Format {
        self.engine.input()
    }
}

impl FrameProcessor for FilterProcessor {
    /// Filters a frame in place, or leaves it unchanged during a backoff.
    ///
    /// # Errors
    /// Returns an error for a frame of a different format or length, and each fault of the filter as
    /// [`ProcessError::Backend`] with [`FilterFault::code`](crate::FilterFault::code). A frame that passes unfiltered
    /// during a backoff is not an error.
    fn process(&mut self, frame: PcmMut<'_>) -> Result<(), ProcessError> {
        check_frame(self.engine.input(), frame.format, frame.samples.len())?;
        if let Some(filtered) = self.engine.filter(frame.samples)? {
            frame.samples.copy_from_slice(filtered);
        }
        Ok(())
    }

    /// Returns the last fault of the filter's own circuit breaker; the processor needs no further guard around it.
    fn take_fault(&mut self) -> Option<ProcessorFault> {
        self.engine.take_fault()
    }

    fn enabled(&self) -> bool {
        self.engine.shared().enabled()
    }

    fn set_enabled(&mut self, enabled: bool) {
        self.engine.shared().set_enabled(enabled);
    }

    /// Does nothing: the interface has no call that resets a session, and new sessions would allocate. A control can
    /// [`restart`](FilterControl::restart) the sessions.
    fn reset(&mut self) {}

    /// Does the same as [`FilterControl::update_stream_info`]; a failure is counted in
    /// [`FilterStats::failed_updates`](crate::FilterStats::failed_updates).
    fn on_stream(&mut self, stream: &StreamIdentity<'_>) {
        self.engine.on_stream(stream);
    }

    /// Does the same as [`FilterControl::update_token`]; a failure is counted in
    /// [`FilterStats::failed_updates`](crate::FilterStats::failed_updates).
    fn on_credentials(&mut self, credentials: &Credentials<'_>) {
        self.engine.on_credentials(credentials);
    }

    /// Destroys the sessions; dropping the processor does the same. Waits for a control that is calling the filter, so
    /// it must not be called on an audio thread.
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
