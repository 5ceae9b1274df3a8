//! Worker side: spectra of the last frames that a loudspeaker played.

use super::storage::Packing;
use crate::dsp::fft::Complex;

/// The last `PARTITIONS` spectra of the reference, newest first.
#[derive(Debug)]
pub(super) struct ReferenceSpectra<S: Packing, const BINS: usize, const PARTITIONS: usize> {
    bins: [[S::Bin; BINS]; PARTITIONS],
    units: [f32; PARTITIONS],
    newest: usize,
}

/// One spectrum of the reference.
pub(super) struct StoredSpectrum<'a, S: Packing, const BINS: usize> {
    bins: &'a [S::Bin; BINS],
    unit: f32,
}

impl<S: Packing, const BINS: usize> StoredSpectrum<'_, S, BINS> {
    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = Complex> {
        let unit = self.unit;
        self.bins.iter().map(move |&bin| {
            let (re, im) = S::load(bin, unit);
            Complex { re, im }
        })
    }
}

impl<S: Packing, const BINS: usize, const PARTITIONS: usize> ReferenceSpectra<S, BINS, PARTITIONS> {
    pub(super) const fn new() -> Self {
        Self { bins: [[S::ZERO_BIN; BINS]; PARTITIONS], units: [0.0; PARTITIONS], newest: 0 }
    }

    pub(super) fn reset(&mut self) {
        self.bins.as_flattened_mut().fill(S::ZERO_BIN);
        self.units.fill(0.0);
        self.newest = 0;
    }

    /// Adds a spectrum and drops the oldest.
    pub(super) fn push(&mut self, spectrum: &[Complex; BINS]) {
        self.newest = if self.newest == 0 { PARTITIONS - 1 } else { self.newest - 1 };
        let (Some(bins), Some(unit)) = (self.bins.get_mut(self.newest), self.units.get_mut(self.newest))
        else {
            return;
        };
        *unit = store::<S, BINS>(spectrum, bins);
    }

    /// Returns the spectra, newest first.
    #[inline]
    pub(super) fn newest_first(&self) -> impl Iterator<Item = StoredSpectrum<'_, S, BINS>> {
        let (older, newer) = self.bins.split_at_checked(self.newest).unwrap_or((&[], &[]));
        let (older_units, newer_units) = self.units.split_at_checked(self.newest).unwrap_or((&[], &[]));
        let bins = newer.iter().chain(older);
        bins.zip(newer_units.iter().chain(older_units)).map(|(bins, &unit)| StoredSpectrum { bins, unit })
    }

    /// Returns the oldest spectrum.
    pub(super) fn oldest(&self) -> Option<StoredSpectrum<'_, S, BINS>> {
        let at = if self.newest == 0 { PARTITIONS - 1 } else { self.newest - 1 };
        Some(StoredSpectrum { bins: self.bins.get(at)?, unit: *self.units.get(at)? })
    }
}

/// Stores a spectrum and returns its unit.
pub(super) fn store<S: Packing, const BINS: usize>(
    spectrum: &[Complex; BINS],
    to: &mut [S::Bin; BINS],
) -> f32 {
    let largest = spectrum.iter().fold(0.0f32, |largest, z| largest.max(z.re.abs()).max(z.im.abs()));
    let unit = S::unit(largest);
    let reciprocal = S::reciprocal(unit);
    for (bin, z) in to.iter_mut().zip(spectrum) {
        *bin = S::store(z.re, z.im, reciprocal);
    }
    unit
}
