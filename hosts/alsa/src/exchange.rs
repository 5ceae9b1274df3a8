//! Control side and board's thread: the queues and the wake-up event between them. No lock, and nothing is allocated or
//! freed on the board's side.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use handsfree_core::audio_io::{Direction, Directions, Event};
use rtrb::{Consumer, Producer, RingBuffer};

use crate::device_stream::DeviceStream;
use crate::halves::{CaptureHalf, PlaybackHalf};

pub(crate) type CaptureDeviceStream<'a, const CAP: usize> = Box<DeviceStream<CaptureHalf<'a, CAP>>>;
pub(crate) type PlaybackDeviceStream<'a, const CAP: usize, const SLOTS: usize> =
    Box<DeviceStream<PlaybackHalf<'a, CAP, SLOTS>>>;

/// Capacity of the command queue: at most a start, a stop and another start wait in it.
const COMMANDS: usize = 4;
/// Capacity of the event queue; further events are counted and dropped.
const EVENTS: usize = 64;
/// Capacity of the report queue: more than the reports that two streams can cause.
const REPORTS: usize = 8;

/// Streams of one or both directions.
pub(crate) struct DeviceStreams<'a, const CAP: usize, const SLOTS: usize> {
    pub(crate) capture: Option<CaptureDeviceStream<'a, CAP>>,
    pub(crate) playback: Option<PlaybackDeviceStream<'a, CAP, SLOTS>>,
    /// Whether both start at the same instant.
    pub(crate) linked: bool,
}

/// Command of control to the board.
pub(crate) enum BoardCommand<'a, const CAP: usize, const SLOTS: usize> {
    Start(DeviceStreams<'a, CAP, SLOTS>),
    Stop(Directions),
}

/// Report of the board to control about a stream.
pub(crate) enum BoardReport<'a, const CAP: usize, const SLOTS: usize> {
    /// The first sample of a direction moved.
    Started(Direction),
    /// The capture stream was stopped or lost.
    CaptureReturned(CaptureDeviceStream<'a, CAP>),
    /// The playback stream was stopped or lost.
    PlaybackReturned(PlaybackDeviceStream<'a, CAP, SLOTS>),
}

/// Counters of the board, readable on any thread. Arrays hold capture first, then playback.
#[derive(Debug, Default)]
pub(crate) struct BoardCounters {
    /// Whether the board's thread accepts commands.
    pub(crate) runs: AtomicBool,
    pub(crate) events_dropped: AtomicU32,
    pub(crate) times_rejected: [AtomicU32; 2],
    pub(crate) delays_rejected: [AtomicU32; 2],
}

/// Event descriptor that control signals to wake the board's `poll`. Neither side ever blocks on it.
#[derive(Debug)]
pub(crate) struct WakeEvent(File);

impl WakeEvent {
    fn new() -> io::Result<Self> {
        // SAFETY: the call takes numbers only.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is valid, and nothing else owns it.
        Ok(Self(unsafe { File::from_raw_fd(fd) }))
    }

    /// Makes the descriptor readable.
    pub(crate) fn signal(&self) {
        // Fails only after 2^64 signals that were not cleared; the descriptor is readable then anyway.
        _ = (&self.0).write(&1_u64.to_ne_bytes());
    }

    /// Makes the descriptor unreadable again. System call: `read`.
    pub(crate) fn clear(&self) {
        _ = (&self.0).read(&mut [0; 8]);
    }

    pub(crate) fn descriptor(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

/// Control's end of the queues.
pub(crate) struct ControlEndpoint<'a, const CAP: usize, const SLOTS: usize> {
    commands: Producer<BoardCommand<'a, CAP, SLOTS>>,
    pub(crate) reports: Consumer<BoardReport<'a, CAP, SLOTS>>,
    pub(crate) events: Consumer<Event>,
    pub(crate) counters: Arc<BoardCounters>,
    /// Must be the last field: it wakes the board after the queues were dropped, so that the board notices that.
    wake: WakeOnDrop,
}

/// Wake-up event that is signalled once more when it is dropped.
#[derive(Debug)]
struct WakeOnDrop(Arc<WakeEvent>);

impl Drop for WakeOnDrop {
    fn drop(&mut self) {
        self.0.signal();
    }
}

/// The board's end of the queues.
pub(crate) struct BoardEndpoint<'a, const CAP: usize, const SLOTS: usize> {
    pub(crate) commands: Consumer<BoardCommand<'a, CAP, SLOTS>>,
    reports: Producer<BoardReport<'a, CAP, SLOTS>>,
    events: Producer<Event>,
    pub(crate) counters: Arc<BoardCounters>,
    pub(crate) wake: Arc<WakeEvent>,
}

pub(crate) fn exchange<'a, const CAP: usize, const SLOTS: usize>()
-> io::Result<(ControlEndpoint<'a, CAP, SLOTS>, BoardEndpoint<'a, CAP, SLOTS>)> {
    let wake = Arc::new(WakeEvent::new()?);
    let counters = Arc::new(BoardCounters::default());
    let (commands, commands_out) = RingBuffer::new(COMMANDS);
    let (reports, reports_out) = RingBuffer::new(REPORTS);
    let (events, events_out) = RingBuffer::new(EVENTS);
    let control = ControlEndpoint {
        commands,
        reports: reports_out,
        events: events_out,
        counters: Arc::clone(&counters),
        wake: WakeOnDrop(Arc::clone(&wake)),
    };
    Ok((control, BoardEndpoint { commands: commands_out, reports, events, counters, wake }))
}

impl<'a, const CAP: usize, const SLOTS: usize> ControlEndpoint<'a, CAP, SLOTS> {
    /// Sends a command to the board. Returns it as the error if the board is gone or its queue is full.
    pub(crate) fn send(
        &mut self,
        command: BoardCommand<'a, CAP, SLOTS>,
    ) -> Result<(), BoardCommand<'a, CAP, SLOTS>> {
        if self.commands.is_abandoned() {
            return Err(command);
        }
        match self.commands.push(command) {
            Ok(()) => {
                self.wake.0.signal();
                Ok(())
            }
            Err(rtrb::PushError::Full(command)) => Err(command),
        }
    }

    /// Returns whether the board was dropped.
    pub(crate) fn board_is_gone(&self) -> bool {
        self.commands.is_abandoned()
    }
}

impl<'a, const CAP: usize, const SLOTS: usize> BoardEndpoint<'a, CAP, SLOTS> {
    /// Sends a report to control. Two streams cannot fill the queue.
    pub(crate) fn report(&mut self, report: BoardReport<'a, CAP, SLOTS>) {
        if let Err(rtrb::PushError::Full(report)) = self.reports.push(report) {
            // Dropping a stream here closes a device on the audio thread, which is better than to leak the stream.
            drop(report);
        }
    }

    /// Sends an event to control, or counts it as dropped when the queue is full.
    pub(crate) fn send_event(&mut self, event: Event) {
        if self.events.push(event).is_err() {
            let dropped = &self.counters.events_dropped;
            // Relaxed: the counter orders no other memory access, and the board is its only writer.
            dropped.store(dropped.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }
}

impl<const CAP: usize, const SLOTS: usize> fmt::Debug for ControlEndpoint<'_, CAP, SLOTS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlEndpoint").field("counters", &self.counters).finish_non_exhaustive()
    }
}

impl<const CAP: usize, const SLOTS: usize> fmt::Debug for BoardEndpoint<'_, CAP, SLOTS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoardEndpoint").field("counters", &self.counters).finish_non_exhaustive()
    }
}
