//! Both sides: a frame processor that the worker uses and an application can still reach.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use handsfree_core::PcmMut;
use handsfree_core::capture::{Credentials, FrameProcessor, ProcessError, ProcessorFault, StreamIdentity};

pub use crate::try_only::{Busy, LOCK_TIMEOUT};

use crate::try_only::TryOnly;

/// Frame processor shared by the worker, which holds this, and the application, which holds a [`SharedStepControl`].
///
/// For each frame the worker borrows the processor by one attempt at a lock. While a control has it, usually for less
/// than a frame, frames pass unprocessed and are counted; the processor is not reset for that. The worker never waits and
/// never has to wake a thread, because a control polls the lock instead of sleeping in it.
///
/// Calls on the shared step itself while no worker uses it (`on_stream`, `close`, ...) go through a control.
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
    shared: Arc<Shared<P>>,
    /// Whether a reset was requested while a control had the processor.
    stale: bool,
}

/// The application's handle of a [`SharedStep`], for any thread except an audio thread.
pub struct SharedStepControl<P> {
    shared: Arc<Shared<P>>,
}

struct Shared<P> {
    step: TryOnly<P>,
    /// Number of passed frames, written by the worker.
    passed_frames: AtomicU32,
}

impl<P: FrameProcessor> SharedStep<P> {
    /// Wraps `step`. Allocates.
    #[must_use]
    pub fn new(step: P) -> Self {
        let shared = Shared { step: TryOnly::new(step), passed_frames: AtomicU32::new(0) };
        Self { shared: Arc::new(shared), stale: false }
    }

    /// Returns a handle for the application.
    #[must_use]
    pub fn control(&self) -> SharedStepControl<P> {
        SharedStepControl { shared: Arc::clone(&self.shared) }
    }

    /// Makes a call on the control side. When another control holds the processor beyond the timeout, the call is dropped,
    /// because the trait's methods cannot fail.
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
        // A control that panicked while it had the processor may have left it half-changed.
        let spoiled = self.shared.step.take_poison();
        if std::mem::take(&mut self.stale) || spoiled {
            step.reset();
        }
        if step.enabled() { step.process(frame) } else { Ok(()) }
    }

    /// Returns true while a control has the processor, so that its frames are counted as passed.
    fn enabled(&self) -> bool {
        self.shared.step.attempt().is_none_or(|step| step.enabled())
    }

    fn set_enabled(&mut self, enabled: bool) {
        self.deliver(|step| step.set_enabled(enabled));
    }

    /// Resets the processor before its next frame.
    fn reset(&mut self) {
        self.stale = true;
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

impl<P> Shared<P> {
    /// Counts a passed frame. Worker side; with one writer a load and a store are enough.
    fn pass(&self) {
        let passed = self.passed_frames.load(Ordering::Relaxed);
        self.passed_frames.store(passed.wrapping_add(1), Ordering::Relaxed);
    }
}

impl<P: FrameProcessor> SharedStepControl<P> {
    /// Calls `work` with the processor, while the worker's frames pass unprocessed. Prepare outside whatever takes longer
    /// than a frame.
    ///
    /// # Errors
    /// Returns [`Busy`] when the worker or another control had the processor at each attempt for [`LOCK_TIMEOUT`]. `work`
    /// was not called.
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

    /// Returns the number of frames that passed because a control had the processor; wraps at 2^32.
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
        f.debug_struct("SharedStep").field("stale", &self.stale).finish_non_exhaustive()
    }
}

impl<P> fmt::Debug for SharedStepControl<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passed = self.shared.passed_frames.load(Ordering::Relaxed);
        f.debug_struct("SharedStepControl").field("passed_frames", &passed).finish_non_exhaustive()
    }
}
