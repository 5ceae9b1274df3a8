//! Both sides: a mixer slot, which is a frame queue and a command queue from application to worker.

mod mix_slot;
mod shared;

use crate::atomics::spsc::Queue;

use crate::frame::Frame;
use crate::limits::{COMMAND_DEPTH, MAX_CHANNELS};
use crate::playback::ducking::Ducking;
use crate::playback::starvation_fade::{SampleFrame, StarvationFade};
use crate::queue;
use crate::ring::{self, FrameProducer, RingMemory};
use crate::sample::Gain;

pub(crate) use mix_slot::{GAINS, MixSlot, SlotGains};
pub(crate) use shared::{CloseMode, MixProgress, SlotShared};

/// A command from a track's handle to the mixer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TrackCommand {
    Gain { gain: Gain, ramp_sample_frames: u32 },
    Duck(Option<Ducking>),
    SkipLate(bool),
    FadeStarved(Option<&'static StarvationFade>),
}

/// Memory of one slot, part of a session.
#[derive(Debug)]
pub(crate) struct SlotMemory<const CAP: usize, const QUEUE: usize> {
    frames: RingMemory<CAP, 0, QUEUE>,
    commands: Queue<TrackCommand, COMMAND_DEPTH>,
    pending: Frame<CAP>,
    last: SampleFrame,
    shared: SlotShared,
}

impl<const CAP: usize, const QUEUE: usize> SlotMemory<CAP, QUEUE> {
    pub(crate) const fn new() -> Self {
        Self {
            frames: Queue::new(),
            commands: Queue::new(),
            pending: Frame::EMPTY,
            last: [0; MAX_CHANNELS as usize],
            shared: SlotShared::new(),
        }
    }

    /// Splits the slot into the application's and the mixer's end, both in their initial state.
    fn split(&mut self, index: usize) -> (TrackPort<'_, CAP>, MixSlot<'_, CAP>) {
        self.shared = SlotShared::new();
        let (producer, consumer) = ring::split(&mut self.frames);
        let (sender, receiver) = queue::split_empty(&mut self.commands);
        let shared = &self.shared;
        let port = TrackPort {
            frames: producer,
            commands: sender,
            pending: &mut self.pending,
            shared,
            index,
            track: 0,
            epoch: 0,
        };
        let slot = MixSlot {
            frames: consumer,
            commands: receiver,
            shared,
            track: 0,
            epoch: 0,
            cut: 0,
            position: 0,
            taken: 0,
            gains: SlotGains::UNITY,
            fade_sample_frames: 0,
            ducking: None,
            sounding: false,
            last: &mut self.last,
            starvation_fade: None,
            paused: false,
            starving: false,
            skip_late: false,
            frames_to_skip: 0,
            published: MixProgress::default(),
        };
        (port, slot)
    }
}

/// Splits all slots into the application's ends and the mixer's ends.
pub(crate) fn split<const CAP: usize, const QUEUE: usize, const SLOTS: usize>(
    memory: &mut [SlotMemory<CAP, QUEUE>; SLOTS],
) -> ([Option<TrackPort<'_, CAP>>; SLOTS], [MixSlot<'_, CAP>; SLOTS]) {
    let mut ports = [const { None }; SLOTS];
    let mut free_ports = ports.iter_mut().enumerate();
    let slots = memory.each_mut().map(|memory| {
        let (index, free_port) = free_ports.next().unzip();
        let (port, slot) = memory.split(index.unwrap_or(0));
        if let Some(free_port) = free_port {
            *free_port = Some(port);
        }
        slot
    });
    (ports, slots)
}

/// The application's end of a slot. It stays in the track pool while no track uses it.
pub(crate) struct TrackPort<'a, const CAP: usize> {
    pub(crate) frames: FrameProducer<'a, CAP>,
    pub(crate) commands: queue::QueueWriter<'a, TrackCommand>,
    pub(crate) pending: &'a mut Frame<CAP>,
    pub(crate) shared: &'a SlotShared,
    /// Index of the slot in the session.
    pub(crate) index: usize,
    /// Identity of the last track that used the slot, 0 for none.
    pub(crate) track: u32,
    /// Number of interruptions so far, modulo 2^32.
    pub(crate) epoch: u32,
}
