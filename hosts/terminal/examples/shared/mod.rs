//! A synthetic voice for the examples, in place of a speech synthesizer.
#![allow(dead_code, reason = "not every example calls it")]

/// Largest sample of the voice: 12 dB below the full scale of 16-bit samples, 32767.
const PEAK: f32 = 8_000.0;
/// Length of a syllable, and of the pause after every sixth syllable, in seconds.
const SYLLABLE_S: f32 = 0.2;

/// Returns a mono voice: wideband syllables with pauses between words. Each call returns the same voice.
pub(crate) fn voice(rate_hz: u32, samples: usize) -> Vec<i16> {
    let mut state = 1_u32;
    let mut noise = move || {
        // A linear congruential generator; its high bits are random enough for noise.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    let mut low = 0.0;
    let sample = |at: usize| {
        let syllable = at as f32 / rate_hz as f32 / SYLLABLE_S;
        // Speech has most of its power at low frequencies.
        low += (noise() - low) * 0.3;
        let is_pause = syllable as u32 % 7 == 6;
        let loudness = if is_pause { 0.0 } else { (syllable.fract() * std::f32::consts::PI).sin() };
        (low * loudness * PEAK) as i16
    };
    (0..samples).map(sample).collect()
}
