//! Worker to application: what one sink of a tee receives, in order, and what it lost.

use crate::atomics::{AtomicBool, Ordering, fence};
use core::fmt;

use crate::atomics::spsc::Queue;

use crate::event::SessionEvent;
use crate::frame::Frame;
use crate::limits::EVENT_DEPTH;
use crate::queue;
use crate::ring::{self, FrameConsumer, FrameProducer, RingMemory};
use crate::stats::Counter;

/// An item that a sink receives.
#[derive(Clone, Debug)]
// Boxing the frame would allocate.
#[allow(clippy::large_enum_variant)]
pub enum TeeItem<const CAP: usize> {
    /// 10 ms of one track.
    Audio {
        /// Identity of the track; [`CAPTURED`](super::CAPTURED) on the capture path.
        track: u32,
        /// Samples of the track. `stamp.lost` is the number of the track's sample frames missing directly
        /// before, including those that this sink was too slow for.
        frame: Frame<CAP>,
    },
    /// An event after the audio received before it and before the audio that follows.
    Event(SessionEvent),
}

/// An event and the number of frames pushed to the sink before it.
#[derive(Clone, Copy, Debug)]
struct SinkEvent {
    event: SessionEvent,
    after_frames: u32,
}

/// Loss of a track that the sink's reader has not received yet; unused while it is 0.
#[derive(Clone, Copy, Debug)]
struct TrackLoss {
    track: u32,
    sample_frames: u32,
    fresh: bool,
}

impl TrackLoss {
    const NONE: Self = Self { track: 0, sample_frames: 0, fresh: false };

    const fn is_none(&self) -> bool {
        self.sample_frames == 0
    }
}

/// What both ends of a sink share.
#[derive(Debug)]
struct SinkShared {
    dropped_frames: Counter,
    dropped_events: Counter,
    /// Whether the reader was dropped. Written by the reader.
    reader_dropped: AtomicBool,
}

impl SinkShared {
    const fn new() -> Self {
        Self {
            dropped_frames: Counter::new(),
            dropped_events: Counter::new(),
            reader_dropped: AtomicBool::new(false),
        }
    }
}

/// Memory of one sink, lent by the application.
///
/// It holds `FRAMES - 1` frames and, in a queue of their own, at least 31 events, so that audio does not
/// displace events. `TRACKS` is the number of tracks whose losses it can report at a time, usually the
/// session's track slots; losses of further tracks are only counted. A new sink is all zero bytes.
#[derive(Debug)]
pub struct TeeSink<const CAP: usize, const FRAMES: usize, const TRACKS: usize = 8> {
    frames: RingMemory<CAP, 0, FRAMES>,
    events: Queue<SinkEvent, EVENT_DEPTH>,
    losses: [TrackLoss; TRACKS],
    shared: SinkShared,
}

impl<const CAP: usize, const FRAMES: usize, const TRACKS: usize> Default for TeeSink<CAP, FRAMES, TRACKS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const CAP: usize, const FRAMES: usize, const TRACKS: usize> TeeSink<CAP, FRAMES, TRACKS> {
    /// Returns an empty sink.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            frames: Queue::new(),
            events: Queue::new(),
            losses: [TrackLoss::NONE; TRACKS],
            shared: SinkShared::new(),
        }
    }

    /// Splits the sink into the writer for [`TeeControl::add`](super::TeeControl::add) and the reader for the
    /// application. A sink that was split before starts empty again.
    pub fn split(&mut self) -> (TeeWriter<'_, CAP>, TeeReader<'_, CAP>) {
        self.shared = SinkShared::new();
        let (frames_in, frames_out) = ring::split(&mut self.frames);
        let (events_in, events_out) = queue::split_empty(&mut self.events);
        let (losses, shared) = (&mut self.losses, &self.shared);
        let mut writer = TeeWriter { frames: frames_in, events: events_in, losses, shared, written: 0 };
        writer.forget_losses();
        (writer, TeeReader { frames: frames_out, events: events_out, next_event: None, taken: 0, shared })
    }
}

/// The writing end of a sink, which a tee uses while the sink is attached. It may be dropped at any time.
pub struct TeeWriter<'s, const CAP: usize> {
    frames: FrameProducer<'s, CAP>,
    events: queue::QueueWriter<'s, SinkEvent>,
    losses: &'s mut [TrackLoss],
    shared: &'s SinkShared,
    /// Number of frames pushed to the ring, modulo 2^32.
    written: u32,
}

impl<const CAP: usize> fmt::Debug for TeeWriter<'_, CAP> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TeeWriter").field("frames", &self.frames.len()).finish_non_exhaustive()
    }
}

impl<const CAP: usize> TeeWriter<'_, CAP> {
    /// Returns whether the sink's reader was dropped.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        // Relaxed: the worker reads nothing else that the reader wrote.
        self.shared.reader_dropped.load(Ordering::Relaxed)
    }

    /// Clears the losses, because a sink that is attached anew has lost nothing yet.
    pub(super) fn forget_losses(&mut self) {
        self.losses.fill(TrackLoss::NONE);
    }

    /// Pushes a frame of `track`, or counts it as lost. Worker side; costs a copy of the frame.
    pub(crate) fn push_frame(&mut self, track: u32, frame: &Frame<CAP>) {
        let loss = self.losses.iter().position(|loss| !loss.is_none() && loss.track == track);
        let mut copy = frame.clone();
        copy.stamp.track = track;
        if let Some(loss) = loss.and_then(|index| self.losses.get(index)) {
            copy.stamp.lost = copy.stamp.lost.saturating_add(loss.sample_frames);
            copy.stamp.fresh |= loss.fresh;
        }
        let (lost, fresh) = (copy.stamp.lost, copy.stamp.fresh);
        let loss = loss.or_else(|| self.losses.iter().position(TrackLoss::is_none));
        let loss = loss.and_then(|index| self.losses.get_mut(index));
        if self.frames.push(copy).is_ok() {
            self.written = self.written.wrapping_add(1);
            if let Some(loss) = loss {
                *loss = TrackLoss::NONE;
            }
        } else {
            self.shared.dropped_frames.add(1);
            if let Some(loss) = loss {
                let sample_frames = lost.saturating_add(frame.sample_frames() as u32);
                *loss = TrackLoss { track, sample_frames, fresh };
            }
        }
    }

    /// Pushes an event, or counts it as lost. Worker side.
    pub(crate) fn push_event(&mut self, event: SessionEvent) {
        if self.events.push(SinkEvent { event, after_frames: self.written }).is_err() {
            self.shared.dropped_events.add(1);
        }
        if let SessionEvent::TrackEnded { track, .. } = event {
            // No later frame of the track can report its loss.
            self.losses
                .iter_mut()
                .filter(|loss| loss.track == track)
                .for_each(|loss| *loss = TrackLoss::NONE);
        }
    }
}

/// The reading end of a sink, for one thread of the application.
///
/// When it is dropped, the tee detaches the sink. A reader that is kept but not read costs the tee a copy a
/// frame, and everything it misses is counted.
pub struct TeeReader<'s, const CAP: usize> {
    frames: FrameConsumer<'s, CAP>,
    events: queue::QueueReader<'s, SinkEvent>,
    /// Oldest event, which waits for the frames before it.
    next_event: Option<SinkEvent>,
    /// Number of frames taken from the ring, modulo 2^32.
    taken: u32,
    shared: &'s SinkShared,
}

impl<const CAP: usize> fmt::Debug for TeeReader<'_, CAP> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TeeReader").field("frames", &self.frames.len()).finish_non_exhaustive()
    }
}

impl<const CAP: usize> TeeReader<'_, CAP> {
    /// Takes the oldest frame or event, in the order in which they happened. Wait-free; costs a copy of the
    /// frame.
    pub fn pop(&mut self) -> Option<TeeItem<CAP>> {
        // All events before a frame that is seen here are seen below: the fence makes this load of the ring the
        // partner of the release store that pushed the frame.
        let frame_waits = !self.frames.is_empty();
        fence(Ordering::Acquire);
        if self.next_event.is_none() {
            self.next_event = self.events.pop();
        }
        if let Some(SinkEvent { event, .. }) =
            self.next_event.take_if(|pending| pending.after_frames == self.taken)
        {
            return Some(TeeItem::Event(event));
        }
        // An event that is not next has a frame before it, and that frame is visible once the event is.
        if !frame_waits && self.next_event.is_none() {
            return None;
        }
        let frame = self.frames.pop()?;
        self.taken = self.taken.wrapping_add(1);
        Some(TeeItem::Audio { track: frame.stamp.track, frame })
    }

    /// Returns how many frames wait; the worker may add some meanwhile.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.frames.len()
    }

    /// Returns how many frames were lost so far because this reader was slow, modulo 2^32.
    #[must_use]
    pub fn dropped_frames(&self) -> u32 {
        self.shared.dropped_frames.get()
    }

    /// Returns how many events were lost so far because this reader was slow, modulo 2^32.
    #[must_use]
    pub fn dropped_events(&self) -> u32 {
        self.shared.dropped_events.get()
    }
}

impl<const CAP: usize> Drop for TeeReader<'_, CAP> {
    fn drop(&mut self) {
        self.shared.reader_dropped.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
