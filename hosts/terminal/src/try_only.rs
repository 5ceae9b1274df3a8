//! Worker and control side: a mutex in which no thread ever blocks.
//!
//! The worker tries once to lock, and continues without the lock when that fails. The control side retries, and
//! sleeps between two attempts. It never blocks in the mutex, because the worker would then need a system call
//! to unlock it. As a result, locking and unlocking take the worker one atomic operation each.

use std::error::Error;
use std::fmt;
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

/// Longest time for which the control side retries. The worker holds the lock for less than a frame of 10 ms at
/// a time, so a longer wait is a failure.
pub const LOCK_TIMEOUT: Duration = Duration::from_millis(500);

/// Interval between two attempts of the control side; short compared with a frame of 10 ms.
const POLL_INTERVAL: Duration = Duration::from_micros(500);

/// Error of a shared value that was locked at each attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    /// Time for which the control side retried.
    pub waited: Duration,
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a processing step was locked for {} ms: expected the worker to release it within 10 ms",
            self.waited.as_millis()
        )
    }
}

impl Error for Busy {}

/// Mutex that is only locked by attempts.
#[derive(Debug)]
pub(crate) struct TryOnly<T> {
    value: Mutex<T>,
}

impl<T> TryOnly<T> {
    pub(crate) fn new(value: T) -> Self {
        let value = Mutex::new(value);
        // Some systems allocate memory at the first lock, so it must not happen on the worker.
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

    /// Retries to lock for at most [`LOCK_TIMEOUT`]. Control side; sleeps between two attempts.
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
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Returns whether a thread panicked while it held the lock, since the last call. The caller must hold the
    /// lock.
    pub(crate) fn take_poison(&self) -> bool {
        let poisoned = self.value.is_poisoned();
        if poisoned {
            self.value.clear_poison();
        }
        poisoned
    }
}
