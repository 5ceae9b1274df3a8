//! Control side: starts and stops the worker thread, which audio callbacks wake.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

/// One round of the worker: polls the pipelines and does the worker's other tasks. Must neither allocate nor block on a
/// host that calls it in the thread of the audio interrupts.
pub type Work = Box<dyn FnMut() + Send>;

/// Interval at which the worker runs without being woken: half a frame of 10 ms, so that no frame is late by more than
/// that on a host that does not wake its worker.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Handle that wakes a [`Worker`].
#[derive(Clone, Debug)]
pub struct Wake(Thread);

impl Wake {
    /// Makes the worker run a round soon, even when the worker is about to go to sleep.
    ///
    /// May be called from an audio callback: costs an atomic exchange and, when the worker sleeps, a system call that
    /// cannot block.
    pub fn wake(&self) {
        self.0.unpark();
    }
}

/// Thread that runs [`Work`] whenever it is woken, and about 200 times a second without being woken.
///
/// Dropping the worker stops the thread.
pub struct Worker {
    thread: Option<JoinHandle<()>>,
    stop_requested: Arc<AtomicBool>,
    wake: Wake,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("wake", &self.wake).finish_non_exhaustive()
    }
}

impl Worker {
    /// Starts the thread, which runs its first round immediately.
    ///
    /// # Errors
    /// Returns the system's error when it cannot start a thread.
    pub fn spawn(name: &str, mut work: Work) -> io::Result<Self> {
        let stop_requested = Arc::new(AtomicBool::new(false));
        let thread_stop_requested = Arc::clone(&stop_requested);
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            loop {
                work();
                // Acquire: partner of the Release in `stop`.
                if thread_stop_requested.load(Ordering::Acquire) {
                    return;
                }
                std::thread::park_timeout(POLL_INTERVAL);
            }
        })?;
        let wake = Wake(thread.thread().clone());
        Ok(Self { thread: Some(thread), stop_requested, wake })
    }

    /// Returns a handle that wakes the worker.
    #[must_use]
    pub fn wake(&self) -> Wake {
        self.wake.clone()
    }

    /// Stops the thread after its current round. The work is dropped before this returns, or soon afterwards when the
    /// work itself calls this.
    ///
    /// A panic of the work is resumed in the caller.
    pub fn stop(mut self) {
        if let Some(Err(panic)) = self.join() {
            std::panic::resume_unwind(panic);
        }
    }

    fn join(&mut self) -> Option<std::thread::Result<()>> {
        let thread = self.thread.take()?;
        // Release: partner of the Acquire in the thread.
        self.stop_requested.store(true, Ordering::Release);
        self.wake.wake();
        // Work that drops its own worker cannot wait for its own end; the thread ends after the current round.
        if thread.thread().id() == std::thread::current().id() {
            return None;
        }
        Some(thread.join())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // A panic of the work was printed when it happened, and a drop must not panic again.
        _ = self.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn each_wake_is_followed_by_a_round() {
        let (round_done, rounds) = mpsc::channel();
        let worker = Worker::spawn("test", Box::new(move || _ = round_done.send(()))).unwrap();
        for _ in 0..100 {
            worker.wake().wake();
            rounds.recv().unwrap();
        }
        worker.stop();
    }

    #[test]
    fn dropping_a_worker_drops_its_work() {
        let owned = Arc::new(());
        let inside = Arc::clone(&owned);
        drop(Worker::spawn("test", Box::new(move || _ = &inside)).unwrap());
        assert_eq!(Arc::strong_count(&owned), 1);
    }

    #[test]
    fn work_may_drop_its_own_worker() {
        let (worker_sender, worker_receiver) = mpsc::channel::<Worker>();
        let (dropped_sender, dropped) = mpsc::channel();
        let work = move || {
            if let Ok(worker) = worker_receiver.try_recv() {
                drop(worker);
                dropped_sender.send(()).unwrap();
            }
        };
        let worker = Worker::spawn("test", Box::new(work)).unwrap();
        worker_sender.send(worker).unwrap();
        dropped.recv_timeout(Duration::from_secs(10)).expect("the worker must not wait for its own end");
        assert!(dropped.recv().is_err(), "the work is dropped when the thread ends");
    }

    #[test]
    #[should_panic(expected = "a test panic")]
    fn stopping_a_worker_resumes_its_panic() {
        Worker::spawn("test", Box::new(|| panic!("a test panic"))).unwrap().stop();
    }
}
