//! Worker to application: what one sink of a tee hears, in order, and what it lost.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering, fence};

use heapless::spsc::Queue;

use crate::event::SessionEvent;
use crate::frame::Frame;
use crate::limits::EVENT_DEPTH;
use crate::queue;
use crate::ring::{self, FrameConsumer, FrameProducer, RingMemory};
use crate::stats::Counter;

/// What a sink hears.
#[derive(Clone, Debug)]
// Boxing the frame would allocate.
#[allow(clippy::large_enum_variant)]
pub enum Tapped<const CAP: usize> {
    /// 10 ms of one track.
    Audio {
        /// Identity of the track; [`CAPTURED`](super::CAPTURED) on the capture path.
        track: u32,
        /// Its samples. `stamp.lost` says how many sample frames of this track are missing directly
        /// before, those that this sink was too slow for included.
        frame: Frame<CAP>,
    },
    /// Something happened, after the audio taken before and before the audio that follows.
    Event(SessionEvent),
}

/// An event and how many frames went into the sink before it.
#[derive(Clone, Copy, Debug)]
struct Noted {
    event: SessionEvent,
    after_frames: u32,
}

/// What was dropped of a track and not yet said; unused while it is nothing.
#[derive(Clone, Copy, Debug)]
struct Loss {
    track: u32,
    sample_frames: u32,
    fresh: bool,
}

impl Loss {
    const NONE: Self = Self { track: 0, sample_frames: 0, fresh: false };

    const fn is_none(&self) -> bool {
        self.sample_frames == 0
    }
}

/// What both ends of a sink see.
#[derive(Debug)]
struct Shared {
    dropped_frames: Counter,
    dropped_events: Counter,
    /// Written by the reader when it goes.
    deserted: AtomicBool,
}

impl Shared {
    const fn new() -> Self {
        Self {
            dropped_frames: Counter::new(),
            dropped_events: Counter::new(),
            deserted: AtomicBool::new(false),
        }
    }
}

/// The memory of one sink, lent by the application.
///
/// It holds `FRAMES - 1` frames and, apart from them, at least 31 events, so that no event is lost
/// among audio. `TRACKS` is how many tracks at a time it can say the losses of, the session's track slots;
/// losses of further ones are counted only. A new sink is all zero bytes.
#[derive(Debug)]
pub struct TeeSink<const CAP: usize, const FRAMES: usize, const TRACKS: usize = 8> {
    frames: RingMemory<CAP, 0, FRAMES>,
    events: Queue<Noted, EVENT_DEPTH>,
    losses: [Loss; TRACKS],
    shared: Shared,
}

impl<const CAP: usize, const FRAMES: usize, const TRACKS: usize> Default for TeeSink<CAP, FRAMES, TRACKS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const CAP: usize, const FRAMES: usize, const TRACKS: usize> TeeSink<CAP, FRAMES, TRACKS> {
    /// An empty sink.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            frames: Queue::new(),
            events: Queue::new(),
            losses: [Loss::NONE; TRACKS],
            shared: Shared::new(),
        }
    }

    /// The two ends: the writer for [`TeeControl::add`](super::TeeControl::add), the reader for
    /// whoever listens. A sink that was split before starts empty again.
    pub fn split(&mut self) -> (TeeWriter<'_, CAP>, TeeReader<'_, CAP>) {
        self.shared = Shared::new();
        let (frames_in, frames_out) = ring::split(&mut self.frames);
        let (events_in, events_out) = queue::fresh(&mut self.events);
        let (losses, shared) = (&mut self.losses, &self.shared);
        let mut writer = TeeWriter { frames: frames_in, events: events_in, losses, shared, written: 0 };
        writer.forget_losses();
        (writer, TeeReader { frames: frames_out, events: events_out, due: None, taken: 0, shared })
    }
}

/// The writing end of a sink, which a tee uses while the sink is attached. It only waits with its
/// owner otherwise, and may be dropped at any time.
pub struct TeeWriter<'s, const CAP: usize> {
    frames: FrameProducer<'s, CAP>,
    events: queue::Writer<'s, Noted>,
    losses: &'s mut [Loss],
    shared: &'s Shared,
    /// Frames that went into the ring, modulo 2^32.
    written: u32,
}

impl<const CAP: usize> fmt::Debug for TeeWriter<'_, CAP> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TeeWriter").field("frames", &self.frames.len()).finish_non_exhaustive()
    }
}

impl<const CAP: usize> TeeWriter<'_, CAP> {
    /// Whether the sink's reader was dropped, so that nobody will ever hear it.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        // Relaxed: nothing else is read that the reader wrote.
        self.shared.deserted.load(Ordering::Relaxed)
    }

    /// A sink that is attached anew has lost nothing yet.
    pub(super) fn forget_losses(&mut self) {
        self.losses.fill(Loss::NONE);
    }

    /// Worker side; costs a copy of the frame.
    pub(super) fn hear(&mut self, track: u32, frame: &Frame<CAP>) {
        let loss = self.losses.iter().position(|loss| !loss.is_none() && loss.track == track);
        let mut copy = frame.clone();
        copy.stamp.track = track;
        if let Some(loss) = loss.and_then(|index| self.losses.get(index)) {
            copy.stamp.lost = copy.stamp.lost.saturating_add(loss.sample_frames);
            copy.stamp.fresh |= loss.fresh;
        }
        let (lost, fresh) = (copy.stamp.lost, copy.stamp.fresh);
        let loss = loss.or_else(|| self.losses.iter().position(Loss::is_none));
        let loss = loss.and_then(|index| self.losses.get_mut(index));
        if self.frames.push(copy).is_ok() {
            self.written = self.written.wrapping_add(1);
            if let Some(loss) = loss {
                *loss = Loss::NONE;
            }
        } else {
            self.shared.dropped_frames.add(1);
            if let Some(loss) = loss {
                let sample_frames = lost.saturating_add(frame.sample_frames() as u32);
                *loss = Loss { track, sample_frames, fresh };
            }
        }
    }

    /// Worker side.
    pub(super) fn note(&mut self, event: SessionEvent) {
        if self.events.push(Noted { event, after_frames: self.written }).is_err() {
            self.shared.dropped_events.add(1);
        }
        if let SessionEvent::TrackEnded { track, .. } = event {
            // No frame will come that could say it.
            self.losses.iter_mut().filter(|loss| loss.track == track).for_each(|loss| *loss = Loss::NONE);
        }
    }
}

/// The reading end of a sink, for any one thread of the application.
///
/// Once it is dropped the tee detaches the sink by itself. One that is forgotten costs the tee a
/// copy a frame, and all it misses is counted.
pub struct TeeReader<'s, const CAP: usize> {
    frames: FrameConsumer<'s, CAP>,
    events: queue::Reader<'s, Noted>,
    /// The oldest event, waiting for the frames before it.
    due: Option<Noted>,
    /// Frames taken from the ring, modulo 2^32.
    taken: u32,
    shared: &'s Shared,
}

impl<const CAP: usize> fmt::Debug for TeeReader<'_, CAP> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TeeReader").field("frames", &self.frames.len()).finish_non_exhaustive()
    }
}

impl<const CAP: usize> TeeReader<'_, CAP> {
    /// Takes the oldest frame or event, in the order in which they happened. Wait-free; costs a
    /// copy of the frame.
    pub fn pop(&mut self) -> Option<Tapped<CAP>> {
        // A frame that is seen here comes after all events before it: the fence makes this look at
        // the ring the partner of the release with which the frame was pushed.
        let frame_waits = !self.frames.is_empty();
        fence(Ordering::Acquire);
        if self.due.is_none() {
            self.due = self.events.pop();
        }
        if let Some(Noted { event, .. }) = self.due.take_if(|noted| noted.after_frames == self.taken) {
            return Some(Tapped::Event(event));
        }
        // An event that is not due has a frame before it, and whoever sees the event sees that frame.
        if !frame_waits && self.due.is_none() {
            return None;
        }
        let frame = self.frames.pop()?;
        self.taken = self.taken.wrapping_add(1);
        Some(Tapped::Audio { track: frame.stamp.track, frame })
    }

    /// Frames that wait; the worker may add some meanwhile.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.frames.len()
    }

    /// Frames lost so far because this reader was slow, modulo 2^32.
    #[must_use]
    pub fn dropped_frames(&self) -> u32 {
        self.shared.dropped_frames.get()
    }

    /// Events lost so far because this reader was slow, modulo 2^32.
    #[must_use]
    pub fn dropped_events(&self) -> u32 {
        self.shared.dropped_events.get()
    }
}

impl<const CAP: usize> Drop for TeeReader<'_, CAP> {
    fn drop(&mut self) {
        self.shared.deserted.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
