//! Worker and control side: the choice of the echo canceller, and the voice processor that holds the project's
//! own one.

use std::fmt;

use handsfree_apm::{ApmConfig, EchoCancellation, GainControl, NoiseSuppression};
use handsfree_core::canceller::{CancellerReading, CancellerSettings, FullStorage};
use handsfree_core::capture::{EchoReport, EchoShift, ProcessError, TalkerGain, VoiceProcessor, VoiceStats};
use handsfree_core::{Duration, Format, PcmMut, PcmRef};

use crate::failure::Failure;

/// Echo canceller of a terminal. It runs only if the voice processor's settings have echo cancellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancellerChoice {
    /// [`Native`](Self::Native) with these settings where it can be used: at 8, 16, 32 and 48 kHz with one channel
    /// each, unless the voice processor's settings ask for [`EchoCancellation::Mobile`] or [`EchoCancellation::Gentle`].
    /// Elsewhere WebRTC's.
    Auto(CancellerSettings),
    /// WebRTC's AEC3 (with either settings) or AECM, followed by its noise suppression and gain control.
    Webrtc,
    /// [`EchoCanceller`](handsfree_core::canceller::EchoCanceller), with a tail of 128 ms, at 8, 16, 32 and 48 kHz,
    /// followed by [`TalkerGain`]. High-pass, noise reduction and gain are up to the voice processor's settings.
    Native(CancellerSettings),
}

impl Default for CancellerChoice {
    fn default() -> Self {
        Self::Auto(CancellerSettings::DEFAULT)
    }
}

impl CancellerChoice {
    /// Returns what runs: the choice that [`Auto`](Self::Auto) stands for, and with [`EchoCancellation::Off`] WebRTC's
    /// other stages, unless the build lacks them. Other choices are returned as they are.
    #[must_use]
    pub fn resolved(self, voice: ApmConfig, near: Format, far: Format) -> Self {
        let is_possible = NATIVE_RATES_HZ.contains(&near.rate_hz())
            && near.rate_hz() == far.rate_hz()
            && near.channels() == 1
            && far.channels() == 1;
        let is_webrtcs =
            matches!(voice.echo_cancellation, EchoCancellation::Mobile | EchoCancellation::Gentle);
        let is_off = voice.echo_cancellation == EchoCancellation::Off;
        match self {
            _ if is_off && handsfree_apm::IS_LINKED => Self::Webrtc,
            Self::Auto(settings) if is_possible && !is_webrtcs => Self::Native(settings),
            Self::Auto(_) => Self::Webrtc,
            chosen => chosen,
        }
    }
}

/// Rates of the project's own canceller, in hertz. A build without the feature `apm` has no other.
pub const NATIVE_RATES_HZ: [u32; 4] = [8_000, 16_000, 32_000, 48_000];

handsfree_core::echo_canceller! { type At8Khz = EchoCanceller<FullStorage> { rate_hz: 8_000, loudspeaker_model: true }; }
handsfree_core::echo_canceller! { type At16Khz = EchoCanceller<FullStorage> { rate_hz: 16_000, loudspeaker_model: true }; }
handsfree_core::echo_canceller! { type At32Khz = EchoCanceller<FullStorage> { rate_hz: 32_000, loudspeaker_model: true }; }
handsfree_core::echo_canceller! { type At48Khz = EchoCanceller<FullStorage> { rate_hz: 48_000, loudspeaker_model: true }; }

/// Returns how far each strength turns the noise down, as WebRTC's stages of the same names do.
fn noise_reduction_db(strength: NoiseSuppression) -> u8 {
    match strength {
        NoiseSuppression::Off => 0,
        NoiseSuppression::Low => 6,
        NoiseSuppression::Moderate => 12,
        NoiseSuppression::High => 18,
        NoiseSuppression::VeryHigh => 21,
    }
}

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

/// Voice processor of the project's own echo canceller, noise reduction and gain.
pub struct OwnCancellerVoice {
    canceller: AnyRate,
    gain: Option<TalkerGain>,
    /// Whether the canceller receives what the loudspeaker plays. Without it, there is no echo for it to find, and the
    /// other stages are left.
    cancels: bool,
}

impl fmt::Debug for OwnCancellerVoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnCancellerVoice").field("gain", &self.gain).finish_non_exhaustive()
    }
}

impl OwnCancellerVoice {
    /// Makes the voice processor of a mono terminal. `stages` has its high-pass, noise suppression and gain.
    /// With [`EchoCancellation::Off`] only these run; the other methods all stand for the canceller. Allocates.
    ///
    /// # Errors
    /// Returns an error for a rate other than 8, 16, 32 and 48 kHz.
    pub fn new(format: Format, settings: CancellerSettings, stages: ApmConfig) -> Result<Self, Failure> {
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
        let settings = CancellerSettings {
            high_pass: stages.high_pass,
            noise_reduction_db: noise_reduction_db(stages.noise_suppression),
            ..settings
        };
        at_any_rate!(&mut canceller, canceller => canceller.configure(settings));
        let gain = match stages.gain_control {
            GainControl::Off => None,
            GainControl::Adaptive => Some(TalkerGain::new()),
        };
        Ok(Self { canceller, gain, cancels: stages.echo_cancellation != EchoCancellation::Off })
    }

    /// Returns the canceller's likelihoods and levels for the last frame.
    #[must_use]
    pub fn reading(&self) -> CancellerReading {
        at_any_rate!(&self.canceller, canceller => canceller.reading())
    }
}

impl VoiceProcessor for OwnCancellerVoice {
    fn process_reverse(&mut self, far: PcmRef<'_>) -> Result<(), ProcessError> {
        if !self.cancels {
            return Ok(());
        }
        at_any_rate!(&mut self.canceller, canceller => canceller.process_reverse(far))
    }

    fn process_capture(&mut self, near: PcmMut<'_>, delay: Duration) -> Result<(), ProcessError> {
        let frame = PcmMut { format: near.format, samples: &mut *near.samples };
        at_any_rate!(&mut self.canceller, canceller => canceller.process_capture(frame, delay))?;
        if let Some(gain) = &mut self.gain {
            let likelihood = at_any_rate!(&self.canceller, canceller => canceller.talker_likelihood());
            gain.process(near.samples, likelihood);
        }
        Ok(())
    }

    fn stats(&self) -> VoiceStats {
        at_any_rate!(&self.canceller, canceller => canceller.stats())
    }

    fn echo_report(&self) -> Option<EchoReport> {
        at_any_rate!(&self.canceller, canceller => canceller.echo_report())
    }

    fn echo_shift(&self) -> Option<EchoShift> {
        at_any_rate!(&self.canceller, canceller => canceller.echo_shift())
    }

    fn on_reference_moved(&mut self) {
        at_any_rate!(&mut self.canceller, canceller => canceller.on_reference_moved());
    }

    fn on_reference_uncertain(&mut self, deviation: Duration) {
        at_any_rate!(&mut self.canceller, canceller => canceller.on_reference_uncertain(deviation));
    }

    fn near_end_likelihood(&self) -> Option<f32> {
        at_any_rate!(&self.canceller, canceller => canceller.near_end_likelihood())
    }

    fn reach(&self) -> Duration {
        at_any_rate!(&self.canceller, canceller => canceller.reach())
    }

    fn reset(&mut self) {
        at_any_rate!(&mut self.canceller, canceller => canceller.reset());
        if let Some(gain) = &mut self.gain {
            gain.reset();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_echo_cancellation_the_echo_stays() {
        let format = Format::new(16_000, 1).unwrap();
        let loudness_of = |echo_cancellation| {
            let stages = ApmConfig { echo_cancellation, ..ApmConfig::default() };
            let mut voice = OwnCancellerVoice::new(format, CancellerSettings::DEFAULT, stages).unwrap();
            let mut noise = 1_u32;
            let mut loudness = 0.0;
            for frame in 0..300 {
                let far: Vec<i16> = (0..format.samples())
                    .map(|_| {
                        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        (noise >> 18) as i16 - 8_192
                    })
                    .collect();
                let mut near: Vec<i16> = far.iter().map(|sample| sample / 2).collect();
                voice.process_reverse(PcmRef { format, samples: &far }).unwrap();
                voice.process_capture(PcmMut { format, samples: &mut near }, Duration::ZERO).unwrap();
                // After the first two seconds, in which the canceller learns the path.
                if frame >= 200 {
                    loudness += near.iter().map(|&sample| f64::from(sample).powi(2)).sum::<f64>();
                }
            }
            loudness
        };
        let (kept, removed) = (loudness_of(EchoCancellation::Off), loudness_of(EchoCancellation::Full));
        assert!(kept > 1_000.0 * removed, "{kept} {removed}");
    }

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
