//! Application side: a mixer without a device, which mixes many streams into one at the pace of its consumer.

use core::fmt;

use crate::atomics::spsc::Queue;
use embassy_sync::blocking_mutex::raw::RawMutex;

use crate::devices::SharedPlaybackTarget;
use crate::error::ConfigError;
use crate::event::{EventQueue, EventSender, SessionEvent};
use crate::format::Format;
use crate::frame::Frame;
use crate::playback::input_gate::InputGate;
use crate::playback::limiter::Limiter;
use crate::playback::mixer::{Mixer, MixerMemory};
use crate::playback::slot::{self, SlotMemory};
use crate::playback::tap::TrackTap;
use crate::playback::track::TrackPool;
use crate::queue;
use crate::stats::{PlaybackCounters, PlaybackStats};
use crate::time::{Duration, Instant};

/// Memory of a [`StreamMixer`]; `QUEUE` is the depth of a stream's queue in 10 ms frames plus one.
///
/// New memory is all zero bytes and may be a static.
pub struct StreamMixerMemory<const CAP: usize, const SLOTS: usize, const QUEUE: usize> {
    slots: [SlotMemory<CAP, QUEUE>; SLOTS],
    mixer: MixerMemory<CAP>,
    counters: PlaybackCounters,
    events: EventQueue,
    input: InputGate,
    /// Never set, because no playback stream runs; the track pool reads it.
    target: SharedPlaybackTarget,
}

impl<const CAP: usize, const SLOTS: usize, const QUEUE: usize> fmt::Debug
    for StreamMixerMemory<CAP, SLOTS, QUEUE>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamMixerMemory").field("bytes", &size_of::<Self>()).finish_non_exhaustive()
    }
}

impl<const CAP: usize, const SLOTS: usize, const QUEUE: usize> Default
    for StreamMixerMemory<CAP, SLOTS, QUEUE>
{
    fn default() -> Self {
        Self::new()
    }
}

impl<const CAP: usize, const SLOTS: usize, const QUEUE: usize> StreamMixerMemory<CAP, SLOTS, QUEUE> {
    /// Returns unused memory.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(QUEUE > 1, "a stream's queue of N frames holds N - 1, at least 1") };
        Self {
            slots: [const { SlotMemory::new() }; SLOTS],
            mixer: MixerMemory::new(),
            counters: PlaybackCounters::new(),
            events: Queue::new(),
            input: InputGate::new(),
            target: SharedPlaybackTarget::new(),
        }
    }

    /// Splits the memory into the pool that opens streams and the mixer. `timeout` is how long a stream that
    /// does not deliver is waited for before it contributes silence; 100 ms is usual.
    ///
    /// # Errors
    /// Returns an error that names the format if its 10 ms do not fit `CAP`.
    pub fn split<M: RawMutex>(
        &mut self,
        format: Format,
        timeout: Duration,
    ) -> Result<(TrackPool<'_, M, CAP, SLOTS>, StreamMixer<'_, CAP, SLOTS>), ConfigError> {
        let format = format.fitting(CAP)?;
        self.counters = PlaybackCounters::new();
        self.input = InputGate::new();
        let (ports, slots) = slot::split(&mut self.slots);
        let (sender, events) = queue::split_empty(&mut self.events);
        let tracks = TrackPool::new(ports, &self.input, &self.target, format);
        let mixer = StreamMixer {
            mixer: Mixer::new(slots, &mut self.mixer, format),
            counters: &self.counters,
            sender: EventSender { queue: sender, dropped: &self.counters.dropped_events },
            events,
            input: &self.input,
            timeout,
            late_since: None,
            position: 0,
        };
        Ok((tracks, mixer))
    }
}

/// Result of asking a [`StreamMixer`] for 10 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum MixOutcome {
    /// The frame holds the next 10 ms.
    Frame,
    /// There is no frame yet. With a time, the mixer waits until then for a late stream; without one, no stream
    /// has anything.
    Waiting {
        /// Latest time at which to ask again.
        until: Option<Instant>,
    },
    /// The input has ended and everything was mixed, or the mixer was closed.
    Ended,
}

/// Mixes streams into one, for a consumer with its own pace such as a file, a network or a test.
///
/// Streams are [`Track`](super::Track)s. They are opened and dropped while the mixer runs, have any rate and
/// channels, and each has a gain. A finished stream ends once its queue is empty; a stream that is dropped
/// fades out. A stream that does not deliver in time contributes silence, is reported once
/// ([`SessionEvent::TrackStarved`]) and is not waited for again until it delivers. Then nothing of it is lost
/// or padded, or its late frames are skipped ([`Track::set_skip_late`](super::Track::set_skip_late)). The sum
/// saturates or is [limited](Limiter). A frame counts as played when it was taken.
///
/// ```
/// use embassy_sync::blocking_mutex::raw::NoopRawMutex;
/// use handsfree_core::playback::{MixOutcome, StreamMixerMemory};
/// use handsfree_core::time::{Duration, Instant};
/// use handsfree_core::{Format, Frame};
///
/// let mut memory = Box::new(StreamMixerMemory::<480, 8, 32>::new());
/// let format = Format::new(48_000, 1)?;
/// let (streams, mut mixer) = memory.split::<NoopRawMutex>(format, Duration::from_millis(100))?;
///
/// let (mut one, mut two) = (streams.open()?, streams.open()?);
/// one.push(&[1_000; 960])?;
/// two.push(&[200; 480])?;
/// assert!(one.finish().is_ok() && two.finish().is_ok());
/// streams.end_input();
///
/// let (mut frame, now) = (Frame::silence(format)?, Instant::ORIGIN);
/// assert_eq!(mixer.next(now, &mut frame), MixOutcome::Frame);
/// assert_eq!(frame.samples(), [1_200; 480]);
/// assert_eq!(mixer.next(now, &mut frame), MixOutcome::Frame);
/// assert_eq!(frame.samples(), [1_000; 480]);
/// assert_eq!(mixer.next(now, &mut frame), MixOutcome::Ended);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct StreamMixer<'a, const CAP: usize, const SLOTS: usize> {
    mixer: Mixer<'a, CAP, SLOTS>,
    counters: &'a PlaybackCounters,
    sender: EventSender<'a>,
    events: queue::QueueReader<'a, SessionEvent>,
    input: &'a InputGate,
    timeout: Duration,
    late_since: Option<Instant>,
    position: u64,
}

impl<const CAP: usize, const SLOTS: usize> fmt::Debug for StreamMixer<'_, CAP, SLOTS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamMixer")
            .field("mixer", &self.mixer)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl<const CAP: usize, const SLOTS: usize> StreamMixer<'_, CAP, SLOTS> {
    /// Mixes the next 10 ms into `out` if the streams are ready. Never blocks.
    ///
    /// Costs an addition for each sample and stream, and a look at every slot.
    pub fn next(&mut self, now: Instant, out: &mut Frame<CAP, SLOTS>) -> MixOutcome {
        self.next_tapped(now, out, &mut ())
    }

    /// Mixes like [`next`](Self::next) and passes each stream's audio and events to `tap`.
    pub fn next_tapped(
        &mut self,
        now: Instant,
        out: &mut Frame<CAP, SLOTS>,
        tap: &mut impl TrackTap<CAP>,
    ) -> MixOutcome {
        if self.input.is_closed() {
            return MixOutcome::Ended;
        }
        let sender = &mut self.sender;
        let mut events = |event| sender.send(event);
        self.mixer.end_drained_tracks(&mut |event| {
            events(event);
            tap.on_event(event);
        });
        // Read before the tracks are counted: a track that was opened before the input ended is then counted.
        let is_ended = self.input.is_ended();
        let available = self.mixer.available();
        if available.tracks == 0 && is_ended {
            return MixOutcome::Ended;
        }
        if !available.has_data {
            // A stream is only late while others have data.
            self.late_since = None;
            self.mixer.idle(&mut |event| {
                events(event);
                tap.on_event(event);
            });
            return MixOutcome::Waiting { until: None };
        }
        if available.is_late {
            let until = *self.late_since.get_or_insert(now) + self.timeout;
            if now < until {
                return MixOutcome::Waiting { until: Some(until) };
            }
        }
        self.late_since = None;
        self.mixer.mix(out, tap, self.counters, &mut events);
        self.mixer.publish_played();
        out.stamp.position = self.position;
        self.position += self.mixer.format().sample_frames() as u64;
        self.counters.frames.add(1);
        MixOutcome::Frame
    }

    /// Ends the mixer at once. What is queued is dropped, and tracks take nothing more.
    pub fn close(&mut self) {
        self.input.close();
        let sender = &mut self.sender;
        self.mixer.close(&mut |event| sender.send(event));
    }

    /// Sets what happens to sums beyond 16 bits, from the next frame on.
    pub fn set_limiter(&mut self, limiter: Limiter) {
        self.mixer.set_limiter(limiter);
    }

    /// Returns the oldest event that was not taken yet.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop()
    }

    /// Returns the counters so far.
    #[must_use]
    pub fn stats(&self) -> PlaybackStats {
        self.counters.read()
    }
}
