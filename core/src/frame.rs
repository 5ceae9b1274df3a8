//! Either side: frames of 10 ms of interleaved 16-bit PCM, stamped with position and time.

use crate::format::Format;
use crate::time::{Duration, Instant};

/// Stretch of a track that a played frame holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TrackSpan {
    /// Identity of the track, 0 for none.
    pub track: u32,
    /// Sample frames of silence in the frame before the track begins.
    pub offset: u16,
    /// Sample frames of the track in this frame; 0 states that the track is at `position` and silent.
    pub sample_frames: u16,
    /// Position in the track of the first of these sample frames.
    pub position: u64,
}

/// Position and time of a frame. `SLOTS` is the number of mixed tracks it can name: none for captured frames,
/// the session's track slots for played ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Stamp<const SLOTS: usize = 0> {
    /// Stream position of the first sample frame. The next frame's position is this one plus the length of
    /// the frame plus the sample frames lost in between.
    pub position: u64,
    /// Time at which the first sample was or will be at the converter.
    pub time: Instant,
    /// Latency between converter and interrupt, without the period itself: the time since the period's last
    /// sample was converted (capture), or until its first sample will be (playback).
    pub latency: Duration,
    /// Number of sample frames lost directly before this frame.
    pub lost: u32,
    /// Whether the stream was started, restarted or interrupted before this frame, so that the relation of
    /// its time to its position may have changed.
    pub fresh: bool,
    /// In the reference stream, number of sample frames of silence that were written because there was
    /// nothing to play; such a frame holds nothing else. 0 for a frame that was played.
    pub silence: u16,
    /// In the reference stream, number of sample frames before this one that were written and never played.
    pub unplayed: u32,
    /// Identity of the track, while the frame is in the track's queue.
    pub(crate) track: u32,
    /// Number of the track's interruptions when the frame was pushed.
    pub(crate) epoch: u32,
    /// Stretches of the tracks that the mixer put into the frame.
    pub tracks: [TrackSpan; SLOTS],
}

impl<const SLOTS: usize> Stamp<SLOTS> {
    pub(crate) const ZERO: Self = Self {
        position: 0,
        time: Instant::ORIGIN,
        latency: Duration::ZERO,
        lost: 0,
        fresh: false,
        silence: 0,
        unplayed: 0,
        track: 0,
        epoch: 0,
        tracks: [TrackSpan { track: 0, offset: 0, sample_frames: 0, position: 0 }; SLOTS],
    };
}

/// Up to 10 ms of interleaved 16-bit PCM; `CAP` is the capacity in samples, all channels.
///
/// Every frame in a ring is a whole 10 ms, except the tail of a track and, in the reference stream, a run of
/// silence that ended before its 10 ms and a frame that an xrun cut short.
#[derive(Debug)]
pub struct Frame<const CAP: usize, const SLOTS: usize = 0> {
    /// Position and time of the frame.
    pub stamp: Stamp<SLOTS>,
    format: Format,
    sample_frames: u16,
    samples: [i16; CAP],
}

impl<const CAP: usize, const SLOTS: usize> Clone for Frame<CAP, SLOTS> {
    fn clone(&self) -> Self {
        let Self { stamp, format, sample_frames, samples } = self;
        Self { stamp: *stamp, format: *format, sample_frames: *sample_frames, samples: *samples }
    }

    /// Costs less than a new clone, because only the samples held are copied.
    // Not inlined: only then does the compiler know that the two do not overlap.
    #[inline(never)]
    fn clone_from(&mut self, source: &Self) {
        self.copy_samples(source);
        self.stamp = source.stamp;
    }
}

impl<const CAP: usize, const SLOTS: usize> Frame<CAP, SLOTS> {
    /// A frame of all zero bytes, for memory before its first use.
    pub(crate) const EMPTY: Self =
        Self { stamp: Stamp::ZERO, format: Format::UNSET, sample_frames: 0, samples: [0; CAP] };

    /// Returns 10 ms of silence.
    ///
    /// # Errors
    /// [`FrameTooLarge`](crate::ConfigError::FrameTooLarge) names a format of which 10 ms do not fit `CAP`.
    pub fn silence(format: Format) -> Result<Self, crate::ConfigError> {
        let mut frame = Self::EMPTY;
        frame.clear(format.fitting(CAP)?, format.sample_frames());
        Ok(frame)
    }

    /// Returns the frame's format.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Returns the number of sample frames held: 10 ms, except for a tail or a run of silence.
    #[must_use]
    pub const fn sample_frames(&self) -> usize {
        self.sample_frames as usize
    }

    /// Returns the samples, interleaved.
    #[must_use]
    pub fn samples(&self) -> &[i16] {
        self.samples.get(..self.len()).unwrap_or(&[])
    }

    /// Returns the samples, interleaved, for changing them in place.
    pub fn samples_mut(&mut self) -> &mut [i16] {
        let len = self.len();
        self.samples.get_mut(..len).unwrap_or(&mut [])
    }

    /// Returns samples and format together.
    #[must_use]
    pub fn pcm(&self) -> PcmRef<'_> {
        PcmRef { format: self.format, samples: self.samples() }
    }

    /// Returns samples and format together, for changing the samples in place.
    pub fn pcm_mut(&mut self) -> PcmMut<'_> {
        PcmMut { format: self.format, samples: self.samples_mut() }
    }

    fn len(&self) -> usize {
        self.sample_frames() * self.format.channels()
    }

    /// Makes the frame `sample_frames` of silence in `format`, cut to what fits.
    #[inline(never)]
    pub(crate) fn clear(&mut self, format: Format, sample_frames: usize) {
        self.begin(format);
        self.stamp = Stamp::ZERO;
        self.extend_silence(sample_frames);
    }

    /// Removes all samples and sets the format, ready for [`Self::extend`]. The stamp stays.
    pub(crate) fn begin(&mut self, format: Format) {
        self.format = format;
        self.sample_frames = 0;
    }

    /// Returns the number of sample frames missing to 10 ms.
    pub(crate) fn missing(&self) -> usize {
        self.format.sample_frames().saturating_sub(self.sample_frames())
    }

    /// Appends `sample_frames` sample frames, or as many as fit, and returns them to be filled. Their content
    /// is unspecified.
    #[inline(never)]
    pub(crate) fn extend(&mut self, sample_frames: usize) -> &mut [i16] {
        let from = self.len();
        let taken = sample_frames.min(self.missing());
        self.sample_frames += taken as u16;
        let to = self.len();
        self.samples.get_mut(from..to).unwrap_or(&mut [])
    }

    /// Appends up to `sample_frames` of silence and returns how many did fit.
    #[inline(never)]
    pub(crate) fn extend_silence(&mut self, sample_frames: usize) -> usize {
        let taken = sample_frames.min(self.missing());
        self.extend(taken).fill(0);
        taken
    }

    /// Keeps only the first `sample_frames`.
    pub(crate) fn truncate(&mut self, sample_frames: usize) {
        if sample_frames < self.sample_frames() {
            self.sample_frames = sample_frames as u16;
            for span in &mut self.stamp.tracks {
                span.sample_frames = span.sample_frames.min(self.sample_frames.saturating_sub(span.offset));
            }
        }
    }

    /// Moves the channels behind those of `first` to `other`, in the format `rest`, and keeps the others.
    /// Both formats have this frame's rate, and their channels add up to this frame's.
    pub(crate) fn split_channels<const OTHER: usize>(
        &mut self,
        first: Format,
        rest: Format,
        other: &mut Frame<CAP, OTHER>,
    ) {
        let (wide, kept) = (self.format.channels().max(1), first.channels());
        let sample_frames = self.sample_frames();
        other.clear(rest, sample_frames);
        let given = other.samples_mut().chunks_exact_mut(rest.channels().max(1));
        for (to, from) in given.zip(self.samples().chunks_exact(wide)) {
            if let Some(from) = from.get(kept..) {
                to.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
            }
        }
        // In place: samples only move towards the front, so none is overwritten before it was read.
        for sample_frame in 0..sample_frames {
            for channel in 0..kept {
                let moved = self.samples.get(sample_frame * wide + channel).copied().unwrap_or(0);
                if let Some(sample) = self.samples.get_mut(sample_frame * kept + channel) {
                    *sample = moved;
                }
            }
        }
        self.format = first;
    }

    /// Copies another frame's format and samples, not its stamp.
    #[inline(never)]
    pub(crate) fn copy_samples<const OTHER: usize>(&mut self, other: &Frame<CAP, OTHER>) {
        self.begin(other.format);
        copy(other.samples(), self.extend(other.sample_frames()));
    }
}

/// Copies as many samples as both slices have and returns how many.
// Not inlined: it is called at many places, and never for only a few samples.
#[inline(never)]
pub(crate) fn copy(from: &[i16], to: &mut [i16]) -> usize {
    let count = from.len().min(to.len());
    if let (Some(from), Some(to)) = (from.get(..count), to.get_mut(..count)) {
        to.copy_from_slice(from);
    }
    count
}

/// A frame's samples and format for reading, independent of the frame's capacity.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PcmRef<'a> {
    /// Rate and channels of the samples.
    pub format: Format,
    /// Interleaved samples: 10 ms for a processor, any length from [`combine_frames`](crate::combine_frames).
    pub samples: &'a [i16],
}

/// A frame's samples and format for changing the samples in place.
#[derive(Debug)]
pub struct PcmMut<'a> {
    /// Rate and channels of the samples.
    pub format: Format,
    /// Interleaved samples, 10 ms.
    pub samples: &'a mut [i16],
}

impl PcmMut<'_> {
    /// Returns a shorter borrow of the samples, for passing them on.
    pub fn reborrow(&mut self) -> PcmMut<'_> {
        PcmMut { format: self.format, samples: self.samples }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_10_ms_of_its_format() {
        for (hz, channels, len) in [(8_000, 1, 80), (44_100, 2, 882), (96_000, 8, 7_680)] {
            let frame = Frame::<7_680>::silence(Format::new(hz, channels).unwrap()).unwrap();
            assert_eq!(frame.samples().len(), len);
        }
        assert!(Frame::<480>::silence(Format::new(48_000, 2).unwrap()).is_err());
    }

    #[test]
    fn extending_never_passes_10_ms() {
        let mut frame = Frame::<960>::EMPTY;
        frame.begin(Format::new(48_000, 2).unwrap());
        assert_eq!(frame.extend(100).len(), 200);
        assert_eq!(frame.extend_silence(1_000), 380);
        assert_eq!(frame.extend(1).len(), 0);
        frame.truncate(7);
        assert_eq!(frame.samples().len(), 14);
    }

    #[test]
    fn a_stamp_without_tracks_takes_no_memory_for_them() {
        assert_eq!(size_of::<Stamp<4>>() - size_of::<Stamp<0>>(), 4 * size_of::<TrackSpan>());
    }
}
