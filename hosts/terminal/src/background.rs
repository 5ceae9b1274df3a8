//! Control side: a background thread that writes data until it is asked to finish.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::failure::Failure;

/// Handle of a thread that writes data and returns a result. Dropping the handle asks the thread to finish, and
/// does not wait for it.
#[derive(Debug)]
pub struct WriterThread<T> {
    name: &'static str,
    thread: Option<JoinHandle<Result<T, Failure>>>,
    finish: Arc<AtomicBool>,
}

impl<T: Send + 'static> WriterThread<T> {
    /// Starts a thread that calls `write`, which must return soon after its flag becomes true. `name` is the
    /// thread's name, and appears in error messages.
    ///
    /// # Errors
    /// Returns an error when the thread cannot be started.
    pub fn spawn(
        name: &'static str,
        write: impl FnOnce(&AtomicBool) -> Result<T, Failure> + Send + 'static,
    ) -> Result<Self, Failure> {
        let finish = Arc::new(AtomicBool::new(false));
        let finishing = Arc::clone(&finish);
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || write(&finishing))
            .map_err(|error| Failure::run(format!("the {name} thread could not be started: {error}")))?;
        Ok(Self { name, thread: Some(thread), finish })
    }

    /// Returns whether the thread has ended although it was not asked to. [`finish`](Self::finish) then returns
    /// its error.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Asks the thread to finish, and waits for its result.
    ///
    /// # Errors
    /// Returns the error of `write`, and an error when `write` panicked.
    pub fn finish(mut self) -> Result<T, Failure> {
        self.finish.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else {
            return Err(Failure::run(format!("the {} thread has already ended", self.name)));
        };
        thread.join().map_err(|_| Failure::run(format!("the {} thread panicked", self.name)))?
    }
}

impl<T> Drop for WriterThread<T> {
    fn drop(&mut self) {
        self.finish.store(true, Ordering::Relaxed);
    }
}
