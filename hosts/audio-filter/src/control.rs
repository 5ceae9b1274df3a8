//! Control side: telling a processor's filter something while frames flow, and seeing how it does.

use std::fmt;
use std::sync::Arc;

use handsfree_core::capture::{Credentials, StreamIdentity};

use crate::error::FilterError;
use crate::fault::{Fault, FilterState};
use crate::shared::{FilterStats, Shared};

/// Tells a processor's filter something from any thread but an audio one, and says how it does.
///
/// Calls are made on the caller's thread, one at a time within one filter, and never while the session concerned
/// processes a frame: the interface promises nothing about that. The worker does not wait; frames that come
/// meanwhile pass as they are and are counted.
#[derive(Clone)]
pub struct FilterControl {
    shared: Arc<Shared>,
}

impl FilterControl {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Tells all channels' sessions whose audio it is.
    ///
    /// # Errors
    /// [`FilterError::NulInText`], [`FilterError::Closed`], or [`FilterError::Busy`] after
    /// [`PATIENCE`](crate::PATIENCE) with one frame; then the filter was told nothing.
    pub fn update_stream_info(&self, stream: &StreamIdentity<'_>) -> Result<(), FilterError> {
        self.shared.update_stream_info(stream)
    }

    /// Tells the filter of new credentials; all its sessions are concerned. False when it has no function for that.
    ///
    /// # Errors
    /// As [`AudioFilter::update_token`](crate::AudioFilter::update_token).
    pub fn update_token(&self, credentials: &Credentials<'_>) -> Result<bool, FilterError> {
        self.shared.module().update_token(credentials)
    }

    /// Puts new sessions in place of the old ones, and the filter is tried again if it was given up: the interface
    /// has no call that makes a session forget what it learned, which a new device may ask for. Frames go on through
    /// the old sessions until the new ones are there.
    ///
    /// # Errors
    /// [`FilterError::NoSession`] when the filter gives NULL, [`FilterError::Closed`], [`FilterError::Busy`]; the old
    /// sessions then go on.
    pub fn restart(&self) -> Result<(), FilterError> {
        self.shared.restart()
    }

    /// Has a filter that rests or was given up tried again with the next frame, its faults forgiven.
    pub fn reset_breaker(&self) {
        self.shared.reset_breaker();
    }

    /// Switches it on or off, from the next frame on. Off, frames pass as they come.
    pub fn set_enabled(&self, enabled: bool) {
        self.shared.set_enabled(enabled);
    }

    /// Whether it is switched on.
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.shared.enabled()
    }

    /// What the processor does with its filter at the moment.
    #[must_use]
    pub fn state(&self) -> FilterState {
        self.shared.state()
    }

    /// What the filter last did wrong.
    #[must_use]
    pub fn last_fault(&self) -> Option<Fault> {
        self.shared.last_fault()
    }

    /// What the filter did so far. The figures are read one after the other while frames flow.
    #[must_use]
    pub fn stats(&self) -> FilterStats {
        self.shared.stats()
    }

    /// The filter's module id.
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
