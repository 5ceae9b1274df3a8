//! Switches of the voice processing.

use clap::{Args, ValueEnum};
use handsfree::terminal::{CancellerChoice, NATIVE_RATES_HZ, OwnCancellerVoice};
use handsfree_apm::{ApmConfig, ApmProcessor, EchoCancellation, GainControl, NoiseSuppression};
use handsfree_core::Format;
use handsfree_core::canceller::CancellerSettings;
use handsfree_core::capture::{Bypass, VoiceProcessor};

use handsfree::failure::Failure;

/// Echo canceller of `--canceller`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum CancellerName {
    /// The project's own where it can be used: 8, 16, 32 or 48 kHz, one channel each; else WebRTC's
    #[default]
    Auto,
    /// The project's own, with its own noise reduction and gain
    #[value(alias = "handsfree")]
    Native,
    /// WebRTC's AEC3, with WebRTC's noise suppression and gain control
    Webrtc,
    /// None, as '--no-aec'
    Off,
}

/// Strength of `--noise-suppression`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NoiseStrength {
    /// None, as '--no-ns'
    Off,
    /// Reduces steady noise by up to 6 dB
    Low,
    /// By up to 12 dB
    Moderate,
    /// By up to 18 dB
    High,
    /// By up to 21 dB
    VeryHigh,
}

/// What a build without the feature `apm` says of a request that it refuses.
const LACKS_WEBRTC: &str =
    "this build lacks WebRTC's audio processing (it was built without the feature 'apm')";

/// Voice-processing switches shared by `sim`, `process` and `run`.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Switches {
    /// Disables echo cancellation
    #[arg(long, help_heading = "Voice processing")]
    pub no_aec: bool,
    /// Disables noise suppression
    #[arg(long, help_heading = "Voice processing")]
    pub no_ns: bool,
    /// Strength of the noise suppression [default: low; off in 'process']
    #[arg(
        long,
        value_enum,
        value_name = "STRENGTH",
        conflicts_with = "no_ns",
        help_heading = "Voice processing"
    )]
    pub noise_suppression: Option<NoiseStrength>,
    /// Disables automatic gain control
    #[arg(long, help_heading = "Voice processing")]
    pub no_agc: bool,
    /// Enables automatic gain control [default: on; off in 'process']
    #[arg(long, conflicts_with = "no_agc", help_heading = "Voice processing")]
    pub agc: bool,
    /// Disables the high-pass filter at 100 Hz (echo cancellation always includes one of its own)
    #[arg(long, help_heading = "Voice processing")]
    pub no_hpf: bool,
    /// Echo canceller
    #[arg(long, value_enum, value_name = "NAME", default_value_t = CancellerName::Auto, help_heading = "Voice processing")]
    pub canceller: CancellerName,
    /// Lets WebRTC's canceller take less of the talker and leave more echo; needs '--canceller webrtc'
    #[arg(long, help_heading = "Voice processing")]
    pub gentle: bool,
    /// Echo suppression of the project's own canceller against preservation of the talker, from -100 (keeps the talker) to 100
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
    /// Outputs the linear output of the project's own canceller, for speech recognition: residual echo is not suppressed
    #[arg(long, help_heading = "Voice processing")]
    pub linear_output: bool,
    /// Disables the comfort noise of the project's own canceller
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
    /// The project's own echo canceller, noise reduction and gain.
    Own {
        /// The three stages.
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
    /// Switches with which every stage is on.
    pub const DEFAULT: Self = Self {
        no_aec: false,
        no_ns: false,
        noise_suppression: None,
        no_agc: false,
        agc: false,
        no_hpf: false,
        canceller: CancellerName::Auto,
        gentle: false,
        echo_over_talker: 0,
        linear_output: false,
        no_comfort_noise: false,
    };

    /// Checks that the switches can be used together.
    ///
    /// # Errors
    /// Returns an error that names the canceller if `--gentle` was given without WebRTC's.
    pub fn check(&self) -> Result<(), Failure> {
        if self.gentle && (self.no_aec || self.canceller != CancellerName::Webrtc) {
            let name = self.canceller.to_possible_value();
            let name = name.as_ref().map_or("", |value| value.get_name());
            let found = if self.no_aec { "--no-aec".to_owned() } else { format!("--canceller {name}") };
            return Err(Failure::usage(format!("--gentle with {found}: expected --canceller webrtc")));
        }
        Ok(())
    }

    /// Returns whether echo cancellation is off.
    #[must_use]
    pub const fn is_echo_kept(&self) -> bool {
        self.no_aec || matches!(self.canceller, CancellerName::Off)
    }

    /// Returns the choice of the echo canceller.
    #[must_use]
    pub fn canceller_choice(&self) -> CancellerChoice {
        let settings = CancellerSettings {
            echo_over_talker: self.echo_over_talker,
            suppressor: !self.linear_output,
            comfort_noise: !self.no_comfort_noise,
            high_pass: !self.no_hpf,
            ..CancellerSettings::DEFAULT
        };
        match self.canceller {
            // Without echo cancellation, the choice resolves to what the build has.
            CancellerName::Auto | CancellerName::Off => CancellerChoice::Auto(settings),
            CancellerName::Native => CancellerChoice::Native(settings),
            CancellerName::Webrtc => CancellerChoice::Webrtc,
        }
    }

    /// Returns these switches with what recordings have by default: noise suppression and gain control only if they
    /// were asked for.
    #[must_use]
    pub fn for_recordings(self) -> Self {
        let noise_suppression = self.noise_suppression.or((!self.no_ns).then_some(NoiseStrength::Off));
        Self { noise_suppression, no_agc: !self.agc, ..self }
    }

    fn noise_suppression(&self) -> NoiseSuppression {
        match self.noise_suppression {
            _ if self.no_ns => NoiseSuppression::Off,
            None => NoiseSuppression::default(),
            Some(NoiseStrength::Off) => NoiseSuppression::Off,
            Some(NoiseStrength::Low) => NoiseSuppression::Low,
            Some(NoiseStrength::Moderate) => NoiseSuppression::Moderate,
            Some(NoiseStrength::High) => NoiseSuppression::High,
            Some(NoiseStrength::VeryHigh) => NoiseSuppression::VeryHigh,
        }
    }

    /// Returns the voice processor's configuration.
    #[must_use]
    pub fn config(&self) -> ApmConfig {
        ApmConfig {
            echo_cancellation: match (self.is_echo_kept(), self.gentle) {
                (true, _) => EchoCancellation::Off,
                (false, false) => EchoCancellation::Full,
                (false, true) => EchoCancellation::Gentle,
            },
            noise_suppression: self.noise_suppression(),
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
        self.check_build(near.rate_hz())?;
        let canceller = self.canceller_choice().resolved(config, near, far);
        if let CancellerChoice::Native(settings) = canceller {
            let processor = Box::new(OwnCancellerVoice::new(near, settings, config)?);
            return Ok(SwitchedVoice::Own { processor, name: self.name() });
        }
        let processor = Box::new(ApmProcessor::new(near, far, config)?);
        Ok(SwitchedVoice::Apm { processor, name: self.name() })
    }

    /// Checks that this build can do what the switches ask for at this rate: a build without the feature `apm` lacks
    /// WebRTC's audio processing.
    ///
    /// # Errors
    /// Returns an error that names the switch or the rate, and what this build has.
    pub fn check_build(&self, rate_hz: u32) -> Result<(), Failure> {
        if handsfree_apm::IS_LINKED || self.config() == ApmConfig::BYPASS {
            return Ok(());
        }
        if self.canceller == CancellerName::Webrtc {
            return Err(Failure::usage(format!(
                "--canceller webrtc: {LACKS_WEBRTC}; expected auto, native or off"
            )));
        }
        if !NATIVE_RATES_HZ.contains(&rate_hz) {
            return Err(Failure::usage(format!(
                "--rate {rate_hz}: {LACKS_WEBRTC}; expected 8000, 16000, 32000 or 48000"
            )));
        }
        Ok(())
    }

    /// Returns the names of the enabled stages, separated by commas; "nothing" if all are disabled.
    #[must_use]
    pub fn name(&self) -> String {
        let stages = [
            (!self.is_echo_kept(), "echo cancellation"),
            (self.noise_suppression() != NoiseSuppression::Off, "noise suppression"),
            (!self.no_agc, "gain control"),
            (!self.no_hpf, "high-pass"),
        ];
        let enabled: Vec<&str> =
            stages.iter().filter(|(is_enabled, _)| *is_enabled).map(|(_, name)| *name).collect();
        if enabled.is_empty() { "nothing".into() } else { enabled.join(", ") }
    }
}
