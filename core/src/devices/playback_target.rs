//! Control side to workers: what the playback worker makes for the device, in one 32-bit word.

use crate::atomics::{AtomicU32, Ordering};

use crate::format::Format;

/// What the playback worker makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlaybackTarget {
    /// Format of the playback device's frames.
    pub(crate) format: Format,
    /// Number of frames that the worker keeps in the playback ring.
    pub(crate) ring_frames: u8,
}

/// The playback target, written by the control side of the outlet and read by the workers. It is zero while no
/// playback stream runs.
///
/// One word, so that a reader never sees half a change. Relaxed: no other memory depends on it; the outlet drops
/// frames of the old format that are still in the ring.
#[derive(Debug)]
pub(crate) struct SharedPlaybackTarget(AtomicU32);

impl SharedPlaybackTarget {
    /// Returns the target of a session that plays nothing, all zero bytes.
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    pub(crate) fn set(&self, target: PlaybackTarget) {
        let word = target.format.sample_frames() as u32
            | (target.format.channels() as u32) << 16
            | u32::from(target.ring_frames) << 24;
        self.0.store(word, Ordering::Relaxed);
    }

    pub(crate) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Returns whether a playback stream runs.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    pub(crate) fn get(&self) -> Option<PlaybackTarget> {
        let word = self.0.load(Ordering::Relaxed);
        let rate_hz = (word & 0xFFFF) * crate::limits::FRAMES_PER_SECOND;
        let format = Format::new(rate_hz, (word >> 16) & 0xFF).ok()?;
        Some(PlaybackTarget { format, ring_frames: (word >> 24) as u8 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_playback_target_survives_its_word() {
        let shared = SharedPlaybackTarget::new();
        assert_eq!(shared.get(), None);
        for (hz, channels, ring_frames) in [(8_000, 1, 1), (44_100, 2, 9), (192_000, 8, 255)] {
            let target = PlaybackTarget { format: Format::new(hz, channels).unwrap(), ring_frames };
            shared.set(target);
            assert_eq!(shared.get(), Some(target));
        }
        shared.clear();
        assert_eq!(shared.get(), None);
    }
}
