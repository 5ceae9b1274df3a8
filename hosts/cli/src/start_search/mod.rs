//! Control side: finds where the echo of one recording lies in another, offline.
//!
//! The search has three steps. Each recording is whitened, so that every frequency and every moment counts equally
//! (`whiten`). Blocks of the microphone are correlated with the far end over ±10 s (`correlate`), which gives several
//! candidate lags for each block, and the line through most of them is the echo's lag over time (`line`). The line is then
//! refined with blocks from the whole recording at a finer resolution (`refine`). Whitened correlation is the generalised
//! cross-correlation with phase transform (Knapp & Carter, "The generalized correlation method for estimation of time delay",
//! IEEE Trans. ASSP 24(4), 1976, section II).

mod coarse;
mod correlate;
mod line;
mod refine;
#[cfg(test)]
mod tests;
mod whiten;

use handsfree::failure::Failure;

pub use self::refine::with_slope;
use crate::signal::Signal;

/// Longest offset between the starts of the recordings that is searched, of either sign, in seconds.
pub const MAX_OFFSET_S: f64 = 10.0;
/// Largest difference between the rates of the recordings' clocks that is searched, in ppm.
pub const MAX_DRIFT_PPM: f64 = 20_000.0;

/// Lag of the echo behind the far end, as a function of the time in the microphone recording.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EchoLine {
    /// Lag at the start of the microphone recording, in seconds; negative if the echo comes before the far end.
    pub lag_s: f64,
    /// Rate of the microphone's clock relative to the loudspeaker's, in ppm: the growth of the lag in microseconds per second.
    pub mic_ppm: f64,
    /// Standard error of `mic_ppm`, in ppm.
    pub ppm_error: f64,
    /// By how much the echo comes earlier than the line in the block where it comes earliest, in seconds, 0 to 0.03: a room that
    /// changes, or recordings whose clocks jump.
    pub early_s: f64,
    /// Number of blocks of the microphone recording that lie on the line.
    pub blocks: usize,
    /// Share of the microphone's whitened signal that the far end explains at this lag, as a correlation from 0 to 1: the
    /// median over the blocks on the line.
    pub correlation: f64,
}

impl EchoLine {
    /// Returns the lag at a time of the microphone recording, in seconds.
    #[must_use]
    pub fn lag_at(&self, at_s: f64) -> f64 {
        self.lag_s + self.mic_ppm * 1e-6 * at_s
    }
}

/// Result of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SearchResult {
    /// The echo lies on this line.
    Found(EchoLine),
    /// Several lags explain the recordings about equally well, as with a tone or a repeated sound.
    Ambiguous,
    /// No lag explains the microphone recording.
    NotFound,
}

/// Searches for the echo of `far` in `mic`, both mono at `rate_hz`. `given_ppm` is a known rate of the microphone's clock relative
/// to the loudspeaker's, which is tried first.
///
/// # Errors
/// Returns the error of a signal that cannot be read.
pub fn search(
    far: &dyn Signal,
    mic: &dyn Signal,
    rate_hz: u32,
    given_ppm: Option<f64>,
) -> Result<SearchResult, Failure> {
    Ok(match coarse::search(far, mic, rate_hz, given_ppm)? {
        coarse::Coarse::Line(line) => {
            refine::refined(far, mic, rate_hz, line)?.map_or(SearchResult::NotFound, SearchResult::Found)
        }
        coarse::Coarse::Ambiguous => SearchResult::Ambiguous,
        coarse::Coarse::NotFound => SearchResult::NotFound,
    })
}
