//! Application side: what the processor shall do, and how the C++ library is told.

use webrtc_audio_processing_sys as sys;

use handsfree_core::Format;

use crate::error::{ApmError, Direction};

/// Rates that the processor takes, in hertz. Others than 16, 32 and 48 kHz it resamples inside.
pub const RATES_HZ: [u32; 6] = [8_000, 16_000, 24_000, 32_000, 44_100, 48_000];

/// Most channels in either direction.
pub const MAX_CHANNELS: usize = 2;

/// Samples of one channel in the longest frame.
pub(crate) const MAX_SAMPLE_FRAMES: usize = 480;

/// How echo is taken out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EchoCancellation {
    /// Not at all.
    Off,
    /// AEC3: linear adaptive filters of 16 kHz bands and a suppressor; finds the delay by itself.
    #[default]
    Full,
    /// AECM: a cheap suppressor for small processors that needs a good delay and gates double talk.
    Mobile,
}

/// How much steady noise is taken out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoiseSuppression {
    /// None.
    Off,
    /// 6 dB.
    Low,
    /// 12 dB.
    #[default]
    Moderate,
    /// 18 dB.
    High,
    /// 21 dB.
    VeryHigh,
}

/// What keeps the talker's level even.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GainControl {
    /// Nothing.
    #[default]
    Off,
    /// AGC2: a digital gain that follows speech, from 15 dB at the start to at most 50 dB, and a limiter.
    Adaptive,
}

/// What the processor shall do. The default is what a hands-free terminal wants: full echo
/// cancellation, moderate noise suppression and the high-pass, with levels left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApmConfig {
    /// Takes the loudspeaker's echo out.
    pub echo_cancellation: EchoCancellation,
    /// Takes steady noise out.
    pub noise_suppression: NoiseSuppression,
    /// Takes out what is below about 100 Hz. Full echo cancellation does so in any case.
    pub high_pass: bool,
    /// Keeps the talker's level even.
    pub gain_control: GainControl,
}

impl Default for ApmConfig {
    fn default() -> Self {
        Self {
            echo_cancellation: EchoCancellation::default(),
            noise_suppression: NoiseSuppression::default(),
            high_pass: true,
            gain_control: GainControl::default(),
        }
    }
}

impl ApmConfig {
    /// Everything off: frames pass bit for bit.
    pub const BYPASS: Self = Self {
        echo_cancellation: EchoCancellation::Off,
        noise_suppression: NoiseSuppression::Off,
        high_pass: false,
        gain_control: GainControl::Off,
    };

    /// Whether the library starts anew when it goes from this to `other`: it does so whenever a
    /// part is switched on or off, not when only the noise suppression's strength changes.
    #[must_use]
    pub fn restarts_for(&self, other: &Self) -> bool {
        self.parts() != other.parts()
    }

    fn parts(&self) -> (EchoCancellation, bool, bool, GainControl) {
        let suppresses = self.noise_suppression != NoiseSuppression::Off;
        (self.echo_cancellation, suppresses, self.high_pass, self.gain_control)
    }

    /// The same for the C++ library. Every number is written out: the bindings' defaults are zeros,
    /// not what the C++ headers say.
    pub(crate) fn to_library(self, near: Format, far: Format) -> sys::AudioProcessing_Config {
        let level = match self.noise_suppression {
            NoiseSuppression::Off | NoiseSuppression::Moderate => {
                sys::AudioProcessing_Config_NoiseSuppression_Level_kModerate
            }
            NoiseSuppression::Low => sys::AudioProcessing_Config_NoiseSuppression_Level_kLow,
            NoiseSuppression::High => sys::AudioProcessing_Config_NoiseSuppression_Level_kHigh,
            NoiseSuppression::VeryHigh => sys::AudioProcessing_Config_NoiseSuppression_Level_kVeryHigh,
        };
        let adaptive = self.gain_control == GainControl::Adaptive;
        sys::AudioProcessing_Config {
            pipeline: sys::AudioProcessing_Config_Pipeline {
                maximum_internal_processing_rate: 48_000,
                multi_channel_render: far.channels() > 1,
                multi_channel_capture: near.channels() > 1,
                capture_downmix_method: sys::AudioProcessing_Config_Pipeline_DownmixMethod_kAverageChannels,
            },
            high_pass_filter: sys::AudioProcessing_Config_HighPassFilter {
                enabled: self.high_pass,
                apply_in_full_band: true,
            },
            echo_canceller: sys::AudioProcessing_Config_EchoCanceller {
                enabled: self.echo_cancellation != EchoCancellation::Off,
                mobile_mode: self.echo_cancellation == EchoCancellation::Mobile,
                export_linear_aec_output: false,
                enforce_high_pass_filtering: true,
            },
            noise_suppression: sys::AudioProcessing_Config_NoiseSuppression {
                enabled: self.noise_suppression != NoiseSuppression::Off,
                level,
                analyze_linear_aec_output_when_available: false,
            },
            gain_controller2: sys::AudioProcessing_Config_GainController2 {
                enabled: adaptive,
                input_volume_controller: sys::AudioProcessing_Config_GainController2_InputVolumeController {
                    enabled: false,
                },
                adaptive_digital: sys::AudioProcessing_Config_GainController2_AdaptiveDigital {
                    enabled: adaptive,
                    headroom_db: 5.0,
                    max_gain_db: 50.0,
                    initial_gain_db: 15.0,
                    max_gain_change_db_per_second: 6.0,
                    max_output_noise_level_dbfs: -50.0,
                },
                fixed_digital: sys::AudioProcessing_Config_GainController2_FixedDigital { gain_db: 0.0 },
            },
            // Off, all of them; the numbers inside are not read then.
            pre_amplifier: Default::default(),
            capture_level_adjustment: Default::default(),
            transient_suppression: Default::default(),
            gain_controller1: Default::default(),
        }
    }
}

/// A format that the library processes well, or the reason why not.
pub(crate) fn check_format(format: Format, direction: Direction) -> Result<(), ApmError> {
    if !RATES_HZ.contains(&format.rate_hz()) {
        return Err(ApmError::Rate { direction, rate_hz: format.rate_hz() });
    }
    if format.channels() > MAX_CHANNELS {
        return Err(ApmError::Channels { direction, channels: format.channels() });
    }
    Ok(())
}

const _: () = {
    let mut i = 0;
    while i < RATES_HZ.len() {
        assert!(RATES_HZ[i] as usize / 100 <= MAX_SAMPLE_FRAMES);
        i += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parts_restart_the_library() {
        let base = ApmConfig::default();
        let louder = ApmConfig { noise_suppression: NoiseSuppression::VeryHigh, ..base };
        assert!(!base.restarts_for(&louder));
        assert!(base.restarts_for(&ApmConfig { high_pass: false, ..base }));
        assert!(base.restarts_for(&ApmConfig { noise_suppression: NoiseSuppression::Off, ..base }));
        assert!(base.restarts_for(&ApmConfig { gain_control: GainControl::Adaptive, ..base }));
    }

    #[test]
    fn formats_are_refused_by_value() {
        let odd = Format::new(96_000, 1).unwrap();
        assert_eq!(
            check_format(odd, Direction::Capture).unwrap_err().to_string(),
            "capture at 96000 Hz: the voice processor takes 8000, 16000, 24000, 32000, 44100 or 48000 Hz"
        );
        let wide = Format::new(48_000, 3).unwrap();
        assert_eq!(
            check_format(wide, Direction::Playback).unwrap_err().to_string(),
            "playback with 3 channels: the voice processor takes 1 or 2"
        );
    }
}
