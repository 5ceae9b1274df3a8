//! Worker side: tells a far end of many frequencies, such as speech, from tones.
//!
//! Behind a tone, every path with the right gain and phase at its frequency explains the echo. A filter that has heard tones alone is
//! sure of a path that is wrong for everything else, and its small variances let it learn the right one only in tens of seconds.

use super::subnormal::flush_powers;
use crate::dsp::fft::Complex;

/// Part of the mean spectrum that a frame replaces: a time constant of 1 s.
const MEAN_STEP: f32 = 0.01;
/// Width of the mean spectrum from which on the far end has many frequencies. Tones reach 2.5, a siren 13, speech 15 to 25.
const WIDE_MEAN: f32 = 13.5;
/// Part of the last frames' spectrum, each of the same energy, that a frame replaces: a time constant of 0.2 s.
const LATEST_STEP: f32 = 0.05;
/// Width of the last frames' spectrum below which they are tones: these reach 4, and 99 of 100 frames of speech are above 5.7.
const NARROW: f32 = 5.0;
/// Width of the last frames' spectrum from which on they show the path. Speech has 15 in the mean; a siren reaches 8.4, and music,
/// which shows little more of the path than tones do, is rarely as wide.
const WIDE: f32 = 12.0;
/// Frames of tones after which a filter that has heard little else is sure of a wrong path (0.5 s).
const TONE_FRAMES: u32 = 50;
/// Frames of wide sounds from which on a filter has learned the path (2 s).
const LEARNED_FRAMES: u32 = 200;

/// Width of the far end's spectrum: the square of the sum of the bins' powers over the sum of their squares.
#[derive(Debug)]
pub(super) struct FarEndWidth<const HOP: usize> {
    /// Mean power of each bin but the last.
    mean: [f32; HOP],
    latest: [f32; HOP],
    is_wide: bool,
    /// Audible frames of tones, and of sounds of many frequencies, since the path was forgotten.
    tones: u32,
    wide: u32,
    /// Whether the last frames show the path.
    shows_path: bool,
}

impl<const HOP: usize> FarEndWidth<HOP> {
    pub(super) const fn new() -> Self {
        Self { mean: [0.0; HOP], latest: [0.0; HOP], is_wide: true, tones: 0, wide: 0, shows_path: false }
    }

    pub(super) fn reset(&mut self) {
        (self.mean, self.latest, self.is_wide) = ([0.0; HOP], [0.0; HOP], true);
        self.forget_path();
    }

    pub(super) fn forget_path(&mut self) {
        (self.tones, self.wide, self.shows_path) = (0, 0, false);
    }

    /// Takes the spectrum of an audible frame.
    pub(super) fn observe(&mut self, bins: &[Complex]) {
        let energy: f32 = bins.iter().fold(0.0, |sum, bin| sum + bin.power());
        let part = if energy > 0.0 { LATEST_STEP / energy } else { 0.0 };
        for ((mean, latest), bin) in self.mean.iter_mut().zip(&mut self.latest).zip(bins) {
            let power = bin.power();
            *mean += MEAN_STEP * (power - *mean);
            *latest += part * power - LATEST_STEP * *latest;
        }
        flush_powers(&mut self.mean);
        flush_powers(&mut self.latest);
        self.is_wide = is_wider(&self.mean, WIDE_MEAN);
        self.shows_path = is_wider(&self.latest, WIDE);
        if self.shows_path {
            self.wide = self.wide.saturating_add(1);
            if self.tones < TONE_FRAMES {
                // Single vowels are as narrow as tones.
                self.tones = 0;
            }
        } else if !is_wider(&self.latest, NARROW) {
            self.tones = self.tones.saturating_add(1);
        }
    }

    /// Returns whether the far end has played many frequencies in the last second.
    pub(super) fn is_wide(&self) -> bool {
        self.is_wide
    }

    /// Returns once whether the far end plays many frequencies now, and what was learned of the path is wrong, because it is from tones.
    pub(super) fn disproves_path(&mut self) -> bool {
        let disproves = self.shows_path && self.tones >= TONE_FRAMES && self.wide < LEARNED_FRAMES;
        if disproves {
            self.tones = 0;
        }
        disproves
    }

    /// Returns what decays.
    #[cfg(test)]
    pub(super) fn state(&self) -> impl Iterator<Item = f32> {
        self.mean.iter().chain(&self.latest).copied()
    }
}

fn is_wider(powers: &[f32], width: f32) -> bool {
    let (sum, squares) =
        powers.iter().fold((0.0, 0.0), |(sum, squares), power| (sum + power, squares + power * power));
    sum * sum > width * squares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canceller::storage::RandomBits;

    const HOP: usize = 160;

    /// Observes `frames` of a spectrum with `bins` bins of random power, and returns how often they disproved a path.
    fn disproofs(width: &mut FarEndWidth<HOP>, random: &mut RandomBits, frames: usize, bins: usize) -> usize {
        let disproves = (0..frames).filter(|_| {
            let mut spectrum = [Complex::ZERO; HOP + 1];
            spectrum[20..20 + bins].iter_mut().for_each(|bin| bin.re = 1.0 + 0.5 * random.next_signed());
            width.observe(&spectrum);
            width.disproves_path()
        });
        disproves.count()
    }

    #[test]
    fn speech_after_tones_disproves_their_path_once() {
        for frames_of_tone in [0, 30, 60, 500] {
            let (mut width, mut random) = (FarEndWidth::new(), RandomBits::new());
            let expected = usize::from(frames_of_tone >= 60);
            assert_eq!(disproofs(&mut width, &mut random, frames_of_tone, 2), 0);
            assert_eq!(
                disproofs(&mut width, &mut random, 300, 40),
                expected,
                "after {frames_of_tone} frames"
            );
            assert!(width.is_wide());
        }
    }

    #[test]
    fn a_path_that_was_learned_from_speech_outlives_tones() {
        let (mut width, mut random) = (FarEndWidth::new(), RandomBits::new());
        for (frames, bins) in [(300, 40), (500, 2), (300, 40)] {
            assert_eq!(disproofs(&mut width, &mut random, frames, bins), 0);
        }
        width.forget_path();
        assert_eq!(
            disproofs(&mut width, &mut random, 500, 2) + disproofs(&mut width, &mut random, 300, 40),
            1
        );
    }
}
