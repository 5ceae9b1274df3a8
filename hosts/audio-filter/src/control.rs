//! Control side: updates and observes a processor's filter while frames flow.

use std::fmt;
use std::sync::Arc;

use handsfree_core::capture::{Credentials, StreamIdentity};

use crate::error::FilterError;
use crate::fault::{FilterFault, FilterState};
use crate::shared::SharedProcessorState;
use crate::stats::FilterStats;

/// Handle that updates and observes a processor's filter. May be used on any thread except an audio thread.
///
/// The filter is called on the caller's thread, by one control at a time, and never while the session concerned
/// processes a frame, because the interface guarantees nothing about threads. The worker does not wait: frames that
/// arrive during such a call pass unfiltered and are counted.
#[derive(Clone)]
pub struct FilterControl {
    shared: Arc<SharedProcessorState>,
}

impl FilterControl {
    pub(crate) fn new(shared: Arc<SharedProcessorState>) -> Self {
        Self { shared }
    }

    /// Passes new stream information to the sessions of all channels.
    ///
    /// # Errors
    /// Returns [`FilterError::NulInText`], [`FilterError::Closed`], or [`FilterError::Busy`] when a session processes
    /// one frame for [`UPDATE_TIMEOUT`](crate::UPDATE_TIMEOUT). The filter was not called in these cases.
    pub fn update_stream_info(&self, stream: &StreamIdentity<'_>) -> Result<(), FilterError> {
        self.shared.update_stream_info(stream)
    }

    /// Passes new credentials to the filter, for all its sessions. Returns false when the filter has no function for
    /// credentials.
    ///
    /// # Errors
    /// Returns the errors of [`AudioFilter::update_token`](crate::AudioFilter::update_token).
    pub fn update_token(&self, credentials: &Credentials<'_>) -> Result<bool, FilterError> {
        self.shared.module().update_token(credentials)
    }

    /// Replaces the sessions with new ones, and activates a disabled filter.
    ///
    /// A new audio device may make it necessary to discard what the sessions learned, and the interface has no call
    /// that resets a session. The old sessions process frames until the new ones exist.
    ///
    /// # Errors
    /// Returns [`FilterError::NoSession`] when the filter's `create` returns NULL, [`FilterError::Closed`] or
    /// [`FilterError::Busy`]. The old sessions stay in use in these cases.
    pub fn restart(&self) -> Result<(), FilterError> {
        self.shared.restart()
    }

    /// Activates a filter in backoff or a disabled filter from the next frame on, and forgets its faults.
    pub fn reset_breaker(&self) {
        self.shared.reset_breaker();
    }

    /// Switches the processor on or off from the next frame on. A processor that is off passes frames unchanged.
    pub fn set_enabled(&self, enabled: bool) {
        self.shared.set_enabled(enabled);
    }

    /// Returns whether the processor is switched on.
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.shared.enabled()
    }

    /// Returns the current state of the filter.
    #[must_use]
    pub fn state(&self) -> FilterState {
        self.shared.state()
    }

    /// Returns the last fault of the filter.
    #[must_use]
    pub fn last_fault(&self) -> Option<FilterFault> {
        self.shared.last_fault()
    }

    /// Returns the counters of the filter. They are read one after the other while frames flow, so they may belong to
    /// neighbouring frames.
    #[must_use]
    pub fn stats(&self) -> FilterStats {
        self.shared.stats()
    }

    /// Returns the module id of the filter.
    #[must_use]
    pub fn module_id(&self) -> &str {
        self.shared.module().id()
    }
}

impl fmt::Debug for FilterControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilterControl")
            .field("module_id", &self.module_id())
            .field("state", &self.state())
            .field("last_fault", &self.last_fault())
            .finish_non_exhaustive()
    }
}
