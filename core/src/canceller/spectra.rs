//! Worker side: spectra of the last frames that a loudspeaker played.

use super::storage::{NEAREST, Packing};
use crate::dsp::fft::Complex;

/// The last `PARTITIONS` spectra of the reference, newest first.
#[derive(Debug)]
pub(super) struct ReferenceSpectra<S: Packing, const BINS: usize, const PARTITIONS: usize> {
    bins: [[S::Bin; BINS]; PARTITIONS],
    newest: usize,
}

/// One spectrum of the reference.
pub(super) struct StoredSpectrum<'a, S: Packing, const BINS: usize> {
    bins: &'a [S::Bin; BINS],
}

impl<S: Packing, const BINS: usize> StoredSpectrum<'_, S, BINS> {
    #[inline]
    pub(super) fn bins(&self) -> &[S::Bin; BINS] {
        self.bins
    }

    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = Complex> {
        self.bins.iter().map(|&bin| {
            let (re, im) = S::load(bin);
            Complex { re, im }
        })
    }
}

impl<S: Packing, const BINS: usize, const PARTITIONS: usize> ReferenceSpectra<S, BINS, PARTITIONS> {
    pub(super) const fn new() -> Self {
        Self { bins: [[S::ZERO_BIN; BINS]; PARTITIONS], newest: 0 }
    }

    pub(super) fn reset(&mut self) {
        self.bins.as_flattened_mut().fill(S::ZERO_BIN);
        self.newest = 0;
    }

    /// Adds a spectrum and drops the oldest.
    pub(super) fn push(&mut self, spectrum: &[Complex; BINS]) {
        self.newest = if self.newest == 0 { PARTITIONS - 1 } else { self.newest - 1 };
        let Some(bins) = self.bins.get_mut(self.newest) else { return };
        for (bin, z) in bins.iter_mut().zip(spectrum) {
            *bin = S::store(z.re, z.im, NEAREST);
        }
    }

    /// Returns the spectra, newest first.
    #[inline]
    pub(super) fn newest_first(&self) -> impl Iterator<Item = StoredSpectrum<'_, S, BINS>> {
        let (older, newer) = self.bins.split_at_checked(self.newest).unwrap_or((&[], &[]));
        newer.iter().chain(older).map(|bins| StoredSpectrum { bins })
    }

    /// Returns the oldest spectrum.
    pub(super) fn oldest(&self) -> Option<StoredSpectrum<'_, S, BINS>> {
        let at = if self.newest == 0 { PARTITIONS - 1 } else { self.newest - 1 };
        Some(StoredSpectrum { bins: self.bins.get(at)? })
    }
}
