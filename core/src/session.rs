//! Control side: all the memory of one terminal, and its four halves.

use core::fmt;

use embassy_sync::blocking_mutex::raw::RawMutex;
use heapless::spsc::Queue;

use crate::capture::{self, CaptureMemory, CapturePipelineParts, FrameProcessor, Intake, VoiceProcessor};
use crate::error::ConfigError;
use crate::event::{EventQueue, EventSender, Events};
use crate::format::{Format, SampleRate};
use crate::frame::Frame;
use crate::playback::{
    self, Mixer, Outlet, PlaybackMemory, PlaybackPipelineParts, PlayoutMemory, PlayoutTracker, SharedPlan,
    SlotMemory, TrackPool, slot,
};
use crate::queue;
use crate::ring::{self, RingMemory};
use crate::stats::{Counters, StatsReader};
use crate::time::Duration;

/// The terminal's own format: what tracks take, processors see and the sink gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SessionFormat {
    /// Rate of both directions.
    pub rate: SampleRate,
    /// Channels of the microphone signal.
    pub near_channels: u32,
    /// Channels of the loudspeaker signal.
    pub far_channels: u32,
}

/// All the memory of one terminal: rings, track queues, working memory, counters.
///
/// `CAP` is a frame's capacity in samples, all channels; `SLOTS` how many tracks play at once;
/// `CAPTURE`, `PLAYBACK` and `REFERENCE` are ring depths and `QUEUE` a track's queue, in frames
/// plus one (a ring of 4 holds 3). `HISTORY` is how many samples, all channels, of what was played
/// are kept: the longest render plus capture latency that echo is found across (3 s on a host). [`new`](Self::new) is const and all zero bytes, so a static
/// session lies in `.bss`.
///
/// ```
/// use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
/// use handsfree_core::capture::Bypass;
/// use handsfree_core::{SampleRate, Session, SessionFormat};
///
/// let mut session = Box::new(Session::<480, 4, 8, 8, 16, 32, 48_000>::new());
/// let terminal = SessionFormat { rate: SampleRate::new(48_000)?, near_channels: 1, far_channels: 1 };
/// let halves = session.split::<CriticalSectionRawMutex, _, _>(terminal, Bypass, ())?;
/// assert_eq!(halves.tracks.free(), 4);
/// # Ok::<(), handsfree_core::ConfigError>(())
/// ```
pub struct Session<
    const CAP: usize,
    const SLOTS: usize,
    const CAPTURE: usize,
    const PLAYBACK: usize,
    const REFERENCE: usize,
    const QUEUE: usize,
    const HISTORY: usize,
> {
    capture: RingMemory<CAP, 0, CAPTURE>,
    playback: RingMemory<CAP, SLOTS, PLAYBACK>,
    reference: RingMemory<CAP, SLOTS, REFERENCE>,
    slots: [SlotMemory<CAP, QUEUE>; SLOTS],
    intake_frame: Frame<CAP>,
    outlet_frame: Frame<CAP, SLOTS>,
    capture_memory: CaptureMemory<CAP>,
    playback_memory: PlaybackMemory<CAP, SLOTS>,
    playout: [PlayoutMemory; SLOTS],
    history: [i16; HISTORY],
    capture_events: EventQueue,
    playback_events: EventQueue,
    counters: Counters,
    plan: SharedPlan,
}

/// What a session comes apart into. Each half goes to its own context; none of them shares
/// anything with another but wait-free rings and counters.
pub struct Halves<'a, M: RawMutex, V, P, const CAP: usize, const SLOTS: usize> {
    /// For the capture interrupt.
    pub intake: Intake<'a, CAP>,
    /// For the playback interrupt.
    pub outlet: Outlet<'a, CAP, SLOTS>,
    /// For the worker: capture.
    pub capture: capture::Pipeline<'a, CAP, SLOTS, V, P>,
    /// For the worker: playback.
    pub playback: playback::Pipeline<'a, CAP, SLOTS>,
    /// For the application: where tracks are opened.
    pub tracks: TrackPool<'a, M, CAP, SLOTS>,
    /// For the application: what the workers report.
    pub events: Events<'a>,
    /// For anybody: the counters.
    pub stats: StatsReader<'a>,
}

impl<M: RawMutex, V, P, const CAP: usize, const SLOTS: usize> fmt::Debug for Halves<'_, M, V, P, CAP, SLOTS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Halves").field("tracks", &self.tracks).finish_non_exhaustive()
    }
}

impl<
    const CAP: usize,
    const SLOTS: usize,
    const CAPTURE: usize,
    const PLAYBACK: usize,
    const REFERENCE: usize,
    const QUEUE: usize,
    const HISTORY: usize,
> fmt::Debug for Session<CAP, SLOTS, CAPTURE, PLAYBACK, REFERENCE, QUEUE, HISTORY>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("bytes", &size_of::<Self>()).finish_non_exhaustive()
    }
}

impl<
    const CAP: usize,
    const SLOTS: usize,
    const CAPTURE: usize,
    const PLAYBACK: usize,
    const REFERENCE: usize,
    const QUEUE: usize,
    const HISTORY: usize,
> Default for Session<CAP, SLOTS, CAPTURE, PLAYBACK, REFERENCE, QUEUE, HISTORY>
{
    fn default() -> Self {
        Self::new()
    }
}

impl<
    const CAP: usize,
    const SLOTS: usize,
    const CAPTURE: usize,
    const PLAYBACK: usize,
    const REFERENCE: usize,
    const QUEUE: usize,
    const HISTORY: usize,
> Session<CAP, SLOTS, CAPTURE, PLAYBACK, REFERENCE, QUEUE, HISTORY>
{
    const DEPTHS: () = {
        assert!(SLOTS > 0, "a session needs at least one track slot");
        assert!(CAPTURE > 2 && PLAYBACK > 2 && REFERENCE > 2, "a ring of N frames holds N - 1, at least 2");
        assert!(PLAYBACK <= 256, "the playback target is told in 8 bits");
        assert!(HISTORY >= CAP, "the history must hold at least a frame");
        assert!(QUEUE > 1, "a track's queue of N frames holds N - 1, at least 1");
    };

    /// An unused session, all zero bytes.
    #[must_use]
    pub const fn new() -> Self {
        const { Self::DEPTHS };
        Self {
            capture: Queue::new(),
            playback: Queue::new(),
            reference: Queue::new(),
            slots: [const { SlotMemory::new() }; SLOTS],
            intake_frame: Frame::EMPTY,
            outlet_frame: Frame::EMPTY,
            capture_memory: CaptureMemory::new(),
            playback_memory: PlaybackMemory::new(),
            playout: [const { PlayoutMemory::new() }; SLOTS],
            history: [0; HISTORY],
            capture_events: Queue::new(),
            playback_events: Queue::new(),
            counters: Counters::new(),
            plan: SharedPlan::new(),
        }
    }

    /// The session's halves, for a terminal format, with the voice processor and the chain of frame
    /// processors that the capture worker will call (`()` for none). A session whose halves are all
    /// gone can be split again and starts anew.
    ///
    /// # Errors
    /// Names a channel count that is not 1 to 8 and a format whose 10 ms do not fit `CAP`.
    pub fn split<M: RawMutex, V: VoiceProcessor, P: FrameProcessor>(
        &mut self,
        terminal: SessionFormat,
        voice: V,
        chain: P,
    ) -> Result<Halves<'_, M, V, P, CAP, SLOTS>, ConfigError> {
        let near = Format::with_rate(terminal.rate, terminal.near_channels)?.fitting(CAP)?;
        let far = Format::with_rate(terminal.rate, terminal.far_channels)?.fitting(CAP)?;
        self.counters = Counters::new();
        self.plan.clear();
        self.plan.set_terminal(terminal.rate);
        self.intake_frame = Frame::EMPTY;
        self.outlet_frame = Frame::EMPTY;
        let counters = &self.counters;
        let (capture_in, capture_out) = ring::split(&mut self.capture);
        let (playback_in, playback_out) = ring::split(&mut self.playback);
        let (reference_in, reference_out) = ring::split(&mut self.reference);
        let (capture_sender, capture_receiver) = queue::fresh(&mut self.capture_events);
        let (playback_sender, playback_receiver) = queue::fresh(&mut self.playback_events);
        let (ports, slots) = slot::split(&mut self.slots);
        let shared = ports.each_ref().map(|port| port.as_ref().map(|port| port.shared));
        let PlaybackMemory { mixer, frames } = &mut self.playback_memory;
        let capture_ends = CapturePipelineParts {
            capture: capture_out,
            reference: reference_out,
            memory: &mut self.capture_memory,
            history: &mut self.history,
            counters: &counters.capture,
            plan: &self.plan,
            playout: PlayoutTracker::new(&mut self.playout, shared, terminal.rate),
            events: EventSender { queue: capture_sender, dropped: &counters.capture.dropped_events },
        };
        let playback_ends = PlaybackPipelineParts {
            ring: playback_in,
            frames,
            counters: &counters.playback,
            plan: &self.plan,
            events: EventSender { queue: playback_sender, dropped: &counters.playback.dropped_events },
        };
        Ok(Halves {
            intake: Intake::new(capture_in, &mut self.intake_frame, &counters.intake, &self.plan),
            outlet: Outlet::new(
                playback_out,
                reference_in,
                &mut self.outlet_frame,
                &counters.outlet,
                &self.plan,
                Duration::of_sample_frames((HISTORY / far.channels()) as u64, terminal.rate),
            ),
            capture: capture::Pipeline::new(capture_ends, near, far, voice, chain),
            playback: playback::Pipeline::new(playback_ends, Mixer::new(slots, mixer, far)),
            tracks: TrackPool::new(ports, &self.plan, far),
            events: Events { capture: capture_receiver, playback: playback_receiver },
            stats: StatsReader { counters },
        })
    }
}
