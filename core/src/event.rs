//! Worker and application side: the events that a session reports.

use core::fmt;

use crate::atomics::spsc::Queue;

use crate::audio_io::Direction;
use crate::capture::ProcessorFault;
use crate::limits::EVENT_DEPTH;
use crate::queue::{QueueReader, QueueWriter};
use crate::stats::Counter;

/// An event that a worker reports to the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SessionEvent {
    /// The first frame of a track went into the mix.
    TrackStarted {
        /// Identity of the track.
        track: u32,
    },
    /// An open track had nothing to play. Reported once until it plays again.
    TrackStarved {
        /// Identity of the track.
        track: u32,
    },
    /// A track was mixed to its end, or faded out because its handle was dropped.
    TrackEnded {
        /// Identity of the track.
        track: u32,
        /// Number of its sample frames that were mixed.
        position: u64,
    },
    /// A track was paused: its last sample before the pause went into the mix.
    TrackPaused {
        /// Identity of the track.
        track: u32,
        /// Number of its sample frames that were mixed.
        position: u64,
    },
    /// A paused track plays again.
    TrackResumed {
        /// Identity of the track.
        track: u32,
    },
    /// A track was interrupted or cleared: its queued audio was dropped.
    TrackInterrupted {
        /// Identity of the track.
        track: u32,
        /// Position after the last sample frame that was mixed; audio from there on was never played.
        position: u64,
    },
    /// The device of a direction now has another format. What the voice processor learned of the old device
    /// is stale; a host resets it where it may allocate.
    DeviceChanged {
        /// Direction of the device.
        direction: Direction,
    },
    /// The voice processor removed the echo before, and for 1.5 s of active loudspeaker it has not: the echo is
    /// searched over the whole history. Reported only with acoustic delay estimation.
    EchoLost,
    /// The echo was found where the devices' times did not expect it, and the reference was moved, or a lost
    /// echo is removed again.
    EchoFound {
        /// Time in milliseconds by which the echo comes later than the devices' times say; negative if it
        /// comes earlier.
        lag_ms: i32,
    },
    /// A device's clock is more than 2 % away from its nominal rate: the device is not at the rate that it
    /// states. The alignment follows as far as it can.
    RateUntrue {
        /// Direction of the device.
        direction: Direction,
        /// Rate that was measured, in hertz.
        rate_hz: u32,
    },
    /// The playback ring holds another number of frames after each poll: fewer because the worker was punctual, or as many as
    /// at the start because of an underrun. Reported only with [`AdaptiveFill`](crate::playback::AdaptiveFill).
    PlaybackFillChanged {
        /// Number of frames that the ring holds now.
        frames: u32,
        /// Number of frames that it held at the start of the stream, and holds after an underrun.
        most_frames: u32,
    },
    /// A device stood still without reporting it: it took or delivered fewer samples than its time allows, and
    /// that much sound was lost or silent.
    DeviceStalled {
        /// Direction of the device.
        direction: Direction,
        /// Length of the stall, in sample frames of the device.
        sample_frames: u32,
    },
    /// The voice processor failed or was too slow; frames pass unprocessed for a second.
    VoiceTripped {
        /// Number of faults so far.
        fault: u8,
    },
    /// The voice processor failed once more and stays bypassed.
    VoiceDisabled,
    /// A guarded step of the chain failed or was too slow; frames bypass it for a second.
    ProcessorTripped {
        /// Index of the step in the chain.
        step: u8,
        /// Number of faults so far.
        fault: u8,
    },
    /// A guarded step of the chain failed once more and stays bypassed.
    ProcessorDisabled {
        /// Index of the step in the chain.
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
    pub(crate) queue: QueueWriter<'a, SessionEvent>,
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

/// The application's end of the queues of events. The queues are bounded; an event that does not fit is
/// dropped and counted in [`PlaybackStats::dropped_events`](crate::PlaybackStats::dropped_events) or
/// [`CaptureStats::dropped_events`](crate::CaptureStats::dropped_events).
pub struct Events<'a> {
    pub(crate) capture: QueueReader<'a, SessionEvent>,
    pub(crate) playback: QueueReader<'a, SessionEvent>,
}

impl fmt::Debug for Events<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.capture.len() + self.playback.len();
        f.debug_struct("Events").field("waiting", &waiting).finish()
    }
}

impl Events<'_> {
    /// Takes the oldest event of the capture worker, or else of the playback worker.
    pub fn poll(&mut self) -> Option<SessionEvent> {
        self.capture.pop().or_else(|| self.playback.pop())
    }
}
