//! Control side makes it, audio callbacks wake it: a thread that runs the worker halves.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

/// One round of a worker: poll the pipelines, and whatever else is the worker's. Neither allocates nor
/// blocks where it shares its thread with the audio interrupts.
pub type Work = Box<dyn FnMut() + Send>;

/// A worker that nobody wakes looks by itself so often; a frame takes 10 ms.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Wakes a [`Worker`].
#[derive(Clone, Debug)]
pub struct Wake(Thread);

impl Wake {
    /// The worker runs a round soon, also if it is just about to fall asleep.
    ///
    /// Fit for an audio callback: an atomic exchange, and where the worker sleeps a system call that
    /// cannot block.
    pub fn wake(&self) {
        self.0.unpark();
    }
}

/// A thread that runs [`Work`] whenever it is woken, and some 200 times a second by itself.
///
/// Dropping it stops it.
pub struct Worker {
    thread: Option<JoinHandle<()>>,
    leave: Arc<AtomicBool>,
    wake: Wake,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("wake", &self.wake).finish_non_exhaustive()
    }
}

impl Worker {
    /// Starts the thread; it runs one round at once.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn spawn(name: &str, mut work: Work) -> io::Result<Self> {
        let leave = Arc::new(AtomicBool::new(false));
        let leaving = Arc::clone(&leave);
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            loop {
                work();
                // Acquire: partner of the Release in `stop`.
                if leaving.load(Ordering::Acquire) {
                    return;
                }
                std::thread::park_timeout(LOOK_INTERVAL);
            }
        })?;
        let wake = Wake(thread.thread().clone());
        Ok(Self { thread: Some(thread), leave, wake })
    }

    /// What wakes it.
    #[must_use]
    pub fn wake(&self) -> Wake {
        self.wake.clone()
    }

    /// Ends it after the round that it is in; what it owned is dropped when this returns, or, where the work
    /// itself calls this, soon after.
    ///
    /// A panic of the work goes on in the caller.
    pub fn stop(mut self) {
        if let Some(Err(panic)) = self.join() {
            std::panic::resume_unwind(panic);
        }
    }

    fn join(&mut self) -> Option<std::thread::Result<()>> {
        let thread = self.thread.take()?;
        // Release: partner of the Acquire in the thread.
        self.leave.store(true, Ordering::Release);
        self.wake.wake();
        // Work that drops its own worker cannot be waited for by itself: it leaves after this round.
        if thread.thread().id() == std::thread::current().id() {
            return None;
        }
        Some(thread.join())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // A panic of the work was printed when it happened; a drop may not panic again.
        _ = self.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn each_wake_is_followed_by_a_round() {
        let (told, rounds) = mpsc::channel();
        let worker = Worker::spawn("test", Box::new(move || _ = told.send(()))).unwrap();
        for _ in 0..100 {
            worker.wake().wake();
            rounds.recv().unwrap();
        }
        worker.stop();
    }

    #[test]
    fn what_it_owns_is_free_once_it_is_dropped() {
        let owned = Arc::new(());
        let inside = Arc::clone(&owned);
        drop(Worker::spawn("test", Box::new(move || _ = &inside)).unwrap());
        assert_eq!(Arc::strong_count(&owned), 1);
    }

    #[test]
    fn work_may_drop_its_own_worker() {
        let (give, given) = mpsc::channel::<Worker>();
        let (tell, told) = mpsc::channel();
        let work = move || {
            if let Ok(worker) = given.try_recv() {
                drop(worker);
                tell.send(()).unwrap();
            }
        };
        let worker = Worker::spawn("test", Box::new(work)).unwrap();
        give.send(worker).unwrap();
        told.recv_timeout(Duration::from_secs(10)).expect("it waits for itself");
        assert!(told.recv().is_err(), "what it owned is dropped when it left");
    }

    #[test]
    #[should_panic(expected = "told to")]
    fn a_panic_is_told_to_who_stops_it() {
        Worker::spawn("test", Box::new(|| panic!("told to"))).unwrap().stop();
    }
}
