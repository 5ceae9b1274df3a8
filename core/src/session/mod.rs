//! Control side: all memory of one session, and the halves into which it is split.

mod sizing;

use core::fmt;

use crate::atomics::spsc::Queue;
use embassy_sync::blocking_mutex::raw::RawMutex;

use crate::audio_io::Direction;
use crate::capture::{self, CaptureMemory, CapturePipelineParts, FrameProcessor, Intake, VoiceProcessor};
use crate::devices::DeviceState;
use crate::error::ConfigError;
use crate::event::{EventQueue, EventSender, Events};
use crate::format::{Format, SampleRate};
use crate::frame::Frame;
use crate::playback::{
    self, InputGate, Mixer, Outlet, PlaybackMemory, PlaybackPipelineParts, PlayoutMemory, PlayoutTracker,
    SlotMemory, TrackPool, slot,
};
use crate::queue;
use crate::ring::{self, RingMemory};
use crate::stall::StallReporter;
use crate::stats::{Counters, StatsReader};
use crate::time::Duration;

pub use sizing::SessionSizing;

/// Format of a session: tracks, processors and the sink all use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SessionFormat {
    /// Sample rate of both directions.
    pub rate: SampleRate,
    /// Channels of the microphone signal, 1 to 8.
    pub near_channels: u32,
    /// Channels of the loudspeaker signal, 1 to 8.
    pub far_channels: u32,
}

/// All memory of one session: rings, track queues, working memory, counters.
///
/// The macro [`session!`](crate::session!) derives the seven sizes from milliseconds; here they are given
/// directly:
///
/// - `CAP`: capacity of a frame in samples, all channels.
/// - `SLOTS`: number of tracks that can be open at the same time.
/// - `CAPTURE`, `PLAYBACK`, `REFERENCE`: depths of the rings, in frames of 10 ms plus one (a ring of 4 holds
///   3).
/// - `QUEUE`: depth of one track's queue, in frames of 10 ms plus one.
/// - `HISTORY`: length of the echo history in samples, all channels: the longest render plus capture latency
///   across which echo is found (3 s on a host), plus 100 ms if reference frames may be late.
///
/// [`new`](Self::new) is const and makes all zero bytes, so a static session lies in `.bss`.
///
/// ```
/// use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
/// use handsfree_core::capture::Bypass;
/// use handsfree_core::{SampleRate, Session, SessionFormat};
///
/// let mut session = Box::new(Session::<480, 4, 8, 8, 16, 32, 48_000>::new());
/// let format = SessionFormat { rate: SampleRate::new(48_000)?, near_channels: 1, far_channels: 1 };
/// let halves = session.split::<CriticalSectionRawMutex, _, _>(format, Bypass, ())?;
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
    device_state: DeviceState,
    input: InputGate,
}

/// The halves of a session. Each half goes to its own context; they share nothing but wait-free rings and
/// counters.
pub struct Halves<'a, M: RawMutex, V, P, const CAP: usize, const SLOTS: usize> {
    /// Interrupt half of capture, for the capture interrupt.
    pub intake: Intake<'a, CAP>,
    /// Interrupt half of playback, for the playback interrupt.
    pub outlet: Outlet<'a, CAP, SLOTS>,
    /// Worker half of capture, for the worker.
    pub capture: capture::Pipeline<'a, CAP, SLOTS, V, P>,
    /// Worker half of playback, for the worker.
    pub playback: playback::Pipeline<'a, CAP, SLOTS>,
    /// Pool of track slots, for the application.
    pub tracks: TrackPool<'a, M, CAP, SLOTS>,
    /// Events that the workers report, for the application.
    pub events: Events<'a>,
    /// Reader of the counters, for any context.
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
    /// Size of the session in bytes.
    pub const BYTES: usize = size_of::<Self>();

    const CHECKED_SIZES: () = {
        assert!(SLOTS > 0, "SLOTS: expected at least 1 track slot");
        assert!(
            CAPTURE > 2 && PLAYBACK > 2 && REFERENCE > 2,
            "CAPTURE, PLAYBACK and REFERENCE: expected at least 3, because a ring of N holds N - 1 frames"
        );
        assert!(
            PLAYBACK <= 256,
            "PLAYBACK: expected at most 256, because the target fill is stored in 8 bits"
        );
        assert!(HISTORY >= CAP, "HISTORY: expected at least CAP, one frame");
        assert!(QUEUE > 1, "QUEUE: expected at least 2, because a queue of N holds N - 1 frames");
    };

    /// Returns an unused session, all zero bytes.
    #[must_use]
    pub const fn new() -> Self {
        const { Self::CHECKED_SIZES };
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
            device_state: DeviceState::new(),
            input: InputGate::new(),
        }
    }

    /// Splits the session into its halves, for one format, with the voice processor and the chain of frame
    /// processors that the capture worker will call (`()` for none). A session with all its halves dropped
    /// can be split again and starts from the beginning.
    ///
    /// # Errors
    /// Names a channel count that is not 1 to 8, and a format of which 10 ms do not fit `CAP`.
    pub fn split<M: RawMutex, V: VoiceProcessor, P: FrameProcessor>(
        &mut self,
        format: SessionFormat,
        voice: V,
        chain: P,
    ) -> Result<Halves<'_, M, V, P, CAP, SLOTS>, ConfigError> {
        let near = Format::with_rate(format.rate, format.near_channels)?.fitting(CAP)?;
        let far = Format::with_rate(format.rate, format.far_channels)?.fitting(CAP)?;
        self.counters = Counters::new();
        self.device_state = DeviceState::new();
        self.input = InputGate::new();
        self.intake_frame = Frame::EMPTY;
        self.outlet_frame = Frame::EMPTY;
        let counters = &self.counters;
        let (capture_in, capture_out) = ring::split(&mut self.capture);
        let (playback_in, playback_out) = ring::split(&mut self.playback);
        let (reference_in, reference_out) = ring::split(&mut self.reference);
        let (capture_sender, capture_receiver) = queue::split_empty(&mut self.capture_events);
        let (playback_sender, playback_receiver) = queue::split_empty(&mut self.playback_events);
        let (ports, slots) = slot::split(&mut self.slots);
        let published = ports.each_ref().map(|port| port.as_ref().map(|port| &port.shared.playout));
        let PlaybackMemory { mixer, frames } = &mut self.playback_memory;
        let capture_parts = CapturePipelineParts {
            capture: capture_out,
            reference: reference_out,
            memory: &mut self.capture_memory,
            history: &mut self.history,
            counters: &counters.capture,
            device_state: &self.device_state,
            playout: PlayoutTracker::new(&mut self.playout, published, format.rate),
            events: EventSender { queue: capture_sender, dropped: &counters.capture.dropped_events },
            stalls: StallReporter::new(Direction::Capture, &counters.intake.stalled_sample_frames),
        };
        let playback_parts = PlaybackPipelineParts {
            ring: playback_in,
            frames,
            counters: &counters.playback,
            target: &self.device_state.playback_target,
            events: EventSender { queue: playback_sender, dropped: &counters.playback.dropped_events },
            stalls: StallReporter::new(Direction::Playback, &counters.outlet.stalled_sample_frames),
        };
        Ok(Halves {
            intake: Intake::new(
                capture_in,
                &mut self.intake_frame,
                &counters.intake,
                &self.device_state.clock_domains,
                format.rate,
            ),
            outlet: Outlet::new(
                playback_out,
                reference_in,
                &mut self.outlet_frame,
                &counters.outlet,
                &self.device_state,
                format.rate,
                Duration::of_sample_frames((HISTORY / far.channels()) as u64, format.rate),
            ),
            capture: capture::Pipeline::new(capture_parts, near, far, voice, chain),
            playback: playback::Pipeline::new(playback_parts, Mixer::new(slots, mixer, far)),
            tracks: TrackPool::new(ports, &self.input, &self.device_state.playback_target, far),
            events: Events { capture: capture_receiver, playback: playback_receiver },
            stats: StatsReader { counters },
        })
    }
}
