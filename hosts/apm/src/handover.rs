//! Worker side and application side: a slot through which the worker lends the engine to a control and gets it
//! back, without a lock.
//!
//! The state says which side may touch the slot. At most one control at a time uses it, which the lock in
//! `ApmShared` ensures. The worker never waits for it.
//!
//! - `WITH_WORKER` to `REQUESTED`: a control requests the engine. It withdraws the request after its timeout.
//! - `REQUESTED` to `WITH_CONTROL`: the worker puts the engine into the slot and the control takes it out.
//! - `WITH_CONTROL` to `RETURNED`: the control puts the engine back into the slot.
//! - `RETURNED` to `WITH_WORKER`: the worker takes the engine out.
//! - Any state to `CLOSED`: the worker was dropped.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::engine::ApmEngine;
use crate::error::ApmError;

const WITH_WORKER: u8 = 0;
const REQUESTED: u8 = 1;
const WITH_CONTROL: u8 = 2;
const RETURNED: u8 = 3;
const CLOSED: u8 = 4;

/// Interval at which a control checks whether the worker has lent the engine: short against the 10 ms between
/// frames.
const POLL_INTERVAL: Duration = Duration::from_micros(500);

/// The slot, its state, and a count of the frames that passed meanwhile.
pub(crate) struct Handover {
    state: AtomicU8,
    slot: AtomicPtr<ApmEngine>,
    passed_frames: AtomicU64,
}

impl Handover {
    pub(crate) const fn new() -> Self {
        Self {
            state: AtomicU8::new(WITH_WORKER),
            slot: AtomicPtr::new(null_mut()),
            passed_frames: AtomicU64::new(0),
        }
    }

    /// Returns whether a control waits for the engine. Worker side.
    pub(crate) fn is_requested(&self) -> bool {
        // Relaxed: only a hint, the exchange in `lend` decides.
        self.state.load(Ordering::Relaxed) == REQUESTED
    }

    /// Lends the engine to the control; returns it if the control has withdrawn its request. Worker side,
    /// wait-free.
    pub(crate) fn lend(&self, engine: Box<ApmEngine>) -> Option<Box<ApmEngine>> {
        self.put_in_slot(engine);
        // Release: partner of the Acquire in `borrow`, which reads the slot after this.
        match self.state.compare_exchange(REQUESTED, WITH_CONTROL, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => None,
            // The control withdrew its request between the two statements and does not read the slot.
            Err(_) => self.take_from_slot(),
        }
    }

    /// Returns the engine if the control has given it back. Worker side, wait-free.
    pub(crate) fn take_back(&self) -> Option<Box<ApmEngine>> {
        // Acquire: partner of the Release in `BorrowedEngine::drop`.
        self.state
            .compare_exchange(RETURNED, WITH_WORKER, Ordering::Acquire, Ordering::Relaxed)
            .ok()
            .and_then(|_| self.take_from_slot())
    }

    /// Counts one capture frame that passed while the engine was lent. Worker side, which is the only writer.
    pub(crate) fn count_passed_frame(&self) {
        let passed = self.passed_frames.load(Ordering::Relaxed);
        self.passed_frames.store(passed.wrapping_add(1), Ordering::Relaxed);
    }

    /// Returns the number of capture frames that passed unprocessed while the engine was lent. Either side.
    pub(crate) fn passed_frames(&self) -> u64 {
        self.passed_frames.load(Ordering::Relaxed)
    }

    /// Ends lending; the worker's last call. An engine in the slot is dropped here, one that a control holds is
    /// dropped by the control.
    pub(crate) fn close(&self) {
        // Acquire: partner of the Release in `BorrowedEngine::drop`. Release: partner of the Acquire there.
        if self.state.swap(CLOSED, Ordering::AcqRel) == RETURNED {
            drop(self.take_from_slot());
        }
    }

    /// Requests the engine and waits at most `timeout` for the worker to lend it. Application side.
    pub(crate) fn borrow(&self, timeout: Duration) -> Result<BorrowedEngine<'_>, ApmError> {
        let requested_at = Instant::now();
        loop {
            match self.state.load(Ordering::Acquire) {
                CLOSED => return Err(ApmError::Gone),
                WITH_WORKER => {
                    self.exchange(WITH_WORKER, REQUESTED);
                }
                WITH_CONTROL => {
                    return self
                        .take_from_slot()
                        .map(|engine| BorrowedEngine { handover: self, engine: Some(engine) })
                        .ok_or(ApmError::Gone);
                }
                // REQUESTED, or RETURNED by an earlier change. The worker takes a returned engine and processes
                // at least one frame before it lends it again, so controls cannot starve the worker.
                waiting => {
                    let waited = requested_at.elapsed();
                    if waited < timeout {
                        std::thread::sleep(POLL_INTERVAL);
                    } else if waiting == RETURNED || self.exchange(REQUESTED, WITH_WORKER) {
                        return Err(ApmError::NoFrame { waited });
                    }
                }
            }
        }
    }

    /// Changes the state if it is `from`; returns whether it was. Application side.
    fn exchange(&self, from: u8, to: u8) -> bool {
        // Release: partner of the Acquire in `take_back` and `close`.
        self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    fn put_in_slot(&self, engine: Box<ApmEngine>) {
        self.slot.store(Box::into_raw(engine), Ordering::Relaxed);
    }

    fn take_from_slot(&self) -> Option<Box<ApmEngine>> {
        let engine = self.slot.swap(null_mut(), Ordering::Relaxed);
        // SAFETY: the slot holds null or what `put_in_slot` got from a Box; swapping null in takes it once. The
        // state's orderings make the engine's memory visible to the side that may touch the slot.
        (!engine.is_null()).then(|| unsafe { Box::from_raw(engine) })
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        // The slot still holds the engine if the worker was dropped after it had lent the engine and before the
        // control took it.
        drop(self.take_from_slot());
    }
}

/// The engine while a control has it. Dropping this gives the engine back, or drops it if the worker was dropped.
pub(crate) struct BorrowedEngine<'a> {
    handover: &'a Handover,
    engine: Option<Box<ApmEngine>>,
}

impl BorrowedEngine<'_> {
    pub(crate) fn engine(&mut self) -> Result<&mut ApmEngine, ApmError> {
        self.engine.as_deref_mut().ok_or(ApmError::Gone)
    }
}

impl Drop for BorrowedEngine<'_> {
    fn drop(&mut self) {
        let Some(engine) = self.engine.take() else {
            return;
        };
        self.handover.put_in_slot(engine);
        // Release: partner of the Acquire in `take_back` and `close`.
        if !self.handover.exchange(WITH_CONTROL, RETURNED) {
            // Only `close` changes WITH_CONTROL besides this, and it does not touch the slot then.
            drop(self.handover.take_from_slot());
        }
    }
}
