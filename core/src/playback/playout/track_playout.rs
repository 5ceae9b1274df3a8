//! Capture worker: the stretches of one track that were played.

use super::clock_anchor::{NEVER, Q16, ROUNDING_TOLERANCE, RateRatio};
use crate::frame::TrackSpan;
use crate::limits::PLAYOUT_STRETCHES;

/// Stretches count as continuous when the gap between them is shorter than half a device sample frame.
pub(super) const TOUCH_TOLERANCE: Q16 = 1 << 15;

/// A stretch of a track that was played without a break.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PlayedStretch {
    /// Stream position of the stretch's first sample frame.
    pub(super) begin: Q16,
    /// Track position of the stretch's first sample frame.
    pub(super) position: u64,
    /// Length in sample frames at the session's rate.
    pub(super) sample_frames: u32,
}

impl PlayedStretch {
    /// Returns the stream position one past the stretch.
    pub(super) fn stream_end(&self, ratio: RateRatio) -> Q16 {
        self.begin + ratio.on_stream(u64::from(self.sample_frames))
    }

    pub(super) const fn end(&self) -> u64 {
        self.position + self.sample_frames as u64
    }
}

/// What was played of a slot's track.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TrackPlayout {
    pub(super) track: u32,
    pub(super) stretches: [PlayedStretch; PLAYOUT_STRETCHES],
    pub(super) count: usize,
    /// One past the last sample frame that was played before the first stretch.
    pub(super) played: u64,
    /// Stream position at which the track was silent and had come to `silent_position`.
    pub(super) silent_at: Q16,
    pub(super) silent_position: u64,
}

impl TrackPlayout {
    pub(super) fn stretches(&self) -> &[PlayedStretch] {
        self.stretches.get(..self.count).unwrap_or(&[])
    }

    #[inline(never)]
    pub(super) fn add_span(&mut self, begin: Q16, span: TrackSpan, ratio: RateRatio) {
        if span.track != self.track {
            *self = Self { track: span.track, silent_at: begin, ..Self::default() };
        }
        if span.sample_frames == 0 {
            if span.position != self.silent_position {
                self.silent_at = begin;
                self.silent_position = span.position;
            }
            return;
        }
        let sample_frames = u32::from(span.sample_frames);
        let last = self.count.checked_sub(1).and_then(|last| self.stretches.get_mut(last));
        if let Some(last) = last
            && last.end() == span.position
            && (last.stream_end(ratio) - begin).abs() < TOUCH_TOLERANCE
            && let Some(longer) = last.sample_frames.checked_add(sample_frames)
        {
            last.sample_frames = longer;
            return;
        }
        if self.count == PLAYOUT_STRETCHES {
            // The oldest stretch counts as played. With that many breaks within the device's latency the played
            // position is ahead for a moment; where the track stops stays exact.
            self.drop_first();
        }
        if let Some(target) = self.stretches.get_mut(self.count) {
            *target = PlayedStretch { begin, position: span.position, sample_frames };
            self.count += 1;
        }
    }

    /// Counts everything so far as played, because the stream begins anew.
    #[cold]
    #[inline(never)]
    pub(super) fn restart(&mut self) {
        self.played = self.stretches().last().map_or(self.played, PlayedStretch::end);
        self.count = 0;
        self.silent_at = NEVER;
    }

    /// Counts the first stretch as played and removes it.
    #[inline(never)]
    pub(super) fn drop_first(&mut self) {
        self.played = self.stretches.first().map_or(self.played, PlayedStretch::end);
        for index in 1..self.count {
            if let Some(&next) = self.stretches.get(index)
                && let Some(target) = self.stretches.get_mut(index - 1)
            {
                *target = next;
            }
        }
        self.count = self.count.saturating_sub(1);
    }

    /// Removes all stretches but the last that had been played at a stream position.
    pub(super) fn drop_before(&mut self, position: Q16, ratio: RateRatio) {
        while self.count > 1 && self.stretches.first().is_some_and(|first| first.stream_end(ratio) < position)
        {
            self.drop_first();
        }
    }

    /// Removes what was never played: everything from a stream position on.
    #[cold]
    pub(super) fn cut_from(&mut self, from: Q16, ratio: RateRatio) {
        while let Some(index) = self.count.checked_sub(1)
            && let Some(last) = self.stretches.get_mut(index)
        {
            if last.begin >= from {
                self.count = index;
                continue;
            }
            let played = ratio.of_terminal(from - last.begin + ROUNDING_TOLERANCE);
            last.sample_frames = u64::from(last.sample_frames).min(played) as u32;
            break;
        }
    }
}
