//! Worker side: a frame processor that panics must not take the worker with it.

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

/// Makes an error of a frame processor's panic: [`ProcessError::Panicked`].
///
/// After a panic the processor's state may be anything, so it is not called again until it was reset:
/// [`reset`](FrameProcessor::reset) promises a start as if new, which is the one call that can mend
/// it. [`Guarded`](handsfree_core::capture::Guarded) resets before each of its three new tries, so
/// `Guarded::new(CatchPanic::new(step), ..)` is a processor that panics, rests for a second, starts
/// anew, and is given up if it cannot stop panicking; `Guarded` also puts the half-changed frame back,
/// which this does not. Stream and credentials are not lost on a panicked processor: it is reset before
/// it is told. It is not closed by a panic, for closing may block and belongs to the control side;
/// [`close`](FrameProcessor::close) is passed on once, whatever its state, and is the last call it gets.
///
/// Costs nothing to speak of while nothing panics. A panic itself prints, allocates and takes locks, on
/// the worker, for that one frame. A program built with `panic = "abort"` ends instead.
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
    /// Its state may be anything.
    broken: Cell<bool>,
    closed: bool,
    notes: Arc<Notes>,
}

/// Tells from any thread how often a processor panicked and with which message.
#[derive(Clone, Debug)]
pub struct Panics {
    notes: Arc<Notes>,
}

#[derive(Debug)]
struct Notes {
    /// Written by the worker.
    count: AtomicU32,
    /// The text of the oldest panic that nobody asked for yet.
    payload: TryOnly<Option<Payload>>,
}

impl Notes {
    /// Worker side: waits for nobody. Hands a text over as it is, so that it is neither formatted nor
    /// freed here.
    fn write(&self, payload: Payload) {
        // One writer at a time, for a processor is called through `&mut`.
        self.count.fetch_add(1, Ordering::Relaxed);
        if text_of(&payload).is_some()
            && let Some(mut oldest) = self.payload.attempt()
            && oldest.is_none()
        {
            *oldest = Some(payload);
            return;
        }
        // What is no text may be anything, and panic once more when it is dropped.
        if let Err(once_more) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(once_more);
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
    /// Panics caught so far.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.notes.count.load(Ordering::Relaxed)
    }

    /// The message of the oldest panic since this was last asked, if it had one. Control side; the
    /// worker never waits for it.
    #[must_use]
    pub fn take_message(&self) -> Option<String> {
        let payload = self.notes.payload.wait().ok()?.take()?;
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
    /// Catches the panics of `step` from now on. Allocates.
    #[must_use]
    pub fn new(step: P) -> Self {
        let notes = Notes { count: AtomicU32::new(0), payload: TryOnly::new(None) };
        Self { step, broken: Cell::new(false), closed: false, notes: Arc::new(notes) }
    }

    /// What became known of its panics, for any thread.
    #[must_use]
    pub fn panics(&self) -> Panics {
        Panics { notes: Arc::clone(&self.notes) }
    }

    /// Calls the processor unless it was closed; `None` then, and when it panicked.
    fn call<T>(&mut self, work: impl FnOnce(&mut P) -> T) -> Option<T> {
        if self.closed {
            return None;
        }
        // Safe to look at afterwards, for nobody looks: it is not called again before a reset.
        match catch_unwind(AssertUnwindSafe(|| work(&mut self.step))) {
            Ok(value) => Some(value),
            Err(payload) => {
                self.note(payload);
                None
            }
        }
    }

    fn note(&self, payload: Payload) {
        self.broken.set(true);
        self.notes.write(payload);
    }

    /// Control side: a call that must reach the processor, also if it has to be mended for it.
    fn tell(&mut self, work: impl FnOnce(&mut P)) {
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

    /// A broken processor is on, so that its error is seen.
    fn enabled(&self) -> bool {
        if self.closed || self.broken.get() {
            return !self.closed;
        }
        catch_unwind(AssertUnwindSafe(|| self.step.enabled())).unwrap_or_else(|payload| {
            self.note(payload);
            true
        })
    }

    fn set_enabled(&mut self, enabled: bool) {
        self.tell(|step| step.set_enabled(enabled));
    }

    /// Mends a processor that panicked, unless this panics too.
    fn reset(&mut self) {
        if self.call(P::reset).is_some() {
            self.broken.set(false);
        }
    }

    fn take_fault(&mut self) -> Option<ProcessorFault> {
        if self.broken.get() { None } else { self.call(P::take_fault).flatten() }
    }

    fn on_stream(&mut self, stream: &StreamIdentity<'_>) {
        self.tell(|step| step.on_stream(stream));
    }

    fn on_credentials(&mut self, credentials: &Credentials<'_>) {
        self.tell(|step| step.on_credentials(credentials));
    }

    fn close(&mut self) {
        self.call(P::close);
        self.closed = true;
    }
}
