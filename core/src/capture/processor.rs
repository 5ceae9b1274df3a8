//! Worker side: the interfaces of what changes captured audio. The voice processor gets both directions;
//! frame processors run after it.

use core::fmt;

use crate::format::Format;
use crate::frame::{PcmMut, PcmRef};
use crate::time::Duration;
use crate::timing::ReferenceQuality;

/// Reason why a processor could not process a frame. The frame passes unprocessed and is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ProcessError {
    /// The frame's format is not the one the processor was made for.
    Format {
        /// Format the processor was made for.
        expected: Format,
        /// Format of the frame.
        found: Format,
    },
    /// The number of samples is not 10 ms of their format.
    Length {
        /// Samples in 10 ms of the format.
        expected: usize,
        /// Samples in the frame.
        found: usize,
    },
    /// The processor failed with an error code of its own.
    Backend {
        /// Error code of the underlying library.
        code: i32,
    },
    /// The frame is longer than the memory in which a guard keeps its unprocessed samples.
    TooLong {
        /// Samples that fit the guard's memory.
        capacity: usize,
        /// Samples in the frame.
        found: usize,
    },
    /// The processor took too long; its output is not used.
    Slow {
        /// Time that the processor took.
        took: Duration,
        /// Longest time allowed.
        limit: Duration,
    },
    /// The processor panicked, now or earlier, and was not reset since. Only a host with `std` can detect it;
    /// in firmware a panic ends the program.
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
                write!(f, "a frame of {found} samples: expected {expected}, which are 10 ms")
            }
            Self::Backend { code } => write!(f, "the processor failed with code {code}"),
            Self::TooLong { capacity, found } => {
                write!(f, "a frame of {found} samples: expected at most the guard's capacity of {capacity}")
            }
            Self::Slow { took, limit } => {
                write!(
                    f,
                    "the processor took {} us for a frame: expected at most {} us",
                    took.as_micros(),
                    limit.as_micros()
                )
            }
            Self::Panicked => f.write_str("the processor panicked and was not reset since"),
        }
    }
}

impl core::error::Error for ProcessError {}

/// Figures that a voice processor reports about its work; `None` for those it does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct VoiceStats {
    /// Echo return loss: level of the loudspeaker over its echo at the microphone, in dB.
    pub erl_db: Option<f32>,
    /// Echo return loss enhancement: echo at the microphone over the residual echo, in dB.
    pub erle_db: Option<f32>,
    /// Delay of the echo as estimated by the processor itself, in milliseconds.
    pub delay_ms: Option<i32>,
    /// Likelihood of residual echo, from 0 to 1.
    pub residual_echo_likelihood: Option<f32>,
}

/// What a canceller has learned about the echo, for the alignment of its reference.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct EchoReport {
    /// Time by which the strongest echo comes later than the reference.
    pub lag: Duration,
    /// Level of the echo against the reference, in dB.
    pub strength_db: f32,
    /// Part of the echo's power that the canceller removes, from 0 to 1.
    pub convergence: f32,
}

/// How far from its expected place a canceller found the echo in a frame, for the alignment of its reference.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct EchoShift {
    /// Number of sample frames by which the echo came later than expected.
    pub later_sample_frames: f32,
    /// Variance of that number, in square sample frames; larger than 0.
    pub variance_sample_frames2: f32,
}

/// Echo cancellation, noise suppression and the like: gets the loudspeaker's signal and changes the
/// microphone's.
///
/// Only the capture worker calls it, through `&mut self`, so an implementation needs no lock. Its processing
/// methods must neither allocate nor block.
pub trait VoiceProcessor {
    /// Takes 10 ms of the reverse stream: the loudspeaker's signal.
    ///
    /// # Errors
    /// The frame counts as not processed; the pipeline treats it as a fault of the processor.
    fn process_reverse(&mut self, far: PcmRef<'_>) -> Result<(), ProcessError>;

    /// Cleans 10 ms of the microphone in place. `delay` is the time from a reverse frame's
    /// [`process_reverse`](Self::process_reverse) to the capture frame that holds its echo.
    ///
    /// # Errors
    /// The pipeline restores the frame and passes it on unprocessed.
    fn process_capture(&mut self, near: PcmMut<'_>, delay: Duration) -> Result<(), ProcessError>;

    /// Returns the processor's figures about its work.
    fn stats(&self) -> VoiceStats;

    /// Forgets what it learned, keeping its settings.
    fn reset(&mut self);

    /// Returns what the processor has learned about the echo. With `None`, the pipeline compares the microphone
    /// before and after the processor instead.
    fn echo_report(&self) -> Option<EchoReport> {
        None
    }

    /// Returns how far from its expected place the echo came in the last capture frame, or `None` if the processor
    /// does not know it. Called after each frame; the reference follows it.
    fn echo_shift(&self) -> Option<EchoShift> {
        None
    }

    /// Tells that the next reverse frames come earlier or later than before against their echo, so that an echo path
    /// that was learned is wrong from now on. Called between frames, after the acoustic delay estimate corrected the
    /// reference. The default does nothing.
    fn on_reference_moved(&mut self) {}

    /// Tells that the next reverse frames may come earlier or later than before against their echo, by a time with the standard
    /// deviation `deviation`: the latency of a device jumped, or nothing was played for a second or more. Called before
    /// the first of these frames. The default does nothing.
    fn on_reference_uncertain(&mut self, _deviation: Duration) {}

    /// Returns the likelihood that the near talker spoke in the last capture frame, from 0 to 1, or `None` if the
    /// processor does not know it. Called after each frame.
    fn near_end_likelihood(&self) -> Option<f32> {
        None
    }

    /// Returns the longest time by which the echo may come later than its reference. An echo within this reach
    /// is left where it is; for a later one the reference is moved.
    fn reach(&self) -> Duration {
        Duration::from_millis(100)
    }

    /// Returns the precision of the reference that the processor needs. A program in which no voice processor
    /// asks for [`ReferenceQuality::Full`] is 33 KB smaller.
    #[must_use]
    #[inline]
    fn reference_quality() -> ReferenceQuality
    where
        Self: Sized,
    {
        ReferenceQuality::Full
    }
}

/// A voice processor that changes nothing, for devices where echo is handled elsewhere.
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

    // Only the acoustic delay estimator uses the reference then, and it does not need full precision.
    #[inline]
    fn reference_quality() -> ReferenceQuality {
        ReferenceQuality::Quick
    }
}

/// Calls the processor that a reference leads to.
macro_rules! forward_to_reference {
    () => {
        fn process_reverse(&mut self, far: PcmRef<'_>) -> Result<(), ProcessError> {
            (**self).process_reverse(far)
        }

        fn process_capture(&mut self, near: PcmMut<'_>, delay: Duration) -> Result<(), ProcessError> {
            (**self).process_capture(near, delay)
        }

        fn stats(&self) -> VoiceStats {
            (**self).stats()
        }

        fn echo_report(&self) -> Option<EchoReport> {
            (**self).echo_report()
        }

        fn echo_shift(&self) -> Option<EchoShift> {
            (**self).echo_shift()
        }

        fn on_reference_moved(&mut self) {
            (**self).on_reference_moved();
        }

        fn on_reference_uncertain(&mut self, deviation: Duration) {
            (**self).on_reference_uncertain(deviation);
        }

        fn near_end_likelihood(&self) -> Option<f32> {
            (**self).near_end_likelihood()
        }

        fn reach(&self) -> Duration {
            (**self).reach()
        }

        fn reset(&mut self) {
            (**self).reset();
        }
    };
}

impl<V: VoiceProcessor> VoiceProcessor for &mut V {
    forward_to_reference!();

    #[inline]
    fn reference_quality() -> ReferenceQuality {
        V::reference_quality()
    }
}

/// The reference has full precision, because the processor's own wish is not known when the program is compiled.
impl VoiceProcessor for &mut (dyn VoiceProcessor + '_) {
    forward_to_reference!();
}

/// The reference has full precision, because the processor's own wish is not known when the program is compiled.
impl VoiceProcessor for &mut (dyn VoiceProcessor + Send + '_) {
    forward_to_reference!();
}

/// A step after the voice processor, such as a filter, a meter or a gain.
///
/// [`process`](Self::process), [`enabled`](Self::enabled), [`reset`](Self::reset) and
/// [`take_fault`](Self::take_fault) are called by the capture worker and must neither allocate nor block. The
/// owner of the step calls the other methods before the worker gets the step and after the worker is gone. A
/// host's shared step carries calls to a step that a worker is using.
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
    /// A step that fails must leave the samples unchanged; the frame continues to the next step, and the
    /// error is counted.
    fn process(&mut self, frame: PcmMut<'_>) -> Result<(), ProcessError>;

    /// Returns whether the chain should run the step.
    fn enabled(&self) -> bool {
        true
    }

    /// Switches the step on or off; a step without such a switch stays on. While the worker runs, use a
    /// [`StepSwitch`](super::StepSwitch) instead.
    fn set_enabled(&mut self, _enabled: bool) {}

    /// Forgets what was learned and keeps the settings. Called after a change of device, when the step is
    /// switched on again, and before a guard retries it.
    fn reset(&mut self) {}

    /// Returns the fault that a guard around this step, or around one inside it, has to report. Called after
    /// each frame; each fault is returned once.
    fn take_fault(&mut self) -> Option<ProcessorFault> {
        None
    }

    /// Takes the identity of the stream and its speaker. May allocate and block: never called by an audio
    /// thread.
    fn on_stream(&mut self, _stream: &StreamIdentity<'_>) {}

    /// Takes new credentials. May allocate and block: never called by an audio thread.
    fn on_credentials(&mut self, _credentials: &Credentials<'_>) {}

    /// Releases the resources of the step; frames pass it unchanged from then on. May allocate and block:
    /// never called by an audio thread.
    fn close(&mut self) {}
}

/// Reaction of a guard to a step that failed or was too slow. The pipeline turns it into a
/// [`SessionEvent`](crate::SessionEvent).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ProcessorFault {
    /// Frames bypass the step for a second, then it is retried.
    Tripped {
        /// Index of the step in the outermost chain; 0 without a chain.
        step: u8,
        /// Number of faults so far.
        fault: u8,
    },
    /// The step failed too often and stays bypassed.
    Disabled {
        /// Index of the step in the outermost chain; 0 without a chain.
        step: u8,
    },
}

impl ProcessorFault {
    /// Returns this fault with another step index.
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

/// Identity of the audio that a processor gets, in the terms of a conference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct StreamIdentity<'a> {
    /// Address of the server.
    pub url: &'a str,
    /// Identity of the conference room.
    pub room_id: &'a str,
    /// Name of the conference room.
    pub room_name: &'a str,
    /// Speaker's identity as the application names it.
    pub participant_identity: &'a str,
    /// Speaker's identity as the server assigns it.
    pub participant_id: &'a str,
    /// Identity of the track.
    pub track_id: &'a str,
}

/// Credentials that a processor needs to prove to a server that it may run.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// Address of the server.
    pub url: &'a str,
    /// Secret token; `Debug` never shows it.
    pub token: &'a str,
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("url", &self.url).finish_non_exhaustive()
    }
}

/// The empty chain: no step at all.
impl FrameProcessor for () {
    fn process(&mut self, _frame: PcmMut<'_>) -> Result<(), ProcessError> {
        Ok(())
    }

    fn enabled(&self) -> bool {
        false
    }
}
