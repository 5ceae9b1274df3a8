//! Switches of the voice processing.

use clap::Args;
use handsfree_apm::{ApmConfig, ApmProcessor, EchoCancellation, GainControl, NoiseSuppression};
use handsfree_core::Format;
use handsfree_core::capture::{Bypass, VoiceProcessor};

use handsfree::failure::Failure;

/// Switches that `sim`, `process` and `run` share.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Switches {
    /// Switch off echo cancellation
    #[arg(long, help_heading = "SwitchedVoice processing")]
    pub no_aec: bool,
    /// Switch off noise suppression
    #[arg(long, help_heading = "SwitchedVoice processing")]
    pub no_ns: bool,
    /// Switch off gain control
    #[arg(long, help_heading = "SwitchedVoice processing")]
    pub no_agc: bool,
    /// Switch off the high-pass at 100 Hz (full echo cancellation contains one of its own)
    #[arg(long, help_heading = "SwitchedVoice processing")]
    pub no_hpf: bool,
}

/// SwitchedVoice processor with the chosen parts.
#[derive(Debug)]
pub enum SwitchedVoice {
    /// WebRTC's voice processor, with at least one part on.
    Apm {
        /// The processor.
        processor: Box<ApmProcessor>,
        /// Active parts.
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

    /// Returns the active parts as text.
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

    /// Makes a voice processor. With everything off it is [`Bypass`], which takes any format.
    ///
    /// # Errors
    /// Names a rate or channel count that the processor does not take.
    pub fn voice(&self, near: Format, far: Format) -> Result<SwitchedVoice, Failure> {
        let config = self.config();
        if config == ApmConfig::BYPASS {
            return Ok(SwitchedVoice::Bypass(Bypass));
        }
        let processor = Box::new(ApmProcessor::new(near, far, config)?);
        Ok(SwitchedVoice::Apm { processor, name: self.name() })
    }

    /// Returns the active parts as text.
    #[must_use]
    pub fn name(&self) -> String {
        let parts = [
            (!self.no_aec, "echo cancellation"),
            (!self.no_ns, "noise suppression"),
            (!self.no_agc, "gain control"),
            (!self.no_hpf, "high-pass"),
        ];
        let on: Vec<&str> = parts.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
        if on.is_empty() { "nothing".into() } else { on.join(", ") }
    }
}
