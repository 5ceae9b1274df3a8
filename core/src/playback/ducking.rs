//! Application and worker side: settings of a background that fades down under a voice.

use crate::sample::Gain;
use crate::time::Duration;

/// How far and how fast a background track fades down while any other track speaks.
///
/// A track speaks while it has something to play and for `hold` longer, so that the background's level does not
/// pump in the pauses between words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Ducking {
    /// Gain under a voice, applied in addition to the track's own gain.
    pub depth: Gain,
    /// Time in which the background fades down.
    pub attack: Duration,
    /// Time in which the background fades back up.
    pub release: Duration,
    /// Time for which the background stays down after the voice ends.
    pub hold: Duration,
}

impl Default for Ducking {
    /// Returns 12 dB down within 20 ms, and back within 500 ms after 300 ms without a voice.
    fn default() -> Self {
        Self {
            depth: Gain::from_q16(1 << 14),
            attack: Duration::from_millis(20),
            release: Duration::from_millis(500),
            hold: Duration::from_millis(300),
        }
    }
}
