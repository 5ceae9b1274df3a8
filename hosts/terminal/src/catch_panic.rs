//! Worker side: keeps a frame processor's panic from ending the worker.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use handsfree_core::PcmMut;
use handsfree_core::capture::{Credentials, FrameProcessor, ProcessError, ProcessorFault, StreamIdentity};

use crate::try_only::TryOnly;

type Payload = Box<dyn Any + Send>;

/// Wrapper that turns a frame processor's panic into [`ProcessError::Panicked`].
///
/// After a panic the processor's state is unknown, so it is not called again until
/// [`reset`](FrameProcessor::reset), which must restore a fresh state.
/// [`Guarded`](handsfree_core::capture::Guarded) resets before each of its three retries:
/// `Guarded::new(CatchPanic::new(step), ..)` bypasses a panicking processor for a second, restarts it, and
/// disables it if it keeps panicking. `Guarded` also restores a partly changed frame; this type does not. A
/// panicked processor is reset before it receives stream information or credentials, so that these are not
/// lost. A panic does not close the processor, because closing may block and belongs to the control side.
/// [`close`](FrameProcessor::close) is passed on once, in any state, and is the last call.
///
/// The cost is negligible while nothing panics. A panic prints, allocates and takes locks on the worker, during
/// that one frame. In a program built with `panic = "abort"`, a panic ends the process.
///
/// ```
/// use handsfree::catch_panic::CatchPanic;
/// use handsfree_core::capture::{FrameProcessor, ProcessError};
/// use handsfree_core::{Format, PcmMut};
///
/// struct OddOnes;
/// impl FrameProcessor for OddOnes {
///     fn process(&mut self, frame: PcmMut<'_>) -> Result<(), ProcessError> {
///         assert!(frame.samples[0] % 2 == 1, "an even sample: {}", frame.samples[0]);
///         Ok(())
///     }
/// }
///
/// let mut step = CatchPanic::new(OddOnes);
/// let panics = step.panics();
/// let mut process = |first| {
///     let format = Format::new(8_000, 1).unwrap();
///     step.process(PcmMut { format, samples: &mut [first; 80] })
/// };
/// assert_eq!(process(1), Ok(()));
/// assert_eq!(process(2), Err(ProcessError::Panicked));
/// assert_eq!(panics.take_message().as_deref(), Some("an even sample: 2"));
/// assert_eq!(process(1), Err(ProcessError::Panicked), "not called again");
/// step.reset();
/// assert_eq!(panics.count(), 1);
/// ```
pub struct CatchPanic<P> {
    step: P,
    /// Whether the processor panicked and has not been reset since.
    broken: Cell<bool>,
    closed: bool,
    log: Arc<PanicLog>,
}

/// Handle for any thread that reports how often a processor panicked and with which message.
#[derive(Clone, Debug)]
pub struct Panics {
    log: Arc<PanicLog>,
}

#[derive(Debug)]
struct PanicLog {
    /// Number of panics, written by the worker.
    count: AtomicU32,
    /// Message of the oldest panic that [`Panics::take_message`] has not taken yet.
    payload: TryOnly<Option<Payload>>,
}

impl PanicLog {
    /// Counts a panic and stores its message. Worker side; wait-free. The payload is moved, not formatted, and
    /// its text is freed on the control side.
    fn write(&self, payload: Payload) {
        // Only one thread writes at a time, because a processor is called through `&mut`.
        self.count.fetch_add(1, Ordering::Relaxed);
        if text_of(&payload).is_some()
            && let Some(mut oldest) = self.payload.attempt()
            && oldest.is_none()
        {
            *oldest = Some(payload);
            return;
        }
        // A payload that is not text can panic again when it is dropped.
        if let Err(second_payload) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(second_payload);
        }
    }
}

fn text_of(payload: &Payload) -> Option<&str> {
    match payload.downcast_ref::<String>() {
        Some(text) => Some(text),
        None => payload.downcast_ref::<&str>().copied(),
    }
}

impl Panics {
    /// Returns the number of panics caught so far.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.log.count.load(Ordering::Relaxed)
    }

    /// Takes the message of the oldest panic since the last call. Returns `None` if there was no panic or it
    /// had no text. Control side; the worker never waits for this call.
    #[must_use]
    pub fn take_message(&self) -> Option<String> {
        let payload = self.log.payload.wait().ok()?.take()?;
        text_of(&payload).map(ToString::to_string)
    }
}

impl<P> fmt::Debug for CatchPanic<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatchPanic")
            .field("broken", &self.broken.get())
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

impl<P: FrameProcessor> CatchPanic<P> {
    /// Wraps `step`. Allocates.
    #[must_use]
    pub fn new(step: P) -> Self {
        let log = PanicLog { count: AtomicU32::new(0), payload: TryOnly::new(None) };
        Self { step, broken: Cell::new(false), closed: false, log: Arc::new(log) }
    }

    /// Returns a handle that reports the panics, for any thread.
    #[must_use]
    pub fn panics(&self) -> Panics {
        Panics { log: Arc::clone(&self.log) }
    }

    /// Calls the processor. Returns `None` when it is closed, or panics in this call.
    fn call<T>(&mut self, work: impl FnOnce(&mut P) -> T) -> Option<T> {
        if self.closed {
            return None;
        }
        // Unwind safe, because the processor is not called again before a reset.
        match catch_unwind(AssertUnwindSafe(|| work(&mut self.step))) {
            Ok(value) => Some(value),
            Err(payload) => {
                self.record_panic(payload);
                None
            }
        }
    }

    fn record_panic(&self, payload: Payload) {
        self.broken.set(true);
        self.log.write(payload);
    }

    /// Makes a call that must reach the processor, after a reset if it panicked. Control side.
    fn deliver(&mut self, work: impl FnOnce(&mut P)) {
        if self.broken.get() {
            self.reset();
        }
        if !self.broken.get() {
            self.call(work);
        }
    }
}

impl<P: FrameProcessor> FrameProcessor for CatchPanic<P> {
    fn process(&mut self, frame: PcmMut<'_>) -> Result<(), ProcessError> {
        if self.closed {
            return Ok(());
        }
        if self.broken.get() {
            return Err(ProcessError::Panicked);
        }
        self.call(|step| step.process(frame)).unwrap_or(Err(ProcessError::Panicked))
    }

    /// Returns true for a processor that panicked, so that `process` is called and reports the error.
    fn enabled(&self) -> bool {
        if self.closed || self.broken.get() {
            return !self.closed;
        }
        catch_unwind(AssertUnwindSafe(|| self.step.enabled())).unwrap_or_else(|payload| {
            self.record_panic(payload);
            true
        })
    }

    fn set_enabled(&mut self, enabled: bool) {
        self.deliver(|step| step.set_enabled(enabled));
    }

    /// Resets a processor that panicked, unless the reset panics too.
    fn reset(&mut self) {
        if self.call(P::reset).is_some() {
            self.broken.set(false);
        }
    }

    fn take_fault(&mut self) -> Option<ProcessorFault> {
        if self.broken.get() { None } else { self.call(P::take_fault).flatten() }
    }

    fn on_stream(&mut self, stream: &StreamIdentity<'_>) {
        self.deliver(|step| step.on_stream(stream));
    }

    fn on_credentials(&mut self, credentials: &Credentials<'_>) {
        self.deliver(|step| step.on_credentials(credentials));
    }

    fn close(&mut self) {
        self.call(P::close);
        self.closed = true;
    }
}
