//! Application side: changing settings while the worker runs.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use crate::config::ApmConfig;
use crate::error::ApmError;
use crate::handover::Handover;

/// Maximum time that [`ApmControl::set_config`] waits for a frame. A running stream has a frame every 10 ms, so
/// after 50 missing frames it has stopped.
pub const SETTINGS_TIMEOUT: Duration = Duration::from_millis(500);

/// State shared by a processor and its controls.
pub(crate) struct ApmShared {
    pub(crate) handover: Handover,
    /// Settings in force. Holding this lock also gives a control exclusive use of the handover. The worker's
    /// frames never take the lock.
    config: Mutex<ApmConfig>,
}

impl ApmShared {
    pub(crate) fn new(config: ApmConfig) -> Self {
        Self { handover: Handover::new(), config: Mutex::new(config) }
    }

    /// Locks the settings. A poisoned lock is usable: a panic of its holder leaves the settings unchanged.
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

/// Handle that changes a processor's settings from any thread except the worker.
///
/// For a change, the worker lends the library's instance to the control between two frames. Until the instance
/// is back, usually for one frame and rarely for more than three, capture frames pass unprocessed and are
/// counted. So all that the library allocates and locks for a change happens on the caller's thread.
///
/// The echo canceller stays converged when only the strength of the noise suppression changes. When a part is
/// switched on or off, the library restarts all parts ([`ApmConfig::restarts_for`] says when), and the canceller
/// converges again.
#[derive(Clone)]
pub struct ApmControl {
    shared: Arc<ApmShared>,
}

impl ApmControl {
    pub(crate) fn new(shared: Arc<ApmShared>) -> Self {
        Self { shared }
    }

    /// Returns the settings in force. Waits while another control changes them.
    #[must_use]
    pub fn config(&self) -> ApmConfig {
        *self.shared.lock_config()
    }

    /// Replaces all settings. Returns once they are in force, after one or two frames. Concurrent calls take
    /// effect one after the other.
    ///
    /// # Errors
    /// [`ApmError::NoFrame`] when no frame is processed within [`SETTINGS_TIMEOUT`], [`ApmError::Gone`] when the
    /// processor was dropped. In both cases the settings are unchanged.
    pub fn set_config(&self, config: ApmConfig) -> Result<(), ApmError> {
        self.update(|in_force| *in_force = config)
    }

    /// Changes some settings: `change` receives the settings in force and modifies them.
    ///
    /// # Errors
    /// Returns the errors of [`set_config`](Self::set_config).
    pub fn update(&self, change: impl FnOnce(&mut ApmConfig)) -> Result<(), ApmError> {
        let mut in_force = self.shared.lock_config();
        let mut config = *in_force;
        change(&mut config);
        let mut borrowed = self.shared.handover.borrow(SETTINGS_TIMEOUT)?;
        let engine = borrowed.engine()?;
        let result = engine.apply(config);
        *in_force = engine.config();
        result
    }

    /// Returns the number of capture frames that passed unprocessed because of changes.
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
