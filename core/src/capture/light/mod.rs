//! Worker side: a light voice path, for processors where an echo canceller does not fit.
//!
//! It is no echo canceller: nothing is subtracted. While only the far end speaks, the microphone is turned
//! down and comfort noise takes its place; when a near talker is louder than the echo can be, the microphone
//! is opened and the far end hears its own echo too, like a simple speakerphone. All on integers, about 90
//! instructions a sample.

mod gate;
mod level;
mod suppressor;

use self::gate::{AutoGain, NoiseGate};
use self::level::{ComfortNoise, FloorTracker, HighPass, mean_square};
use self::suppressor::Suppressor;
use crate::capture::processor::{ProcessError, VoiceProcessor, VoiceStats};
use crate::frame::{PcmMut, PcmRef};
use crate::limits::MAX_CHANNELS;
use crate::time::Duration;
use crate::timing::ReferenceQuality;

/// A gain of 1.
const UNITY_Q16: u32 = 1 << 16;

/// Switches for the parts of a [`LightVoice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct LightConfig {
    /// High-pass filter, 3 dB down at about 100 Hz.
    pub high_pass: bool,
    /// Half-duplex suppression: turns the microphone down while it only picks up the loudspeaker's echo.
    pub suppress_echo: bool,
    /// Comfort noise, as loud as the room's, in place of the suppressed echo.
    pub comfort_noise: bool,
    /// Noise gate: turns the microphone down by 12 dB while there is no speech.
    pub noise_gate: bool,
    /// Automatic gain of 0 to 18 dB that brings speech to -18 dBFS.
    pub auto_gain: bool,
}

impl Default for LightConfig {
    /// Returns a configuration with all parts on.
    fn default() -> Self {
        Self { high_pass: true, suppress_echo: true, comfort_noise: true, noise_gate: true, auto_gain: true }
    }
}

/// Levels and decisions of a [`LightVoice`] for the last frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct LightReading {
    /// Mean square of the microphone after the high-pass, where full scale is 2^30.
    pub near: u32,
    /// Mean square of the loudspeaker, where full scale is 2^30.
    pub far: u32,
    /// Estimated mean square of the room's noise, where full scale is 2^30.
    pub noise: u32,
    /// Whether the frame was classified as nothing but echo.
    pub suppressed: bool,
    /// Whether the frame was classified as near speech.
    pub speech: bool,
    /// Gain applied to the frame, in 1/65536.
    pub gain_q16: u32,
}

/// High-pass, level meter, automatic gain, noise gate and half-duplex echo suppression.
///
/// ```
/// use handsfree_core::capture::{LightConfig, LightVoice, VoiceProcessor};
/// use handsfree_core::{Duration, Format, PcmMut, PcmRef};
///
/// let format = Format::new(16_000, 1)?;
/// let mut voice = LightVoice::new(LightConfig::default());
/// let far = [8_000, -8_000].repeat(80);
/// for _ in 0..50 {
///     let mut near: Vec<i16> = far.iter().map(|sample| sample / 4).collect();
///     voice.process_reverse(PcmRef { format, samples: &far })?;
///     voice.process_capture(PcmMut { format, samples: &mut near }, Duration::ZERO)?;
/// }
/// assert!(voice.reading().suppressed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct LightVoice {
    config: LightConfig,
    high_pass: [HighPass; MAX_CHANNELS as usize],
    floor: FloorTracker,
    suppressor: Suppressor,
    gate: NoiseGate,
    auto_gain: AutoGain,
    noise: ComfortNoise,
    far: u32,
    gain_q16: u32,
    reading: LightReading,
}

impl LightVoice {
    /// Returns a voice processor that has learned nothing yet.
    #[must_use]
    pub const fn new(config: LightConfig) -> Self {
        Self {
            config,
            high_pass: [const { HighPass::new() }; MAX_CHANNELS as usize],
            floor: FloorTracker::new(),
            suppressor: Suppressor::new(),
            gate: NoiseGate::new(),
            auto_gain: AutoGain::new(),
            noise: ComfortNoise::new(),
            far: 0,
            gain_q16: UNITY_Q16,
            reading: LightReading {
                near: 0,
                far: 0,
                noise: 0,
                suppressed: false,
                speech: false,
                gain_q16: UNITY_Q16,
            },
        }
    }

    /// Switches parts on or off; what was learned stays.
    pub fn configure(&mut self, config: LightConfig) {
        self.config = config;
    }

    /// Returns the levels and decisions for the last frame.
    #[must_use]
    pub const fn reading(&self) -> LightReading {
        self.reading
    }

    /// Classifies a frame; returns its gain and the amplitude of the noise to add.
    fn decide(&mut self, near: u32) -> (u32, u32) {
        let suppressed =
            self.suppressor.observe(near, self.far, self.floor.level()) && self.config.suppress_echo;
        // Echo is neither the room's noise nor near speech.
        let speech = if suppressed {
            false
        } else {
            self.floor.observe(near);
            self.gate.observe(near, self.floor.level())
        };
        if speech && self.config.auto_gain {
            self.auto_gain.observe(near);
        }
        let speech_gain_q16 = if self.config.auto_gain { self.auto_gain.gain_q16() } else { UNITY_Q16 };
        let gain_q16 = match (suppressed, speech) {
            (true, _) => Suppressor::GAIN_Q16,
            (_, false) if self.config.noise_gate => speech_gain_q16 / NoiseGate::ATTENUATION,
            _ => speech_gain_q16,
        };
        let comfort = if suppressed && self.config.comfort_noise { self.floor.amplitude() } else { 0 };
        self.reading =
            LightReading { near, far: self.far, noise: self.floor.level(), suppressed, speech, gain_q16 };
        (gain_q16, comfort)
    }
}

impl VoiceProcessor for LightVoice {
    fn process_reverse(&mut self, far: PcmRef<'_>) -> Result<(), ProcessError> {
        self.far = mean_square(far.samples);
        Ok(())
    }

    fn process_capture(&mut self, near: PcmMut<'_>, _delay: Duration) -> Result<(), ProcessError> {
        let (expected, found) = (near.format.samples(), near.samples.len());
        if expected != found {
            return Err(ProcessError::Length { expected, found });
        }
        let channels = near.format.channels().max(1);
        if self.config.high_pass {
            for (channel, high_pass) in self.high_pass.iter_mut().enumerate().take(channels) {
                high_pass.run(near.samples.iter_mut().skip(channel).step_by(channels), near.format.rate_hz());
            }
        }
        let (gain_q16, comfort) = self.decide(mean_square(near.samples));
        // A linear ramp from the last frame's gain to this one's, so that it does not click.
        let sample_frames = near.format.sample_frames().max(1) as i64;
        let step_q16 = (i64::from(gain_q16) - i64::from(self.gain_q16)) / sample_frames;
        let mut now_q16 = i64::from(self.gain_q16);
        for frame in near.samples.chunks_exact_mut(channels) {
            now_q16 += step_q16;
            let noise = self.noise.sample(comfort);
            for sample in frame {
                let scaled = ((i64::from(*sample) * now_q16) >> 16) as i32 + noise;
                *sample = scaled.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16;
            }
        }
        self.gain_q16 = gain_q16;
        Ok(())
    }

    fn stats(&self) -> VoiceStats {
        VoiceStats::default()
    }

    fn reset(&mut self) {
        *self = Self::new(self.config);
    }

    #[inline]
    fn reference_quality() -> ReferenceQuality {
        ReferenceQuality::Quick
    }
}

#[cfg(test)]
mod tests;
