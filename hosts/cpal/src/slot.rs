//! Interrupt side and control side: a slot that holds a half, from which a callback borrows it and control
//! takes it back.
//!
//! cpal owns its callbacks and never returns what they captured. Some hosts call a callback for a while after
//! its stream was dropped, or drop it later on a thread of their own. So a callback captures a slot, and each
//! stream has a slot of its own: once control has taken the half out, a late callback finds an empty slot and
//! does no harm.
//!
//! The slot is a mutex on which neither side blocks. A callback tries to lock it once. Control tries, sleeps
//! and retries: if control blocked in the lock, the callback's unlock would have to wake it by a system call.
//! As it is, a callback locks and unlocks by one atomic operation each.

use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

/// Maximum time that control retries. A callback holds a half for microseconds, so after a second its thread
/// hangs.
const LOCK_TIMEOUT: Duration = Duration::from_millis(1_000);

/// Interval at which control retries: about the length of a callback.
const RETRY_INTERVAL: Duration = Duration::from_micros(200);

#[derive(Debug)]
pub(crate) struct HalfSlot<T> {
    half: Mutex<Option<T>>,
}

impl<T> HalfSlot<T> {
    pub(crate) fn empty() -> Self {
        let half = Mutex::new(None);
        // On systems with a mutex on the heap, the first lock allocates it. This lock makes sure that it is not a
        // callback's lock.
        drop(half.try_lock());
        Self { half }
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, Option<T>>> {
        match self.half.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Calls `work` with the half. Returns `None` without waiting if the slot is empty or control has locked it.
    /// Interrupt side.
    pub(crate) fn try_with<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.try_lock()?.as_mut().map(work)
    }

    /// Puts a half into the slot. Returns the half as the error if the slot stays locked or already holds one.
    /// Control side.
    pub(crate) fn park(&self, half: T) -> Result<(), T> {
        match self.lock_with_timeout() {
            Some(mut guard) if guard.is_none() => {
                *guard = Some(half);
                Ok(())
            }
            _ => Err(half),
        }
    }

    /// Takes the half out; no callback uses it afterwards. Returns `None` if the slot is empty or stays locked.
    /// Control side.
    pub(crate) fn take(&self) -> Option<T> {
        self.lock_with_timeout()?.take()
    }

    fn lock_with_timeout(&self) -> Option<MutexGuard<'_, Option<T>>> {
        let began = Instant::now();
        loop {
            if let Some(guard) = self.try_lock() {
                return Some(guard);
            }
            if began.elapsed() >= LOCK_TIMEOUT {
                return None;
            }
            std::thread::sleep(RETRY_INTERVAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_callback_finds_the_half_until_control_takes_it() {
        let slot = HalfSlot::empty();
        assert_eq!(slot.try_with(|half: &mut u32| *half), None);
        slot.park(1).unwrap();
        assert_eq!(slot.park(2), Err(2), "the slot holds a half");
        assert_eq!(slot.try_with(|half| std::mem::replace(half, 3)), Some(1));
        assert_eq!(slot.take(), Some(3));
        assert_eq!(slot.try_with(|half| *half), None, "a callback after the stop finds no half");
        assert_eq!(slot.take(), None);
    }

    #[test]
    fn a_callback_never_waits() {
        let slot = HalfSlot::empty();
        slot.park(7).unwrap();
        let guard = slot.try_lock().unwrap();
        assert_eq!(slot.try_with(|half| *half), None);
        drop(guard);
        assert_eq!(slot.try_with(|half| *half), Some(7));
    }

    #[test]
    fn the_half_stays_usable_after_a_callback_panicked() {
        let slot = Arc::new(HalfSlot::empty());
        slot.park(1).unwrap();
        let inside = Arc::clone(&slot);
        std::thread::spawn(move || inside.try_with(|_| panic!("deliberate"))).join().unwrap_err();
        assert_eq!(slot.try_with(|half| *half), Some(1));
        assert_eq!(slot.take(), Some(1));
    }

    #[test]
    fn control_waits_for_a_half_that_a_callback_has_borrowed() {
        let slot = Arc::new(HalfSlot::empty());
        slot.park(5).unwrap();
        let (begin, begun) = std::sync::mpsc::channel();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let inside = Arc::clone(&slot);
        let callback = std::thread::spawn(move || {
            inside.try_with(|_| {
                begin.send(()).unwrap();
                released.recv().unwrap();
            })
        });
        begun.recv().unwrap();
        let taker = std::thread::spawn(move || slot.take());
        // A taker that does not wait would be finished within this time.
        let began = Instant::now();
        while !taker.is_finished() && began.elapsed() < Duration::from_millis(50) {
            std::thread::yield_now();
        }
        release.send(()).unwrap();
        assert_eq!(callback.join().unwrap(), Some(()));
        assert_eq!(taker.join().unwrap(), Some(5));
    }

    #[test]
    fn control_and_a_callback_never_have_the_half_together() {
        let slot = Arc::new(HalfSlot::empty());
        let stop = Arc::new(AtomicBool::new(false));
        slot.park((0_u32, 0_u32)).unwrap();
        let callback = {
            let (slot, stop) = (Arc::clone(&slot), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut borrowed = 0;
                while !stop.load(Ordering::Relaxed) {
                    let found = slot.try_with(|half| {
                        half.0 += 1;
                        std::thread::yield_now();
                        half.1 += 1;
                    });
                    borrowed += u32::from(found.is_some());
                    std::thread::yield_now();
                }
                borrowed
            })
        };
        let mut last = 0;
        for _ in 0..200 {
            let half = slot.take().expect("the callback releases the half");
            assert_eq!(half.0, half.1, "no callback was using the half");
            last = half.0;
            slot.park(half).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        assert!(callback.join().unwrap() >= last);
    }
}
