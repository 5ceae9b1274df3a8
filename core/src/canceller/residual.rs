//! Worker side: the power of the echo that the filter leaves, as the sum of what is known about it.
//!
//! - The filter's own uncertainty, as in Enzner and Vary (2006), section 4.
//! - Leakage in proportion to the estimated echo, by regression of the fluctuations of both spectra, as in
//!   Valin, "On adjusting the learning rate in frequency domain echo cancellation with double-talk", IEEE Trans.
//!   Audio, Speech and Language Processing 15 (2007), here in bands.
//! - Distortion by the loudspeaker, by regression of a band's error on the whole estimated echo: distortion
//!   products lie in bands in which the echo itself is weak, and come and go with the loud syllables of the far
//!   end. What may be chance (the squared correlation of the near talker with the far end) is not counted. The
//!   idea of a broadband predictor is Kuech and Kellermann's, "Nonlinear residual echo suppression using a power
//!   filter model of the acoustic echo path", ICASSP 2007; here its weights are learned from fluctuations.
//! - The room's reverberation after the filter's end, decaying exponentially, as in Habets, Gannot, Cohen and
//!   Sommen, "Joint dereverberation and residual echo suppression of speech signals in noisy environments",
//!   IEEE Trans. Audio, Speech and Language Processing 16 (2008).

use super::band_echo::BandEcho;
use super::bands::{MAX_BANDS, spans};
use super::frame::path_power;
use super::spectra::StoredSpectrum;
use super::storage::Packing;
use super::subnormal::flush_powers;
use crate::dsp::fft::Complex;
use crate::dsp::select::larger;

/// Part of a band's fluctuation that the mean follows in 10 ms: a time constant of 67 ms.
pub(super) const MEAN_STEP: f32 = 0.15;
/// Part of the leakage that is replaced in 10 ms while the estimated echo is loud: a time constant of 0.5 s.
const LEAKAGE_STEP: f32 = 0.02;
/// Least leakage of power: -30 dB.
const LEAST_LEAKAGE: f32 = 1e-3;
/// Leakage of power at the start: -5 dB.
const FIRST_LEAKAGE: f32 = 0.3;
/// Weight of the first leakage against what is measured later, as a power of a band's energy.
const FIRST_WEIGHT: f32 = 1e-8;
/// Energy of the estimated echo in a band above which leakage is measured.
const LEAKAGE_ABOVE: f32 = 1e-6;
/// Part of the reverberant power that is left after 10 ms: 1 dB, a reverberation time of 0.6 s.
const TAIL_KEPT: f32 = 0.8;
/// Part of the residual that is held for the next frame, because an echo decays slower than the reference.
const HELD: f32 = 0.4;

/// Part of the distortion's regression that is replaced in 10 ms while the estimated echo is loud: a time
/// constant of 2 s, because a loudspeaker does not change.
const DISTORTION_STEP: f32 = 0.005;
/// Squared correlation that unrelated speech reaches within that time.
pub(super) const CHANCE: f32 = 0.1;
/// Energy of the whole estimated echo above which distortion is measured.
const WHOLE_ABOVE: f32 = 1e-4;

/// One of this number of bins, the highest ones, is not known from the reference: from 0.95 of the Nyquist frequency on
/// the interpolation of [`ReferenceQuality::Full`](crate::timing::ReferenceQuality) errs by more than -25 dB. That of
/// `Medium` does from 0.87 on, which is left as it is.
const UNKNOWN_PART: usize = 20;

/// Estimator of the residual echo.
#[derive(Debug)]
pub(super) struct ResidualEcho<const BINS: usize> {
    /// Uncertainty in the previous frame, of which the analysis window holds half.
    last_uncertainty: [f32; BINS],
    tail: [f32; BINS],
    power: [f32; BINS],
    bands: [Leakage; MAX_BANDS],
    /// Mean energy of the whole estimated echo.
    whole_mean: f32,
    /// Square of its fluctuation.
    whole_square: f32,
}

/// Regression of the error on the estimated echo in a band.
#[derive(Clone, Copy, Debug)]
struct Leakage {
    error_mean: f32,
    echo_mean: f32,
    both: f32,
    echo: f32,
    /// Product of the error's fluctuation in this band and the whole echo's.
    with_whole: f32,
    /// Square of the error's fluctuation.
    error_square: f32,
}

impl Leakage {
    /// Returns the part of the whole echo's power that is in this band's error by distortion.
    fn distorted(&self, whole_square: f32) -> f32 {
        if self.with_whole <= 0.0 {
            return 0.0;
        }
        let both = self.with_whole * self.with_whole;
        let sure = (1.0 - CHANCE * self.error_square * whole_square / (both + 1e-30)).max(0.0);
        sure * (self.with_whole / (whole_square + 1e-12)).min(1.0)
    }

    const START: Self = Self {
        error_mean: 0.0,
        echo_mean: 0.0,
        both: FIRST_LEAKAGE * FIRST_WEIGHT,
        echo: FIRST_WEIGHT,
        with_whole: 0.0,
        error_square: 0.0,
    };

    /// Takes a frame's energies and returns the part of the estimated echo's power that is in the error.
    fn observe(&mut self, error: f32, echo: f32, whole_change: f32, step: f32) -> f32 {
        let (error_change, echo_change) = (error - self.error_mean, echo - self.echo_mean);
        self.error_mean += MEAN_STEP * error_change;
        self.echo_mean += MEAN_STEP * echo_change;
        self.with_whole += step * (error_change * whole_change - self.with_whole);
        self.error_square += step * (error_change * error_change - self.error_square);
        if echo > LEAKAGE_ABOVE {
            // A near talker makes the error loud; the regression then learns less.
            let step = LEAKAGE_STEP * (2.0 * echo / (error + 1e-9)).min(1.0);
            self.both += step * (error_change * echo_change - self.both);
            self.echo += step * (echo_change * echo_change - self.echo);
        }
        self.both = self.both.max(LEAST_LEAKAGE * self.echo).min(self.echo);
        self.both / (self.echo + 1e-20)
    }
}

/// What the residual is estimated from.
pub(super) struct ResidualInputs<'a, const BINS: usize> {
    /// Spectrum of the error, under the analysis window.
    pub(super) error: &'a [Complex; BINS],
    /// Spectrum of the estimated echo, under the analysis window.
    pub(super) echo: &'a [Complex; BINS],
    /// Power that the filter's variances leave in the error.
    pub(super) uncertainty: &'a [f32; BINS],
    /// Likelihood that the error is echo whatever its spectrum.
    pub(super) echo_error: f32,
}

impl<const BINS: usize> ResidualEcho<BINS> {
    pub(super) const fn new() -> Self {
        Self {
            last_uncertainty: [0.0; BINS],
            tail: [0.0; BINS],
            power: [0.0; BINS],
            whole_mean: 0.0,
            whole_square: 0.0,
            bands: [Leakage {
                error_mean: 0.0,
                echo_mean: 0.0,
                both: 0.0,
                echo: 0.0,
                with_whole: 0.0,
                error_square: 0.0,
            }; MAX_BANDS],
        }
    }

    pub(super) fn reset(&mut self) {
        self.last_uncertainty.fill(0.0);
        self.tail.fill(0.0);
        self.power.fill(0.0);
        self.bands.fill(Leakage::START);
        (self.whole_mean, self.whole_square) = (0.0, 0.0);
    }

    /// Forgets what is left of sounds that ended.
    pub(super) fn flush(&mut self) {
        flush_powers(&mut self.tail);
        flush_powers(&mut self.power);
        for band in &mut self.bands {
            let mut means = [band.error_mean, band.echo_mean, band.with_whole, band.error_square];
            flush_powers(&mut means);
            [band.error_mean, band.echo_mean, band.with_whole, band.error_square] = means;
        }
    }

    /// Returns the power of the residual in each bin.
    pub(super) fn power(&self) -> &[f32; BINS] {
        &self.power
    }

    /// Returns the reverberation behind the filter's end.
    #[cfg(test)]
    pub(super) fn tail(&self) -> &[f32; BINS] {
        &self.tail
    }

    /// Adds the reverberation that `oldest` excites to the tail, of which the filter's last two partitions give
    /// the level. Called once a reference, the first time with `decay` set.
    pub(super) fn observe_tail<S: Packing>(
        &mut self,
        oldest: &StoredSpectrum<'_, S, BINS>,
        last_weights: &[[Complex; BINS]],
        decay: bool,
    ) {
        let kept = if decay { TAIL_KEPT } else { 1.0 };
        let mut powers = oldest.iter();
        for (start, end) in spans(BINS) {
            let weights = last_weights.iter().filter_map(|w| w.get(start..end));
            let level = weights.fold(0.0, |sum, weights| sum + path_power(weights));
            let level = TAIL_KEPT * 0.25 * level / (end - start).max(1) as f32;
            for (tail, x) in self.tail.get_mut(start..end).unwrap_or(&mut []).iter_mut().zip(&mut powers) {
                *tail = kept * *tail + level * x.power();
            }
        }
    }

    /// Estimates the residual of a frame. `error_power` takes the power of each bin of the error.
    pub(super) fn observe<const PARTITIONS: usize>(
        &mut self,
        inputs: ResidualInputs<'_, BINS>,
        mut band_echo: Option<&mut BandEcho<PARTITIONS>>,
        error_power: &mut [f32; BINS],
    ) {
        for (power, z) in error_power.iter_mut().zip(inputs.error) {
            *power = z.power();
        }
        let whole = inputs.echo.iter().fold(0.0, |sum, y| sum + y.power());
        let whole_change = whole - self.whole_mean;
        self.whole_mean += MEAN_STEP * whole_change;
        let step = if whole > WHOLE_ABOVE {
            DISTORTION_STEP * (whole / (error_power.iter().sum::<f32>() + 1e-9)).min(1.0)
        } else {
            0.0
        };
        self.whole_square += step * (whole_change * whole_change - self.whole_square);
        for (index, ((start, end), band)) in spans(BINS).zip(&mut self.bands).enumerate() {
            let errors = error_power.get(start..end).unwrap_or(&[]);
            let echoes = inputs.echo.get(start..end).unwrap_or(&[]);
            let error_energy = errors.iter().fold(0.0, |sum, e| sum + e);
            let echo_energy = echoes.iter().fold(0.0, |sum, y| sum + y.power());
            let leakage = band.observe(error_energy, echo_energy, whole_change, step);
            let distorted = band.distorted(self.whole_square) * whole / (end - start).max(1) as f32;
            let unexplained = band_echo
                .as_mut()
                .map_or(distorted, |echo| larger(distorted, echo.observe(index, error_energy, end - start)));
            let state = self.power.get_mut(start..end).unwrap_or(&mut []).iter_mut();
            let state = state.zip(self.last_uncertainty.get_mut(start..end).unwrap_or(&mut []));
            let state = state.zip(self.tail.get(start..end).unwrap_or(&[]));
            let uncertainties = inputs.uncertainty.get(start..end).unwrap_or(&[]);
            for (((((power, last), tail), now), echo), error) in
                state.zip(uncertainties).zip(echoes).zip(errors)
            {
                // The filter's transform holds a frame of error among two; a Hann window holds half.
                let uncertainty = 0.5 * now;
                let found = 0.5 * (uncertainty + *last) + larger(leakage * echo.power(), unexplained) + tail;
                *last = uncertainty;
                *power = larger(larger(found, inputs.echo_error * error), HELD * *power);
            }
        }
        self.extend_to_nyquist(error_power);
    }

    /// Raises the residual of the highest bins to the same part of the error as in as many bins below them, because a
    /// reference that is read between its samples does not contain their echo.
    fn extend_to_nyquist(&mut self, error_power: &[f32; BINS]) {
        let unknown_from = const { BINS - BINS / UNKNOWN_PART };
        let known_from = const { BINS - 2 * (BINS / UNKNOWN_PART) };
        let known = self.power.iter().zip(error_power).take(unknown_from).skip(known_from);
        let (residual, error) =
            known.fold((0.0, 1e-20), |(residual, error), (r, e)| (residual + r, error + e));
        let part = (residual / error).min(1.0);
        for (power, error) in self.power.iter_mut().zip(error_power).skip(unknown_from) {
            *power = larger(*power, part * error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canceller::storage::RandomBits;

    #[test]
    fn the_highest_bins_share_the_residual_of_those_below() {
        const BINS: usize = 161;
        let mut residual = Box::new(ResidualEcho::<BINS>::new());
        let error: [f32; BINS] = core::array::from_fn(|bin| 1.0 + bin as f32);
        residual.power = core::array::from_fn(|bin| if bin < 153 { 0.5 * error[bin] } else { 1e-3 });
        residual.power[160] = 400.0;
        residual.extend_to_nyquist(&error);
        assert!((0..160).all(|bin| (residual.power[bin] / error[bin] - 0.5).abs() < 1e-4));
        // More than that, and silence, are left as they are.
        assert_eq!(residual.power[160], 400.0);
        residual.power = [0.0; BINS];
        residual.extend_to_nyquist(&[0.0; BINS]);
        assert_eq!(residual.power, [0.0; BINS]);
    }

    #[test]
    fn the_part_of_the_echo_in_the_error_is_learned() {
        let mut random = RandomBits::new();
        let mut leakage = Leakage::START;
        let mut found = 0.0;
        for _ in 0..4_000 {
            let echo = 1.0 + random.next_signed();
            found = leakage.observe(0.05 * echo, echo, 0.0, 0.0);
        }
        assert!((0.045..0.055).contains(&found), "{found}");
        // The error of a near talker is no echo, though both fluctuate together for a moment.
        for _ in 0..20 {
            found = leakage.observe(100.0 * (1.0 + random.next_signed()), 1e-3, 0.0, 0.0);
        }
        assert!((0.04..0.06).contains(&found), "{found} after a talker");
    }

    #[test]
    fn distortion_is_the_part_that_the_error_shares_with_the_whole_echo() {
        let leakage = |with_whole, error_square| Leakage { with_whole, error_square, ..Leakage::START };
        // The error is a tenth of the echo: nothing of it is chance but the part that is subtracted for that.
        let found = leakage(0.4, 0.04).distorted(4.0);
        assert!((found - 0.1 * (1.0 - CHANCE)).abs() < 1e-5, "{found}");
        assert_eq!(leakage(0.4, 10.0).distorted(4.0), 0.0, "chance explains it");
        assert_eq!(leakage(-0.4, 0.04).distorted(4.0), 0.0);
    }
}
