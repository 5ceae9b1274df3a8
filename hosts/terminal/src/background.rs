//! Control side: a thread that writes something until it is told to finish.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::failure::Failure;

/// A writing thread and what comes of it. Dropped, it leaves the thread to finish by itself.
#[derive(Debug)]
pub(crate) struct Background<T> {
    what: &'static str,
    thread: Option<JoinHandle<Result<T, Failure>>>,
    leave: Arc<AtomicBool>,
}

impl<T: Send + 'static> Background<T> {
    /// Starts `write`, which is to end soon after what it is given has become true. `what` names it for
    /// people.
    pub(crate) fn spawn(
        what: &'static str,
        write: impl FnOnce(&AtomicBool) -> Result<T, Failure> + Send + 'static,
    ) -> Result<Self, Failure> {
        let leave = Arc::new(AtomicBool::new(false));
        let leaving = Arc::clone(&leave);
        let thread = std::thread::Builder::new()
            .name(what.into())
            .spawn(move || write(&leaving))
            .map_err(|error| Failure::run(format!("the {what}'s thread could not be started: {error}")))?;
        Ok(Self { what, thread: Some(thread), leave })
    }

    /// Whether it ended by itself, which is a failure that [`finish`](Self::finish) tells.
    pub(crate) fn has_failed(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Tells it to finish and waits for what it has.
    pub(crate) fn finish(mut self) -> Result<T, Failure> {
        self.leave.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else {
            return Err(Failure::run(format!("the {} has ended", self.what)));
        };
        thread.join().map_err(|_| Failure::run(format!("the {} panicked", self.what)))?
    }
}

impl<T> Drop for Background<T> {
    fn drop(&mut self) {
        self.leave.store(true, Ordering::Relaxed);
    }
}
