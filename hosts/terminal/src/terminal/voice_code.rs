//! Control side: converts a voice processor's configuration to the number that journals contain, and back.

use handsfree_apm::{ApmConfig, EchoCancellation, GainControl, NoiseSuppression};

#[cfg(feature = "dump")]
use crate::failure::Failure;

/// Returns the number that stands for a voice processor's configuration in journals.
pub(crate) fn voice_code(config: ApmConfig) -> u64 {
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

/// Returns the configuration that a number from a journal stands for.
#[cfg(feature = "dump")]
pub(crate) fn voice_of_code(number: u64) -> Result<ApmConfig, Failure> {
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

#[cfg(feature = "dump")]
fn unknown(number: u64) -> Failure {
    Failure::run(format!("{number:#x}: expected the code of a voice processor's configuration"))
}

#[cfg(all(test, feature = "dump"))]
mod tests {
    use super::*;

    #[test]
    fn every_configuration_round_trips_through_its_code() {
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
                        assert_eq!(voice_of_code(voice_code(config)).unwrap(), config);
                    }
                }
            }
        }
        for number in [3, 5 << 8, 2 << 16, 2 << 24, 1 << 32] {
            assert!(voice_of_code(number).unwrap_err().to_string().contains(&format!("{number:#x}")));
        }
    }
}
