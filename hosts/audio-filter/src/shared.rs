//! Both sides: what a processor and its controls share. The worker never waits for it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use handsfree_core::capture::StreamIdentity;

use crate::error::FilterError;
use crate::fault::{Fault, FilterState};
use crate::filter::{Module, Recipe, lock};
use crate::lanes::Lane;
use crate::text;

/// How long a control waits for a filter that is processing a frame.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// How often it looks.
const LOOK_INTERVAL: Duration = Duration::from_micros(200);

/// One counter with one writer at a time.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Relaxed, for a counter orders nothing but itself.
    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) filtered_frames: Counter,
    pub(crate) passed_frames: Counter,
    pub(crate) update_frames: Counter,
    pub(crate) not_a_number_faults: Counter,
    pub(crate) slow_faults: Counter,
    pub(crate) too_short_faults: Counter,
    pub(crate) too_long_faults: Counter,
    pub(crate) cut_samples: Counter,
    pub(crate) failed_updates: Counter,
    slowest_ns: AtomicU64,
}

impl Counters {
    pub(crate) fn fault(&self, fault: Fault) {
        let counter = match fault {
            Fault::NotANumber => &self.not_a_number_faults,
            Fault::Slow => &self.slow_faults,
            Fault::TooShort => &self.too_short_faults,
            Fault::TooLong => &self.too_long_faults,
        };
        counter.add(1);
    }

    pub(crate) fn took(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.slowest_ns.fetch_max(ns, Ordering::Relaxed);
    }
}

/// What a processor's filter did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FilterStats {
    /// Frames that went through the filter.
    pub filtered_frames: u64,
    /// Frames that passed as they came, for whatever reason but being switched off or closed.
    pub passed_frames: u64,
    /// Of those, frames that passed because a control was telling the filter something.
    pub update_frames: u64,
    /// Frames in which the filter gave NaN or an infinity.
    pub not_a_number_faults: u64,
    /// Frames for which it took too long.
    pub slow_faults: u64,
    /// Frames that it did not write to the end.
    pub too_short_faults: u64,
    /// Frames beyond whose end it wrote.
    pub too_long_faults: u64,
    /// Samples that were numbers beyond full scale and were cut.
    pub cut_samples: u64,
    /// Stream information or credentials that could not be told to it.
    pub failed_updates: u64,
    /// The longest time that it took for one frame, all channels.
    pub slowest: Duration,
}

/// The sessions, while they are there.
pub(crate) type Slot = Option<Box<dyn Lane>>;

/// What a processor and its controls share.
///
/// Whoever holds the slot may call its sessions. The worker only ever tries it, for one frame; controls try it until
/// they have it, one at a time (they hold the module's turn), and raise `wanted` so that a worker without a pause
/// between frames lets them in.
pub(crate) struct Shared {
    module: Arc<Module>,
    recipe: Mutex<Recipe>,
    slot: Mutex<Slot>,
    wanted: AtomicBool,
    enabled: AtomicBool,
    reset_breaker: AtomicBool,
    state: AtomicU8,
    last_fault: AtomicU8,
    pub(crate) counters: Counters,
}

// Relaxed wherever an atomic is used here: each is a value of its own, and the sessions are handed over by the slot's
// lock.
impl Shared {
    pub(crate) fn new(module: Arc<Module>, recipe: Recipe, lane: Box<dyn Lane>) -> Self {
        Self {
            module,
            recipe: Mutex::new(recipe),
            slot: Mutex::new(Some(lane)),
            wanted: AtomicBool::new(false),
            enabled: AtomicBool::new(true),
            reset_breaker: AtomicBool::new(false),
            state: AtomicU8::new(FilterState::Active.number()),
            last_fault: AtomicU8::new(0),
            counters: Counters::default(),
        }
    }

    pub(crate) fn module(&self) -> &Module {
        &self.module
    }

    /// Worker: the sessions, unless a control wants them or has them. Never waits.
    pub(crate) fn try_slot(&self) -> Option<MutexGuard<'_, Slot>> {
        if self.wanted.load(Ordering::Relaxed) {
            return None;
        }
        try_lock(&self.slot)
    }

    /// Control, in its turn: the sessions, once the worker is between two frames.
    pub(crate) fn take_slot(&self) -> Result<MutexGuard<'_, Slot>, FilterError> {
        let asked_at = Instant::now();
        self.wanted.store(true, Ordering::Relaxed);
        let taken = loop {
            if let Some(slot) = try_lock(&self.slot) {
                break Ok(slot);
            }
            let waited = asked_at.elapsed();
            if waited >= PATIENCE {
                break Err(FilterError::Busy { waited });
            }
            std::thread::sleep(LOOK_INTERVAL);
        };
        self.wanted.store(false, Ordering::Relaxed);
        taken
    }

    /// Control: tells all sessions whose audio it is.
    pub(crate) fn update_stream_info(&self, stream: &StreamIdentity<'_>) -> Result<(), FilterError> {
        let stream_info = text::stream_info(stream)?;
        let _turn = self.module.turn();
        let mut slot = self.take_slot()?;
        slot.as_mut().ok_or(FilterError::Closed)?.update_stream_info(&stream_info);
        lock(&self.recipe).stream_info = stream_info;
        Ok(())
    }

    /// Control: new sessions in place of the old ones, which go on until the new ones are there.
    pub(crate) fn restart(&self) -> Result<(), FilterError> {
        let turn = self.module.turn();
        let mut lane = self.module.create(&lock(&self.recipe), &turn)?;
        let mut slot = self.take_slot()?;
        std::mem::swap(slot.as_mut().ok_or(FilterError::Closed)?, &mut lane);
        drop(slot);
        self.reset_breaker();
        // The old ones are destroyed while it is still this control's turn.
        drop(lane);
        drop(turn);
        Ok(())
    }

    /// Control, or the processor's owner: no sessions from now on.
    pub(crate) fn close(&self) {
        let _turn = self.module.turn();
        let lane = lock(&self.slot).take();
        self.set_state(FilterState::Closed);
        drop(lane);
    }

    pub(crate) fn reset_breaker(&self) {
        self.reset_breaker.store(true, Ordering::Relaxed);
    }

    /// Worker: whether a control wants the filter tried again.
    pub(crate) fn takes_rearm(&self) -> bool {
        self.reset_breaker.load(Ordering::Relaxed) && self.reset_breaker.swap(false, Ordering::Relaxed)
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

    pub(crate) fn set_last_fault(&self, fault: Fault) {
        self.last_fault.store(fault.code() as u8, Ordering::Relaxed);
    }

    pub(crate) fn last_fault(&self) -> Option<Fault> {
        Fault::from_code(self.last_fault.load(Ordering::Relaxed))
    }

    pub(crate) fn stats(&self) -> FilterStats {
        let counters = &self.counters;
        FilterStats {
            filtered_frames: counters.filtered_frames.get(),
            passed_frames: counters.passed_frames.get(),
            update_frames: counters.update_frames.get(),
            not_a_number_faults: counters.not_a_number_faults.get(),
            slow_faults: counters.slow_faults.get(),
            too_short_faults: counters.too_short_faults.get(),
            too_long_faults: counters.too_long_faults.get(),
            cut_samples: counters.cut_samples.get(),
            failed_updates: counters.failed_updates.get(),
            slowest: Duration::from_nanos(counters.slowest_ns.load(Ordering::Relaxed)),
        }
    }
}

fn try_lock(slot: &Mutex<Slot>) -> Option<MutexGuard<'_, Slot>> {
    match slot.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(PoisonError::into_inner(poisoned)),
        Err(TryLockError::WouldBlock) => None,
    }
}
