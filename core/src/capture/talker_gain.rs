//! Worker side: brings the near talker to a constant level, and learns that level from the talker alone.
//!
//! The level of speech is the mean power of the frames in which the talker is active, as in ITU-T P.56 (2011),
//! method B, with a gate below the mean that is found (EBU Tech 3341, section 2, gates loudness in that way). The
//! gain moves only while the talker speaks: pauses, echo and comfort noise leave it where it is.

use crate::dsp::fft::fast_inverse_sqrt;

/// Power of active speech that the gain aims at: -23 dBFS, so that peaks 20 dB above stay below full scale.
const TARGET: f32 = 5.01e-3;
/// Highest gain: 30 dB.
const MOST_GAIN: f32 = 31.6;
/// Lowest gain: -12 dB.
const LEAST_GAIN: f32 = 0.251;
/// Likelihood of near speech above which a frame counts as speech.
const SPEECH_ABOVE: f32 = 0.6;
/// Least power of a frame that counts as speech: -60 dBFS.
const LEAST_SPEECH: f32 = 1e-6;
/// Power of a frame, in terms of the mean of speech, below which it counts as a pause: -13 dB.
const GATE: f32 = 0.05;
/// Least power of a frame that counts as speech, in terms of the noise's: 15 dB. The noise estimate is a minimum, some
/// 5 dB below the mean.
const ABOVE_NOISE: f32 = 32.0;
/// Number of frames of speech whose mean is the level, once as many were heard: 3 s.
const MEMORY_FRAMES: u16 = 300;
/// Number of frames of speech before the gain moves: 0.15 s.
const FIRST_FRAMES: u16 = 15;
/// Part of the power that the mean over a syllable follows in 10 ms: a time constant of 60 ms.
const SYLLABLE_STEP: f32 = 0.15;
/// Part of the mean over a syllable that the level is at least, so that a louder talker is not amplified by a
/// softer one's gain for longer than a syllable: -7 dB.
const LEVEL_OF_SYLLABLE: f32 = 0.2;
/// Least power of a frame that counts as speech, in terms of the least power of the last second: 6 dB. A canceller may take
/// a steady noise for a talker until it knows that noise, and the talker's own pauses between syllables are 15 dB deep.
const ABOVE_STEADY: f32 = 4.0;
/// Frames in half of the time in which the least power is looked for: 0.75 s.
const STEADY_FRAMES: u8 = 75;
/// Frames after silence in which a microphone that starts may still be fading in.
const STARTING_FRAMES: u8 = 3;
/// Factor on the gain in 10 ms of speech when it rises: 15 dB a second.
const RISE: f32 = 1.017_4;
/// Factor on the gain in 10 ms of speech when it falls: 40 dB a second.
const FALL: f32 = 0.955;
/// Most power that the estimate of the amplified noise may have: -56 dBFS, a mean of some -51 dBFS.
const MOST_NOISE: f32 = 2.5e-6;
/// Rise of the noise estimate in 10 ms without speech: 4 dB a second.
const NOISE_RISE: f32 = 1.01;
/// Power of a frame below which the microphone is muted, or has not started: -90 dBFS. It says nothing of the noise.
const MUTED: f32 = 1e-9;
/// Least power of the noise: -120 dBFS.
const LEAST_NOISE: f32 = 1e-12;
/// Amplitude above which peaks are rounded off: -2 dBFS.
const KNEE: f32 = 0.8;

/// Automatic gain for one near talker, for the frames that an [`EchoCanceller`](crate::canceller::EchoCanceller)
/// cleaned.
///
/// A steady talker reaches -23 dBFS, measured over active speech, within 3 s; the gain is -12 to 30 dB. Peaks that
/// would exceed full scale are rounded off. A frame costs about ten operations a sample; nothing is delayed.
///
/// ```
/// use handsfree_core::capture::TalkerGain;
///
/// let mut gain = TalkerGain::new();
/// for n in 0..300 {
///     // Syllables of 70 ms, and 30 ms between them.
///     let loud = if n % 10 < 7 { 200 } else { 10_i16 };
///     gain.process(&mut [loud; 160], 1.0);
/// }
/// assert!((gain.gain_db() - 21.3).abs() < 0.5, "-44.3 dBFS becomes -23 dBFS: {} dB", gain.gain_db());
/// gain.process(&mut [20_000; 160], 0.0);
/// assert!((gain.gain_db() - 21.3).abs() < 0.5, "what is not the talker changes nothing");
/// ```
#[derive(Clone, Debug)]
pub struct TalkerGain {
    gain: f32,
    /// Mean power of active speech, before the gain.
    level: f32,
    /// Number of frames in the mean, at most [`MEMORY_FRAMES`].
    frames: u16,
    syllable: f32,
    /// Least power between the words; 0 before a frame without speech.
    noise: f32,
    /// Least power in the time that runs, and in the time before it.
    least: [f32; 2],
    /// Number of frames with sound in the time that runs.
    sounding: u8,
    limited_frames: u64,
}

impl TalkerGain {
    /// Returns a gain of 1 that has learned no level.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            gain: 1.0,
            level: 0.0,
            frames: 0,
            syllable: 0.0,
            noise: 0.0,
            least: [f32::INFINITY; 2],
            sounding: 0,
            limited_frames: 0,
        }
    }

    /// Amplifies 10 ms in place. `talker_likelihood` is the likelihood that the frame holds the near talker and little
    /// else, from 0 to 1, as the canceller
    /// [states it](crate::canceller::EchoCanceller::talker_likelihood). A canceller without its suppressor states 0, and
    /// the gain then stays at 1.
    pub fn process(&mut self, samples: &mut [i16], talker_likelihood: f32) {
        if samples.is_empty() {
            return;
        }
        let energy = samples.iter().fold(0.0, |sum, &x| sum + f32::from(x) * f32::from(x));
        let power = energy * const { 1.0 / (32_768.0 * 32_768.0) } / samples.len() as f32;
        let from = self.gain;
        if talker_likelihood < SPEECH_ABOVE && power > MUTED {
            self.noise =
                if self.noise > 0.0 { power.min(self.noise * NOISE_RISE) } else { power }.max(LEAST_NOISE);
        }
        let steady = self.least_power(power);
        let least =
            LEAST_SPEECH.max(GATE * self.level).max(ABOVE_NOISE * self.noise).max(ABOVE_STEADY * steady);
        if talker_likelihood > SPEECH_ABOVE && power > least {
            self.learn(power);
        }
        let step = (self.gain - from) / samples.len() as f32;
        let (mut gain, mut is_limited) = (from, false);
        for sample in samples {
            gain += step;
            let amplified = gain * f32::from(*sample) * const { 1.0 / 32_768.0 };
            is_limited |= amplified.abs() > KNEE;
            *sample = (rounded_off(amplified) * 32_768.0) as i16;
        }
        self.limited_frames += u64::from(is_limited);
    }

    /// Takes the power of a frame and returns the least one of the last second; infinite while the microphone is muted or
    /// starts.
    fn least_power(&mut self, power: f32) -> f32 {
        if power < MUTED {
            (self.least, self.sounding) = ([f32::INFINITY; 2], 0);
            return f32::INFINITY;
        }
        self.sounding += 1;
        let [now, before] = &mut self.least;
        if self.sounding > STARTING_FRAMES {
            *now = now.min(power);
        }
        let least = now.min(*before);
        if self.sounding == STEADY_FRAMES {
            // From the second time on, the microphone no longer starts.
            (self.least, self.sounding) = ([f32::INFINITY, *now], STARTING_FRAMES);
        }
        least
    }

    /// Takes a frame of speech into the level, and moves the gain towards its target.
    fn learn(&mut self, power: f32) {
        self.frames = (self.frames + 1).min(MEMORY_FRAMES);
        self.level += (power - self.level) / f32::from(self.frames);
        self.syllable += SYLLABLE_STEP * (power - self.syllable);
        self.level = self.level.max(LEVEL_OF_SYLLABLE * self.syllable);
        if self.frames < FIRST_FRAMES {
            return;
        }
        let wanted = root(TARGET / self.level).clamp(LEAST_GAIN, MOST_GAIN);
        // The noise limits how far the gain rises; it does not turn a talker down.
        let wanted = wanted.min(root(MOST_NOISE / self.noise.max(LEAST_NOISE)).max(1.0));
        self.gain = wanted.max(self.gain * FALL).min(self.gain * RISE);
    }

    /// Returns the gain in decibels.
    #[must_use]
    pub fn gain_db(&self) -> f32 {
        20.0 * libm::log10f(self.gain)
    }

    /// Returns the number of frames in which peaks were rounded off.
    #[must_use]
    pub const fn limited_frames(&self) -> u64 {
        self.limited_frames
    }

    /// Forgets the talker; the gain is 1 again.
    pub fn reset(&mut self) {
        *self = Self::new();
    }
}

impl Default for TalkerGain {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the square root of a positive number.
fn root(x: f32) -> f32 {
    x * fast_inverse_sqrt(x)
}

/// Bends amplitudes above the knee towards 1, which none reaches.
fn rounded_off(x: f32) -> f32 {
    let over = (x.abs() - KNEE) * const { 1.0 / (1.0 - KNEE) };
    if over <= 0.0 { x } else { (KNEE + (1.0 - KNEE) * over / (1.0 + over)).copysign(x) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FRAME: usize = 160;

    /// Returns 10 ms of noise whose level rises and falls as syllables do, 4 times a second.
    fn syllables(frame: usize, dbfs: f32, random: &mut u32) -> [i16; FRAME] {
        let syllable = (core::f32::consts::PI * frame as f32 / 25.0).sin().abs() + 0.1;
        let amplitude = 32_768.0 * 10f32.powf(dbfs / 20.0) * syllable * 1.3 * 3f32.sqrt();
        core::array::from_fn(|_| {
            *random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (amplitude * ((*random >> 8) as f32 / (1 << 23) as f32 - 1.0)) as i16
        })
    }

    fn power(samples: &[i16]) -> f32 {
        samples.iter().map(|&x| (f32::from(x) / 32_768.0).powi(2)).sum::<f32>() / samples.len() as f32
    }

    /// Returns the level of some frames of a talker after the gain.
    fn talk(gain: &mut TalkerGain, frames: usize, dbfs: f32, random: &mut u32) -> f32 {
        let mut sum = 0.0;
        for frame in 0..frames {
            let mut samples = syllables(frame, dbfs, random);
            gain.process(&mut samples, 1.0);
            sum += power(&samples);
        }
        10.0 * (sum / frames as f32).log10()
    }

    proptest! {
        #[test]
        fn a_steady_talker_is_at_the_target_after_3_s(dbfs in -48f32..-14.0, seed in 1u32..) {
            let (mut gain, mut random) = (TalkerGain::new(), seed);
            talk(&mut gain, 300, dbfs, &mut random);
            let level = talk(&mut gain, 200, dbfs, &mut random);
            prop_assert!((level + 23.0).abs() < 2.0, "{level} dBFS from {dbfs}");
        }

        #[test]
        fn what_is_not_the_talker_moves_nothing(dbfs in -50f32..-14.0, other in -90f32..0.0, seed in 1u32..) {
            let (mut gain, mut random) = (TalkerGain::new(), seed);
            talk(&mut gain, 400, dbfs, &mut random);
            let before = gain.gain_db();
            for frame in 0..2_000 {
                gain.process(&mut syllables(frame, other, &mut random), 0.3);
            }
            prop_assert_eq!(gain.gain_db(), before);
        }

        #[test]
        fn the_talker_returns_within_3_db_of_the_target(dbfs in -45f32..-14.0, pause in 1usize..3_000, seed in 1u32..) {
            let (mut gain, mut random) = (TalkerGain::new(), seed);
            talk(&mut gain, 400, dbfs, &mut random);
            for frame in 0..pause {
                gain.process(&mut syllables(frame, -75.0, &mut random), 0.9);
            }
            let level = talk(&mut gain, 25, dbfs, &mut random);
            prop_assert!((level + 23.0).abs() < 3.0, "{level} dBFS after a pause of {pause} frames");
        }

        #[test]
        fn a_louder_talker_is_turned_down_within_a_second(seed in 1u32..) {
            let (mut gain, mut random) = (TalkerGain::new(), seed);
            talk(&mut gain, 500, -45.0, &mut random);
            talk(&mut gain, 100, -20.0, &mut random);
            let level = talk(&mut gain, 100, -20.0, &mut random);
            prop_assert!(level < -20.0, "{level} dBFS");
        }

        #[test]
        fn no_peak_is_clipped(dbfs in -20f32..0.0, seed in 1u32..) {
            let (mut gain, mut random) = (TalkerGain::new(), seed);
            talk(&mut gain, 200, -50.0, &mut random);
            let mut samples = syllables(12, dbfs, &mut random);
            gain.process(&mut samples, 1.0);
            prop_assert!(samples.iter().all(|x| x.unsigned_abs() < 32_767), "a sample reached full scale");
        }
    }

    #[test]
    fn quiet_noise_is_not_amplified_above_56_dbfs() {
        let (mut gain, mut random) = (TalkerGain::new(), 7);
        for round in 0..20 {
            for _ in 0..50 {
                // The loudest part of a syllable, 3 dB above its level.
                gain.process(&mut syllables(12, -76.0, &mut random), 0.0);
            }
            talk(&mut gain, 50, -48.0, &mut random);
            assert!(gain.gain_db() < 18.5, "round {round}: {} dB", gain.gain_db());
        }
    }

    #[test]
    fn the_noise_of_a_microphone_that_starts_is_no_talker() {
        for seed in 1..=20 {
            let (mut gain, mut random) = (TalkerGain::new(), seed);
            for frame in 0..1_000 {
                // The canceller may take noise for a talker before it knows it. The microphone starts within a frame.
                let mut samples = syllables(12, if frame < 20 { -120.0 } else { -52.0 }, &mut random);
                samples.iter_mut().take(if frame == 20 { FRAME / 2 } else { 0 }).for_each(|x| *x = 0);
                gain.process(&mut samples, 0.9);
            }
            assert_eq!(gain.gain_db(), 0.0, "seed {seed}");
            let level = talk(&mut gain, 300, -35.0, &mut random);
            assert!(level > -30.0, "seed {seed}: a talker is amplified to {level} dBFS");
        }
    }

    #[test]
    fn samples_below_the_knee_are_exact_at_unity() {
        let mut samples: [i16; FRAME] = core::array::from_fn(|n| (n as i16 - 80) * 300);
        let expected = samples;
        TalkerGain::new().process(&mut samples, 0.0);
        assert_eq!(samples, expected);
    }
}
