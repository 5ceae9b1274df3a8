//! Both sides: a mutex that nobody ever waits in.
//!
//! The worker takes it by one try and goes on without where it fails. The control side tries, sleeps
//! and tries again. It never blocks in the lock, because the one who unlocks a lock with a sleeper in
//! it has to wake the sleeper, by a system call, and that one would be the worker. So on the worker's
//! side both locking and unlocking are one atomic operation each.

use std::error::Error;
use std::fmt;
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

/// How long the control side tries; a worker holds what is shared for a part of a frame's 10 ms.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// How often the control side tries.
const LOOK_INTERVAL: Duration = Duration::from_micros(500);

/// What is shared with the worker was in use at each try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    /// How long it was tried.
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
        // Where the system's mutex lies on the heap it is made by the first lock: not by the worker's.
        drop(value.try_lock());
        Self { value }
    }

    /// The worker's one try. Wait-free.
    pub(crate) fn attempt(&self) -> Option<MutexGuard<'_, T>> {
        match self.value.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// The control side's tries, for at most [`PATIENCE`].
    pub(crate) fn wait(&self) -> Result<MutexGuard<'_, T>, Busy> {
        let began = Instant::now();
        loop {
            if let Some(guard) = self.attempt() {
                return Ok(guard);
            }
            let waited = began.elapsed();
            if waited >= PATIENCE {
                return Err(Busy { waited });
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Whether somebody panicked with the value in hand since this was last asked. To be asked with
    /// the value in hand.
    pub(crate) fn take_poison(&self) -> bool {
        let poisoned = self.value.is_poisoned();
        if poisoned {
            self.value.clear_poison();
        }
        poisoned
    }
}
