//! Worker side: the bands in which slowly changing figures are kept.

/// Width of a bin in hertz: the transforms span 20 ms at every rate.
pub(super) const BIN_HZ: usize = 50;

/// Number of bands up to 24 kHz.
pub(super) const MAX_BANDS: usize = 26;

/// First bin of each band: 200 Hz wide below 1.4 kHz, then about a third of an octave narrowed to follow the
/// critical bands (Zwicker, "Subdivision of the audible frequency range into critical bands", JASA 33, 1961).
static EDGES: [usize; MAX_BANDS] = [
    0, 4, 8, 12, 16, 20, 24, 28, 33, 38, 44, 51, 60, 69, 80, 93, 108, 125, 144, 165, 190, 218, 251, 289, 332,
    381,
];

/// Narrowest last band, in bins; what is narrower belongs to the band below.
const NARROWEST: usize = 10;

/// Cuts `bins` into bands; yields the first bin of each and the bin after its last.
pub(super) fn spans(bins: usize) -> BandSpans {
    BandSpans { bins, band: 0 }
}

/// Iterator of [`spans`].
pub(super) struct BandSpans {
    bins: usize,
    band: usize,
}

impl BandSpans {
    /// Returns the first bin of a band, if the band exists.
    fn start(&self, band: usize) -> Option<usize> {
        let edge = *EDGES.get(band)?;
        (edge + NARROWEST <= self.bins || edge < NARROWEST).then_some(edge)
    }
}

impl Iterator for BandSpans {
    type Item = (usize, usize);

    // Not inlined: the compiler would unroll each loop over the bands, which takes 30 KB of flash.
    #[inline(never)]
    fn next(&mut self) -> Option<(usize, usize)> {
        let start = self.start(self.band)?;
        self.band += 1;
        let next = EDGES.get(self.band).filter(|&&edge| edge + NARROWEST <= self.bins);
        Some((start, next.copied().unwrap_or(self.bins)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_cover_each_bin_once_at_every_rate() {
        for bins in [81, 161, 321, 481] {
            let mut next = 0;
            for (start, end) in spans(bins) {
                assert_eq!(start, next, "{bins} bins");
                assert!(end > start && (end - start >= 4), "{bins} bins: {start}..{end}");
                next = end;
            }
            assert_eq!(next, bins);
        }
    }
}
