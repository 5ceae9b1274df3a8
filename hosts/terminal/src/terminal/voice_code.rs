//! Control side: converts a voice processor's configuration to the number that journals contain, and back.

use handsfree_apm::{ApmConfig, EchoCancellation, GainControl, NoiseSuppression};
use handsfree_core::canceller::CancellerSettings;

use super::CancellerChoice;

#[cfg(feature = "dump")]
use crate::failure::Failure;

/// Returns the number that stands for a voice processor's configuration in journals. Bits 32 and up belong to
/// the project's own canceller and are 0 with WebRTC's.
pub(crate) fn voice_code(config: ApmConfig, canceller: CancellerChoice) -> u64 {
    let echo = match config.echo_cancellation {
        EchoCancellation::Off => 0,
        EchoCancellation::Full => 1,
        EchoCancellation::Mobile => 2,
        EchoCancellation::Gentle => 3,
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
    let own = match canceller {
        // Callers resolve the choice, so that the journal says what ran.
        CancellerChoice::Webrtc | CancellerChoice::Auto(_) => [0; 4],
        CancellerChoice::Native(settings) => {
            let CancellerSettings {
                echo_over_talker,
                suppressor,
                comfort_noise,
                noise_reduction_db,
                high_pass,
                corrected_linear,
            } = settings;
            let switches = u8::from(suppressor)
                | u8::from(comfort_noise) << 1
                | u8::from(high_pass) << 2
                | u8::from(!corrected_linear) << 4;
            [1, echo_over_talker.cast_unsigned(), switches, noise_reduction_db]
        }
    };
    let own = u64::from(u32::from_le_bytes(own));
    echo | noise << 8 | gain << 16 | u64::from(config.high_pass) << 24 | own << 32
}

/// Returns the configuration that a number from a journal stands for.
#[cfg(feature = "dump")]
pub(crate) fn voice_of_code(number: u64) -> Result<(ApmConfig, CancellerChoice), Failure> {
    let [echo, noise, gain, high_pass, own @ ..] = number.to_le_bytes();
    let canceller = match own {
        [0, 0, 0, 0] => CancellerChoice::Webrtc,
        [1, echo_over_talker, switches @ (0..8 | 16..24), noise_reduction_db]
            if noise_reduction_db <= CancellerSettings::MAX_NOISE_REDUCTION_DB =>
        {
            CancellerChoice::Native(CancellerSettings {
                echo_over_talker: echo_over_talker.cast_signed(),
                suppressor: switches & 1 != 0,
                comfort_noise: switches & 2 != 0,
                noise_reduction_db,
                high_pass: switches & 4 != 0,
                corrected_linear: switches & 16 == 0,
            })
        }
        _ => return Err(unknown(number)),
    };
    let config = ApmConfig {
        echo_cancellation: match echo {
            0 => EchoCancellation::Off,
            1 => EchoCancellation::Full,
            2 => EchoCancellation::Mobile,
            3 => EchoCancellation::Gentle,
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
    };
    Ok((config, canceller))
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
        for echo_cancellation in [
            EchoCancellation::Off,
            EchoCancellation::Full,
            EchoCancellation::Mobile,
            EchoCancellation::Gentle,
        ] {
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
                        let own = |echo_over_talker, comfort_noise, corrected_linear| {
                            let settings = CancellerSettings::DEFAULT;
                            let settings = CancellerSettings {
                                echo_over_talker,
                                comfort_noise,
                                corrected_linear,
                                noise_reduction_db: if comfort_noise { 24 } else { 0 },
                                ..settings
                            };
                            CancellerChoice::Native(settings)
                        };
                        for canceller in
                            [CancellerChoice::Webrtc, own(-100, false, true), own(7, true, false)]
                        {
                            let code = voice_code(config, canceller);
                            assert_eq!(voice_of_code(code).unwrap(), (config, canceller));
                        }
                    }
                }
            }
        }
        for number in [4, 5 << 8, 2 << 16, 2 << 24, 2 << 32, 0x0008_0001 << 32, 25 << 56 | 1 << 32, 1 << 56] {
            assert!(voice_of_code(number).unwrap_err().to_string().contains(&format!("{number:#x}")));
        }
    }
}
