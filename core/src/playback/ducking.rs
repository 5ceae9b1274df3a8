//! Either side: how a background makes room for a voice.

use crate::sample::Gain;
use crate::time::Duration;

/// How far and how fast a background track goes down while any other track speaks.
///
/// A track speaks while it has something to play, and for `hold` longer, so that the background does
/// not pump in the pauses between words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Ducking {
    /// The gain under a voice, besides the track's own.
    pub depth: Gain,
    /// How long it takes to go down.
    pub attack: Duration,
    /// How long it takes to come back.
    pub release: Duration,
    /// How long after the voice it stays down.
    pub hold: Duration,
}

impl Default for Ducking {
    /// 12 dB down within 20 ms, back within 500 ms after 300 ms without a voice.
    fn default() -> Self {
        Self {
            depth: Gain::from_q16(1 << 14),
            attack: Duration::from_millis(20),
            release: Duration::from_millis(500),
            hold: Duration::from_millis(300),
        }
    }
}
