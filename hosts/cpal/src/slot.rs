//! Both sides: where a half is parked that a callback borrows and control takes back.
//!
//! cpal owns its callbacks and never gives back what they captured; some hosts call them for a while after
//! the stream was dropped, or drop them on a thread of their own, later. So a callback captures a slot, and
//! each stream has a slot of its own: once control took the half out, an old callback finds nothing and can
//! do no harm, whenever it comes.
//!
//! It is a mutex that nobody waits in. The callback tries once. Control tries, sleeps and tries again: it
//! never blocks in the lock, because who unlocks a lock with a sleeper in it has to wake the sleeper by a
//! system call, and that would be the callback. So a callback's locking and unlocking are one atomic
//! operation each.

use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

/// How long control tries; a callback holds a half for microseconds.
const PATIENCE: Duration = Duration::from_millis(1_000);

/// How often control tries.
const LOOK_INTERVAL: Duration = Duration::from_micros(200);

#[derive(Debug)]
pub(crate) struct Slot<T> {
    half: Mutex<Option<T>>,
}

impl<T> Slot<T> {
    pub(crate) fn empty() -> Self {
        let half = Mutex::new(None);
        // Where the system's mutex lies on the heap it is made by the first lock: not by the callback's.
        drop(half.try_lock());
        Self { half }
    }

    fn attempt(&self) -> Option<MutexGuard<'_, Option<T>>> {
        match self.half.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// The callback's one try: `None` when the half is not there, or control has its hand on it.
    pub(crate) fn borrow<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.attempt()?.as_mut().map(work)
    }

    /// Parks a half. Control side; gives the half back if the slot cannot be had or holds one.
    pub(crate) fn park(&self, half: T) -> Result<(), T> {
        match self.patient() {
            Some(mut guard) if guard.is_none() => {
                *guard = Some(half);
                Ok(())
            }
            _ => Err(half),
        }
    }

    /// Takes the half out. Control side; no callback has it when this returns it.
    pub(crate) fn take(&self) -> Option<T> {
        self.patient()?.take()
    }

    fn patient(&self) -> Option<MutexGuard<'_, Option<T>>> {
        let began = Instant::now();
        loop {
            if let Some(guard) = self.attempt() {
                return Some(guard);
            }
            if began.elapsed() >= PATIENCE {
                return None;
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_callback_finds_the_half_until_it_is_taken() {
        let slot = Slot::empty();
        assert_eq!(slot.borrow(|half: &mut u32| *half), None);
        slot.park(1).unwrap();
        assert_eq!(slot.park(2), Err(2), "there is one already");
        assert_eq!(slot.borrow(|half| std::mem::replace(half, 3)), Some(1));
        assert_eq!(slot.take(), Some(3));
        assert_eq!(slot.borrow(|half| *half), None, "a callback after the stop");
        assert_eq!(slot.take(), None);
    }

    #[test]
    fn a_callback_never_waits() {
        let slot = Slot::empty();
        slot.park(7).unwrap();
        let hand = slot.attempt().unwrap();
        assert_eq!(slot.borrow(|half| *half), None);
        drop(hand);
        assert_eq!(slot.borrow(|half| *half), Some(7));
    }

    #[test]
    fn a_callback_that_panicked_leaves_the_half() {
        let slot = Arc::new(Slot::empty());
        slot.park(1).unwrap();
        let inside = Arc::clone(&slot);
        std::thread::spawn(move || inside.borrow(|_| panic!("meant to"))).join().unwrap_err();
        assert_eq!(slot.borrow(|half| *half), Some(1));
        assert_eq!(slot.take(), Some(1));
    }

    #[test]
    fn a_half_that_a_callback_has_is_waited_for() {
        let slot = Arc::new(Slot::empty());
        slot.park(5).unwrap();
        let (begin, begun) = std::sync::mpsc::channel();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let inside = Arc::clone(&slot);
        let callback = std::thread::spawn(move || {
            inside.borrow(|_| {
                begin.send(()).unwrap();
                released.recv().unwrap();
            })
        });
        begun.recv().unwrap();
        let taker = std::thread::spawn(move || slot.take());
        // Whoever does not wait is done by now; who waits may be let go at any moment.
        let began = Instant::now();
        while !taker.is_finished() && began.elapsed() < Duration::from_millis(50) {
            std::thread::yield_now();
        }
        release.send(()).unwrap();
        assert_eq!(callback.join().unwrap(), Some(()));
        assert_eq!(taker.join().unwrap(), Some(5));
    }

    #[test]
    fn taking_waits_for_the_callback_that_has_it_and_no_two_have_it() {
        let slot = Arc::new(Slot::empty());
        let leave = Arc::new(AtomicBool::new(false));
        slot.park((0_u32, 0_u32)).unwrap();
        let callback = {
            let (slot, leave) = (Arc::clone(&slot), Arc::clone(&leave));
            std::thread::spawn(move || {
                let mut borrowed = 0;
                while !leave.load(Ordering::Relaxed) {
                    let found = slot.borrow(|half| {
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
            let half = slot.take().expect("it is let go of");
            assert_eq!(half.0, half.1, "nobody was in the middle of it");
            last = half.0;
            slot.park(half).unwrap();
        }
        leave.store(true, Ordering::Relaxed);
        assert!(callback.join().unwrap() >= last);
    }
}
