//! Application side: where audio to be played is handed in.

use core::cell::RefCell;
use core::fmt;

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::RawMutex;

use crate::format::Format;
use crate::playback::slot::{Closing, Command, SlotFlags, TrackPort};
use crate::sample::Gain;
use crate::time::Duration;

/// Why a track could not do what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrackError {
    /// All of the session's slots are in use.
    NoSlot {
        /// How many slots there are.
        slots: usize,
    },
    /// The track's frame or command queue is full; try again after some 10 ms.
    Full,
}

impl fmt::Display for TrackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSlot { slots } => write!(f, "all {slots} track slots are in use"),
            Self::Full => f.write_str("the track's queue is full"),
        }
    }
}

impl core::error::Error for TrackError {}

struct Pool<'a, const CAP: usize, const SLOTS: usize> {
    ports: heapless::Vec<TrackPort<'a, CAP>, SLOTS>,
    last_track: u32,
}

/// The session's free track slots. Handles take one each and bring it back when dropped.
///
/// `M` is the kind of mutex between application threads or tasks; no audio thread ever takes it.
pub struct TrackPool<'a, M: RawMutex, const CAP: usize, const SLOTS: usize> {
    pool: Mutex<M, RefCell<Pool<'a, CAP, SLOTS>>>,
    format: Format,
}

impl<M: RawMutex, const CAP: usize, const SLOTS: usize> fmt::Debug for TrackPool<'_, M, CAP, SLOTS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackPool").field("format", &self.format).field("slots", &SLOTS).finish()
    }
}

impl<'a, M: RawMutex, const CAP: usize, const SLOTS: usize> TrackPool<'a, M, CAP, SLOTS> {
    pub(crate) fn new(ports: heapless::Vec<TrackPort<'a, CAP>, SLOTS>, format: Format) -> Self {
        Self { pool: Mutex::new(RefCell::new(Pool { ports, last_track: 0 })), format }
    }

    /// The format that tracks take.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Opens a track at unity gain. Application side; takes the pool's mutex for a few instructions.
    ///
    /// # Errors
    /// [`TrackError::NoSlot`] when all slots are in use: by a handle, or by a track that the
    /// playback worker has not yet played or faded to its end.
    pub fn open(&self) -> Result<Track<'_, 'a, M, CAP, SLOTS>, TrackError> {
        self.pool.lock(|pool| {
            let pool = &mut *pool.borrow_mut();
            let free = pool.ports.iter().position(is_free).ok_or(TrackError::NoSlot { slots: SLOTS })?;
            let mut port = pool.ports.swap_remove(free);
            pool.last_track = if pool.last_track == SlotFlags::LAST_TRACK { 1 } else { pool.last_track + 1 };
            port.track = pool.last_track;
            port.pending.begin(self.format);
            Ok(Track { pool: self, id: port.track, port: Some(port), position: 0 })
        })
    }

    /// Slots that can be opened now.
    #[must_use]
    pub fn free(&self) -> usize {
        self.pool.lock(|pool| pool.borrow().ports.iter().filter(|port| is_free(port)).count())
    }

    fn give_back(&self, port: TrackPort<'a, CAP>) {
        // There is room: the port came from here.
        self.pool.lock(|pool| pool.borrow_mut().ports.push(port).is_ok());
    }
}

fn is_free<const CAP: usize>(port: &TrackPort<'_, CAP>) -> bool {
    port.flags.is_done(port.track)
}

/// A handle to one stream of audio into the mixer. Application side.
///
/// [`finish`](Self::finish) plays what was pushed to its end; dropping the handle takes the track
/// away with a fade of 10 ms. The slot is free for another track when the playback worker is done.
pub struct Track<'p, 'a, M: RawMutex, const CAP: usize, const SLOTS: usize> {
    pool: &'p TrackPool<'a, M, CAP, SLOTS>,
    port: Option<TrackPort<'a, CAP>>,
    id: u32,
    position: u64,
}

impl<M: RawMutex, const CAP: usize, const SLOTS: usize> fmt::Debug for Track<'_, '_, M, CAP, SLOTS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Track").field("id", &self.id).field("position", &self.position).finish()
    }
}

impl<M: RawMutex, const CAP: usize, const SLOTS: usize> Track<'_, '_, M, CAP, SLOTS> {
    /// Identity of this track in events and stamps; never 0.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// Sample frames taken so far.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Queues interleaved samples of the pool's format, any number of whole sample frames, and
    /// returns how many samples were taken: fewer than given when the queue is full. Never blocks.
    pub fn push(&mut self, samples: &[i16]) -> usize {
        let Some(port) = self.port.as_mut() else {
            return 0;
        };
        let channels = self.pool.format.channels();
        let mut taken = 0;
        loop {
            if port.pending.missing() == 0 && !queue_pending(port, self.id, self.position) {
                break;
            }
            let rest = samples.get(taken..).unwrap_or(&[]);
            let room = port.pending.extend(rest.len() / channels);
            if room.is_empty() {
                break;
            }
            room.iter_mut().zip(rest).for_each(|(to, &from)| *to = from);
            taken += room.len();
            self.position += (room.len() / channels) as u64;
        }
        taken
    }

    /// Frames in the queue that the mixer has not taken yet; what does not fill a frame is not
    /// among them.
    #[must_use]
    pub fn queued_frames(&self) -> usize {
        self.port.as_ref().map_or(0, |port| port.frames.len())
    }

    /// Sample frames that were pushed and that the mixer has not taken yet.
    #[must_use]
    pub fn queued_sample_frames(&self) -> usize {
        self.port.as_ref().map_or(0, |port| {
            port.frames.len() * self.pool.format.sample_frames() + port.pending.sample_frames()
        })
    }

    /// Samples, all channels, that [`push`](Self::push) would take now.
    #[must_use]
    pub fn room(&self) -> usize {
        self.port.as_ref().map_or(0, |port| {
            let free = port.frames.capacity() - port.frames.len();
            (free * self.pool.format.sample_frames() + port.pending.missing()) * self.pool.format.channels()
        })
    }

    /// The format that the track takes.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.pool.format
    }

    /// Moves to `gain` within `ramp`, from the next mixed frame on, without a click.
    ///
    /// # Errors
    /// [`TrackError::Full`] when the mixer has not yet taken the commands before.
    pub fn set_gain(&mut self, gain: Gain, ramp: Duration) -> Result<(), TrackError> {
        let Some(port) = self.port.as_mut() else {
            return Err(TrackError::Full);
        };
        let us = u64::try_from(ramp.as_micros()).unwrap_or(0);
        let ramp_sample_frames = us.saturating_mul(u64::from(self.pool.format.rate_hz())) / 1_000_000;
        let ramp_sample_frames = u32::try_from(ramp_sample_frames).unwrap_or(u32::MAX);
        port.commands.enqueue(Command { gain, ramp_sample_frames }).map_err(|_| TrackError::Full)
    }

    /// Ends the track: what was pushed is played, a tail shorter than a frame included.
    ///
    /// # Errors
    /// Gives the track back when the queue has no room for the tail; try again after some 10 ms.
    // The handle is the error on purpose: nothing of the tail may be lost.
    #[allow(clippy::result_large_err)]
    pub fn finish(mut self) -> Result<(), Self> {
        if let Some(mut port) = self.port.take() {
            if port.pending.sample_frames() > 0 && !queue_pending(&mut port, self.id, self.position) {
                self.port = Some(port);
                return Err(self);
            }
            port.flags.close(self.id, Closing::Ended);
            self.pool.give_back(port);
        }
        Ok(())
    }
}

impl<M: RawMutex, const CAP: usize, const SLOTS: usize> Drop for Track<'_, '_, M, CAP, SLOTS> {
    fn drop(&mut self) {
        if let Some(port) = self.port.take() {
            port.flags.close(self.id, Closing::Removed);
            self.pool.give_back(port);
        }
    }
}

/// Moves the pending frame into the queue; false when there is no room.
fn queue_pending<const CAP: usize>(port: &mut TrackPort<'_, CAP>, id: u32, position: u64) -> bool {
    let format = port.pending.format();
    port.pending.stamp.track = id;
    port.pending.stamp.position = position - port.pending.sample_frames() as u64;
    let queued = port.frames.push(port.pending.clone()).is_ok();
    if queued {
        port.pending.begin(format);
    }
    queued
}
