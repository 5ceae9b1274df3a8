//! Application side: the processor's settings, and their translation for the C++ library.

#[cfg(feature = "webrtc")]
use webrtc_audio_processing_sys as sys;

use handsfree_core::Format;
use handsfree_core::audio_io::Direction;

use crate::error::ApmError;

/// Sample rates that the processor accepts, in hertz. It resamples all but 16, 32 and 48 kHz internally.
pub const RATES_HZ: [u32; 6] = [8_000, 16_000, 24_000, 32_000, 44_100, 48_000];

/// Maximum number of channels in either direction.
pub const MAX_CHANNELS: usize = 2;

/// Number of samples of one channel in the longest frame: 10 ms at 48 kHz.
pub(crate) const MAX_SAMPLE_FRAMES: usize = 480;

/// Method of echo cancellation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EchoCancellation {
    /// No echo cancellation.
    Off,
    /// AEC3: linear adaptive filters on 16 kHz bands, followed by a suppressor. It estimates the delay itself.
    #[default]
    Full,
    /// AEC3 with settings that take less of the talker and leave more echo than [`Full`](Self::Full).
    Gentle,
    /// AECM: a cheap suppressor for small processors. It needs an accurate delay and gates double talk.
    Mobile,
}

/// Strength of the suppression of steady noise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoiseSuppression {
    /// No noise suppression.
    Off,
    /// Reduces noise by up to 6 dB. Stronger suppression costs the talker more than the noise disturbs.
    #[default]
    Low,
    /// Reduces noise by up to 12 dB.
    Moderate,
    /// Reduces noise by up to 18 dB.
    High,
    /// Reduces noise by up to 21 dB.
    VeryHigh,
}

/// Method of keeping the talker's level even.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GainControl {
    /// No gain control.
    #[default]
    Off,
    /// AGC2: a digital gain that follows speech, starting at 15 dB and rising to at most 50 dB, and a limiter.
    Adaptive,
}

/// Settings of the processor. The default suits a hands-free terminal: full echo cancellation, low noise suppression
/// and the high-pass filter, without gain control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApmConfig {
    /// Cancellation of the loudspeaker's echo.
    pub echo_cancellation: EchoCancellation,
    /// Suppression of steady noise.
    pub noise_suppression: NoiseSuppression,
    /// Whether a high-pass filter removes what lies below about 100 Hz. Full echo cancellation always does so.
    pub high_pass: bool,
    /// Control of the talker's level.
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
    /// Switches every part off: frames pass unchanged, bit for bit.
    pub const BYPASS: Self = Self {
        echo_cancellation: EchoCancellation::Off,
        noise_suppression: NoiseSuppression::Off,
        high_pass: false,
        gain_control: GainControl::Off,
    };

    /// Returns whether the library restarts all its parts when it changes from these settings to `other`. It does
    /// so whenever a part is switched on or off, but not when only the strength of the noise suppression changes.
    #[must_use]
    pub fn restarts_for(&self, other: &Self) -> bool {
        self.parts() != other.parts()
    }

    fn parts(&self) -> (EchoCancellation, bool, bool, GainControl) {
        let suppresses = self.noise_suppression != NoiseSuppression::Off;
        (self.echo_cancellation, suppresses, self.high_pass, self.gain_control)
    }

    /// Translates these settings into the C++ library's structure. Every number is written out because the
    /// bindings' defaults are zeros, not the values of the C++ headers.
    #[cfg(feature = "webrtc")]
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
            // All of these are off, so the library does not read the numbers inside them.
            pre_amplifier: Default::default(),
            capture_level_adjustment: Default::default(),
            transient_suppression: Default::default(),
            gain_controller1: Default::default(),
        }
    }
}

/// Checks that the processor accepts `format`; the error names the value found.
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
    fn only_switching_a_part_restarts_the_library() {
        let base = ApmConfig::default();
        let louder = ApmConfig { noise_suppression: NoiseSuppression::VeryHigh, ..base };
        assert!(!base.restarts_for(&louder));
        assert!(base.restarts_for(&ApmConfig { high_pass: false, ..base }));
        assert!(base.restarts_for(&ApmConfig { noise_suppression: NoiseSuppression::Off, ..base }));
        assert!(base.restarts_for(&ApmConfig { gain_control: GainControl::Adaptive, ..base }));
    }

    #[test]
    fn a_refused_format_is_named_in_the_error() {
        let odd = Format::new(96_000, 1).unwrap();
        assert_eq!(
            check_format(odd, Direction::Capture).unwrap_err().to_string(),
            "capture at 96000 Hz: the voice processor accepts 8000, 16000, 24000, 32000, 44100 or 48000 Hz"
        );
        let wide = Format::new(48_000, 3).unwrap();
        assert_eq!(
            check_format(wide, Direction::Playback).unwrap_err().to_string(),
            "playback with 3 channels: the voice processor accepts 1 or 2"
        );
    }
}
