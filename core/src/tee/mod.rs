//! Worker to application: sends the same audio to several sinks that come and go while it runs.
//!
//! A [`Tee`] takes cleaned frames as a [`FrameSink`](crate::capture::FrameSink) and single tracks as a
//! [`TrackTap`](crate::playback::TrackTap). Each sink gets the audio it asked for at the pace of the device,
//! together with the events of the tracks in order, through queues of its own. A slow sink loses its own frames
//! only. While sinks play a track elsewhere, the loudspeaker can be silent about it.
//!
//! | part | side | what it does |
//! |---|---|---|
//! | [`TeeControl`] | application | adds and removes sinks, switches the direct path |
//! | [`TeeFeed`] | worker | takes audio and events |
//! | [`TeeReader`] | application | one sink's end |
//!
//! ```
//! use handsfree_core::playback::TrackTap;
//! use handsfree_core::tee::{TapFilter, Tee, TeeItem, TeeSink};
//! use handsfree_core::{Format, Frame, SessionEvent};
//!
//! let mut sink = TeeSink::<160, 8>::new();
//! let mut tee = Tee::<160, 4>::new();
//! let (writer, mut avatar) = sink.split();
//! let (mut control, mut feed) = tee.split();
//!
//! control.set_direct(false);
//! assert!(!feed.replaces(7), "no sink plays it yet");
//! let id = control.add(writer, TapFilter::Track(7)).map_err(|refused| refused.error)?;
//!
//! feed.poll();                                                // worker, once a round
//! assert!(feed.replaces(7) && !feed.replaces(8));
//! let frame = Frame::silence(Format::new(16_000, 1)?)?;       // the mixer's calls
//! TrackTap::on_frame(&mut feed, 7, &frame);
//! feed.on_event(SessionEvent::TrackEnded { track: 7, position: 160 });
//!
//! assert!(matches!(avatar.pop(), Some(TeeItem::Audio { track: 7, .. })));
//! assert!(matches!(avatar.pop(), Some(TeeItem::Event(SessionEvent::TrackEnded { .. }))));
//!
//! control.remove(id)?;
//! feed.poll();
//! assert!(!feed.replaces(7));
//! assert!(control.reclaim().is_some_and(|(gone, _writer)| gone == id));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod control;
mod feed;
mod sink;

use crate::atomics::{AtomicBool, AtomicU32};
use core::fmt;

use crate::atomics::spsc::Queue;

use self::control::ControlSlot;
pub use self::control::TeeControl;
use self::feed::FeedSlot;
pub use self::feed::TeeFeed;
pub use self::sink::{TeeItem, TeeReader, TeeSink, TeeWriter};
use crate::queue;

/// Track identity of captured frames; no track of a mixer has it.
pub const CAPTURED: u32 = 0;

/// Selection of the audio and events that a sink receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum TapFilter {
    /// All audio and events.
    All,
    /// One track, and events that are not about a track.
    Track(u32),
}

impl TapFilter {
    /// Returns whether audio of `track` passes.
    #[must_use]
    pub const fn wants(self, track: u32) -> bool {
        match self {
            Self::All => true,
            Self::Track(wanted) => wanted == track,
        }
    }
}

/// Identity of a sink, valid from the moment it is added until its writer is reclaimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SinkId(u32);

/// Why a tee refused a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TeeError {
    /// All sink slots are in use, some perhaps by writers that wait to be reclaimed.
    NoSlot {
        /// Number of sink slots.
        sinks: usize,
    },
    /// No sink with this identity is attached.
    NoSuchSink {
        /// Identity that was given.
        id: SinkId,
    },
    /// The sink's reader was dropped.
    ReaderDropped,
}

impl fmt::Display for TeeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSlot { sinks } => write!(f, "all {sinks} sink slots are in use"),
            Self::NoSuchSink { id } => write!(f, "sink {}: expected one that is attached", id.0),
            Self::ReaderDropped => {
                f.write_str("the reader of the sink was dropped: expected a sink with a reader")
            }
        }
    }
}

impl core::error::Error for TeeError {}

/// A sink that was not added, with its writer for a retry.
#[derive(Debug)]
pub struct RefusedSink<'s, const CAP: usize> {
    /// Writer of the sink, unchanged.
    pub writer: TeeWriter<'s, CAP>,
    /// Why the sink was not added.
    pub error: TeeError,
}

/// A sink on its way to the worker or attached there.
struct AttachedSink<'s, const CAP: usize> {
    writer: TeeWriter<'s, CAP>,
    filter: TapFilter,
    id: SinkId,
}

/// Takes one sink at a time to the worker and its writer back. A slot is in use from the moment its sink is
/// added until the writer is reclaimed, so neither queue can ever be full.
struct SinkSlot<'s, const CAP: usize> {
    arriving: Queue<AttachedSink<'s, CAP>, 2>,
    leaving: Queue<TeeWriter<'s, CAP>, 2>,
    /// Identity of the last sink that is to be detached. Written by the application.
    removed: AtomicU32,
}

impl<const CAP: usize> SinkSlot<'_, CAP> {
    const fn new() -> Self {
        Self { arriving: Queue::new(), leaving: Queue::new(), removed: AtomicU32::new(0) }
    }
}

/// Memory of a tee with slots for `SINKS` sinks, all zero bytes while new. Declare it after the sinks that it
/// uses, because it may still hold their writers when it is dropped.
pub struct Tee<'s, const CAP: usize, const SINKS: usize> {
    slots: [SinkSlot<'s, CAP>; SINKS],
    /// Whether the direct path is off. Written by the application.
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
    /// Returns a tee without sinks, its direct path on.
    #[must_use]
    pub const fn new() -> Self {
        Self { slots: [const { SinkSlot::new() }; SINKS], indirect: AtomicBool::new(false) }
    }

    /// Splits the tee into the application's and the worker's end. A tee that was split before starts without
    /// sinks, and writers that it still held are dropped.
    pub fn split(&mut self) -> (TeeControl<'_, 's, CAP, SINKS>, TeeFeed<'_, 's, CAP, SINKS>) {
        *self = Self::new();
        let mut controls = heapless::Vec::new();
        let feeds = self.slots.each_mut().map(|SinkSlot { arriving, leaving, removed }| {
            let (arriving, arrived) = queue::split_empty(arriving);
            let (leaving, left) = queue::split_empty(leaving);
            // The vector's capacity is the number of slots.
            let _ = controls.push(ControlSlot { arriving, left, removed, id: None });
            FeedSlot { arrived, leaving, removed, sink: None }
        });
        let indirect = &self.indirect;
        (TeeControl { slots: controls, indirect, last_id: 0 }, TeeFeed { slots: feeds, indirect })
    }
}

#[cfg(test)]
mod tests;
