//! Worker side: the main filter, a Kalman filter in the frequency domain.
//!
//! Enzner and Vary, "Frequency-domain adaptive Kalman filter for acoustic echo control in hands-free
//! telephones", Signal Processing 86 (2006); partitioned as in Kuech, Mabande and Enzner, "State-space
//! architecture of the partitioned-block-based acoustic echo controller", ICASSP 2014, with the diagonal
//! approximation of their section 3. The transform is an overlap-save of two hops (Soo and Pang,
//! "Multidelay block frequency domain adaptive filter", IEEE Trans. ASSP 38, 1990).

use core::array::from_fn;

use super::lanes::{Bins, LANES, in_lanes, in_lanes_mut};
use super::spectra::ReferenceSpectra;
use super::storage::{Packing, RandomBits};
use crate::dsp::fft::Complex;
use crate::dsp::real_fft::{FftScratch, RealFft};

/// Echo path from one loudspeaker, as spectra of consecutive stretches of 10 ms, with the variance of each
/// bin's error.
#[derive(Debug)]
pub(super) struct KalmanFilter<S: Packing, const BINS: usize, const PARTITIONS: usize> {
    weights: [[Complex; BINS]; PARTITIONS],
    variances: [[S::Variance; BINS]; PARTITIONS],
}

/// What the filter computes for a bin, together so that an inner loop needs one address for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct FilterBin {
    /// The expected echo; for the update, the error divided by its expected power.
    pub(super) value: Complex,
    /// Reciprocal of the error's expected power, times the part of the transform that holds the error.
    pub(super) gain: f32,
    /// Power that the error of the filter leaves.
    pub(super) uncertainty: f32,
}

impl FilterBin {
    pub(super) const ZERO: Self = Self { value: Complex::ZERO, gain: 0.0, uncertainty: 0.0 };
}

/// How the echo path is assumed to change in 10 ms.
#[derive(Clone, Copy, Debug)]
pub(super) struct PathChange {
    /// Part of the path's power that changes.
    pub(super) rate: f32,
    /// Power that `rate` applies to in each bin besides the path's own, so that bins without echo adapt too.
    pub(super) least_power: f32,
}

impl<S: Packing, const BINS: usize, const PARTITIONS: usize> KalmanFilter<S, BINS, PARTITIONS> {
    pub(super) const fn new() -> Self {
        Self {
            weights: [[Complex::ZERO; BINS]; PARTITIONS],
            variances: [[S::ZERO_VARIANCE; BINS]; PARTITIONS],
        }
    }

    /// Forgets the path. `variance` is the assumed power of the whole path; the partitions share it by
    /// `decay`.
    pub(super) fn reset(&mut self, variance: f32, decay: &[f32; PARTITIONS]) {
        self.weights.as_flattened_mut().fill(Complex::ZERO);
        for (variances, part) in self.variances.iter_mut().zip(decay) {
            raise::<S>(variances, variance * part, true);
        }
    }

    /// Adds the echo that the filter expects, and the power of its error.
    pub(super) fn predict(
        &self,
        reference: &ReferenceSpectra<S, BINS, PARTITIONS>,
        sums: &mut [FilterBin; BINS],
    ) {
        for ((x, weights), variances) in reference.newest_first().zip(&self.weights).zip(&self.variances) {
            let (x, rest_x) = in_lanes(x.bins());
            let (w, rest_w) = in_lanes(weights);
            let (c, rest_c) = in_lanes(variances);
            let (sums, rest_sums) = in_lanes_mut(sums);
            for (((x, w), c), sums) in x.iter().zip(w).zip(c).zip(sums) {
                predict_bins::<S, LANES>(x, w, c, sums);
            }
            let rest = rest_x.iter().zip(rest_w).zip(rest_c);
            for (((x, w), c), sums) in rest.zip(rest_sums) {
                predict_bins::<S, 1>(x, w, c, sums);
            }
        }
    }

    /// Corrects the filter by its error.
    ///
    /// Adds the power that the remaining error of the filter leaves. Returns the mean power of the whole path.
    pub(super) fn update(
        &mut self,
        reference: &ReferenceSpectra<S, BINS, PARTITIONS>,
        errors: &mut [FilterBin; BINS],
        change: PathChange,
        decay: &[f32; PARTITIONS],
        random: &mut RandomBits,
    ) -> f32 {
        let keep = 1.0 - change.rate;
        let mut power = 0.0;
        let partitions = reference.newest_first().zip(&mut self.weights).zip(&mut self.variances);
        for (((x, weights), variances), part) in partitions.zip(decay) {
            let least_power = change.rate * change.least_power * part;
            // One random number a partition; its bins take steps of an odd number from there.
            let dither = random.next() >> 8;
            let mut step = BinUpdate { keep, rate: change.rate, least_power, dither, power: 0.0 };
            let (x, rest_x) = in_lanes(x.bins());
            let (w, rest_w) = in_lanes_mut(weights);
            let (c, rest_c) = in_lanes_mut(variances);
            let (errors, rest_errors) = in_lanes_mut(errors);
            for (((x, w), c), errors) in x.iter().zip(w).zip(c).zip(errors) {
                step.update_bins::<S, LANES>(x, w, c, errors);
            }
            let rest = rest_x.iter().zip(rest_w).zip(rest_c);
            for (((x, w), c), errors) in rest.zip(rest_errors) {
                step.update_bins::<S, 1>(x, w, c, errors);
            }
            power += step.power;
        }
        power * const { 1.0 / BINS as f32 }
    }

    /// Sets the second half of one partition's response to 0, which a linear convolution requires.
    pub(super) fn constrain<const HOP: usize>(
        &mut self,
        partition: usize,
        time: &mut [[f32; HOP]; 2],
        scratch: &mut FftScratch<HOP>,
    ) {
        if let Some(weights) = self.weights.get_mut(partition) {
            RealFft::inverse(weights, time, scratch);
            RealFft::forward(Some(&time[0]), None, weights, scratch);
        }
    }

    /// Raises each variance to at least its share of `variance`.
    pub(super) fn raise_variance(&mut self, variance: f32, decay: &[f32; PARTITIONS]) {
        for (variances, part) in self.variances.iter_mut().zip(decay) {
            raise::<S>(variances, variance * part, false);
        }
    }

    /// Raises each variance to what it is if the whole path moved by a number of sample frames with the standard deviation
    /// `deviation`: a bin's phase changes by its frequency times that.
    pub(super) fn doubt_position(&mut self, deviation: f32) {
        let slope = deviation * (core::f32::consts::PI / (BINS - 1) as f32);
        for (weights, variances) in self.weights.iter().zip(&mut self.variances) {
            for (bin, (w, c)) in weights.iter().zip(variances).enumerate() {
                let phase2 = (slope * bin as f32) * (slope * bin as f32);
                let least = w.power() * 2.0 * phase2 / (2.0 + phase2);
                if S::load_variance(*c) < least {
                    *c = S::store_variance(least, 0);
                }
            }
        }
    }

    /// Multiplies the path by `by`.
    pub(super) fn scale(&mut self, by: f32) {
        for w in self.weights.as_flattened_mut() {
            *w = w.scaled(by);
        }
    }

    /// Returns the partitions of the path, that of the direct sound first.
    pub(super) fn weights(&self) -> &[[Complex; BINS]; PARTITIONS] {
        &self.weights
    }

    /// Returns the partitions of the path for changing them.
    pub(super) fn weights_mut(&mut self) -> &mut [[Complex; BINS]; PARTITIONS] {
        &mut self.weights
    }
}

/// Adds the expected echo of `N` bins, and the power of its error.
#[inline(always)]
fn predict_bins<S: Packing, const N: usize>(
    x: &[S::Bin; N],
    w: &[Complex; N],
    c: &[S::Variance; N],
    sums: &mut [FilterBin; N],
) {
    let x = Bins::unpack::<S>(x);
    let value = Bins { re: sums.map(|sum| sum.value.re), im: sums.map(|sum| sum.value.im) };
    let value = value.plus_product(x, Bins::load(w));
    let (power, variance) = (x.power(), c.map(S::load_variance));
    for (i, sum) in sums.iter_mut().enumerate() {
        sum.value = Complex { re: value.re[i], im: value.im[i] };
        sum.uncertainty += power[i] * variance[i];
    }
}

/// Correction of the bins of one partition.
struct BinUpdate {
    keep: f32,
    rate: f32,
    least_power: f32,
    dither: u32,
    /// Power of the bins so far.
    power: f32,
}

impl BinUpdate {
    #[inline(always)]
    fn update_bins<S: Packing, const N: usize>(
        &mut self,
        x: &[S::Bin; N],
        w: &mut [Complex; N],
        c: &mut [S::Variance; N],
        errors: &mut [FilterBin; N],
    ) {
        let x = Bins::unpack::<S>(x);
        let error = Bins { re: errors.map(|error| error.value.re), im: errors.map(|error| error.value.im) };
        let gain = errors.map(|error| error.gain);
        let variance = c.map(S::load_variance);
        let corrected = Bins::load(w).plus_product(x.conjugate_scaled(variance), error);
        corrected.store(w);
        let (x_power, w_power) = (x.power(), corrected.power());
        let left: [f32; N] = from_fn(|i| {
            let left = variance[i] * (1.0 - variance[i] * x_power[i] * gain[i]) * self.keep;
            left + self.least_power + self.rate * w_power[i]
        });
        for ((c, left), w_power) in c.iter_mut().zip(left).zip(w_power) {
            self.power += w_power;
            self.dither = self.dither.wrapping_add(40_503);
            *c = S::store_variance(left, self.dither);
        }
        for (i, error) in errors.iter_mut().enumerate() {
            error.uncertainty += x_power[i] * left[i];
        }
    }
}

/// Raises each variance to at least `least`, or sets it.
// Not inlined, because the compiler would unroll the loop over the partitions.
#[inline(never)]
fn raise<S: Packing>(variances: &mut [S::Variance], least: f32, set: bool) {
    for c in variances {
        if set || S::load_variance(*c) < least {
            *c = S::store_variance(least, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canceller::storage::FullStorage;

    #[test]
    fn a_constrained_partition_has_no_response_in_its_second_half() {
        const HOP: usize = 160;
        const BINS: usize = HOP + 1;
        let mut random = RandomBits::new();
        let mut filter = std::boxed::Box::new(KalmanFilter::<FullStorage, BINS, 2>::new());
        for w in filter.weights.as_flattened_mut() {
            *w = Complex { re: random.next_signed(), im: random.next_signed() };
        }
        for edge in [0, HOP] {
            filter.weights.iter_mut().for_each(|weights| weights[edge].im = 0.0);
        }
        let other = filter.weights[1];
        let (mut time, mut scratch) = ([[0.0; HOP]; 2], FftScratch::new());
        let mut response = [[0.0; HOP]; 2];
        RealFft::inverse(&filter.weights[0], &mut response, &mut scratch);
        filter.constrain::<HOP>(0, &mut time, &mut scratch);
        let mut constrained = [[0.0; HOP]; 2];
        RealFft::inverse(&filter.weights[0], &mut constrained, &mut scratch);
        for (found, expected) in constrained[0].iter().zip(&response[0]) {
            assert!((found - expected).abs() < 1e-4, "{found} instead of {expected}");
        }
        assert!(response[1].iter().any(|x| x.abs() > 0.1) && constrained[1].iter().all(|x| x.abs() < 1e-4));
        let unchanged = filter.weights[1].iter().zip(&other).all(|(a, b)| a.re == b.re && a.im == b.im);
        assert!(unchanged, "another partition stays");
    }
}
