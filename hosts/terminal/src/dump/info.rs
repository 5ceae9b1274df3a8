//! Control side: what a terminal was made as.

use std::path::Path;

use handsfree_apm::{ApmConfig, EchoCancellation, GainControl, NoiseSuppression};
use handsfree_core::{Duration, SampleRate};
use serde::{Deserialize, Serialize};

use super::INFO_FILE;
use crate::failure::Failure;
use crate::terminal::TerminalConfig;

/// Which form the files have.
const FORM: u32 = 1;

/// `run.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Which form the files have: 1.
    pub form: u32,
    /// The program's version.
    pub handsfree: String,
    /// The processor's architecture and what it has that voice processing uses; with others floating point may
    /// differ.
    pub processor: String,
    /// Which host the devices were of.
    pub io: String,
    /// Rate of the terminal.
    pub rate_hz: u32,
    /// What the voice processor did at first, in a number.
    pub voice: u64,
    /// Whether it listened for the echo.
    pub acoustic_delay: bool,
    /// Whether the capture device recorded the loudspeaker too.
    pub loopback: bool,
    /// The longest that voice processing might take for a frame.
    pub voice_deadline_us: i64,
}

impl RunInfo {
    pub(crate) fn new(config: &TerminalConfig, io: &str) -> Self {
        Self {
            form: FORM,
            handsfree: env!("CARGO_PKG_VERSION").to_owned(),
            processor: processor(),
            io: io.to_owned(),
            rate_hz: config.rate.hz(),
            voice: voice_number(config.voice),
            acoustic_delay: config.acoustic_delay,
            loopback: config.loopback,
            voice_deadline_us: config.voice_deadline.as_micros(),
        }
    }

    pub(crate) fn config(&self) -> Result<TerminalConfig, Failure> {
        Ok(TerminalConfig {
            rate: SampleRate::new(self.rate_hz)?,
            voice: voice_of_number(self.voice)?,
            acoustic_delay: self.acoustic_delay,
            loopback: self.loopback,
            voice_deadline: Duration::from_micros(self.voice_deadline_us),
        })
    }

    /// Where it was written, if that is not such a place as this.
    pub(crate) fn differs_from_here(&self) -> Option<String> {
        let is_same = self.processor == processor() && self.handsfree == env!("CARGO_PKG_VERSION");
        (!is_same).then(|| format!("by version {} on {}", self.handsfree, self.processor))
    }

    pub(crate) fn read(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(INFO_FILE);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Failure::run(format!("{}: cannot be read: {error}; expected a dump's folder", path.display()))
        })?;
        let info: Self = serde_json::from_str(&text)
            .map_err(|error| Failure::run(format!("{}: not a dump's: {error}", path.display())))?;
        if info.form != FORM {
            return Err(Failure::run(format!(
                "{}: of form {}, expected {FORM}: it was written by version {}",
                path.display(),
                info.form,
                info.handsfree
            )));
        }
        Ok(info)
    }

    pub(crate) fn write(&self, folder: &Path) -> Result<(), Failure> {
        let path = folder.join(INFO_FILE);
        let cannot = |why: String| Failure::run(format!("{}: cannot be written: {why}", path.display()));
        let text = serde_json::to_string_pretty(self).map_err(|error| cannot(error.to_string()))?;
        std::fs::write(&path, text + "\n").map_err(|error| cannot(error.to_string()))
    }
}

/// WebRTC chooses its code by these when it runs.
fn processor() -> String {
    let mut processor = std::env::consts::ARCH.to_owned();
    #[cfg(target_arch = "x86_64")]
    for (name, has) in [
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
    ] {
        if has {
            processor = processor + " " + name;
        }
    }
    processor
}

/// A voice processor's configuration in a number.
pub(crate) fn voice_number(config: ApmConfig) -> u64 {
    let echo = match config.echo_cancellation {
        EchoCancellation::Off => 0,
        EchoCancellation::Full => 1,
        EchoCancellation::Mobile => 2,
    };
    let noise = match config.noise_suppression {
        NoiseSuppression::Off => 0,
        NoiseSuppression::Low => 1,
        NoiseSuppression::Moderate => 2,
        NoiseSuppression::High => 3,
        NoiseSuppression::VeryHigh => 4,
    };
    let gain = match config.gain_control {
        GainControl::Off => 0,
        GainControl::Adaptive => 1,
    };
    echo | noise << 8 | gain << 16 | u64::from(config.high_pass) << 24
}

pub(crate) fn voice_of_number(number: u64) -> Result<ApmConfig, Failure> {
    let [echo, noise, gain, high_pass, 0, 0, 0, 0] = number.to_le_bytes() else {
        return Err(unknown(number));
    };
    Ok(ApmConfig {
        echo_cancellation: match echo {
            0 => EchoCancellation::Off,
            1 => EchoCancellation::Full,
            2 => EchoCancellation::Mobile,
            _ => return Err(unknown(number)),
        },
        noise_suppression: match noise {
            0 => NoiseSuppression::Off,
            1 => NoiseSuppression::Low,
            2 => NoiseSuppression::Moderate,
            3 => NoiseSuppression::High,
            4 => NoiseSuppression::VeryHigh,
            _ => return Err(unknown(number)),
        },
        gain_control: match gain {
            0 => GainControl::Off,
            1 => GainControl::Adaptive,
            _ => return Err(unknown(number)),
        },
        high_pass: match high_pass {
            0 => false,
            1 => true,
            _ => return Err(unknown(number)),
        },
    })
}

fn unknown(number: u64) -> Failure {
    Failure::run(format!("{number:#x} is no voice processor's configuration"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_configuration_survives_its_number() {
        for echo_cancellation in [EchoCancellation::Off, EchoCancellation::Full, EchoCancellation::Mobile] {
            for noise_suppression in [
                NoiseSuppression::Off,
                NoiseSuppression::Low,
                NoiseSuppression::Moderate,
                NoiseSuppression::High,
                NoiseSuppression::VeryHigh,
            ] {
                for gain_control in [GainControl::Off, GainControl::Adaptive] {
                    for high_pass in [false, true] {
                        let config =
                            ApmConfig { echo_cancellation, noise_suppression, high_pass, gain_control };
                        assert_eq!(voice_of_number(voice_number(config)).unwrap(), config);
                    }
                }
            }
        }
        for number in [3, 5 << 8, 2 << 16, 2 << 24, 1 << 32] {
            assert!(voice_of_number(number).unwrap_err().to_string().contains(&format!("{number:#x}")));
        }
    }
}
