//! Worker side: the shadow filter, which finds a changed echo path sooner than the main filter.
//!
//! Two filters, of which the better one's output is used, are Ochiai, Araseki and Ogihara, "Echo canceler with
//! two echo path models", IEEE Trans. Communications 25 (1977). This one adapts by the normalised LMS with
//! a step for each partition that follows the decay of a room (Makino, Kaneda and Koizumi, "Exponentially
//! weighted stepsize NLMS adaptive filter", IEEE Trans. Speech and Audio Processing 1, 1993).

use core::array::from_fn;

use super::lanes::{Bins, LANES, in_lanes, in_lanes_mut};
use super::spectra::ReferenceSpectra;
use super::storage::{NEAREST, Packing, RandomBits};
use crate::dsp::fft::Complex;
use crate::dsp::real_fft::{FftScratch, RealFft};

/// Start of the echo path from one loudspeaker, without variances.
#[derive(Debug)]
pub(super) struct ShadowFilter<S: Packing, const BINS: usize, const SHADOW: usize> {
    weights: [[S::Bin; BINS]; SHADOW],
}

impl<S: Packing, const BINS: usize, const SHADOW: usize> ShadowFilter<S, BINS, SHADOW> {
    pub(super) const fn new() -> Self {
        Self { weights: [[S::ZERO_BIN; BINS]; SHADOW] }
    }

    pub(super) fn reset(&mut self) {
        self.weights.as_flattened_mut().fill(S::ZERO_BIN);
    }

    /// Adds the echo that the filter expects to `echo`, and the reference's power weighted by `steps` to
    /// `weighted`.
    pub(super) fn predict<const PARTITIONS: usize>(
        &self,
        reference: &ReferenceSpectra<S, BINS, PARTITIONS>,
        steps: &[f32; SHADOW],
        echo: &mut [Complex; BINS],
        weighted: &mut [f32; BINS],
    ) {
        let partitions = reference.newest_first().zip(&self.weights).zip(steps);
        for ((x, weights), &step) in partitions {
            let bins = x.iter().zip(weights);
            for ((x, &w), (echo, weighted)) in bins.zip(echo.iter_mut().zip(weighted.iter_mut())) {
                let (re, im) = S::load(w);
                echo.re += x.re * re;
                echo.re -= x.im * im;
                echo.im += x.re * im;
                echo.im += x.im * re;
                *weighted += step * x.power();
            }
        }
    }

    /// Corrects the filter by its error, whose spectrum is divided by its expected power. Returns the mean
    /// power of the path.
    pub(super) fn update<const PARTITIONS: usize>(
        &mut self,
        reference: &ReferenceSpectra<S, BINS, PARTITIONS>,
        error: &[Complex; BINS],
        steps: &[f32; SHADOW],
        random: &mut RandomBits,
    ) -> f32 {
        let mut power = 0.0;
        let partitions = reference.newest_first().zip(&mut self.weights).zip(steps);
        for ((x, weights), &step) in partitions {
            let (x, rest_x) = in_lanes(x.bins());
            let (w, rest_w) = in_lanes_mut(weights);
            let (error, rest_error) = in_lanes(error);
            for ((x, w), error) in x.iter().zip(w).zip(error) {
                update_bins::<S, LANES>(x, w, step, error, random, &mut power);
            }
            let rest = rest_x.iter().zip(rest_w);
            for ((x, w), error) in rest.zip(rest_error) {
                update_bins::<S, 1>(x, w, step, error, random, &mut power);
            }
        }
        power * const { 1.0 / BINS as f32 }
    }

    /// Sets the second half of one partition's response to 0.
    pub(super) fn constrain<const HOP: usize>(
        &mut self,
        partition: usize,
        spectrum: &mut [Complex; BINS],
        time: &mut [[f32; HOP]; 2],
        scratch: &mut FftScratch<HOP>,
    ) {
        if let Some(weights) = self.weights.get_mut(partition) {
            load::<S, BINS>(weights, spectrum);
            RealFft::inverse(spectrum, time, scratch);
            RealFft::forward(Some(&time[0]), None, spectrum, scratch);
            store::<S, BINS>(spectrum, weights);
        }
    }

    /// Copies this filter's path over the start of the main filter's.
    pub(super) fn copy_to(&self, main: &mut [[Complex; BINS]]) {
        for (weights, to) in self.weights.iter().zip(main) {
            load::<S, BINS>(weights, to);
        }
    }

    /// Copies the start of the main filter's path over this one's.
    pub(super) fn copy_from(&mut self, main: &[[Complex; BINS]]) {
        for (weights, from) in self.weights.iter_mut().zip(main) {
            store::<S, BINS>(from, weights);
        }
    }
}

/// Corrects `N` bins, and adds their power.
#[inline(always)]
fn update_bins<S: Packing, const N: usize>(
    x: &[S::Bin; N],
    w: &mut [S::Bin; N],
    step: f32,
    error: &[Complex; N],
    random: &mut RandomBits,
    power: &mut f32,
) {
    let steps = Bins::unpack::<S>(x).conjugate_scaled([step; N]);
    let corrected = Bins::unpack::<S>(w).plus_product(steps, Bins::load(error));
    for bin_power in corrected.power() {
        *power += bin_power;
    }
    *w = from_fn(|i| S::store(corrected.re[i], corrected.im[i], random.next()));
}

/// Returns a partition of the path.
// Neither is inlined, because the compiler would unroll the loops over the partitions.
#[inline(never)]
fn load<S: Packing, const BINS: usize>(from: &[S::Bin; BINS], to: &mut [Complex; BINS]) {
    for (to, &w) in to.iter_mut().zip(from) {
        let (re, im) = S::load(w);
        *to = Complex { re, im };
    }
}

/// Stores a partition of the path, rounded to the nearest.
#[inline(never)]
fn store<S: Packing, const BINS: usize>(from: &[Complex; BINS], to: &mut [S::Bin; BINS]) {
    for (to, z) in to.iter_mut().zip(from) {
        *to = S::store(z.re, z.im, NEAREST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canceller::storage::FullStorage;

    const BINS: usize = 161;

    fn spectrum(random: &mut RandomBits) -> [Complex; BINS] {
        from_fn(|_| Complex { re: random.next_signed(), im: random.next_signed() })
    }

    fn product(a: Complex, b: Complex) -> Complex {
        Complex { re: a.re * b.re - a.im * b.im, im: a.re * b.im + a.im * b.re }
    }

    fn is_near(a: Complex, b: Complex) -> bool {
        (a.re - b.re).abs() < 1e-5 && (a.im - b.im).abs() < 1e-5
    }

    #[test]
    fn echo_and_correction_are_those_of_the_newest_spectra() {
        let mut random = RandomBits::new();
        let mut shadow = ShadowFilter::<FullStorage, BINS, 2>::new();
        let mut reference = ReferenceSpectra::<FullStorage, BINS, 3>::new();
        let [_, second, first] = from_fn(|_| {
            let x = spectrum(&mut random);
            reference.push(&x);
            x
        });
        let path = [spectrum(&mut random), spectrum(&mut random)];
        shadow.copy_from(&path);
        let (mut echo, mut weighted) = ([Complex { re: 1.0, im: 2.0 }; BINS], [3.0; BINS]);
        let steps = [0.5, 0.25];
        shadow.predict(&reference, &steps, &mut echo, &mut weighted);
        for bin in 0..BINS {
            let parts = [product(first[bin], path[0][bin]), product(second[bin], path[1][bin])];
            let expected =
                Complex { re: 1.0 + parts[0].re + parts[1].re, im: 2.0 + parts[0].im + parts[1].im };
            assert!(is_near(echo[bin], expected), "{:?} instead of {expected:?}", echo[bin]);
            let power = 3.0 + steps[0] * first[bin].power() + steps[1] * second[bin].power();
            assert!((weighted[bin] - power).abs() < 1e-5);
        }
        let error = spectrum(&mut random);
        let power = shadow.update(&reference, &error, &steps, &mut random);
        let mut corrected = path;
        shadow.copy_to(&mut corrected);
        let mut expected_power = 0.0;
        for (partition, (x, step)) in [first, second].iter().zip(steps).enumerate() {
            for bin in 0..BINS {
                let conjugate = Complex { re: step * x[bin].re, im: -step * x[bin].im };
                let (was, change) = (path[partition][bin], product(conjugate, error[bin]));
                let expected = Complex { re: was.re + change.re, im: was.im + change.im };
                assert!(is_near(corrected[partition][bin], expected), "partition {partition}, bin {bin}");
                expected_power += expected.power() / BINS as f32;
            }
        }
        assert!(
            (power - expected_power).abs() < 1e-3 * expected_power,
            "{power} instead of {expected_power}"
        );
    }
}
