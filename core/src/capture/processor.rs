//! Worker side: what may change captured audio. The voice processor hears both directions, frame
//! processors follow it.

use core::fmt;

use crate::format::Format;
use crate::frame::{PcmMut, PcmRef};
use crate::time::Duration;
use crate::timing::ReferenceQuality;

/// Why a processor could not process a frame. The frame passes unprocessed and is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
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
    /// The frame is longer than the memory in which a guard keeps it as it came.
    TooLong {
        /// Samples that the guard keeps.
        capacity: usize,
        /// Samples in the frame.
        found: usize,
    },
    /// The processor took too long; what it made of the frame is not used.
    Slow {
        /// How long it took.
        took: Duration,
        /// How long it may take.
        limit: Duration,
    },
    /// The processor panicked, now or earlier, and was not reset since. Only a host with `std` can
    /// tell; in firmware a panic is the end.
    Panicked,
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
            Self::Backend { code } => write!(f, "the processor failed with code {code}"),
            Self::TooLong { capacity, found } => {
                write!(f, "a frame of {found} samples: expected at most the guard's capacity of {capacity}")
            }
            Self::Slow { took, limit } => {
                write!(f, "{} us for a frame: expected at most {} us", took.as_micros(), limit.as_micros())
            }
            Self::Panicked => f.write_str("the processor panicked and was not reset since"),
        }
    }
}

impl core::error::Error for ProcessError {}

/// What a voice processor says about its work; `None` for what it cannot tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
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

    /// How precise a reference it needs. An image that links no voice processor that asks for
    /// [`ReferenceQuality::Full`] is 33 KB smaller.
    #[must_use]
    #[inline]
    fn reference_quality() -> ReferenceQuality
    where
        Self: Sized,
    {
        ReferenceQuality::Full
    }
}

/// A voice processor that changes nothing, for terminals whose echo is handled elsewhere.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
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

    // Nobody hears it but the ear of `acoustic_delay`, which asks for less.
    #[inline]
    fn reference_quality() -> ReferenceQuality {
        ReferenceQuality::Quick
    }
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
/// [`process`](Self::process), [`enabled`](Self::enabled), [`reset`](Self::reset) and
/// [`take_fault`](Self::take_fault) are called by the capture worker and must neither allocate nor
/// block. The others are for whoever owns the step before the worker gets it and after it gave it
/// back. What has to reach a step that a worker is using goes through a host's shared step.
///
/// A step that may fail or be slow belongs in a [`Guarded`](super::Guarded), several steps in a
/// [`Chain`](super::Chain).
///
/// ```
/// use handsfree_core::capture::{FrameProcessor, ProcessError};
/// use handsfree_core::{Format, PcmMut};
///
/// struct Invert;
///
/// impl FrameProcessor for Invert {
///     fn process(&mut self, frame: PcmMut<'_>) -> Result<(), ProcessError> {
///         frame.samples.iter_mut().for_each(|sample| *sample = sample.saturating_neg());
///         Ok(())
///     }
/// }
///
/// let mut samples = [7; 80];
/// Invert.process(PcmMut { format: Format::new(8_000, 1)?, samples: &mut samples })?;
/// assert_eq!(samples, [-7; 80]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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

    /// Switches it on or off; a step that cannot be switched stays on. A
    /// [`StepSwitch`](super::StepSwitch) does it while the worker runs.
    fn set_enabled(&mut self, _enabled: bool) {}

    /// Forgets what it learned and starts as if new, its settings kept: after a change of device,
    /// when it is switched on again, and before a guard tries it again.
    fn reset(&mut self) {}

    /// What a guard around this step, or around one inside it, has to report; asked for after each
    /// frame, each fault said once.
    fn take_fault(&mut self) -> Option<ProcessorFault> {
        None
    }

    /// Is told whose audio it is. May allocate and block: never called by an audio thread.
    fn on_stream(&mut self, _stream: &StreamIdentity<'_>) {}

    /// Is told of new credentials. May allocate and block: never called by an audio thread.
    fn on_credentials(&mut self, _credentials: &Credentials<'_>) {}

    /// Lets go of what it holds; afterwards frames pass it untouched. May allocate and block: never
    /// called by an audio thread.
    fn close(&mut self) {}
}

/// What a guard did with a step that failed or was too slow. The pipeline makes a
/// [`SessionEvent`](crate::SessionEvent) of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ProcessorFault {
    /// Frames pass it for a second, then it is tried again.
    Tripped {
        /// Place in the outermost chain, counted from 0; 0 without a chain.
        step: u8,
        /// How often so far.
        fault: u8,
    },
    /// One fault too many: it stays bypassed.
    Disabled {
        /// Place in the outermost chain, counted from 0; 0 without a chain.
        step: u8,
    },
}

impl ProcessorFault {
    /// The same fault, of the step at this place.
    #[must_use]
    pub const fn at_step(self, step: u8) -> Self {
        match self {
            Self::Tripped { fault, .. } => Self::Tripped { step, fault },
            Self::Disabled { .. } => Self::Disabled { step },
        }
    }
}

impl<P: FrameProcessor + ?Sized> FrameProcessor for &mut P {
    fn process(&mut self, frame: PcmMut<'_>) -> Result<(), ProcessError> {
        (**self).process(frame)
    }

    fn enabled(&self) -> bool {
        (**self).enabled()
    }

    fn set_enabled(&mut self, enabled: bool) {
        (**self).set_enabled(enabled);
    }

    fn reset(&mut self) {
        (**self).reset();
    }

    fn take_fault(&mut self) -> Option<ProcessorFault> {
        (**self).take_fault()
    }

    fn on_stream(&mut self, stream: &StreamIdentity<'_>) {
        (**self).on_stream(stream);
    }

    fn on_credentials(&mut self, credentials: &Credentials<'_>) {
        (**self).on_credentials(credentials);
    }

    fn close(&mut self) {
        (**self).close();
    }
}

/// Whose audio a processor gets, in the words of a conference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
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
