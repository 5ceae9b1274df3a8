//! Switches of the voice processing.

use clap::{Args, ValueEnum};
use handsfree::terminal::{CancellerChoice, OwnCancellerVoice};
use handsfree_apm::{ApmConfig, ApmProcessor, EchoCancellation, GainControl, NoiseSuppression};
use handsfree_core::Format;
use handsfree_core::canceller::CancellerSettings;
use handsfree_core::capture::{Bypass, VoiceProcessor};

use handsfree::failure::Failure;

/// Echo canceller of `--canceller`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum CancellerName {
    /// WebRTC's AEC3
    #[default]
    Webrtc,
    /// The project's own canceller, at 8, 16, 32 or 48 kHz
    Handsfree,
}

/// Voice-processing switches shared by `sim`, `process` and `run`.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Switches {
    /// Disables echo cancellation
    #[arg(long, help_heading = "Voice processing")]
    pub no_aec: bool,
    /// Disables noise suppression
    #[arg(long, help_heading = "Voice processing")]
    pub no_ns: bool,
    /// Disables automatic gain control
    #[arg(long, help_heading = "Voice processing")]
    pub no_agc: bool,
    /// Disables the high-pass filter at 100 Hz (echo cancellation always includes one of its own)
    #[arg(long, help_heading = "Voice processing")]
    pub no_hpf: bool,
    /// Echo canceller
    #[arg(long, value_enum, value_name = "NAME", default_value_t = CancellerName::Webrtc, help_heading = "Voice processing")]
    pub canceller: CancellerName,
    /// Echo suppression of '--canceller handsfree' against preservation of the talker, from -100 (keeps the talker) to 100
    /// (suppresses the echo)
    #[arg(
        long,
        value_name = "PERCENT",
        default_value_t = 0,
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(i8).range(-100..=100),
        help_heading = "Voice processing"
    )]
    pub echo_over_talker: i8,
    /// Outputs the linear output of '--canceller handsfree', for speech recognition: residual echo is not suppressed
    #[arg(long, help_heading = "Voice processing")]
    pub linear_output: bool,
    /// Disables the comfort noise of '--canceller handsfree'
    #[arg(long, help_heading = "Voice processing")]
    pub no_comfort_noise: bool,
}

/// Voice processor with the stages that the switches enable.
#[derive(Debug)]
pub enum SwitchedVoice {
    /// WebRTC's voice processor, with at least one stage enabled.
    Apm {
        /// WebRTC's voice processor.
        processor: Box<ApmProcessor>,
        /// Names of the enabled stages, separated by commas.
        name: String,
    },
    /// The project's own echo canceller, and WebRTC's other stages.
    Own {
        /// The canceller and the stages after it.
        processor: Box<OwnCancellerVoice>,
        /// Names of the enabled stages, separated by commas.
        name: String,
    },
    /// No processing.
    Bypass(Bypass),
}

impl SwitchedVoice {
    /// Returns the processor as a trait object.
    pub fn as_dyn(&mut self) -> &mut dyn VoiceProcessor {
        match self {
            Self::Apm { processor, .. } => processor.as_mut(),
            Self::Own { processor, .. } => processor.as_mut(),
            Self::Bypass(bypass) => bypass,
        }
    }

    /// Returns the names of the enabled stages, separated by commas; "nothing" if all are disabled.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Apm { name, .. } | Self::Own { name, .. } => name,
            Self::Bypass(_) => "nothing",
        }
    }
}

impl Switches {
    /// Switches with which every stage is on, and WebRTC's canceller.
    pub const DEFAULT: Self = Self {
        no_aec: false,
        no_ns: false,
        no_agc: false,
        no_hpf: false,
        canceller: CancellerName::Webrtc,
        echo_over_talker: 0,
        linear_output: false,
        no_comfort_noise: false,
    };

    /// Returns the choice of the echo canceller.
    #[must_use]
    pub fn canceller_choice(&self) -> CancellerChoice {
        match self.canceller {
            CancellerName::Webrtc => CancellerChoice::Webrtc,
            CancellerName::Handsfree => CancellerChoice::Handsfree(CancellerSettings {
                echo_over_talker: self.echo_over_talker,
                suppressor: !self.linear_output,
                comfort_noise: !self.no_comfort_noise,
                high_pass: !self.no_hpf,
                ..CancellerSettings::DEFAULT
            }),
        }
    }

    /// Returns the voice processor's configuration.
    #[must_use]
    pub fn config(&self) -> ApmConfig {
        ApmConfig {
            echo_cancellation: if self.no_aec { EchoCancellation::Off } else { EchoCancellation::Full },
            noise_suppression: if self.no_ns { NoiseSuppression::Off } else { NoiseSuppression::Moderate },
            high_pass: !self.no_hpf,
            gain_control: if self.no_agc { GainControl::Off } else { GainControl::Adaptive },
        }
    }

    /// Creates the voice processor. With all stages disabled it is [`Bypass`], which accepts any format.
    ///
    /// # Errors
    /// Returns an error that names a rate or channel count unsupported by the processor.
    pub fn voice(&self, near: Format, far: Format) -> Result<SwitchedVoice, Failure> {
        let config = self.config();
        if config == ApmConfig::BYPASS {
            return Ok(SwitchedVoice::Bypass(Bypass));
        }
        if let (CancellerChoice::Handsfree(settings), false) = (self.canceller_choice(), self.no_aec) {
            let processor = Box::new(OwnCancellerVoice::new(near, settings, config)?);
            return Ok(SwitchedVoice::Own { processor, name: self.name() });
        }
        let processor = Box::new(ApmProcessor::new(near, far, config)?);
        Ok(SwitchedVoice::Apm { processor, name: self.name() })
    }

    /// Returns the names of the enabled stages, separated by commas; "nothing" if all are disabled.
    #[must_use]
    pub fn name(&self) -> String {
        let stages = [
            (!self.no_aec, "echo cancellation"),
            (!self.no_ns, "noise suppression"),
            (!self.no_agc, "gain control"),
            (!self.no_hpf, "high-pass"),
        ];
        let enabled: Vec<&str> =
            stages.iter().filter(|(is_enabled, _)| *is_enabled).map(|(_, name)| *name).collect();
        if enabled.is_empty() { "nothing".into() } else { enabled.join(", ") }
    }
}
