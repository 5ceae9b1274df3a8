//! Both sides: one place in the mixer, a frame queue and a command queue from application to worker.

use core::sync::atomic::{AtomicU32, Ordering};

use heapless::spsc::{Consumer, Producer, Queue};

use crate::dsp::Ramp;
use crate::frame::Frame;
use crate::limits::COMMAND_DEPTH;
use crate::ring::{self, FrameConsumer, FrameProducer, RingMemory};
use crate::sample::Gain;

/// What an application tells the mixer about a track.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Command {
    pub(crate) gain: Gain,
    pub(crate) ramp_sample_frames: u32,
}

/// How a track on a slot is being closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// What is queued is played.
    Ended,
    /// What is queued is dropped, after a fade.
    Removed,
}

/// The two words by which the application's and the mixer's end agree on a slot: one track at a
/// time, closed by the application, done when the mixer says so.
#[derive(Debug)]
pub(crate) struct SlotFlags {
    /// Written by the port's owner: twice the track's identity, plus 1 when it is removed.
    closed: AtomicU32,
    /// Written by the mixer: the last track it is done with.
    done: AtomicU32,
}

impl SlotFlags {
    /// Identities use 31 bits, so that one word holds how a track was closed as well.
    pub(crate) const LAST_TRACK: u32 = u32::MAX >> 1;

    const fn new() -> Self {
        Self { closed: AtomicU32::new(0), done: AtomicU32::new(0) }
    }

    /// Application side. The release store is the partner of the load in [`Self::closing`]: a
    /// mixer that sees a track closed sees all its frames in the queue.
    pub(crate) fn close(&self, track: u32, how: Closing) {
        let word = track << 1 | u32::from(how == Closing::Removed);
        self.closed.store(word, Ordering::Release);
    }

    /// Mixer side: the track that was closed last, unless it is done with already.
    pub(crate) fn closing(&self) -> Option<(u32, Closing)> {
        let word = self.closed.load(Ordering::Acquire);
        let how = if word & 1 == 1 { Closing::Removed } else { Closing::Ended };
        let track = word >> 1;
        (track != self.done.load(Ordering::Relaxed)).then_some((track, how))
    }

    /// Mixer side. The release store is the partner of the load in [`Self::is_done`]: whoever
    /// opens the slot next finds its queues empty.
    pub(crate) fn set_done(&self, track: u32) {
        self.done.store(track, Ordering::Release);
    }

    /// Application side: whether the mixer is done with `track`.
    pub(crate) fn is_done(&self, track: u32) -> bool {
        self.done.load(Ordering::Acquire) == track
    }
}

/// A slot's memory, part of a session.
#[derive(Debug)]
pub(crate) struct SlotMemory<const CAP: usize, const QUEUE: usize> {
    frames: RingMemory<CAP, 0, QUEUE>,
    commands: Queue<Command, COMMAND_DEPTH>,
    pending: Frame<CAP>,
    flags: SlotFlags,
}

impl<const CAP: usize, const QUEUE: usize> SlotMemory<CAP, QUEUE> {
    pub(crate) const fn new() -> Self {
        Self { frames: Queue::new(), commands: Queue::new(), pending: Frame::EMPTY, flags: SlotFlags::new() }
    }

    /// The application's and the mixer's end, both fresh.
    pub(crate) fn split(&mut self) -> (TrackPort<'_, CAP>, MixSlot<'_, CAP>) {
        while self.commands.dequeue().is_some() {}
        self.flags = SlotFlags::new();
        let (producer, consumer) = ring::split(&mut self.frames);
        let (sender, receiver) = self.commands.split();
        let flags = &self.flags;
        let port =
            TrackPort { frames: producer, commands: sender, pending: &mut self.pending, flags, track: 0 };
        let slot = MixSlot {
            frames: consumer,
            commands: receiver,
            flags,
            track: 0,
            position: 0,
            gain: Ramp::at(Gain::UNITY),
            starving: false,
        };
        (port, slot)
    }
}

/// The application's end of a slot. Waits in the pool while no track uses it.
pub(crate) struct TrackPort<'a, const CAP: usize> {
    pub(crate) frames: FrameProducer<'a, CAP>,
    pub(crate) commands: Producer<'a, Command>,
    pub(crate) pending: &'a mut Frame<CAP>,
    pub(crate) flags: &'a SlotFlags,
    /// The last track that used it, 0 for none.
    pub(crate) track: u32,
}

/// The mixer's end of a slot.
pub(crate) struct MixSlot<'a, const CAP: usize> {
    pub(crate) frames: FrameConsumer<'a, CAP>,
    pub(crate) commands: Consumer<'a, Command>,
    pub(crate) flags: &'a SlotFlags,
    /// The track being played, 0 for none.
    pub(crate) track: u32,
    /// Sample frames of it mixed so far.
    pub(crate) position: u64,
    pub(crate) gain: Ramp,
    pub(crate) starving: bool,
}

impl<const CAP: usize> MixSlot<'_, CAP> {
    /// Applies the commands that have come.
    pub(crate) fn obey(&mut self) {
        for _ in 0..COMMAND_DEPTH {
            let Some(command) = self.commands.dequeue() else {
                return;
            };
            self.gain.move_to(command.gain, command.ramp_sample_frames);
        }
    }

    /// Drops what is queued and makes the slot free for the next track.
    pub(crate) fn vacate(&mut self, track: u32) {
        for _ in 0..self.frames.capacity() {
            if self.frames.pop().is_none() {
                break;
            }
        }
        for _ in 0..COMMAND_DEPTH {
            if self.commands.dequeue().is_none() {
                break;
            }
        }
        self.track = 0;
        self.starving = false;
        self.gain = Ramp::at(Gain::UNITY);
        self.flags.set_done(track);
    }
}
