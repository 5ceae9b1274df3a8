//! Application side: changing settings while the worker runs.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use crate::config::ApmConfig;
use crate::error::ApmError;
use crate::handover::Handover;

/// How long [`ApmControl::set_config`] waits for a frame.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// What processor and controls share.
pub(crate) struct Shared {
    pub(crate) handover: Handover,
    /// The settings in force. Its lock also lets one control at a time near the handover; the worker's
    /// frames never take it.
    config: Mutex<ApmConfig>,
}

impl Shared {
    pub(crate) fn new(config: ApmConfig) -> Self {
        Self { handover: Handover::new(), config: Mutex::new(config) }
    }

    /// A panic while it was held leaves the settings as they were, so a poisoned lock is as good.
    fn lock_config(&self) -> MutexGuard<'_, ApmConfig> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn try_lock_config(&self) -> Option<MutexGuard<'_, ApmConfig>> {
        match self.config.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// Changes a processor's settings from any thread but the worker.
///
/// The worker lends the library's instance between two frames; while it is away, usually for one frame
/// and rarely for more than three, capture passes unprocessed and is counted. So all that the library
/// allocates and locks for a change happens on the caller's thread.
///
/// The echo canceller keeps what it learned when only the strength of the noise suppression changes. The
/// library starts all parts anew when one of them is switched on or off
/// ([`ApmConfig::restarts_for`] tells), and the canceller then converges again.
#[derive(Clone)]
pub struct ApmControl {
    shared: Arc<Shared>,
}

impl ApmControl {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The settings in force; waits while another control changes them.
    #[must_use]
    pub fn config(&self) -> ApmConfig {
        *self.shared.lock_config()
    }

    /// Changes all settings. Returns when they are in force, after a frame or two; a second control waits
    /// until the first is done.
    ///
    /// # Errors
    /// [`ApmError::NoFrame`] after [`PATIENCE`] without a frame, [`ApmError::Gone`] after the
    /// processor was dropped; then nothing has changed.
    pub fn set_config(&self, config: ApmConfig) -> Result<(), ApmError> {
        self.update(|in_force| *in_force = config)
    }

    /// Changes some settings, starting from those in force.
    ///
    /// # Errors
    /// As [`set_config`](Self::set_config).
    pub fn update(&self, change: impl FnOnce(&mut ApmConfig)) -> Result<(), ApmError> {
        let mut in_force = self.shared.lock_config();
        let mut config = *in_force;
        change(&mut config);
        let mut lent = self.shared.handover.borrow(PATIENCE)?;
        let engine = lent.engine()?;
        let outcome = engine.apply(config);
        *in_force = engine.config();
        outcome
    }

    /// Capture frames that passed unprocessed because of changes.
    #[must_use]
    pub fn passed_frames(&self) -> u64 {
        self.shared.handover.passed_frames()
    }
}

impl fmt::Debug for ApmControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApmControl").field("passed_frames", &self.passed_frames()).finish_non_exhaustive()
    }
}
