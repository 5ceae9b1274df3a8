//! Worker side: the parts of [`AcousticDelay`](super::AcousticDelay), in the order a sample meets
//! them: decimated, kept, turned into spectra, searched over the whole range, then tracked finely.
//!
//! All of it runs at about 8 kHz ("low rate"); a hop is 32 ms there, a window 64 ms.

mod coarse;
mod decimator;
mod drift;
mod fft;
mod fine;
mod past;
mod shift;
mod spectrum;

pub(super) use coarse::{Coarse, CoarseMemory};
pub(super) use decimator::{Decimator, DecimatorTaps};
pub(super) use fine::{Fine, FineMemory};
pub(super) use past::{Past, PastMemory};
pub(super) use spectrum::{Spectra, SpectraMemory};

/// Samples of a window.
const WINDOW: usize = 512;
/// Samples from one window to the next.
pub(super) const HOP: usize = WINDOW / 2;
/// The microphone is looked at so many hops late, so that an echo may come before its reference.
const NEAR_DELAY_HOPS: usize = 4;
/// The same in samples.
pub(super) const NEAR_DELAY: i64 = (NEAR_DELAY_HOPS * HOP) as i64;
/// Hops of lag that are searched: from -144 to +1008 ms at 8 kHz.
const LAG_ROWS: usize = 36;
/// Samples of the longest lag that is tracked; at the other end it is `-NEAR_DELAY`.
const MAX_LAG: i64 = ((LAG_ROWS - NEAR_DELAY_HOPS) * HOP) as i64 - (HOP / 2) as i64;

/// First frequency in use, 312 Hz at 8 kHz: below, small loudspeakers play nothing and rooms hum.
const FIRST_BIN: usize = 20;
/// Frequencies in use, up to 3.4 kHz; above, the decimator aliases.
const BINS: usize = 198;
/// The coarse search takes 390 to 1500 Hz, where speech is strongest: memory is lag times bandwidth.
const COARSE_SKIP: usize = 5;
/// Frequencies of the coarse search.
const COARSE_BINS: usize = 72;

const _: () = {
    assert!(FIRST_BIN + BINS < WINDOW / 2);
    assert!(COARSE_SKIP + COARSE_BINS <= BINS);
};

/// Low-rate samples that a device sample makes: the factor brings any rate to 5.5 to 8.02 kHz, so
/// that the search always reaches 1 s.
pub(super) fn decimation(rate_hz: u32) -> usize {
    rate_hz.div_ceil(8_020) as usize
}
