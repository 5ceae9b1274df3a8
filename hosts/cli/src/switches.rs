//! Switches of the voice processing.

use clap::Args;
use handsfree_apm::{ApmConfig, ApmProcessor, EchoCancellation, GainControl, NoiseSuppression};
use handsfree_core::Format;
use handsfree_core::capture::{Bypass, VoiceProcessor};

use handsfree::failure::Failure;

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
    /// No processing.
    Bypass(Bypass),
}

impl SwitchedVoice {
    /// Returns the processor as a trait object.
    pub fn as_dyn(&mut self) -> &mut dyn VoiceProcessor {
        match self {
            Self::Apm { processor, .. } => processor.as_mut(),
            Self::Bypass(bypass) => bypass,
        }
    }

    /// Returns the names of the enabled stages, separated by commas; "nothing" if all are disabled.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Apm { name, .. } => name,
            Self::Bypass(_) => "nothing",
        }
    }
}

impl Switches {
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
