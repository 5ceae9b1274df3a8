//! Between worker and control: one slot through which the engine is lent and given back, without a lock.
//!
//! The state says who may touch the slot. Only one control at a time works on it (`ApmControl` sees to
//! that); the worker never waits for it.
//!
//! - `KEPT` to `WANTED`: a control asks. Back, if it gives up.
//! - `WANTED` to `LENT`: the worker parks the engine, the control fetches it.
//! - `LENT` to `RETURNED`: the control parks it again.
//! - `RETURNED` to `KEPT`: the worker fetches it.
//! - any to `CLOSED`: the worker was dropped.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::error::ApmError;

const KEPT: u8 = 0;
const WANTED: u8 = 1;
const LENT: u8 = 2;
const RETURNED: u8 = 3;
const CLOSED: u8 = 4;

/// How often a control looks whether the worker has lent; a frame comes each 10 ms.
const LOOK_INTERVAL: Duration = Duration::from_micros(500);

/// The slot and its state.
pub(crate) struct Handover {
    state: AtomicU8,
    parked: AtomicPtr<Engine>,
    passed_frames: AtomicU64,
}

impl Handover {
    pub(crate) const fn new() -> Self {
        Self {
            state: AtomicU8::new(KEPT),
            parked: AtomicPtr::new(null_mut()),
            passed_frames: AtomicU64::new(0),
        }
    }

    /// Worker: whether a control waits for the engine.
    pub(crate) fn is_wanted(&self) -> bool {
        // Relaxed: only a hint, the exchange in `lend` decides.
        self.state.load(Ordering::Relaxed) == WANTED
    }

    /// Worker: gives the engine away; gets it straight back if no control wants it any more. Wait-free.
    pub(crate) fn lend(&self, engine: Box<Engine>) -> Option<Box<Engine>> {
        self.park(engine);
        // Release: partner of the Acquire in `borrow`, which reads the slot after this.
        match self.state.compare_exchange(WANTED, LENT, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => None,
            // The control gave up between the two lines; it has not looked into the slot.
            Err(_) => self.unpark(),
        }
    }

    /// Worker: the engine, if the control has given it back. Wait-free.
    pub(crate) fn take_back(&self) -> Option<Box<Engine>> {
        // Acquire: partner of the Release in `Lent::drop`.
        self.state
            .compare_exchange(RETURNED, KEPT, Ordering::Acquire, Ordering::Relaxed)
            .ok()
            .and_then(|_| self.unpark())
    }

    /// Worker: counts one capture frame that passed while the engine was away. Single writer.
    pub(crate) fn count_passed_frame(&self) {
        let passed = self.passed_frames.load(Ordering::Relaxed);
        self.passed_frames.store(passed.wrapping_add(1), Ordering::Relaxed);
    }

    /// Anyone: capture frames that passed unprocessed while the engine was away.
    pub(crate) fn passed_frames(&self) -> u64 {
        self.passed_frames.load(Ordering::Relaxed)
    }

    /// Worker, as its last act: nothing is lent from now on. What lies in the slot is dropped here, what
    /// a control holds is dropped there.
    pub(crate) fn close(&self) {
        // Acquire: partner of the Release in `Lent::drop`. Release: partner of the Acquire there.
        if self.state.swap(CLOSED, Ordering::AcqRel) == RETURNED {
            drop(self.unpark());
        }
    }

    /// Control: waits until the worker has lent the engine, at most `patience`.
    pub(crate) fn borrow(&self, patience: Duration) -> Result<Lent<'_>, ApmError> {
        let asked_at = Instant::now();
        loop {
            match self.state.load(Ordering::Acquire) {
                CLOSED => return Err(ApmError::Gone),
                KEPT => {
                    self.advance(KEPT, WANTED);
                }
                LENT => {
                    return self
                        .unpark()
                        .map(|engine| Lent { handover: self, engine: Some(engine) })
                        .ok_or(ApmError::Gone);
                }
                // WANTED, or RETURNED by an earlier change: the worker fetches it and processes at least one frame
                // before it lends again, so that controls cannot starve it.
                waiting => {
                    let waited = asked_at.elapsed();
                    if waited < patience {
                        std::thread::sleep(LOOK_INTERVAL);
                    } else if waiting == RETURNED || self.advance(WANTED, KEPT) {
                        return Err(ApmError::NoFrame { waited });
                    }
                }
            }
        }
    }

    /// Control. Release is the partner of the Acquire in `take_back` and `close`.
    fn advance(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    fn park(&self, engine: Box<Engine>) {
        self.parked.store(Box::into_raw(engine), Ordering::Relaxed);
    }

    fn unpark(&self) -> Option<Box<Engine>> {
        let engine = self.parked.swap(null_mut(), Ordering::Relaxed);
        // SAFETY: the slot holds null or what `park` got from a Box; swapping null in takes it once. The
        // state's orderings make the engine's memory visible to the side whose turn it is.
        (!engine.is_null()).then(|| unsafe { Box::from_raw(engine) })
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        // Still there if the worker was dropped after it had lent and before the control had fetched.
        drop(self.unpark());
    }
}

/// Control: the engine on loan. Dropping it gives the engine back, or ends it when the worker is gone.
pub(crate) struct Lent<'a> {
    handover: &'a Handover,
    engine: Option<Box<Engine>>,
}

impl Lent<'_> {
    pub(crate) fn engine(&mut self) -> Result<&mut Engine, ApmError> {
        self.engine.as_deref_mut().ok_or(ApmError::Gone)
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let Some(engine) = self.engine.take() else {
            return;
        };
        self.handover.park(engine);
        // Release: partner of the Acquire in `take_back` and `close`.
        if !self.handover.advance(LENT, RETURNED) {
            // Only `close` leaves LENT besides this; it does not touch the slot then.
            drop(self.handover.unpark());
        }
    }
}
