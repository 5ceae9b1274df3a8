//! Both sides: one place in the mixer, a frame queue and a command queue from application to worker.

use core::sync::atomic::{AtomicU32, Ordering};

use heapless::spsc::Queue;

use crate::dsp::Ramp;
use crate::frame::Frame;
use crate::limits::COMMAND_DEPTH;
use crate::playback::ducking::Ducking;
use crate::playback::playout::PlayoutWords;
use crate::published::{Published, Reader, Writer};
use crate::queue;
use crate::ring::{self, FrameConsumer, FrameProducer, RingMemory};
use crate::sample::Gain;

/// What an application tells the mixer about a track.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Command {
    Gain { gain: Gain, ramp_sample_frames: u32 },
    Duck(Option<Ducking>),
    SkipLate(bool),
}

/// How a track on a slot is being closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// What is queued is played.
    Ended,
    /// What is queued is dropped, after a fade.
    Removed,
}

/// How far the mixer has come with a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) track: u32,
    /// The last interruption that was carried out.
    pub(crate) epoch: u32,
    /// Where that interruption stopped the track: one past the last sample frame mixed.
    pub(crate) cut: u64,
    /// One past the last sample frame mixed.
    pub(crate) position: u64,
}

impl Reached {
    const WORDS: usize = 6;
}

/// The words by which the application's end, the mixer and the capture worker agree on a slot.
/// Each has one writer.
#[derive(Debug)]
pub(crate) struct SlotShared {
    /// Written by the port's owner: the last track that was opened.
    opened: AtomicU32,
    /// Written by the port's owner: twice the track's identity, plus 1 when it is removed.
    closed: AtomicU32,
    /// Written by the port's owner: 0, or 1 plus the fade in sample frames when paused.
    paused: AtomicU32,
    /// Written by the port's owner: the fade of interruptions, in sample frames.
    fade: AtomicU32,
    /// Written by the port's owner: counts interruptions, over all tracks of the slot.
    epoch: AtomicU32,
    /// Written by the mixer: the last track it is done with.
    done: AtomicU32,
    /// Written by the mixer.
    reached: Published<{ Reached::WORDS }>,
    /// Written by the capture worker, which hears what was played.
    pub(crate) playout: PlayoutWords,
}

impl SlotShared {
    /// Identities use 31 bits, so that one word holds how a track was closed as well.
    pub(crate) const LAST_TRACK: u32 = u32::MAX >> 1;

    const fn new() -> Self {
        Self {
            opened: AtomicU32::new(0),
            closed: AtomicU32::new(0),
            paused: AtomicU32::new(0),
            fade: AtomicU32::new(0),
            epoch: AtomicU32::new(0),
            done: AtomicU32::new(0),
            reached: Published::new(),
            playout: PlayoutWords::new(),
        }
    }

    /// Application side.
    pub(crate) fn open(&self, track: u32) {
        self.paused.store(0, Ordering::Relaxed);
        self.opened.store(track, Ordering::Release);
    }

    /// Mixer side: the track that is open or not yet played to its end, 0 for none.
    pub(crate) fn active(&self) -> u32 {
        let opened = self.opened.load(Ordering::Acquire);
        if opened == self.done.load(Ordering::Relaxed) { 0 } else { opened }
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

    /// Application side: `Some` fade pauses, `None` lets the track play.
    pub(crate) fn set_paused(&self, fade_sample_frames: Option<u32>) {
        let word = fade_sample_frames.map_or(0, |fade| fade.saturating_add(1));
        self.paused.store(word, Ordering::Release);
    }

    /// Application side: everything pushed before is to be dropped. The mixer reads `paused` before
    /// `epoch`, so whoever interrupts a paused track lets it play only afterwards.
    pub(crate) fn interrupt(&self, epoch: u32, fade_sample_frames: u32) {
        self.fade.store(fade_sample_frames, Ordering::Relaxed);
        self.epoch.store(epoch, Ordering::Release);
    }

    /// Mixer side: whether to pause, and with what fade.
    pub(crate) fn paused(&self) -> Option<u32> {
        self.paused.load(Ordering::Acquire).checked_sub(1)
    }

    /// Mixer side, after [`Self::paused`].
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Mixer side.
    pub(crate) fn fade(&self) -> u32 {
        self.fade.load(Ordering::Relaxed)
    }

    /// Mixer side.
    pub(crate) fn publish_reached(&self, reached: Reached) {
        let mut words = [0; Reached::WORDS];
        let mut writer = Writer::new(&mut words);
        writer.u32(reached.track);
        writer.u32(reached.epoch);
        writer.u64(reached.cut);
        writer.u64(reached.position);
        self.reached.publish(&words);
    }

    /// Application side: how far the mixer has come with the slot; the track is 0 until its first
    /// frame was mixed.
    pub(crate) fn reached(&self) -> Reached {
        let words = self.reached.read();
        let mut reader = Reader::new(&words);
        Reached { track: reader.u32(), epoch: reader.u32(), cut: reader.u64(), position: reader.u64() }
    }
}

/// A slot's memory, part of a session.
#[derive(Debug)]
pub(crate) struct SlotMemory<const CAP: usize, const QUEUE: usize> {
    frames: RingMemory<CAP, 0, QUEUE>,
    commands: Queue<Command, COMMAND_DEPTH>,
    pending: Frame<CAP>,
    shared: SlotShared,
}

impl<const CAP: usize, const QUEUE: usize> SlotMemory<CAP, QUEUE> {
    pub(crate) const fn new() -> Self {
        Self {
            frames: Queue::new(),
            commands: Queue::new(),
            pending: Frame::EMPTY,
            shared: SlotShared::new(),
        }
    }

    /// The application's and the mixer's end, both fresh.
    fn split(&mut self, index: usize) -> (TrackPort<'_, CAP>, MixSlot<'_, CAP>) {
        self.shared = SlotShared::new();
        let (producer, consumer) = ring::split(&mut self.frames);
        let (sender, receiver) = queue::fresh(&mut self.commands);
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
            gains: Gains::UNITY,
            fade_sample_frames: 0,
            ducking: None,
            sounding: false,
            paused: false,
            starving: false,
            skip_late: false,
            owed_frames: 0,
            told: Reached::default(),
        };
        (port, slot)
    }
}

/// The application's ends of all slots, and the mixer's.
pub(crate) fn split<const CAP: usize, const QUEUE: usize, const SLOTS: usize>(
    memory: &mut [SlotMemory<CAP, QUEUE>; SLOTS],
) -> ([Option<TrackPort<'_, CAP>>; SLOTS], [MixSlot<'_, CAP>; SLOTS]) {
    let mut ports = [const { None }; SLOTS];
    let mut places = ports.iter_mut().enumerate();
    let slots = memory.each_mut().map(|memory| {
        let (index, place) = places.next().unzip();
        let (port, slot) = memory.split(index.unwrap_or(0));
        if let Some(place) = place {
            *place = Some(port);
        }
        slot
    });
    (ports, slots)
}

/// The application's end of a slot. Waits in the pool while no track uses it.
pub(crate) struct TrackPort<'a, const CAP: usize> {
    pub(crate) frames: FrameProducer<'a, CAP>,
    pub(crate) commands: queue::Writer<'a, Command>,
    pub(crate) pending: &'a mut Frame<CAP>,
    pub(crate) shared: &'a SlotShared,
    /// Which of the session's slots it is.
    pub(crate) index: usize,
    /// The last track that used it, 0 for none.
    pub(crate) track: u32,
    /// Interruptions so far.
    pub(crate) epoch: u32,
}

/// What a track's samples are multiplied with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gains {
    /// The track's own.
    pub(crate) own: Ramp,
    /// Of pauses and interruptions.
    pub(crate) fade: Ramp,
    /// Of ducking.
    pub(crate) duck: Ramp,
}

impl Gains {
    pub(crate) const UNITY: Self =
        Self { own: Ramp::at(Gain::UNITY), fade: Ramp::at(Gain::UNITY), duck: Ramp::at(Gain::UNITY) };

    /// Whether samples pass as they are.
    pub(crate) fn is_unity(&self) -> bool {
        self.own.is_unity() && self.fade.is_unity() && self.duck.is_unity()
    }

    /// Whether none of the three moves, so that all further sample frames have one gain.
    pub(crate) fn stand(&self) -> bool {
        self.own.stands() && self.fade.stands() && self.duck.stands()
    }

    /// The gain for the next sample frame.
    #[inline]
    pub(crate) fn next(&mut self) -> Gain {
        self.own.next().times(self.fade.next()).times(self.duck.next())
    }
}

/// The mixer's end of a slot.
pub(crate) struct MixSlot<'a, const CAP: usize> {
    pub(crate) frames: FrameConsumer<'a, CAP>,
    commands: queue::Reader<'a, Command>,
    pub(crate) shared: &'a SlotShared,
    /// The track being played, 0 for none.
    pub(crate) track: u32,
    /// The last interruption carried out.
    pub(crate) epoch: u32,
    /// Where it stopped the track.
    pub(crate) cut: u64,
    /// One past the last sample frame of it that was mixed.
    pub(crate) position: u64,
    /// Sample frames of the queue's first frame that were mixed before a pause.
    pub(crate) taken: usize,
    pub(crate) gains: Gains,
    /// The last pause's fade, with which the track comes back.
    pub(crate) fade_sample_frames: u32,
    /// Set for a background, which makes room while a voice speaks.
    pub(crate) ducking: Option<Ducking>,
    /// Whether the last mix ended with this track's sound.
    pub(crate) sounding: bool,
    pub(crate) paused: bool,
    pub(crate) starving: bool,
    /// Whether frames that come too late are dropped.
    pub(crate) skip_late: bool,
    pub(crate) owed_frames: u32,
    told: Reached,
}

impl<const CAP: usize> MixSlot<'_, CAP> {
    /// Applies the commands that have come.
    #[inline(never)]
    pub(crate) fn obey(&mut self) {
        for _ in 0..self.commands.capacity() {
            let Some(command) = self.commands.pop() else { return };
            self.carry_out(command);
        }
    }

    #[cold]
    #[inline(never)]
    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Gain { gain, ramp_sample_frames } => {
                self.gains.own.move_to(gain, ramp_sample_frames);
            }
            Command::Duck(ducking) => {
                self.ducking = ducking;
                if ducking.is_none() {
                    self.gains.duck = Ramp::at(Gain::UNITY);
                }
            }
            Command::SkipLate(skip) => {
                self.skip_late = skip;
                self.owed_frames = 0;
            }
        }
    }

    /// Drops the queue's first frame.
    pub(crate) fn drop_front(&mut self) {
        self.taken = 0;
        self.frames.discard();
    }

    /// Drops what was pushed before interruption `epoch`; bounded by the queue.
    pub(crate) fn drop_older_than(&mut self, epoch: u32) {
        for _ in 0..self.frames.capacity() {
            match self.frames.peek() {
                Some(frame) if (frame.stamp.epoch.wrapping_sub(epoch) as i32) < 0 => self.drop_front(),
                _ => break,
            }
        }
    }

    /// Tells the application how far the mixer has come, if it does not know yet.
    #[inline(never)]
    pub(crate) fn tell(&mut self) {
        let reached =
            Reached { track: self.track, epoch: self.epoch, cut: self.cut, position: self.position };
        if self.told != reached {
            self.told = reached;
            self.shared.publish_reached(reached);
        }
    }

    /// Drops what is queued and makes the slot free for the next track.
    #[cold]
    #[inline(never)]
    pub(crate) fn vacate(&mut self, track: u32) {
        for _ in 0..self.frames.capacity() {
            self.frames.discard();
        }
        for _ in 0..self.commands.capacity() {
            self.commands.discard();
        }
        self.track = 0;
        self.epoch = self.shared.epoch();
        self.taken = 0;
        self.starving = false;
        self.sounding = false;
        self.paused = false;
        self.skip_late = false;
        self.owed_frames = 0;
        self.gains = Gains::UNITY;
        self.ducking = None;
        self.cut = 0;
        self.position = 0;
        self.tell();
        self.shared.set_done(track);
    }
}
