//! Both sides: the slot that holds a processor's sessions. The worker tries to borrow them, and a control waits for them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crate::error::FilterError;
use crate::sessions::ChannelSessions;

/// Longest time that a control waits for a filter that is processing a frame. A frame takes at most 10 ms as a rule, so
/// only a filter that hangs makes a control wait that long.
pub const UPDATE_TIMEOUT: Duration = Duration::from_millis(500);

/// Interval at which a waiting control tries to borrow the sessions; short against a frame of 10 ms.
const POLL_INTERVAL: Duration = Duration::from_micros(200);

/// Locks a mutex, also when it is poisoned: a panic under one of this crate's locks leaves the protected value intact.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Exclusive access to the sessions in a slot; the content is `None` after the processor was closed.
pub(crate) type BorrowedSessions<'a> = MutexGuard<'a, Option<Box<dyn ChannelSessions>>>;

/// Slot that holds a processor's sessions.
///
/// Only the holder of a [`BorrowedSessions`] may call the sessions. The worker tries to borrow it once for each frame and
/// never waits. Controls try until they succeed, one control at a time (they hold the module's
/// [`ControlCallGuard`](crate::module::ControlCallGuard)), and set `wanted`, so that a worker without a pause between
/// frames lets them in.
pub(crate) struct SessionSlot {
    sessions: Mutex<Option<Box<dyn ChannelSessions>>>,
    wanted: AtomicBool,
}

impl SessionSlot {
    pub(crate) fn new(sessions: Box<dyn ChannelSessions>) -> Self {
        Self { sessions: Mutex::new(Some(sessions)), wanted: AtomicBool::new(false) }
    }

    /// Worker: borrows the sessions unless a control wants or holds them. Never waits.
    pub(crate) fn try_borrow(&self) -> Option<BorrowedSessions<'_>> {
        // Relaxed, here and below: the flag is only a request, and the lock hands the sessions over.
        if self.wanted.load(Ordering::Relaxed) {
            return None;
        }
        self.try_lock()
    }

    /// Control, while it holds the module's guard: borrows the sessions as soon as the worker is between two frames.
    pub(crate) fn wait_and_borrow(&self) -> Result<BorrowedSessions<'_>, FilterError> {
        let asked_at = Instant::now();
        self.wanted.store(true, Ordering::Relaxed);
        let borrowed = loop {
            if let Some(sessions) = self.try_lock() {
                break Ok(sessions);
            }
            let waited = asked_at.elapsed();
            if waited >= UPDATE_TIMEOUT {
                break Err(FilterError::Busy { waited });
            }
            std::thread::sleep(POLL_INTERVAL);
        };
        self.wanted.store(false, Ordering::Relaxed);
        borrowed
    }

    /// Control: removes the sessions for good, after waiting for the current frame.
    pub(crate) fn take(&self) -> Option<Box<dyn ChannelSessions>> {
        lock(&self.sessions).take()
    }

    fn try_lock(&self) -> Option<BorrowedSessions<'_>> {
        match self.sessions.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(PoisonError::into_inner(poisoned)),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}
