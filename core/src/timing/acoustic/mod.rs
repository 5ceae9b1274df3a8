//! Worker side: the acoustic delay estimator and its parts, in the order a sample meets them: decimation,
//! history, spectra, coarse search over the whole range, fine search around the echo.
//!
//! All parts behind the decimator run at about 8 kHz, the low rate. A hop is 32 ms there, a window 64 ms.

mod coarse_search;
mod decimator;
mod delay;
mod fine_search;
mod lag_filter;
mod low_rate_history;
mod path_shift;
mod spectrum;
#[cfg(test)]
pub(super) mod tests;

pub use delay::{AcousticDelay, AcousticMemory, EchoLag};

use crate::dsp::fft::PhaseRotator;

/// Samples of a window.
const WINDOW: usize = 512;
/// Samples from one window to the next.
const HOP: usize = WINDOW / 2;
/// Hops by which the microphone is analysed late, so that an echo may come before its reference.
const NEAR_DELAY_HOPS: usize = 4;
/// Samples by which the microphone is analysed late.
const NEAR_DELAY: i64 = (NEAR_DELAY_HOPS * HOP) as i64;
/// Hops of lag that are searched: from -144 to +1008 ms at 8 kHz.
const LAG_ROWS: usize = 36;
/// Samples of the longest lag that is tracked. The shortest is `-NEAR_DELAY`.
const MAX_LAG: i64 = ((LAG_ROWS - NEAR_DELAY_HOPS) * HOP) as i64 - (HOP / 2) as i64;

/// First frequency bin in use, 312 Hz at 8 kHz. Below it, small loudspeakers play nothing and rooms hum.
const FIRST_BIN: usize = 20;
/// Number of frequency bins in use, up to 3.4 kHz. Above them, the decimator aliases.
const BINS: usize = 198;
/// Bins in use that the coarse search leaves out at the low end. It takes 390 to 1500 Hz, where speech is
/// strongest, because its memory is lag times bandwidth.
const COARSE_SKIP: usize = 5;
/// Number of frequency bins of the coarse search.
const COARSE_BINS: usize = 72;

const _: () = {
    assert!(FIRST_BIN + BINS < WINDOW / 2);
    assert!(COARSE_SKIP + COARSE_BINS <= BINS);
};

/// Returns how many device samples make one low-rate sample. The factor brings any rate to 5.5 to 8.02 kHz,
/// so that the search always reaches 1 s.
fn decimation(rate_hz: u32) -> usize {
    rate_hz.div_ceil(8_020) as usize
}

/// Returns the factors that make a window's signal earlier by `samples`, for its bins from `first_bin` on.
fn rotator(first_bin: usize, samples: f64) -> PhaseRotator {
    PhaseRotator::new(WINDOW, first_bin, samples)
}
