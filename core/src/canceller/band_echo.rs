//! Worker side: the power of the echo in bands, from the far end's power in the same band.
//!
//! A linear filter explains little of a device that clips, gates its microphone, or plays high frequencies thirty decibels
//! louder than the rest. In each band the level of its echo still follows the far end's: C. Faller and J. Chen, "Suppressing
//! acoustic echo in a spectral envelope space", IEEE Trans. Speech and Audio Processing 13 (2005). Here the ratio of both
//! follows from a regression of the fluctuations of the error's energy on those of the reference's, as the leakage does in
//! `residual` from those of the estimated echo's. What may be chance is not counted.

use super::bands::{MAX_BANDS, spans};
use super::ceiling;
use super::residual::{CHANCE, MEAN_STEP};
use super::subnormal::flush_powers;
use crate::dsp::fft::Complex;
use crate::dsp::select::larger;

/// Part of the regression that is replaced in 10 ms of audible far end: a time constant of 4 s. With 2 s, chance was more often
/// counted, at 0.6 dB of the SDR of a talker with headphones.
const STEP: f32 = 0.002_5;
/// Mean power of a bin of the reference above which the band is observed: -55 dBFS.
const REFERENCE_ABOVE: f32 = 1e-3;

/// Part of the microphone's power that the estimated echo has where all of the echo in bands counts: -37 dB. With headphones it is
/// some 45 dB below a talker; a device that a linear filter hardly explains reaches -20 dB.
const ECHO_PART: f32 = 2e-4;

/// Factor on the echo that is found, of which the discount for chance takes a fifth.
const FOUND_WEIGHT: f32 = 1.2;

/// One value for each band.
type Bands = [f32; MAX_BANDS];

/// Estimator of the echo in bands, with a path of `PARTITIONS`.
#[derive(Debug)]
pub(super) struct BandEcho<const PARTITIONS: usize> {
    /// Energy of the reference in each band in the last frames.
    references: [Bands; PARTITIONS],
    newest: usize,
    /// Energy of each partition of the main filter's path, and the partition with the most.
    path: [f32; PARTITIONS],
    strongest: usize,
    regressions: [Regression; MAX_BANDS],
    /// Factor on what is found: 0 while the main filter hears no echo at all.
    weight: f32,
}

/// Regression of the error's energy on the reference's, in a band.
#[derive(Clone, Copy, Debug)]
struct Regression {
    error_mean: f32,
    reference_mean: f32,
    both: f32,
    reference_square: f32,
    error_square: f32,
}

impl Regression {
    const ZERO: Self =
        Self { error_mean: 0.0, reference_mean: 0.0, both: 0.0, reference_square: 0.0, error_square: 0.0 };

    /// Takes a frame's energies and returns that of the reference's echo in the error.
    fn observe(&mut self, error: f32, reference: f32, is_audible: bool) -> f32 {
        let (error_change, reference_change) = (error - self.error_mean, reference - self.reference_mean);
        self.error_mean += MEAN_STEP * error_change;
        self.reference_mean += MEAN_STEP * reference_change;
        if is_audible {
            for (mean, product) in [
                (&mut self.both, error_change * reference_change),
                (&mut self.reference_square, reference_change * reference_change),
                (&mut self.error_square, error_change * error_change),
            ] {
                *mean += STEP * (product - *mean);
            }
        }
        if self.both <= 0.0 {
            return 0.0;
        }
        let chance = CHANCE * self.error_square * self.reference_square / (self.both * self.both + 1e-30);
        larger(1.0 - chance, 0.0) * self.both / (self.reference_square + 1e-20) * reference
    }
}

impl<const PARTITIONS: usize> BandEcho<PARTITIONS> {
    pub(super) const fn new() -> Self {
        Self {
            references: [[0.0; MAX_BANDS]; PARTITIONS],
            newest: 0,
            path: [0.0; PARTITIONS],
            strongest: 0,
            regressions: [Regression::ZERO; MAX_BANDS],
            weight: 0.0,
        }
    }

    pub(super) fn reset(&mut self) {
        *self = Self::new();
    }

    /// Forgets where the echo is, but not how loud it is.
    pub(super) fn forget_path(&mut self) {
        self.path.fill(0.0);
        self.strongest = 0;
    }

    /// Forgets what is left of sounds that ended.
    pub(super) fn flush(&mut self) {
        for regression in &mut self.regressions {
            let mut means = [regression.error_mean, regression.reference_mean, regression.both];
            flush_powers(&mut means);
            [regression.error_mean, regression.reference_mean, regression.both] = means;
        }
    }

    /// Takes the far end's spectrum of the next capture frame.
    pub(super) fn take_spectrum(&mut self, bins: &[Complex]) {
        self.newest = if self.newest == 0 { PARTITIONS - 1 } else { self.newest - 1 };
        let Some(energies) = self.references.get_mut(self.newest) else { return };
        for ((start, end), energy) in spans(bins.len()).zip(energies) {
            let band = bins.get(start..end).unwrap_or(&[]);
            *energy = band.iter().fold(0.0, |sum, z| sum + z.power());
        }
    }

    /// Takes a partition of the main filter's path.
    pub(super) fn learn_path(&mut self, partition: usize, response: &[f32]) {
        if let Some(energy) = self.path.get_mut(partition) {
            *energy = ceiling::energy(response);
        }
        let energy = |partition| self.path.get(partition).copied().unwrap_or(0.0);
        self.strongest =
            (1..PARTITIONS).fold(0, |best, other| if energy(other) > energy(best) { other } else { best });
    }

    /// Takes the part of the microphone's power that the estimated echo has.
    pub(super) fn take_echo_part(&mut self, part: f32) {
        self.weight = FOUND_WEIGHT * (part * const { 1.0 / ECHO_PART }).min(1.0);
    }

    /// Returns the means that decay while nothing is heard.
    #[cfg(test)]
    pub(super) fn means(&self) -> impl Iterator<Item = f32> {
        self.regressions.iter().flat_map(|of| [of.error_mean, of.reference_mean])
    }

    /// Takes the error's energy in a band and returns the mean power of the echo in its bins.
    pub(super) fn observe(&mut self, band: usize, error: f32, bins: usize) -> f32 {
        let energy = |age: usize| {
            let frame = self.references.get((self.newest + age) % PARTITIONS).filter(|_| age < PARTITIONS);
            frame.and_then(|energies| energies.get(band)).copied().unwrap_or(0.0)
        };
        // The echo of a partition ends in the frame after it.
        let reference = larger(energy(self.strongest), energy(self.strongest + 1));
        let is_audible = reference > REFERENCE_ABOVE * bins as f32;
        let found = self.regressions.get_mut(band).map(|band| band.observe(error, reference, is_audible));
        self.weight * found.unwrap_or(0.0) / bins.max(1) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canceller::storage::RandomBits;

    const BINS: usize = 161;
    const PARTITIONS: usize = 6;
    const BAND: usize = 17;

    /// Plays 10 s of syllables in a band behind a path whose strongest partition is the third. The main filter's echo has
    /// `echo_part` of the microphone's power. `error` makes the error's energy from the far end's, newest first, and from that
    /// of other syllables. Returns the means over the second half of
    /// the echo's power that was found in each bin, and of the error's power there.
    fn found(seed: u32, echo_part: f32, error: impl Fn(&[f32], f32) -> f32) -> (f32, f32) {
        let mut random = RandomBits::new();
        (0..seed).for_each(|_| _ = random.next());
        let mut echo = Box::new(BandEcho::<PARTITIONS>::new());
        echo.learn_path(2, &[0.5]);
        echo.take_echo_part(echo_part);
        let (start, end) = spans(BINS).nth(BAND).expect("the band exists");
        let (mut far, mut levels, mut sums) = (Vec::new(), [0.0_f32; 2], (0.0, 0.0));
        for frame in 0..1_000 {
            for (voice, level) in levels.iter_mut().enumerate() {
                // Syllables of one voice last 90 ms, those of the other 110.
                if frame % (9 + 2 * voice) == 0 {
                    *level = random.next_signed();
                }
            }
            let mut spectrum = [Complex::ZERO; BINS];
            spectrum[start].re = levels[0] * (2.0 + random.next_signed());
            echo.take_spectrum(&spectrum);
            far.insert(0, spectrum[start].power());
            let talker = levels[1] * (2.0 + random.next_signed());
            let error = error(&far, talker * talker);
            let power = echo.observe(BAND, error, end - start);
            if frame >= 500 {
                sums = (sums.0 + power, sums.1 + error / (end - start) as f32);
            }
        }
        sums
    }

    #[test]
    fn a_loud_band_is_found_behind_its_path() {
        for seed in 1..=20 {
            let after =
                |lag: usize| move |far: &[f32], _: f32| 1_000.0 * far.get(lag).copied().unwrap_or(0.0);
            let (echo, error) = found(seed, 0.01, after(2));
            println!("seed {seed}: {echo} of {error}");
            assert!(echo > 0.5 * error && echo < 2.0 * error, "seed {seed}: {echo} of {error}");
        }
    }

    #[test]
    fn nothing_is_counted_while_the_main_filter_hears_no_echo() {
        let (echo, error) = found(1, 1e-7, |far, _| 1_000.0 * far.get(2).copied().unwrap_or(0.0));
        assert!(echo < 0.01 * error, "{echo} of {error}");
    }

    #[test]
    fn another_voice_is_not_counted() {
        for seed in 1..=20 {
            let (echo, error) = found(seed, 0.01, |_, talker| talker);
            println!("seed {seed}: {echo} of {error}");
            assert!(echo < 0.1 * error, "seed {seed}: {echo} of {error}");
        }
    }

    #[test]
    fn the_echo_is_where_the_path_is_strongest() {
        let mut echo = BandEcho::<PARTITIONS>::new();
        echo.learn_path(3, &[1.0]);
        assert_eq!(echo.strongest, 3);
        echo.learn_path(1, &[2.0]);
        assert_eq!(echo.strongest, 1);
        echo.forget_path();
        assert_eq!(echo.strongest, 0);
    }
}
