//! Worker side: what may change captured audio. The voice processor hears both directions, frame
//! processors follow it in a chain.

use core::fmt;

use crate::format::Format;
use crate::frame::{PcmMut, PcmRef};
use crate::time::Duration;

/// Why a processor could not process a frame. The frame passes unprocessed and is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProcessError {
    /// The frame's format is not the one the processor was made for.
    Format {
        /// What the processor was made for.
        expected: Format,
        /// What it was given.
        found: Format,
    },
    /// The samples are not 10 ms of their format.
    Length {
        /// Samples in 10 ms of the format.
        expected: usize,
        /// Samples given.
        found: usize,
    },
    /// The processor's own error code.
    Backend {
        /// As the library numbers it.
        code: i32,
    },
}

impl fmt::Display for ProcessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Format { expected, found } => write!(
                f,
                "a frame of {} Hz and {} channels: expected {} Hz and {} channels",
                found.rate_hz(),
                found.channels(),
                expected.rate_hz(),
                expected.channels()
            ),
            Self::Length { expected, found } => {
                write!(f, "{found} samples: expected {expected}, which are 10 ms")
            }
            Self::Backend { code } => write!(f, "the voice processor failed with code {code}"),
        }
    }
}

impl core::error::Error for ProcessError {}

/// What a voice processor says about its work; `None` for what it cannot tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct VoiceStats {
    /// Echo return loss: loudspeaker over echo at the microphone, in dB.
    pub erl_db: Option<f32>,
    /// Echo return loss enhancement: echo at the microphone over what is left of it, in dB.
    pub erle_db: Option<f32>,
    /// The delay of the echo that the processor found by itself, in milliseconds.
    pub delay_ms: Option<i32>,
    /// Likelihood from 0 to 1 that echo is left.
    pub residual_echo_likelihood: Option<f32>,
}

/// Echo cancellation and its companions: hears what the loudspeaker played and changes what the
/// microphone heard.
///
/// Called by the capture worker only, through `&mut self`, so an implementation needs no lock.
/// It must neither allocate nor block once it runs.
pub trait VoiceProcessor {
    /// Takes 10 ms of the reverse stream: what the loudspeaker plays.
    ///
    /// # Errors
    /// The frame counts as not heard.
    fn process_reverse(&mut self, far: PcmRef<'_>) -> Result<(), ProcessError>;

    /// Cleans 10 ms of the microphone in place. `delay` is the time from a reverse frame's
    /// [`process_reverse`](Self::process_reverse) to the capture frame that holds its echo.
    ///
    /// # Errors
    /// The pipeline passes the frame on as it came.
    fn process_capture(&mut self, near: PcmMut<'_>, delay: Duration) -> Result<(), ProcessError>;

    /// What it says about its work.
    fn stats(&self) -> VoiceStats;

    /// Forgets what it learned, keeping its settings.
    fn reset(&mut self);
}

/// A voice processor that changes nothing, for terminals whose echo is handled elsewhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bypass;

impl VoiceProcessor for Bypass {
    fn process_reverse(&mut self, _far: PcmRef<'_>) -> Result<(), ProcessError> {
        Ok(())
    }

    fn process_capture(&mut self, _near: PcmMut<'_>, _delay: Duration) -> Result<(), ProcessError> {
        Ok(())
    }

    fn stats(&self) -> VoiceStats {
        VoiceStats::default()
    }

    fn reset(&mut self) {}
}

impl<V: VoiceProcessor + ?Sized> VoiceProcessor for &mut V {
    fn process_reverse(&mut self, far: PcmRef<'_>) -> Result<(), ProcessError> {
        (**self).process_reverse(far)
    }

    fn process_capture(&mut self, near: PcmMut<'_>, delay: Duration) -> Result<(), ProcessError> {
        (**self).process_capture(near, delay)
    }

    fn stats(&self) -> VoiceStats {
        (**self).stats()
    }

    fn reset(&mut self) {
        (**self).reset();
    }
}

/// One step after the voice processor: a filter, a meter, a gain.
///
/// Called by the capture worker, once a frame; it must neither allocate nor block.
pub trait FrameProcessor {
    /// Changes 10 ms in place.
    ///
    /// # Errors
    /// A step that fails leaves the samples as they came; the frame goes on and is counted.
    fn process(&mut self, frame: PcmMut<'_>) -> Result<(), ProcessError>;

    /// Whether the chain calls it.
    fn enabled(&self) -> bool {
        true
    }

    /// Switches it on or off; a step that cannot be switched stays on.
    fn set_enabled(&mut self, _enabled: bool) {}

    /// Forgets what it learned, after a gap or a change of device.
    fn reset(&mut self) {}

    /// Is told whose audio it is. May allocate and block: never called by an audio thread.
    fn on_stream(&mut self, _stream: &StreamIdentity<'_>) {}

    /// Is told of new credentials. May allocate and block: never called by an audio thread.
    fn on_credentials(&mut self, _credentials: &Credentials<'_>) {}

    /// Lets go of what it holds; afterwards frames pass it untouched.
    fn close(&mut self) {}
}

/// Whose audio a processor gets, in the words of a conference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamIdentity<'a> {
    /// Address of the server.
    pub url: &'a str,
    /// Identity of the room.
    pub room_id: &'a str,
    /// Name of the room.
    pub room_name: &'a str,
    /// Who speaks, as the application names them.
    pub participant_identity: &'a str,
    /// Who speaks, as the server numbers them.
    pub participant_id: &'a str,
    /// Identity of the track.
    pub track_id: &'a str,
}

/// What a processor needs to prove to a server that it may run.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// Address of the server.
    pub url: &'a str,
    /// The secret; never shown by `Debug`.
    pub token: &'a str,
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("url", &self.url).finish_non_exhaustive()
    }
}

/// No step at all.
impl FrameProcessor for () {
    fn process(&mut self, _frame: PcmMut<'_>) -> Result<(), ProcessError> {
        Ok(())
    }

    fn enabled(&self) -> bool {
        false
    }
}

/// Frame processors in the order they are called.
///
/// ```
/// use handsfree_core::capture::{Chain, FrameProcessor, ProcessError};
/// use handsfree_core::PcmMut;
///
/// struct Invert;
/// impl FrameProcessor for Invert {
///     fn process(&mut self, frame: PcmMut<'_>) -> Result<(), ProcessError> {
///         frame.samples.iter_mut().for_each(|s| *s = s.saturating_neg());
///         Ok(())
///     }
/// }
///
/// let (mut first, mut second) = (Invert, Invert);
/// let mut steps: [&mut (dyn FrameProcessor + Send); 2] = [&mut first, &mut second];
/// let chain = Chain::new(&mut steps);
/// # let _ = chain;
/// ```
pub struct Chain<'a, 'b> {
    steps: &'a mut [&'b mut (dyn FrameProcessor + Send)],
}

impl fmt::Debug for Chain<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").field("steps", &self.steps.len()).finish()
    }
}

impl<'a, 'b> Chain<'a, 'b> {
    /// A chain over `steps`, called in order.
    pub fn new(steps: &'a mut [&'b mut (dyn FrameProcessor + Send)]) -> Self {
        Self { steps }
    }
}

impl FrameProcessor for Chain<'_, '_> {
    /// Every enabled step has its turn even after one failed; the first error is the chain's.
    fn process(&mut self, mut frame: PcmMut<'_>) -> Result<(), ProcessError> {
        let mut outcome = Ok(());
        for step in self.steps.iter_mut().filter(|step| step.enabled()) {
            outcome = outcome.and(step.process(frame.reborrow()));
        }
        outcome
    }

    fn reset(&mut self) {
        for step in self.steps.iter_mut() {
            step.reset();
        }
    }
}
