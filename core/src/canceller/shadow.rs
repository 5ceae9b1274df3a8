//! Worker side: the shadow filter, which finds a changed echo path sooner than the main filter.
//!
//! Two filters, of which the better one's output is used, are Ochiai, Araseki and Ogihara, "Echo canceler with
//! two echo path models", IEEE Trans. Communications 25 (1977). This one adapts by the normalised LMS with
//! a step for each partition that follows the decay of a room (Makino, Kaneda and Koizumi, "Exponentially
//! weighted stepsize NLMS adaptive filter", IEEE Trans. Speech and Audio Processing 1, 1993).

use super::spectra::{ReferenceSpectra, store};
use super::storage::Packing;
use crate::dsp::fft::Complex;
use crate::dsp::real_fft::{FftScratch, RealFft};

/// Start of the echo path from one loudspeaker, without variances.
#[derive(Debug)]
pub(super) struct ShadowFilter<S: Packing, const BINS: usize, const SHADOW: usize> {
    weights: [[S::Bin; BINS]; SHADOW],
    units: [f32; SHADOW],
}

impl<S: Packing, const BINS: usize, const SHADOW: usize> ShadowFilter<S, BINS, SHADOW> {
    pub(super) const fn new() -> Self {
        Self { weights: [[S::ZERO_BIN; BINS]; SHADOW], units: [0.0; SHADOW] }
    }

    pub(super) fn reset(&mut self) {
        self.weights.as_flattened_mut().fill(S::ZERO_BIN);
        self.units.fill(0.0);
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
        let partitions = reference.newest_first().zip(&self.weights).zip(&self.units).zip(steps);
        for (((x, weights), &unit), &step) in partitions {
            let bins = x.iter().zip(weights);
            for ((x, &w), (echo, weighted)) in bins.zip(echo.iter_mut().zip(weighted.iter_mut())) {
                let (re, im) = S::load(w, unit);
                echo.re += x.re * re - x.im * im;
                echo.im += x.re * im + x.im * re;
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
        spectrum: &mut [Complex; BINS],
    ) -> f32 {
        let mut power = 0.0;
        let partitions = reference.newest_first().zip(&mut self.weights).zip(&mut self.units).zip(steps);
        for (((x, weights), unit), &step) in partitions {
            let bins = x.iter().zip(weights.iter()).zip(error);
            for (((x, &w), e), to) in bins.zip(spectrum.iter_mut()) {
                let (re, im) = S::load(w, *unit);
                let (step_re, step_im) = (step * x.re, -(step * x.im));
                *to = Complex {
                    re: re + (step_re * e.re - step_im * e.im),
                    im: im + (step_re * e.im + step_im * e.re),
                };
                power += to.power();
            }
            *unit = store::<S, BINS>(spectrum, weights);
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
        if let (Some(weights), Some(unit)) = (self.weights.get_mut(partition), self.units.get_mut(partition))
        {
            for (to, &w) in spectrum.iter_mut().zip(weights.iter()) {
                let (re, im) = S::load(w, *unit);
                *to = Complex { re, im };
            }
            RealFft::inverse(spectrum, time, scratch);
            RealFft::forward(Some(&time[0]), None, spectrum, scratch);
            *unit = store::<S, BINS>(spectrum, weights);
        }
    }

    /// Copies this filter's path over the start of the main filter's.
    pub(super) fn copy_to(&self, main: &mut [[Complex; BINS]]) {
        for ((weights, &unit), to) in self.weights.iter().zip(&self.units).zip(main) {
            for (to, &w) in to.iter_mut().zip(weights) {
                let (re, im) = S::load(w, unit);
                *to = Complex { re, im };
            }
        }
    }

    /// Copies the start of the main filter's path over this one's.
    pub(super) fn copy_from(&mut self, main: &[[Complex; BINS]]) {
        for ((weights, unit), from) in self.weights.iter_mut().zip(&mut self.units).zip(main) {
            *unit = store::<S, BINS>(from, weights);
        }
    }
}
