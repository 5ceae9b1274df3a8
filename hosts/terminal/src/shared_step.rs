//! Worker and application side: a frame processor that the application can call while the worker uses it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use handsfree_core::PcmMut;
use handsfree_core::capture::{Credentials, FrameProcessor, ProcessError, ProcessorFault, StreamIdentity};

pub use crate::try_only::{Busy, LOCK_TIMEOUT};

use crate::try_only::TryOnly;

/// Frame processor shared by the worker, which holds this, and the application, which holds a
/// [`SharedStepControl`].
///
/// For each frame the worker tries once to lock the processor. While a control holds the lock, usually for less
/// than a frame, frames pass unprocessed and are counted; this does not reset the processor. The worker never
/// waits and never has to wake a thread, because a control polls the lock instead of blocking in it.
///
/// The control-side methods of this type (`on_stream`, `close`, ...) also lock the processor, for at most
/// [`LOCK_TIMEOUT`].
///
/// ```
/// use handsfree::shared_step::SharedStep;
/// use handsfree_core::capture::{Credentials, FrameProcessor, ProcessError};
/// use handsfree_core::{Format, PcmMut};
///
/// #[derive(Default)]
/// struct Licensed { token: String }
/// impl FrameProcessor for Licensed {
///     fn process(&mut self, frame: PcmMut<'_>) -> Result<(), ProcessError> {
///         if self.token.is_empty() { frame.samples.fill(0) }
///         Ok(())
///     }
///     fn on_credentials(&mut self, credentials: &Credentials<'_>) {
///         self.token = credentials.token.into();
///     }
/// }
///
/// let mut step = SharedStep::new(Licensed::default());
/// let control = step.control();
/// let worker = std::thread::spawn(move || {
///     let (format, mut samples) = (Format::new(8_000, 1).unwrap(), [0; 80]);
///     while samples == [0; 80] {
///         samples = [7; 80];
///         step.process(PcmMut { format, samples: &mut samples }).unwrap();
///     }
///     samples
/// });
/// control.on_credentials(&Credentials { url: "wss://example.org", token: "secret" })?;
/// assert_eq!(worker.join().unwrap(), [7; 80]);
/// # Ok::<(), handsfree::shared_step::Busy>(())
/// ```
pub struct SharedStep<P> {
    shared: Arc<SharedStepState<P>>,
    /// Whether the processor must be reset before its next frame.
    reset_pending: bool,
}

/// Application's handle of a [`SharedStep`], for any thread except an audio thread.
pub struct SharedStepControl<P> {
    shared: Arc<SharedStepState<P>>,
}

struct SharedStepState<P> {
    step: TryOnly<P>,
    /// Number of frames that passed unprocessed, written by the worker.
    passed_frames: AtomicU32,
}

impl<P: FrameProcessor> SharedStep<P> {
    /// Wraps `step`. Allocates.
    #[must_use]
    pub fn new(step: P) -> Self {
        let shared = SharedStepState { step: TryOnly::new(step), passed_frames: AtomicU32::new(0) };
        Self { shared: Arc::new(shared), reset_pending: false }
    }

    /// Returns a handle for the application.
    #[must_use]
    pub fn control(&self) -> SharedStepControl<P> {
        SharedStepControl { shared: Arc::clone(&self.shared) }
    }

    /// Calls the processor on the control side. When another control holds the lock beyond the timeout, the call is
    /// dropped, because the trait's methods cannot return an error.
    fn deliver(&mut self, work: impl FnOnce(&mut P)) {
        let _ = self.control().with(work);
    }
}

impl<P: FrameProcessor> FrameProcessor for SharedStep<P> {
    fn process(&mut self, frame: PcmMut<'_>) -> Result<(), ProcessError> {
        let Some(mut step) = self.shared.step.attempt() else {
            self.shared.pass();
            return Ok(());
        };
        // A control that panicked while it held the lock may have left the processor in an invalid state.
        let was_poisoned = self.shared.step.take_poison();
        if std::mem::take(&mut self.reset_pending) || was_poisoned {
            step.reset();
        }
        if step.enabled() { step.process(frame) } else { Ok(()) }
    }

    /// Returns true while a control holds the lock, so that `process` is called and counts the passed frames.
    fn enabled(&self) -> bool {
        self.shared.step.attempt().is_none_or(|step| step.enabled())
    }

    fn set_enabled(&mut self, enabled: bool) {
        self.deliver(|step| step.set_enabled(enabled));
    }

    /// Resets the processor before its next frame.
    fn reset(&mut self) {
        self.reset_pending = true;
    }

    fn take_fault(&mut self) -> Option<ProcessorFault> {
        self.shared.step.attempt()?.take_fault()
    }

    fn on_stream(&mut self, stream: &StreamIdentity<'_>) {
        self.deliver(|step| step.on_stream(stream));
    }

    fn on_credentials(&mut self, credentials: &Credentials<'_>) {
        self.deliver(|step| step.on_credentials(credentials));
    }

    fn close(&mut self) {
        self.deliver(P::close);
    }
}

impl<P> SharedStepState<P> {
    /// Counts a frame that passed unprocessed. Worker side, the only writer, so a load and a store are enough.
    fn pass(&self) {
        let passed = self.passed_frames.load(Ordering::Relaxed);
        self.passed_frames.store(passed.wrapping_add(1), Ordering::Relaxed);
    }
}

impl<P: FrameProcessor> SharedStepControl<P> {
    /// Calls `work` with the processor. The worker's frames pass unprocessed meanwhile, so anything that takes
    /// longer than a frame should be prepared before this call.
    ///
    /// # Errors
    /// Returns [`Busy`] when the processor was locked by the worker or another control at each attempt within
    /// [`LOCK_TIMEOUT`]. In that case `work` is not called.
    pub fn with<T>(&self, work: impl FnOnce(&mut P) -> T) -> Result<T, Busy> {
        Ok(work(&mut *self.shared.step.wait()?))
    }

    /// Passes the stream's identity to the processor.
    ///
    /// # Errors
    /// Returns the errors of [`with`](Self::with).
    pub fn on_stream(&self, stream: &StreamIdentity<'_>) -> Result<(), Busy> {
        self.with(|step| step.on_stream(stream))
    }

    /// Passes new credentials to the processor.
    ///
    /// # Errors
    /// Returns the errors of [`with`](Self::with).
    pub fn on_credentials(&self, credentials: &Credentials<'_>) -> Result<(), Busy> {
        self.with(|step| step.on_credentials(credentials))
    }

    /// Switches the processor on or off.
    ///
    /// # Errors
    /// Returns the errors of [`with`](Self::with).
    pub fn set_enabled(&self, enabled: bool) -> Result<(), Busy> {
        self.with(|step| step.set_enabled(enabled))
    }

    /// Closes the processor, which releases its resources. Frames pass unprocessed from then on.
    ///
    /// # Errors
    /// Returns the errors of [`with`](Self::with).
    pub fn close(&self) -> Result<(), Busy> {
        self.with(P::close)
    }

    /// Returns the number of frames that passed unprocessed because a control held the lock; wraps at 2^32.
    #[must_use]
    pub fn passed_frames(&self) -> u32 {
        self.shared.passed_frames.load(Ordering::Relaxed)
    }
}

impl<P> Clone for SharedStepControl<P> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<P> fmt::Debug for SharedStep<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedStep").field("reset_pending", &self.reset_pending).finish_non_exhaustive()
    }
}

impl<P> fmt::Debug for SharedStepControl<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passed = self.shared.passed_frames.load(Ordering::Relaxed);
        f.debug_struct("SharedStepControl").field("passed_frames", &passed).finish_non_exhaustive()
    }
}
