//! Worker and application side: waiting for results of the worker's rounds, in any executor or in a thread.

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

/// List of waiting tasks and threads. The worker only wakes the [`Dispatcher`], and only while something waits.
/// Wakers are application code, so the dispatcher or the control side calls them.
#[derive(Default)]
pub(super) struct Waiters {
    waiting: Mutex<Vec<Waker>>,
    /// Whether the worker has to wake the dispatcher.
    has_waiters: AtomicBool,
    /// Whether the dispatcher has to exit.
    stop_requested: AtomicBool,
    dispatcher: OnceLock<Thread>,
}

impl Waiters {
    /// Wraps the worker's work so that waiting tasks are woken after each round. The wrapper is wait-free, and
    /// makes no system call while nothing waits.
    pub(super) fn notify_after(self: &Arc<Self>, mut work: Work) -> Work {
        let waiters = Arc::clone(self);
        Box::new(move || {
            work();
            waiters.after_round();
        })
    }

    fn after_round(&self) {
        // Partner of the fence in `register`: either the task sees the results of this round, or this thread
        // sees that a task waits.
        fence(Ordering::SeqCst);
        if self.has_waiters.load(Ordering::Relaxed) {
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
        self.has_waiters.store(true, Ordering::Relaxed);
        // Partner of the fence in `after_round`.
        fence(Ordering::SeqCst);
    }

    /// Wakes all waiting tasks and threads. This calls application code, so it must not run on an audio thread
    /// or with a lock held. When a waker panics, the panic hook reports it, and the other wakers are still
    /// called.
    pub(super) fn wake_all(&self) {
        let woken = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            self.has_waiters.store(false, Ordering::Relaxed);
            std::mem::take(&mut *waiting)
        };
        for waker in woken {
            // Unwind safe: the list is already empty, and a waker cannot reach any other state of this type.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
                // Dropping the payload may panic again, and the panic hook has already reported its message.
                std::mem::forget(payload);
            }
        }
    }

    /// Waits in any executor until `check` returns a value.
    pub(super) async fn until<T>(&self, mut check: impl FnMut() -> Option<T>) -> T {
        poll_fn(|context| {
            if let Some(found) = check() {
                return Poll::Ready(found);
            }
            self.register(context.waker());
            // Checking again after registering catches a round that ended in between.
            check().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Blocks this thread until `check` returns a value, at most for `timeout`.
    pub(super) fn block_until<T>(
        &self,
        timeout: WallDuration,
        check: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        // `None`: a deadline beyond the clock's range is never reached.
        let deadline = WallInstant::now().checked_add(timeout);
        let waker = Waker::from(Arc::new(UnparkWaker(thread::current())));
        let mut found = pin!(self.until(check));
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

struct UnparkWaker(Thread);

impl Wake for UnparkWaker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Handle of the thread that calls wakers after the worker's rounds. Dropping the handle makes the thread exit.
pub(super) struct Dispatcher(Arc<Waiters>);

impl Dispatcher {
    /// Starts the thread. It can be started only once for the same waiters.
    pub(super) fn spawn(waiters: &Arc<Waiters>) -> Result<Self, Failure> {
        let inside = Arc::clone(waiters);
        let thread = thread::Builder::new()
            .name("media wakers".into())
            .spawn(move || {
                // Acquire: partner of the Release in `drop`.
                while !inside.stop_requested.load(Ordering::Acquire) {
                    thread::park();
                    inside.wake_all();
                }
            })
            .map_err(|error| {
                Failure::run(format!("the thread that calls wakers could not be started: {error}"))
            })?;
        _ = waiters.dispatcher.set(thread.thread().clone());
        // A task may have started to wait before the worker could reach the thread.
        waiters.wake_dispatcher();
        Ok(Self(Arc::clone(waiters)))
    }
}

impl Drop for Dispatcher {
    /// Does not wait for the thread, because a waker that the thread calls may drop the last handle.
    fn drop(&mut self) {
        // Release: partner of the Acquire in the thread.
        self.0.stop_requested.store(true, Ordering::Release);
        self.0.wake_dispatcher();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;
    use std::sync::mpsc;

    const LONG: WallDuration = WallDuration::from_secs(60);

    /// Only the worker's rounds wake the waiters in this test, not ticks or time.
    #[test]
    fn every_round_wakes_all_waiters() {
        const ROUNDS: u32 = 2_000;
        let waiters = Arc::new(Waiters::default());
        let round = Arc::new(AtomicU32::new(0));
        let (request, requests) = mpsc::channel::<()>();
        let inside = Arc::clone(&round);
        let mut work = waiters.notify_after(Box::new(move || {
            inside.fetch_add(1, Ordering::Relaxed);
        }));
        let dispatcher = Dispatcher::spawn(&waiters).unwrap();
        thread::scope(|scope| {
            let readers: Vec<_> = (0..3)
                .map(|_| {
                    let (request, waiters, round) = (request.clone(), &waiters, &round);
                    scope.spawn(move || {
                        for wanted in 1..=ROUNDS {
                            // The round ends while this thread waits, just before, or just after.
                            request.send(()).unwrap();
                            let check = || (round.load(Ordering::Relaxed) >= wanted).then_some(());
                            waiters.block_until(LONG, check).expect("a round that woke no waiter");
                        }
                    })
                })
                .collect();
            drop(request);
            for count in 1.. {
                // One round per three requests, so that no reader gets ahead of the slowest.
                let Ok(()) = requests.recv() else { break };
                if count % 3 == 0 {
                    work();
                }
            }
            readers.into_iter().for_each(|reader| reader.join().unwrap());
        });
        drop(dispatcher);
        assert_eq!(round.load(Ordering::Relaxed), ROUNDS);
    }

    struct PanickingWaker;

    impl Wake for PanickingWaker {
        fn wake(self: Arc<Self>) {
            panic!("a panic that this test causes on purpose");
        }
    }

    struct SendingWaker(mpsc::Sender<u32>, u32);

    impl Wake for SendingWaker {
        fn wake(self: Arc<Self>) {
            self.0.send(self.1).unwrap();
        }
    }

    #[test]
    fn a_panicking_waker_does_not_stop_the_others_or_the_thread() {
        let waiters = Arc::new(Waiters::default());
        let mut work = waiters.notify_after(Box::new(|| {}));
        let dispatcher = Dispatcher::spawn(&waiters).unwrap();
        let (sender, received) = mpsc::channel();
        for round in 0..3 {
            waiters.register(&Waker::from(Arc::new(PanickingWaker)));
            waiters.register(&Waker::from(Arc::new(SendingWaker(sender.clone(), round))));
            work();
            assert_eq!(received.recv_timeout(LONG), Ok(round));
        }
        drop(dispatcher);
    }

    #[test]
    fn the_dispatcher_thread_exits_when_dropped() {
        let waiters = Arc::new(Waiters::default());
        drop(Dispatcher::spawn(&waiters).unwrap());
        let begun = WallInstant::now();
        while Arc::strong_count(&waiters) > 1 && begun.elapsed() < LONG {
            thread::yield_now();
        }
        assert_eq!(Arc::strong_count(&waiters), 1);
    }

    #[test]
    fn a_blocking_wait_returns_at_its_timeout() {
        let waiters = Waiters::default();
        assert_eq!(waiters.block_until(WallDuration::from_millis(5), || None::<()>), None);
        assert_eq!(waiters.block_until(WallDuration::ZERO, || Some(1)), Some(1));
    }
}
