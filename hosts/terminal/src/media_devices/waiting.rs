//! Worker to application: waits for results of the worker's rounds, in any executor or in a thread.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration as WallDuration, Instant as WallInstant};

use handsfree_host::worker::Work;

use crate::failure::Failure;

/// Waiting tasks and threads. The worker only wakes the [`Dispatcher`], and only while something waits. Wakers are
/// application code and are called by the dispatcher or by the control side.
#[derive(Default)]
pub(super) struct Waiters {
    waiting: Mutex<Vec<Waker>>,
    /// Whether the worker has to wake the dispatcher.
    is_wanted: AtomicBool,
    /// Whether the dispatcher has to exit.
    leave: AtomicBool,
    dispatcher: OnceLock<Thread>,
}

impl Waiters {
    /// Wraps the worker's work so that waiting tasks are polled after it. Wait-free, and without a system call while nothing
    /// waits.
    pub(super) fn notify_after(self: &Arc<Self>, mut work: Work) -> Work {
        let waiters = Arc::clone(self);
        Box::new(move || {
            work();
            waiters.after_round();
        })
    }

    fn after_round(&self) {
        // Partner of the fence in `register`: a task that registered before this fence sees the round's results, or is
        // seen here.
        fence(Ordering::SeqCst);
        if self.is_wanted.load(Ordering::Relaxed) {
            self.wake_dispatcher();
        }
    }

    fn wake_dispatcher(&self) {
        if let Some(thread) = self.dispatcher.get() {
            thread.unpark();
        }
    }

    fn register(&self, waker: &Waker) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.iter().any(|other| other.will_wake(waker)) {
            waiting.push(waker.clone());
        }
        self.is_wanted.store(true, Ordering::Relaxed);
        // Partner of the fence in `after_round`.
        fence(Ordering::SeqCst);
    }

    /// Wakes everything that waits. Calls application code, so not on an audio thread and without a lock. When a waker
    /// panics, the others are still called and the thread continues; the panic hook has reported it.
    pub(super) fn wake_all(&self) {
        let woken = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            self.is_wanted.store(false, Ordering::Relaxed);
            std::mem::take(&mut *waiting)
        };
        for waker in woken {
            // The list is empty already, and a waker sees no other state of ours.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
                // Dropping the payload may panic again, and its text was reported.
                std::mem::forget(payload);
            }
        }
    }

    /// Waits in any executor until `look` returns a value.
    pub(super) async fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        poll_fn(|context| {
            if let Some(found) = look() {
                return Poll::Ready(found);
            }
            self.register(context.waker());
            // Looking again after registering misses nothing that came in between.
            look().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Waits in this thread until `look` returns a value, at most for the given time.
    pub(super) fn block_until<T>(&self, timeout: WallDuration, look: impl FnMut() -> Option<T>) -> Option<T> {
        // A deadline beyond the clock's range never comes.
        let deadline = WallInstant::now().checked_add(timeout);
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut found = pin!(self.until(look));
        loop {
            if let Poll::Ready(found) = found.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Some(found);
            }
            match deadline.map(|deadline| deadline.saturating_duration_since(WallInstant::now())) {
                None => thread::park(),
                Some(WallDuration::ZERO) => return None,
                Some(left) => thread::park_timeout(left),
            }
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Thread that calls wakers after the worker's rounds. It exits when this is dropped.
pub(super) struct Dispatcher(Arc<Waiters>);

impl Dispatcher {
    /// Starts the thread, once for these waiters.
    pub(super) fn spawn(waiters: &Arc<Waiters>) -> Result<Self, Failure> {
        let inside = Arc::clone(waiters);
        let thread = thread::Builder::new()
            .name("media wakers".into())
            .spawn(move || {
                // Acquire: partner of the Release in `drop`.
                while !inside.leave.load(Ordering::Acquire) {
                    thread::park();
                    inside.wake_all();
                }
            })
            .map_err(|error| {
                Failure::run(format!("the thread that wakes who waits could not be started: {error}"))
            })?;
        _ = waiters.dispatcher.set(thread.thread().clone());
        // A task may have begun to wait before the thread was known.
        waiters.wake_dispatcher();
        Ok(Self(Arc::clone(waiters)))
    }
}

impl Drop for Dispatcher {
    /// Does not wait for the thread: a waker that the thread calls may drop the last handle.
    fn drop(&mut self) {
        // Release: partner of the Acquire in the thread.
        self.0.leave.store(true, Ordering::Release);
        self.0.wake_dispatcher();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;
    use std::sync::mpsc;

    const LONG: WallDuration = WallDuration::from_secs(60);

    /// Only the worker's rounds wake here, neither ticks nor time.
    #[test]
    fn each_of_many_rounds_is_seen_by_all_who_wait() {
        const ROUNDS: u32 = 2_000;
        let waiters = Arc::new(Waiters::default());
        let round = Arc::new(AtomicU32::new(0));
        let (ask, asked) = mpsc::channel::<()>();
        let inside = Arc::clone(&round);
        let mut work = waiters.notify_after(Box::new(move || {
            inside.fetch_add(1, Ordering::Relaxed);
        }));
        let dispatcher = Dispatcher::spawn(&waiters).unwrap();
        thread::scope(|scope| {
            let readers: Vec<_> = (0..3)
                .map(|_| {
                    let (ask, waiters, round) = (ask.clone(), &waiters, &round);
                    scope.spawn(move || {
                        for wanted in 1..=ROUNDS {
                            // The round comes while it waits, just before, or just after.
                            ask.send(()).unwrap();
                            let look = || (round.load(Ordering::Relaxed) >= wanted).then_some(());
                            waiters.block_until(LONG, look).expect("a round that was not told");
                        }
                    })
                })
                .collect();
            drop(ask);
            for count in 1.. {
                // One round answers three questions, so no waiter can be ahead of the slowest.
                let Ok(()) = asked.recv() else { break };
                if count % 3 == 0 {
                    work();
                }
            }
            readers.into_iter().for_each(|reader| reader.join().unwrap());
        });
        drop(dispatcher);
        assert_eq!(round.load(Ordering::Relaxed), ROUNDS);
    }

    struct Panics;

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker that panics, as this test wants it");
        }
    }

    struct Tells(mpsc::Sender<u32>, u32);

    impl Wake for Tells {
        fn wake(self: Arc<Self>) {
            self.0.send(self.1).unwrap();
        }
    }

    #[test]
    fn a_panicking_waker_does_not_stop_the_others_or_the_thread() {
        let waiters = Arc::new(Waiters::default());
        let mut work = waiters.notify_after(Box::new(|| {}));
        let dispatcher = Dispatcher::spawn(&waiters).unwrap();
        let (tell, told) = mpsc::channel();
        for round in 0..3 {
            waiters.register(&Waker::from(Arc::new(Panics)));
            waiters.register(&Waker::from(Arc::new(Tells(tell.clone(), round))));
            work();
            assert_eq!(told.recv_timeout(LONG), Ok(round));
        }
        drop(dispatcher);
    }

    #[test]
    fn the_dispatchers_thread_leaves_when_nobody_needs_it() {
        let waiters = Arc::new(Waiters::default());
        drop(Dispatcher::spawn(&waiters).unwrap());
        let begun = WallInstant::now();
        while Arc::strong_count(&waiters) > 1 && begun.elapsed() < LONG {
            thread::yield_now();
        }
        assert_eq!(Arc::strong_count(&waiters), 1);
    }

    #[test]
    fn a_thread_that_waits_for_nothing_gives_up() {
        let waiters = Waiters::default();
        assert_eq!(waiters.block_until(WallDuration::from_millis(5), || None::<()>), None);
        assert_eq!(waiters.block_until(WallDuration::ZERO, || Some(1)), Some(1));
    }
}
