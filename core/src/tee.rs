//! Worker to application: the same audio to several sinks that come and go while it runs.
//!
//! A [`Tee`] stands where audio goes by: it takes cleaned frames as a
//! [`FrameSink`] and single tracks as a [`TrackTap`]. Each sink gets
//! what it asked for at the pace of the device, with what happened to the tracks in between, through
//! queues of its own; one that is slow loses its own frames and no one else's. While sinks play a
//! track elsewhere, the loudspeaker can be silent about it.
//!
//! | part | side | what it does |
//! |---|---|---|
//! | [`TeeControl`] | application | adds and removes sinks, switches the direct path |
//! | [`TeeFeed`] | worker | takes audio and events |
//! | [`TeeReader`] | application | one sink's end |
//!
//! ```
//! use handsfree_core::playback::TrackTap;
//! use handsfree_core::tee::{TapFilter, Tapped, Tee, TeeSink};
//! use handsfree_core::{Format, Frame, SessionEvent};
//!
//! let mut sink = TeeSink::<160, 8>::new();
//! let mut tee = Tee::<160, 4>::new();
//! let (writer, mut avatar) = sink.split();
//! let (mut control, mut feed) = tee.split();
//!
//! control.set_direct(false);
//! assert!(!feed.replaces(7), "nobody else plays it");
//! let id = control.add(writer, TapFilter::Track(7)).map_err(|refused| refused.error)?;
//!
//! feed.poll();                                                // worker, once a round
//! assert!(feed.replaces(7) && !feed.replaces(8));
//! let frame = Frame::silence(Format::new(16_000, 1)?)?;       // the mixer's calls
//! TrackTap::on_frame(&mut feed, 7, &frame);
//! feed.on_event(SessionEvent::TrackEnded { track: 7, position: 160 });
//!
//! assert!(matches!(avatar.pop(), Some(Tapped::Audio { track: 7, .. })));
//! assert!(matches!(avatar.pop(), Some(Tapped::Event(SessionEvent::TrackEnded { .. }))));
//!
//! control.remove(id)?;
//! feed.poll();
//! assert!(!feed.replaces(7));
//! assert!(control.reclaim().is_some_and(|(gone, _writer)| gone == id));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod sink;

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use heapless::spsc::Queue;

pub use self::sink::{Tapped, TeeReader, TeeSink, TeeWriter};
use crate::capture::FrameSink;
use crate::event::SessionEvent;
use crate::frame::Frame;
use crate::playback::TrackTap;
use crate::queue;

/// The track that captured frames count as; no track of a mixer has this identity.
pub const CAPTURED: u32 = 0;

/// What a sink wants to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum TapFilter {
    /// Everything.
    All,
    /// One track, and what is not about any track.
    Track(u32),
}

impl TapFilter {
    /// Whether a track passes.
    #[must_use]
    pub const fn wants(self, track: u32) -> bool {
        match self {
            Self::All => true,
            Self::Track(wanted) => wanted == track,
        }
    }
}

/// Names a sink from the moment it was added until its writer is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SinkId(u32);

/// Why a tee did not do what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TeeError {
    /// All places are taken, some perhaps by writers that wait to be reclaimed.
    NoPlace {
        /// How many places there are.
        sinks: usize,
    },
    /// No sink of this name is attached.
    NoSuchSink {
        /// The name given.
        id: SinkId,
    },
    /// The sink's reader was dropped.
    Deserted,
}

impl fmt::Display for TeeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPlace { sinks } => write!(f, "all {sinks} places for sinks are taken"),
            Self::NoSuchSink { id } => write!(f, "sink {}: expected one that is attached", id.0),
            Self::Deserted => f.write_str("the sink's reader was dropped: expected one that listens"),
        }
    }
}

impl core::error::Error for TeeError {}

/// A sink that was not added, with its writer to try again.
#[derive(Debug)]
pub struct RefusedSink<'s, const CAP: usize> {
    /// What was to be added, unharmed.
    pub writer: TeeWriter<'s, CAP>,
    /// Why it was not.
    pub error: TeeError,
}

/// A sink on its way to the worker, and while it is there.
struct Attached<'s, const CAP: usize> {
    writer: TeeWriter<'s, CAP>,
    filter: TapFilter,
    id: SinkId,
}

/// The way of one sink at a time to the worker and back. As a place is taken from the moment its
/// sink is added until the writer is reclaimed, neither queue can ever be full.
struct Place<'s, const CAP: usize> {
    arriving: Queue<Attached<'s, CAP>, 2>,
    leaving: Queue<TeeWriter<'s, CAP>, 2>,
    /// Written by the application: the last sink that is to leave.
    removed: AtomicU32,
}

impl<const CAP: usize> Place<'_, CAP> {
    const fn new() -> Self {
        Self { arriving: Queue::new(), leaving: Queue::new(), removed: AtomicU32::new(0) }
    }
}

/// The memory of a tee with places for `SINKS` sinks, all zero bytes while new. It is declared after
/// the sinks that it is to use, for it may still hold their writers when it goes.
pub struct Tee<'s, const CAP: usize, const SINKS: usize> {
    places: [Place<'s, CAP>; SINKS],
    /// Written by the application.
    indirect: AtomicBool,
}

impl<const CAP: usize, const SINKS: usize> fmt::Debug for Tee<'_, CAP, SINKS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tee").field("sinks", &SINKS).finish_non_exhaustive()
    }
}

impl<const CAP: usize, const SINKS: usize> Default for Tee<'_, CAP, SINKS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'s, const CAP: usize, const SINKS: usize> Tee<'s, CAP, SINKS> {
    /// A tee without sinks, its direct path on.
    #[must_use]
    pub const fn new() -> Self {
        Self { places: [const { Place::new() }; SINKS], indirect: AtomicBool::new(false) }
    }

    /// The application's and the worker's end. A tee that was split before starts anew; writers that
    /// it still held are dropped.
    pub fn split(&mut self) -> (TeeControl<'_, 's, CAP, SINKS>, TeeFeed<'_, 's, CAP, SINKS>) {
        *self = Self::new();
        let mut ends = heapless::Vec::new();
        let attached = self.places.each_mut().map(|Place { arriving, leaving, removed }| {
            let (arriving, arrived) = queue::fresh(arriving);
            let (leaving, left) = queue::fresh(leaving);
            // As many ends as places fit by type.
            let _ = ends.push(ControlPlace { arriving, left, removed, id: None });
            FeedPlace { arrived, leaving, removed, sink: None }
        });
        let indirect = &self.indirect;
        (TeeControl { places: ends, indirect, last_id: 0 }, TeeFeed { places: attached, indirect })
    }
}

struct ControlPlace<'a, 's, const CAP: usize> {
    arriving: queue::Writer<'a, Attached<'s, CAP>>,
    left: queue::Reader<'a, TeeWriter<'s, CAP>>,
    removed: &'a AtomicU32,
    /// The sink that was added and whose writer is not back.
    id: Option<SinkId>,
}

/// The application's end of a tee. Once it is dropped, the sinks stay attached as they are.
pub struct TeeControl<'a, 's, const CAP: usize, const SINKS: usize> {
    places: heapless::Vec<ControlPlace<'a, 's, CAP>, SINKS>,
    indirect: &'a AtomicBool,
    last_id: u32,
}

impl<const CAP: usize, const SINKS: usize> fmt::Debug for TeeControl<'_, '_, CAP, SINKS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TeeControl").field("places", &SINKS).field("free", &self.free()).finish()
    }
}

impl<'s, const CAP: usize, const SINKS: usize> TeeControl<'_, 's, CAP, SINKS> {
    /// Attaches a sink, also while audio runs; it hears what comes after the worker's next look.
    ///
    /// # Errors
    /// [`TeeError::NoPlace`] or [`TeeError::Deserted`], with the writer.
    // The writer is the error on purpose: it goes back to its owner, and boxing it would allocate.
    #[allow(clippy::result_large_err)]
    pub fn add(
        &mut self,
        writer: TeeWriter<'s, CAP>,
        filter: TapFilter,
    ) -> Result<SinkId, RefusedSink<'s, CAP>> {
        if writer.is_abandoned() {
            return Err(RefusedSink { writer, error: TeeError::Deserted });
        }
        let no_place = TeeError::NoPlace { sinks: SINKS };
        let Some(place) = self.places.iter_mut().find(|place| place.id.is_none()) else {
            return Err(RefusedSink { writer, error: no_place });
        };
        // Never 0, which a new place's word for the removed one says.
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        let id = SinkId(self.last_id);
        match place.arriving.push(Attached { writer, filter, id }) {
            Ok(()) => {
                place.id = Some(id);
                Ok(id)
            }
            Err(Attached { writer, .. }) => Err(RefusedSink { writer, error: no_place }),
        }
    }

    /// Detaches a sink, also while audio runs. What it has heard stays with its reader; its writer
    /// comes back by [`reclaim`](Self::reclaim) after the worker's next look.
    ///
    /// # Errors
    /// [`TeeError::NoSuchSink`] for a name that was never given or whose writer is back.
    pub fn remove(&mut self, id: SinkId) -> Result<(), TeeError> {
        let place = self.places.iter().find(|place| place.id == Some(id));
        let place = place.ok_or(TeeError::NoSuchSink { id })?;
        // Relaxed: the word alone says it all. The writer comes back through a queue.
        place.removed.store(id.0, Ordering::Relaxed);
        Ok(())
    }

    /// Takes back the writer of a sink that was removed, or whose reader was dropped. Its place is
    /// free then; the writer can be added again, its reader going on where it is.
    pub fn reclaim(&mut self) -> Option<(SinkId, TeeWriter<'s, CAP>)> {
        self.places.iter_mut().find_map(|place| {
            let writer = place.left.pop()?;
            Some((place.id.take()?, writer))
        })
    }

    /// Switches the direct path, on unless told otherwise. While it is off, a track that at least
    /// one attached sink hears is silent in the mix; its state and events are the same.
    pub fn set_direct(&mut self, on: bool) {
        // Relaxed: the worker needs nothing else with it.
        self.indirect.store(!on, Ordering::Relaxed);
    }

    /// Places that a sink can be added to now.
    #[must_use]
    pub fn free(&self) -> usize {
        self.places.iter().filter(|place| place.id.is_none()).count()
    }
}

struct FeedPlace<'a, 's, const CAP: usize> {
    arrived: queue::Reader<'a, Attached<'s, CAP>>,
    leaving: queue::Writer<'a, TeeWriter<'s, CAP>>,
    removed: &'a AtomicU32,
    sink: Option<Attached<'s, CAP>>,
}

impl<'s, const CAP: usize> FeedPlace<'_, 's, CAP> {
    fn look(&mut self) {
        if self.sink.is_none() {
            self.sink = self.arrived.pop();
            if let Some(sink) = &mut self.sink {
                sink.writer.forget_losses();
            }
        }
        let removed = self.removed.load(Ordering::Relaxed);
        let goes = |sink: &mut Attached<'s, CAP>| sink.id.0 == removed || sink.writer.is_abandoned();
        if let Some(sink) = self.sink.take_if(goes) {
            // There is room: the place is not used again before the writer was taken.
            let _ = self.leaving.push(sink.writer);
        }
    }
}

/// The worker's end of a tee: the sink of a [capture pipeline](crate::capture::Pipeline::poll) or the
/// tap of the mixer, or each in turn where one worker runs both.
///
/// Costs a copy of the frame for each sink that hears it. It neither blocks nor allocates, whatever
/// readers and control do.
pub struct TeeFeed<'a, 's, const CAP: usize, const SINKS: usize> {
    places: [FeedPlace<'a, 's, CAP>; SINKS],
    indirect: &'a AtomicBool,
}

impl<const CAP: usize, const SINKS: usize> fmt::Debug for TeeFeed<'_, '_, CAP, SINKS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TeeFeed").field("places", &SINKS).field("sinks", &self.sinks()).finish()
    }
}

impl<'s, const CAP: usize, const SINKS: usize> TeeFeed<'_, 's, CAP, SINKS> {
    /// Looks which sinks are to come or go. Worker side, once a round: frames and events do it too,
    /// but a worker through which nothing flows would never look. Costs some loads a place.
    pub fn poll(&mut self) {
        self.places.iter_mut().for_each(FeedPlace::look);
    }

    /// Sinks that are attached.
    #[must_use]
    pub fn sinks(&self) -> usize {
        self.places.iter().filter(|place| place.sink.is_some()).count()
    }

    fn is_heard(&self, track: u32) -> bool {
        self.places.iter().any(|place| place.sink.as_ref().is_some_and(|sink| sink.filter.wants(track)))
    }

    /// The sinks that hear a track, or what is not about any.
    fn listeners(&mut self, track: Option<u32>) -> impl Iterator<Item = &mut TeeWriter<'s, CAP>> {
        self.places.iter_mut().filter_map(move |place| {
            let sink = place.sink.as_mut()?;
            track.is_none_or(|track| sink.filter.wants(track)).then_some(&mut sink.writer)
        })
    }
}

impl<const CAP: usize, const SINKS: usize> FrameSink<CAP> for TeeFeed<'_, '_, CAP, SINKS> {
    fn on_frame(&mut self, frame: &Frame<CAP>) {
        self.poll();
        self.listeners(Some(CAPTURED)).for_each(|writer| writer.hear(CAPTURED, frame));
    }
}

impl<const CAP: usize, const SINKS: usize> TrackTap<CAP> for TeeFeed<'_, '_, CAP, SINKS> {
    /// Also while a sink is about to come, so that the next frame brings it in.
    fn wants(&self, track: u32) -> bool {
        self.is_heard(track) || self.places.iter().any(|place| place.arrived.len() > 0)
    }

    fn replaces(&self, track: u32) -> bool {
        self.indirect.load(Ordering::Relaxed) && self.is_heard(track)
    }

    fn on_frame(&mut self, track: u32, frame: &Frame<CAP>) {
        self.listeners(Some(track)).for_each(|writer| writer.hear(track, frame));
        // Not before: whether the mix replaced this frame was said for the sinks there were.
        self.poll();
    }

    fn on_event(&mut self, event: SessionEvent) {
        self.poll();
        self.listeners(track_of(event)).for_each(|writer| writer.note(event));
    }
}

/// Whom an event is about.
const fn track_of(event: SessionEvent) -> Option<u32> {
    match event {
        SessionEvent::TrackStarted { track }
        | SessionEvent::TrackStarved { track }
        | SessionEvent::TrackEnded { track, .. }
        | SessionEvent::TrackPaused { track, .. }
        | SessionEvent::TrackResumed { track }
        | SessionEvent::TrackInterrupted { track, .. } => Some(track),
        SessionEvent::DeviceChanged { .. }
        | SessionEvent::VoiceTripped { .. }
        | SessionEvent::VoiceDisabled
        | SessionEvent::ProcessorTripped { .. }
        | SessionEvent::ProcessorDisabled { .. } => None,
    }
}

#[cfg(test)]
mod tests;
