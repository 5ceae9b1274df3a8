//! Both sides: a mutex without waiting threads.
//!
//! The worker tries once and continues without the lock when that fails. The control side tries, sleeps and tries again.
//! It never blocks in the lock, because unlocking a lock with a waiting thread takes a system call, which the worker would
//! have to make. So on the worker's side locking and unlocking are one atomic operation each.

use std::error::Error;
use std::fmt;
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

/// Longest time for which the control side tries; a worker holds the value for a part of a frame's 10 ms.
pub const LOCK_TIMEOUT: Duration = Duration::from_millis(500);

/// Interval between two attempts of the control side.
const LOOK_INTERVAL: Duration = Duration::from_micros(500);

/// Error: the shared value was in use at each attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    /// Time for which the lock was tried.
    pub waited: Duration,
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a processing step was in use for {} ms: expected the worker to let go of it each 10 ms",
            self.waited.as_millis()
        )
    }
}

impl Error for Busy {}

#[derive(Debug)]
pub(crate) struct TryOnly<T> {
    value: Mutex<T>,
}

impl<T> TryOnly<T> {
    pub(crate) fn new(value: T) -> Self {
        let value = Mutex::new(value);
        // Some systems allocate the mutex at the first lock, which must not be the worker's.
        drop(value.try_lock());
        Self { value }
    }

    /// Tries once to lock. Worker side; wait-free.
    pub(crate) fn attempt(&self) -> Option<MutexGuard<'_, T>> {
        match self.value.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Tries to lock for at most [`LOCK_TIMEOUT`]. Control side.
    pub(crate) fn wait(&self) -> Result<MutexGuard<'_, T>, Busy> {
        let began = Instant::now();
        loop {
            if let Some(guard) = self.attempt() {
                return Ok(guard);
            }
            let waited = began.elapsed();
            if waited >= LOCK_TIMEOUT {
                return Err(Busy { waited });
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Returns whether a thread panicked while it held the lock since the last call. Call it while the lock is held.
    pub(crate) fn take_poison(&self) -> bool {
        let poisoned = self.value.is_poisoned();
        if poisoned {
            self.value.clear_poison();
        }
        poisoned
    }
}
