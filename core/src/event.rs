//! Worker to application: what happened that an application may want to know.

use core::fmt;

use heapless::spsc::Queue;

use crate::audio_io::Direction;
use crate::capture::ProcessorFault;
use crate::limits::EVENT_DEPTH;
use crate::queue::{Reader, Writer};
use crate::stats::Counter;

/// Something a worker half reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SessionEvent {
    /// The first frame of a track went into the mix.
    TrackStarted {
        /// Which track.
        track: u32,
    },
    /// An open track had nothing to play; said once until it plays again.
    TrackStarved {
        /// Which track.
        track: u32,
    },
    /// A track was mixed to its end, or faded out because its handle was dropped.
    TrackEnded {
        /// Which track.
        track: u32,
        /// How many sample frames of it were mixed.
        position: u64,
    },
    /// A track was paused: its last sample for now went into the mix.
    TrackPaused {
        /// Which track.
        track: u32,
        /// How many sample frames of it were mixed.
        position: u64,
    },
    /// A paused track plays again.
    TrackResumed {
        /// Which track.
        track: u32,
    },
    /// A track was interrupted or cleared: what was queued is gone.
    TrackInterrupted {
        /// Which track.
        track: u32,
        /// One past the last sample frame that was mixed; what follows was never played.
        position: u64,
    },
    /// A direction's device now has another format. What the voice processor learned of the old one
    /// is of no use; a host resets it where it may allocate.
    DeviceChanged {
        /// Which direction.
        direction: Direction,
    },
    /// The voice processor failed or was too slow; frames pass unprocessed for a second.
    VoiceTripped {
        /// How often so far.
        fault: u8,
    },
    /// The voice processor failed once more and stays bypassed.
    VoiceDisabled,
    /// A guarded step of the chain failed or was too slow; frames pass it for a second.
    ProcessorTripped {
        /// Place in the chain, counted from 0.
        step: u8,
        /// How often so far.
        fault: u8,
    },
    /// A guarded step of the chain failed once more and stays bypassed.
    ProcessorDisabled {
        /// Place in the chain, counted from 0.
        step: u8,
    },
}

impl From<ProcessorFault> for SessionEvent {
    fn from(fault: ProcessorFault) -> Self {
        match fault {
            ProcessorFault::Tripped { step, fault } => Self::ProcessorTripped { step, fault },
            ProcessorFault::Disabled { step } => Self::ProcessorDisabled { step },
        }
    }
}

pub(crate) type EventQueue = Queue<SessionEvent, EVENT_DEPTH>;

pub(crate) struct EventSender<'a> {
    pub(crate) queue: Writer<'a, SessionEvent>,
    pub(crate) dropped: &'a Counter,
}

impl fmt::Debug for EventSender<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventSender").field("waiting", &self.queue.len()).finish()
    }
}

impl EventSender<'_> {
    #[cold]
    #[inline(never)]
    pub(crate) fn send(&mut self, event: SessionEvent) {
        if self.queue.push(event).is_err() {
            self.dropped.add(1);
        }
    }
}

/// The application's end of a session's events; bounded, what does not fit is counted in
/// [`PlaybackStats::dropped_events`](crate::PlaybackStats::dropped_events) or
/// [`CaptureStats::dropped_events`](crate::CaptureStats::dropped_events).
pub struct Events<'a> {
    pub(crate) capture: Reader<'a, SessionEvent>,
    pub(crate) playback: Reader<'a, SessionEvent>,
}

impl fmt::Debug for Events<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.capture.len() + self.playback.len();
        f.debug_struct("Events").field("waiting", &waiting).finish()
    }
}

impl Events<'_> {
    /// The oldest event of either worker that was not taken yet.
    pub fn poll(&mut self) -> Option<SessionEvent> {
        self.capture.pop().or_else(|| self.playback.pop())
    }
}
