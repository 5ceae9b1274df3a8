//! Which parts of the voice processing are on.

use clap::Args;
use handsfree_apm::{ApmConfig, ApmProcessor, EchoCancellation, GainControl, NoiseSuppression};
use handsfree_core::Format;
use handsfree_core::capture::{Bypass, VoiceProcessor};

use handsfree::failure::Failure;

/// The switches that `sim` and `process` share.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Switches {
    /// Leave the echo in
    #[arg(long, help_heading = "Voice processing")]
    pub no_aec: bool,
    /// Leave steady noise in
    #[arg(long, help_heading = "Voice processing")]
    pub no_ns: bool,
    /// Leave the talker's level as it is
    #[arg(long, help_heading = "Voice processing")]
    pub no_agc: bool,
    /// Leave rumble below 100 Hz in (full echo cancellation takes it out in any case)
    #[arg(long, help_heading = "Voice processing")]
    pub no_hpf: bool,
}

/// A voice processor as switched.
#[derive(Debug)]
pub enum Voice {
    /// WebRTC's, with some part on.
    Apm {
        /// The processor.
        processor: Box<ApmProcessor>,
        /// What is on.
        name: String,
    },
    /// Everything off.
    Bypass(Bypass),
}

impl Voice {
    /// The processor, whichever it is.
    pub fn as_dyn(&mut self) -> &mut dyn VoiceProcessor {
        match self {
            Self::Apm { processor, .. } => processor.as_mut(),
            Self::Bypass(bypass) => bypass,
        }
    }

    /// What is on, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Apm { name, .. } => name,
            Self::Bypass(_) => "nothing",
        }
    }
}

impl Switches {
    /// The same as the voice processor's configuration.
    #[must_use]
    pub fn config(&self) -> ApmConfig {
        ApmConfig {
            echo_cancellation: if self.no_aec { EchoCancellation::Off } else { EchoCancellation::Full },
            noise_suppression: if self.no_ns { NoiseSuppression::Off } else { NoiseSuppression::Moderate },
            high_pass: !self.no_hpf,
            gain_control: if self.no_agc { GainControl::Off } else { GainControl::Adaptive },
        }
    }

    /// A fresh voice processor. With everything off it is [`Bypass`], which takes any format.
    ///
    /// # Errors
    /// Names a rate or channel count that the processor does not take.
    pub fn voice(&self, near: Format, far: Format) -> Result<Voice, Failure> {
        let config = self.config();
        if config == ApmConfig::BYPASS {
            return Ok(Voice::Bypass(Bypass));
        }
        let processor = Box::new(ApmProcessor::new(near, far, config)?);
        Ok(Voice::Apm { processor, name: self.name() })
    }

    /// What is on, for people.
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
