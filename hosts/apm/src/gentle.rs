//! Worker side: the settings of AEC3 for [`EchoCancellation::Gentle`](crate::EchoCancellation::Gentle).
//!
//! AEC3's suppressor compares, in each band, the estimated residual echo with the near end. Below the ratio
//! `enr_transparent` the band passes, above `enr_suppress` it is removed. WebRTC's ratios mute a talker who is as loud as
//! the echo; the ratios below let such a talker pass. docs/canceller.md of the repository has what they gain and cost.

use webrtc_audio_processing_sys as sys;

/// Ratios of echo to near end while no near end has been detected, below and above about 1 kHz; WebRTC has .3, .4 and
/// .07, .1.
const NORMAL: [[f32; 2]; 2] = [[0.6, 1.2], [0.2, 0.5]];
/// Ratios of echo to near end while the near end dominates; WebRTC has 1.09, 1.1 and .1, .3.
const NEAR_END: [[f32; 2]; 2] = [[2.0, 4.0], [0.6, 1.2]];

/// Residual echo over near end below which a low band counts for the near end; WebRTC has .25.
const NEAR_END_BELOW: f32 = 0.6;
/// Near end over noise from which it counts; WebRTC has 30, which a distant talker does not reach.
const NEAR_END_OVER_NOISE: f32 = 15.0;
/// Blocks of 4 ms that must count before the near end dominates; WebRTC has 12, which is half of a short syllable.
const TRIGGER_BLOCKS: i32 = 6;
/// Blocks of 4 ms for which it then dominates; WebRTC has 50.
const HOLD_BLOCKS: i32 = 60;

/// Returns AEC3's settings with which it takes less of the talker and leaves more echo. What they do not name is as WebRTC
/// has it for one channel.
pub(crate) fn settings() -> sys::EchoCanceller3Config {
    // SAFETY: the function only returns a structure of numbers.
    let mut settings = unsafe { sys::create_aec3_config() };
    let suppressor = &mut settings.suppressor;
    for (tuning, ratios) in
        [(&mut suppressor.normal_tuning, NORMAL), (&mut suppressor.nearend_tuning, NEAR_END)]
    {
        for (mask, [transparent, suppress]) in
            [&mut tuning.mask_lf, &mut tuning.mask_hf].into_iter().zip(ratios)
        {
            mask.enr_transparent = transparent;
            mask.enr_suppress = suppress;
        }
    }
    let detection = &mut suppressor.dominant_nearend_detection;
    detection.enr_threshold = NEAR_END_BELOW;
    detection.snr_threshold = NEAR_END_OVER_NOISE;
    detection.trigger_threshold = TRIGGER_BLOCKS;
    detection.hold_duration = HOLD_BLOCKS;
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_accepts_the_gentle_settings() {
        let mut settings = settings();
        // SAFETY: the pointer is valid for the call.
        assert!(unsafe { sys::validate_aec3_config(&raw mut settings) }, "a value is out of range");
        assert_eq!(settings.suppressor.normal_tuning.mask_hf.enr_suppress, 0.5);
        assert_eq!(settings.filter.refined.length_blocks, 13, "WebRTC's defaults are not zeros");
    }
}
