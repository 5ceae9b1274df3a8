//! Worker side: the bands in which slowly changing figures are kept.

/// Width of a bin in hertz: the transforms span 20 ms at every rate.
pub(super) const BIN_HZ: usize = 50;

/// Number of bands up to 24 kHz.
pub(super) const MAX_BANDS: usize = 26;

/// First bin of each band: 200 Hz wide below 1.4 kHz, then about a third of an octave narrowed to follow the
/// critical bands (Zwicker, "Subdivision of the audible frequency range into critical bands", JASA 33, 1961).
const EDGES: [usize; MAX_BANDS] = [
    0, 4, 8, 12, 16, 20, 24, 28, 33, 38, 44, 51, 60, 69, 80, 93, 108, 125, 144, 165, 190, 218, 251, 289, 332,
    381,
];

/// Narrowest last band, in bins; what is narrower belongs to the band below.
const NARROWEST: usize = 10;

/// Cuts `bins` into bands; calls `visit` with the index of each and its bins.
#[inline]
pub(super) fn spans(bins: usize) -> impl Iterator<Item = (usize, usize)> {
    let starts = EDGES.into_iter().take_while(move |&edge| edge + NARROWEST <= bins || edge < NARROWEST);
    let ends = EDGES
        .into_iter()
        .skip(1)
        .map(move |edge| if edge + NARROWEST <= bins { edge } else { bins })
        .chain(core::iter::once(bins));
    starts.zip(ends)
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
