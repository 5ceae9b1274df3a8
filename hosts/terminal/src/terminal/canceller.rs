//! Worker and control side: the choice of the echo canceller, and the voice processor that holds the project's
//! own one.

use std::fmt;

use handsfree_apm::{ApmConfig, ApmProcessor, EchoCancellation};
use handsfree_core::canceller::{CancellerReading, CancellerSettings, FullStorage};
use handsfree_core::capture::{EchoReport, ProcessError, VoiceProcessor, VoiceStats};
use handsfree_core::{Duration, Format, PcmMut, PcmRef};

use crate::failure::Failure;

/// Echo canceller of a terminal. It runs only if the voice processor's settings have echo cancellation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CancellerChoice {
    /// WebRTC's AEC3.
    #[default]
    Webrtc,
    /// [`EchoCanceller`](handsfree_core::canceller::EchoCanceller), with a tail of 128 ms. Whether it has a
    /// high-pass filter is up to the voice processor's settings.
    Handsfree(CancellerSettings),
}

handsfree_core::echo_canceller! { type At8Khz = EchoCanceller<FullStorage> { rate_hz: 8_000 }; }
handsfree_core::echo_canceller! { type At16Khz = EchoCanceller<FullStorage> { rate_hz: 16_000 }; }
handsfree_core::echo_canceller! { type At32Khz = EchoCanceller<FullStorage> { rate_hz: 32_000 }; }
handsfree_core::echo_canceller! { type At48Khz = EchoCanceller<FullStorage> { rate_hz: 48_000 }; }

/// Canceller of one of the bandwidths of telephony.
enum AnyRate {
    Narrow(Box<At8Khz>),
    Wide(Box<At16Khz>),
    SuperWide(Box<At32Khz>),
    Full(Box<At48Khz>),
}

/// Calls a method of the canceller, whatever its rate.
macro_rules! at_any_rate {
    ($any:expr, $canceller:ident => $call:expr) => {
        match $any {
            AnyRate::Narrow($canceller) => $call,
            AnyRate::Wide($canceller) => $call,
            AnyRate::SuperWide($canceller) => $call,
            AnyRate::Full($canceller) => $call,
        }
    };
}

/// Voice processor of the project's own echo canceller, followed by WebRTC's other stages if any is on.
pub struct OwnCancellerVoice {
    canceller: AnyRate,
    after: Option<Box<ApmProcessor>>,
}

impl fmt::Debug for OwnCancellerVoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnCancellerVoice").field("after", &self.after).finish_non_exhaustive()
    }
}

impl OwnCancellerVoice {
    /// Makes the voice processor of a mono terminal. Of `apm`, the echo cancellation is ignored. Allocates.
    ///
    /// # Errors
    /// Returns an error for a rate other than 8, 16, 32 and 48 kHz.
    pub fn new(format: Format, settings: CancellerSettings, apm: ApmConfig) -> Result<Self, Failure> {
        let mut canceller = match format.rate_hz() {
            8_000 => AnyRate::Narrow(Box::new(At8Khz::new())),
            16_000 => AnyRate::Wide(Box::new(At16Khz::new())),
            32_000 => AnyRate::SuperWide(Box::new(At32Khz::new())),
            48_000 => AnyRate::Full(Box::new(At48Khz::new())),
            rate_hz => {
                return Err(Failure::usage(format!(
                    "the canceller's rate is {rate_hz} Hz: expected 8000, 16000, 32000 or 48000 Hz"
                )));
            }
        };
        let settings = CancellerSettings { high_pass: apm.high_pass, ..settings };
        at_any_rate!(&mut canceller, canceller => canceller.configure(settings));
        // The canceller has a high-pass filter of its own.
        let rest = ApmConfig { echo_cancellation: EchoCancellation::Off, high_pass: false, ..apm };
        let after = match rest {
            ApmConfig::BYPASS => None,
            rest => Some(Box::new(ApmProcessor::new(format, format, rest)?)),
        };
        Ok(Self { canceller, after })
    }

    /// Returns the canceller's likelihoods and levels for the last frame.
    #[must_use]
    pub fn reading(&self) -> CancellerReading {
        at_any_rate!(&self.canceller, canceller => canceller.reading())
    }
}

impl VoiceProcessor for OwnCancellerVoice {
    fn process_reverse(&mut self, far: PcmRef<'_>) -> Result<(), ProcessError> {
        at_any_rate!(&mut self.canceller, canceller => canceller.process_reverse(far))
    }

    fn process_capture(&mut self, near: PcmMut<'_>, delay: Duration) -> Result<(), ProcessError> {
        let frame = PcmMut { format: near.format, samples: &mut *near.samples };
        at_any_rate!(&mut self.canceller, canceller => canceller.process_capture(frame, delay))?;
        if let Some(after) = &mut self.after {
            let frame = PcmMut { format: near.format, samples: &mut *near.samples };
            after.process_capture(frame, delay)?;
        }
        Ok(())
    }

    fn stats(&self) -> VoiceStats {
        at_any_rate!(&self.canceller, canceller => canceller.stats())
    }

    fn echo_report(&self) -> Option<EchoReport> {
        at_any_rate!(&self.canceller, canceller => canceller.echo_report())
    }

    fn near_end_likelihood(&self) -> Option<f32> {
        at_any_rate!(&self.canceller, canceller => canceller.near_end_likelihood())
    }

    fn reach(&self) -> Duration {
        at_any_rate!(&self.canceller, canceller => canceller.reach())
    }

    fn reset(&mut self) {
        at_any_rate!(&mut self.canceller, canceller => canceller.reset());
        if let Some(after) = &mut self.after {
            after.reset();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rate_has_a_canceller_and_others_are_named() {
        for rate_hz in [8_000, 16_000, 32_000, 48_000] {
            let format = Format::new(rate_hz, 1).unwrap();
            let mut voice =
                OwnCancellerVoice::new(format, CancellerSettings::DEFAULT, ApmConfig::default()).unwrap();
            let mut frame = vec![100; format.samples()];
            voice.process_reverse(PcmRef { format, samples: &frame.clone() }).unwrap();
            voice.process_capture(PcmMut { format, samples: &mut frame }, Duration::ZERO).unwrap();
        }
        let format = Format::new(44_100, 1).unwrap();
        let error =
            OwnCancellerVoice::new(format, CancellerSettings::DEFAULT, ApmConfig::default()).unwrap_err();
        assert!(error.to_string().contains("44100 Hz: expected 8000"), "{error}");
    }
}
