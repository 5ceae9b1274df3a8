//! Both sides: a frame processor that the worker uses and that an application can still talk to.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use handsfree_core::PcmMut;
use handsfree_core::capture::{Credentials, FrameProcessor, ProcessError, ProcessorFault, StreamIdentity};

pub use crate::try_only::{Busy, PATIENCE};

use crate::try_only::TryOnly;

/// A frame processor in two hands: the worker's, which is this, and a [`SharedStepControl`].
///
/// Each frame the worker borrows the processor by one atomic try. While a control has it, usually for
/// less than a frame, frames pass untouched and are counted; the processor is not reset for that. The
/// worker never waits, and never has to wake anybody: a control does not sleep in the lock but beside
/// it.
///
/// What is called on the shared step itself while no worker uses it (`on_stream`, `close`, ...) goes
/// through a control.
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
    /// It was to be reset while a control had it.
    stale: bool,
}

/// The application's hand on a [`SharedStep`]. Any thread but an audio thread.
pub struct SharedStepControl<P> {
    shared: Arc<Shared<P>>,
}

struct Shared<P> {
    step: TryOnly<P>,
    /// Written by the worker.
    passed_frames: AtomicU32,
}

impl<P: FrameProcessor> SharedStep<P> {
    /// Shares `step`. Allocates.
    #[must_use]
    pub fn new(step: P) -> Self {
        let shared = Shared { step: TryOnly::new(step), passed_frames: AtomicU32::new(0) };
        Self { shared: Arc::new(shared), stale: false }
    }

    /// A hand for the application.
    #[must_use]
    pub fn control(&self) -> SharedStepControl<P> {
        SharedStepControl { shared: Arc::clone(&self.shared) }
    }

    /// Tells the processor something on the control side. A control that holds it beyond all patience
    /// will have its own reasons, and the trait's methods cannot fail.
    fn tell(&mut self, work: impl FnOnce(&mut P)) {
        let _ = self.control().with(work);
    }
}

impl<P: FrameProcessor> FrameProcessor for SharedStep<P> {
    fn process(&mut self, frame: PcmMut<'_>) -> Result<(), ProcessError> {
        let Some(mut step) = self.shared.step.attempt() else {
            self.shared.pass();
            return Ok(());
        };
        // A control that panicked with the processor in its hand may have left it half-changed.
        let spoiled = self.shared.step.take_poison();
        if std::mem::take(&mut self.stale) || spoiled {
            step.reset();
        }
        if step.enabled() { step.process(frame) } else { Ok(()) }
    }

    /// While a control has the processor it counts as on: its frames are counted as passed.
    fn enabled(&self) -> bool {
        self.shared.step.attempt().is_none_or(|step| step.enabled())
    }

    fn set_enabled(&mut self, enabled: bool) {
        self.tell(|step| step.set_enabled(enabled));
    }

    /// Has effect before the next frame that the processor gets.
    fn reset(&mut self) {
        self.stale = true;
    }

    fn take_fault(&mut self) -> Option<ProcessorFault> {
        self.shared.step.attempt()?.take_fault()
    }

    fn on_stream(&mut self, stream: &StreamIdentity<'_>) {
        self.tell(|step| step.on_stream(stream));
    }

    fn on_credentials(&mut self, credentials: &Credentials<'_>) {
        self.tell(|step| step.on_credentials(credentials));
    }

    fn close(&mut self) {
        self.tell(P::close);
    }
}

impl<P> Shared<P> {
    /// Worker side. One writer, so no more than a load and a store.
    fn pass(&self) {
        let passed = self.passed_frames.load(Ordering::Relaxed);
        self.passed_frames.store(passed.wrapping_add(1), Ordering::Relaxed);
    }
}

impl<P: FrameProcessor> SharedStepControl<P> {
    /// Works on the processor while the worker's frames pass it untouched. What takes longer than a
    /// frame is better prepared outside.
    ///
    /// # Errors
    /// [`Busy`] after [`PATIENCE`] in which the worker or another control had it at each try; `work`
    /// was not called.
    pub fn with<T>(&self, work: impl FnOnce(&mut P) -> T) -> Result<T, Busy> {
        Ok(work(&mut *self.shared.step.wait()?))
    }

    /// Tells the processor whose audio it gets.
    ///
    /// # Errors
    /// As [`with`](Self::with).
    pub fn on_stream(&self, stream: &StreamIdentity<'_>) -> Result<(), Busy> {
        self.with(|step| step.on_stream(stream))
    }

    /// Tells the processor of new credentials.
    ///
    /// # Errors
    /// As [`with`](Self::with).
    pub fn on_credentials(&self, credentials: &Credentials<'_>) -> Result<(), Busy> {
        self.with(|step| step.on_credentials(credentials))
    }

    /// Switches the processor on or off.
    ///
    /// # Errors
    /// As [`with`](Self::with).
    pub fn set_enabled(&self, enabled: bool) -> Result<(), Busy> {
        self.with(|step| step.set_enabled(enabled))
    }

    /// Lets the processor go of what it holds; frames pass it untouched from then on.
    ///
    /// # Errors
    /// As [`with`](Self::with).
    pub fn close(&self) -> Result<(), Busy> {
        self.with(P::close)
    }

    /// Frames so far that passed because a control had the processor; wraps at 2^32.
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
