//! Both sides: the state that a processor shares with its controls. The worker never waits for it.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use handsfree_core::capture::StreamIdentity;

use crate::error::FilterError;
use crate::fault::{FilterFault, FilterState};
use crate::module::{FilterModule, SessionParameters};
use crate::slot::{BorrowedSessions, SessionSlot, lock};
use crate::stats::{FilterCounters, FilterStats};
use crate::text;

/// State that a processor shares with its controls.
pub(crate) struct SharedProcessorState {
    module: Arc<FilterModule>,
    parameters: Mutex<SessionParameters>,
    slot: Arc<SessionSlot>,
    enabled: AtomicBool,
    reset_requested: AtomicBool,
    state: AtomicU8,
    last_fault: AtomicU8,
    pub(crate) counters: FilterCounters,
}

// All atomics here are used with Relaxed ordering: each is a value of its own, and the slot's lock hands the sessions
// over.
impl SharedProcessorState {
    /// Makes the sessions of a new processor and registers them with the filter.
    pub(crate) fn new(module: Arc<FilterModule>, parameters: SessionParameters) -> Result<Self, FilterError> {
        let mut guard = module.lock_control_calls();
        let slot = Arc::new(SessionSlot::new(module.create_sessions(&parameters, &guard)?));
        guard.register(&slot);
        drop(guard);
        Ok(Self {
            module,
            parameters: Mutex::new(parameters),
            slot,
            enabled: AtomicBool::new(true),
            reset_requested: AtomicBool::new(false),
            state: AtomicU8::new(FilterState::Active.number()),
            last_fault: AtomicU8::new(0),
            counters: FilterCounters::default(),
        })
    }

    pub(crate) fn module(&self) -> &FilterModule {
        &self.module
    }

    /// Worker: borrows the sessions unless a control wants or holds them. Never waits.
    pub(crate) fn try_borrow_sessions(&self) -> Option<BorrowedSessions<'_>> {
        self.slot.try_borrow()
    }

    /// Control: passes new stream information to the sessions of all channels.
    pub(crate) fn update_stream_info(&self, stream: &StreamIdentity<'_>) -> Result<(), FilterError> {
        let stream_info = text::stream_info(stream)?;
        let _guard = self.module.lock_control_calls();
        let mut sessions = self.slot.wait_and_borrow()?;
        sessions.as_mut().ok_or(FilterError::Closed)?.update_stream_info(&stream_info);
        lock(&self.parameters).stream_info = stream_info;
        Ok(())
    }

    /// Control: replaces the sessions with new ones. The old sessions process frames until the new ones exist.
    pub(crate) fn restart(&self) -> Result<(), FilterError> {
        let guard = self.module.lock_control_calls();
        let mut sessions = self.module.create_sessions(&lock(&self.parameters), &guard)?;
        let mut borrowed = self.slot.wait_and_borrow()?;
        std::mem::swap(borrowed.as_mut().ok_or(FilterError::Closed)?, &mut sessions);
        drop(borrowed);
        self.reset_breaker();
        // Destroying the old sessions calls the filter, so it happens before the guard is released.
        drop(sessions);
        drop(guard);
        Ok(())
    }

    /// Control, or the processor's owner: destroys the sessions for good.
    pub(crate) fn close(&self) {
        let _guard = self.module.lock_control_calls();
        let sessions = self.slot.take();
        self.set_state(FilterState::Closed);
        drop(sessions);
    }

    /// Control: asks the worker to reset its circuit breaker.
    pub(crate) fn reset_breaker(&self) {
        self.reset_requested.store(true, Ordering::Relaxed);
    }

    /// Worker: returns whether a reset was requested, and clears the request.
    pub(crate) fn take_reset_request(&self) -> bool {
        self.reset_requested.load(Ordering::Relaxed) && self.reset_requested.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn set_enabled(&self, enabled: bool) {
        self.enabled.store(enabled, Ordering::Relaxed);
    }

    pub(crate) fn enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    pub(crate) fn set_state(&self, state: FilterState) {
        self.state.store(state.number(), Ordering::Relaxed);
    }

    pub(crate) fn state(&self) -> FilterState {
        FilterState::from_number(self.state.load(Ordering::Relaxed))
    }

    pub(crate) fn set_last_fault(&self, fault: FilterFault) {
        self.last_fault.store(fault.code() as u8, Ordering::Relaxed);
    }

    pub(crate) fn last_fault(&self) -> Option<FilterFault> {
        FilterFault::from_code(self.last_fault.load(Ordering::Relaxed))
    }

    pub(crate) fn stats(&self) -> FilterStats {
        self.counters.stats()
    }
}
