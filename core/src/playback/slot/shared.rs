//! Both sides: the words by which application, mixer and capture worker agree on a slot.

use crate::atomics::{AtomicU32, Ordering};

use crate::playback::playout::PublishedPlayout;
use crate::published::{Published, PublishedReader, PublishedWriter};

/// How a track on a slot ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseMode {
    /// The mixer plays what is queued.
    Drain,
    /// The mixer drops what is queued, after a fade.
    Remove,
}

/// How far the mixer has come with a slot's track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MixProgress {
    pub(crate) track: u32,
    /// Number of the last interruption that the mixer carried out.
    pub(crate) epoch: u32,
    /// Track position at which that interruption stopped the track: one past the last sample frame mixed before
    /// it.
    pub(crate) cut: u64,
    /// Track position one past the last sample frame mixed.
    pub(crate) position: u64,
}

impl MixProgress {
    const WORDS: usize = 6;
}

/// The words by which application, mixer and capture worker agree on a slot. Each has one writer.
#[derive(Debug)]
pub(crate) struct SlotShared {
    /// Identity of the last track that was opened. Written by the owner of the port.
    opened: AtomicU32,
    /// Twice the identity of the last track that was closed, plus 1 for [`CloseMode::Remove`]. Written by the
    /// owner of the port.
    closed: AtomicU32,
    /// 0 while the track plays, or 1 plus the fade in sample frames while it is paused. Written by the owner of
    /// the port.
    paused: AtomicU32,
    /// Fade of interruptions, in sample frames. Written by the owner of the port.
    fade: AtomicU32,
    /// Number of interruptions, over all tracks of the slot, modulo 2^32. Written by the owner of the port.
    epoch: AtomicU32,
    /// Identity of the last track that the mixer is done with. Written by the mixer.
    done: AtomicU32,
    /// Progress of the mixer, written by the mixer.
    progress: Published<{ MixProgress::WORDS }>,
    /// What was played of the track, written by the capture worker.
    pub(crate) playout: PublishedPlayout,
}

impl SlotShared {
    /// Largest track identity. Identities use 31 bits, so that one word also holds how a track was closed.
    pub(crate) const LAST_TRACK: u32 = u32::MAX >> 1;

    pub(super) const fn new() -> Self {
        Self {
            opened: AtomicU32::new(0),
            closed: AtomicU32::new(0),
            paused: AtomicU32::new(0),
            fade: AtomicU32::new(0),
            epoch: AtomicU32::new(0),
            done: AtomicU32::new(0),
            progress: Published::new(),
            playout: PublishedPlayout::new(),
        }
    }

    /// Makes `track` the slot's track. Application side.
    pub(crate) fn open(&self, track: u32) {
        self.paused.store(0, Ordering::Relaxed);
        self.opened.store(track, Ordering::Release);
    }

    /// Returns the track that is open or not yet played to its end, 0 for none. Mixer side.
    pub(crate) fn active(&self) -> u32 {
        let opened = self.opened.load(Ordering::Acquire);
        if opened == self.done.load(Ordering::Relaxed) { 0 } else { opened }
    }

    /// Closes a track. Application side. The release store is the partner of the load in [`Self::closing`]: a
    /// mixer that sees a track closed sees all its frames in the queue.
    pub(crate) fn close(&self, track: u32, how: CloseMode) {
        let word = track << 1 | u32::from(how == CloseMode::Remove);
        self.closed.store(word, Ordering::Release);
    }

    /// Returns the last closed track and how it was closed, or `None` if the mixer is done with it already.
    /// Mixer side.
    pub(crate) fn closing(&self) -> Option<(u32, CloseMode)> {
        let word = self.closed.load(Ordering::Acquire);
        let how = if word & 1 == 1 { CloseMode::Remove } else { CloseMode::Drain };
        let track = word >> 1;
        (track != self.done.load(Ordering::Relaxed)).then_some((track, how))
    }

    /// Releases the slot from `track`. Mixer side. The release store is the partner of the load in
    /// [`Self::is_done`]: the next track on the slot finds its queues empty.
    pub(crate) fn set_done(&self, track: u32) {
        self.done.store(track, Ordering::Release);
    }

    /// Returns whether the mixer is done with `track`. Application side.
    pub(crate) fn is_done(&self, track: u32) -> bool {
        self.done.load(Ordering::Acquire) == track
    }

    /// Pauses the track with a fade, or lets it play for `None`. Application side.
    pub(crate) fn set_paused(&self, fade_sample_frames: Option<u32>) {
        let word = fade_sample_frames.map_or(0, |fade| fade.saturating_add(1));
        self.paused.store(word, Ordering::Release);
    }

    /// Interrupts the track: the mixer drops everything pushed before. Application side. The mixer reads
    /// `paused` before `epoch`, so a paused track must be interrupted before it is resumed.
    pub(crate) fn interrupt(&self, epoch: u32, fade_sample_frames: u32) {
        self.fade.store(fade_sample_frames, Ordering::Relaxed);
        self.epoch.store(epoch, Ordering::Release);
    }

    /// Returns the fade of a pause, or `None` if the track is to play. Mixer side.
    pub(crate) fn paused(&self) -> Option<u32> {
        self.paused.load(Ordering::Acquire).checked_sub(1)
    }

    /// Returns the number of interruptions. Mixer side, to be read after [`Self::paused`].
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Mixer side.
    pub(crate) fn fade(&self) -> u32 {
        self.fade.load(Ordering::Relaxed)
    }

    /// Mixer side.
    pub(crate) fn publish_progress(&self, progress: MixProgress) {
        let mut words = [0; MixProgress::WORDS];
        let mut writer = PublishedWriter::new(&mut words);
        writer.u32(progress.track);
        writer.u32(progress.epoch);
        writer.u64(progress.cut);
        writer.u64(progress.position);
        self.progress.publish(&words);
    }

    /// Returns how far the mixer has come with the slot; the track is 0 until its first frame was mixed.
    /// Application side.
    pub(crate) fn progress(&self) -> MixProgress {
        let words = self.progress.read();
        let mut reader = PublishedReader::new(&words);
        MixProgress { track: reader.u32(), epoch: reader.u32(), cut: reader.u64(), position: reader.u64() }
    }
}
