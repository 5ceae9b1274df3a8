//! Between control and the board's thread: two rings of boxes and a bell, no lock, nothing allocated or
//! freed on the board's side.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use handsfree_core::audio_io::{Direction, Directions, Event};
use rtrb::{Consumer, Producer, RingBuffer};

use crate::halves::{CaptureHalf, PlaybackHalf};
use crate::side::Side;

pub(crate) type CaptureSide<'a, const CAP: usize> = Box<Side<CaptureHalf<'a, CAP>>>;
pub(crate) type PlaybackSide<'a, const CAP: usize, const SLOTS: usize> =
    Box<Side<PlaybackHalf<'a, CAP, SLOTS>>>;

/// Orders that wait at most: a start, a stop and another start.
const ORDERS: usize = 4;
/// Events that wait for whoever polls them.
const EVENTS: usize = 64;
/// Sides on their way back, and news of their start.
const RETURNS: usize = 8;

/// One or both directions of a stream.
pub(crate) struct Sides<'a, const CAP: usize, const SLOTS: usize> {
    pub(crate) capture: Option<CaptureSide<'a, CAP>>,
    pub(crate) playback: Option<PlaybackSide<'a, CAP, SLOTS>>,
    /// Whether both are to start in one instant.
    pub(crate) linked: bool,
}

/// From control to board.
pub(crate) enum Order<'a, const CAP: usize, const SLOTS: usize> {
    Start(Sides<'a, CAP, SLOTS>),
    Stop(Directions),
}

/// From board to control, about a side.
pub(crate) enum News<'a, const CAP: usize, const SLOTS: usize> {
    /// Its first sample moved.
    Began(Direction),
    /// It was stopped, or is lost.
    CaptureBack(CaptureSide<'a, CAP>),
    PlaybackBack(PlaybackSide<'a, CAP, SLOTS>),
}

/// Numbers of the board for whoever wants to see them.
#[derive(Debug, Default)]
pub(crate) struct BoardCounters {
    /// Whether the board's thread takes orders.
    pub(crate) runs: AtomicBool,
    pub(crate) events_dropped: AtomicU32,
    pub(crate) times_disbelieved: [AtomicU32; 2],
    pub(crate) delays_disbelieved: [AtomicU32; 2],
}

/// A descriptor that becomes readable when it is rung; neither end ever blocks in it.
#[derive(Debug)]
pub(crate) struct Bell(File);

impl Bell {
    fn new() -> io::Result<Self> {
        // SAFETY: takes numbers only; the descriptor it gives belongs to nobody else.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: as above.
        Ok(Self(unsafe { File::from_raw_fd(fd) }))
    }

    pub(crate) fn ring(&self) {
        // StartError only when it was rung 2^64 times and not heard: then it is readable anyhow.
        _ = (&self.0).write(&1_u64.to_ne_bytes());
    }

    /// `read`; the descriptor is not readable any more.
    pub(crate) fn hear(&self) {
        _ = (&self.0).read(&mut [0; 8]);
    }

    pub(crate) fn descriptor(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

/// The control's end.
pub(crate) struct ControlEnd<'a, const CAP: usize, const SLOTS: usize> {
    orders: Producer<Order<'a, CAP, SLOTS>>,
    pub(crate) news: Consumer<News<'a, CAP, SLOTS>>,
    pub(crate) events: Consumer<Event>,
    pub(crate) counters: Arc<BoardCounters>,
    /// The last field: it rings when all others are gone, and the board then sees that they are.
    bell: LastRing,
}

/// A bell that is rung once more when it is dropped.
#[derive(Debug)]
struct LastRing(Arc<Bell>);

impl Drop for LastRing {
    fn drop(&mut self) {
        self.0.ring();
    }
}

/// The board's end.
pub(crate) struct BoardEnd<'a, const CAP: usize, const SLOTS: usize> {
    pub(crate) orders: Consumer<Order<'a, CAP, SLOTS>>,
    news: Producer<News<'a, CAP, SLOTS>>,
    events: Producer<Event>,
    pub(crate) counters: Arc<BoardCounters>,
    pub(crate) bell: Arc<Bell>,
}

pub(crate) fn exchange<'a, const CAP: usize, const SLOTS: usize>()
-> io::Result<(ControlEnd<'a, CAP, SLOTS>, BoardEnd<'a, CAP, SLOTS>)> {
    let bell = Arc::new(Bell::new()?);
    let counters = Arc::new(BoardCounters::default());
    let (orders, orders_out) = RingBuffer::new(ORDERS);
    let (news, news_out) = RingBuffer::new(RETURNS);
    let (events, events_out) = RingBuffer::new(EVENTS);
    let control = ControlEnd {
        orders,
        news: news_out,
        events: events_out,
        counters: Arc::clone(&counters),
        bell: LastRing(Arc::clone(&bell)),
    };
    Ok((control, BoardEnd { orders: orders_out, news, events, counters, bell }))
}

impl<'a, const CAP: usize, const SLOTS: usize> ControlEnd<'a, CAP, SLOTS> {
    /// Gives an order, which comes back if the board is gone or takes none.
    pub(crate) fn order(&mut self, order: Order<'a, CAP, SLOTS>) -> Result<(), Order<'a, CAP, SLOTS>> {
        if self.orders.is_abandoned() {
            return Err(order);
        }
        match self.orders.push(order) {
            Ok(()) => {
                self.bell.0.ring();
                Ok(())
            }
            Err(rtrb::PushError::Full(order)) => Err(order),
        }
    }

    /// Whether the board is gone.
    pub(crate) fn is_alone(&self) -> bool {
        self.orders.is_abandoned()
    }
}

impl<'a, const CAP: usize, const SLOTS: usize> BoardEnd<'a, CAP, SLOTS> {
    /// Sends a side or news of it back; a ring of these is never full, for there are two sides.
    pub(crate) fn send(&mut self, news: News<'a, CAP, SLOTS>) {
        if let Err(rtrb::PushError::Full(news)) = self.news.push(news) {
            // Dropping it here would close a device on the audio thread; that is better than losing track.
            drop(news);
        }
    }

    /// Says what happened; counted where nobody listens.
    pub(crate) fn tell(&mut self, event: Event) {
        if self.events.push(event).is_err() {
            let dropped = &self.counters.events_dropped;
            // Relaxed: a counter orders nothing but itself, and the board is its only writer.
            dropped.store(dropped.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }
}

impl<const CAP: usize, const SLOTS: usize> fmt::Debug for ControlEnd<'_, CAP, SLOTS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlEnd").field("counters", &self.counters).finish_non_exhaustive()
    }
}

impl<const CAP: usize, const SLOTS: usize> fmt::Debug for BoardEnd<'_, CAP, SLOTS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoardEnd").field("counters", &self.counters).finish_non_exhaustive()
    }
}
