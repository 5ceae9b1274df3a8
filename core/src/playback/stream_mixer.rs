//! Application side: the mixer by itself, without a device: many streams in, one stream out, at the
//! pace of whoever takes it.

use core::fmt;

use embassy_sync::blocking_mutex::raw::RawMutex;
use heapless::spsc::Queue;

use crate::error::ConfigError;
use crate::event::{EventQueue, EventSender, SessionEvent};
use crate::format::Format;
use crate::frame::Frame;
use crate::playback::limiter::Limiter;
use crate::playback::mixer::{Mixer, MixerMemory};
use crate::playback::plan::SharedPlan;
use crate::playback::slot::{self, SlotMemory};
use crate::playback::tap::TrackTap;
use crate::playback::track::TrackPool;
use crate::queue;
use crate::stats::{PlaybackCounters, PlaybackStats};
use crate::time::{Duration, Instant};

/// All the memory of a mixer by itself; `QUEUE` is a stream's queue in 10 ms frames plus one.
///
/// A new one is all zero bytes and may be a static.
pub struct StreamMixerMemory<const CAP: usize, const SLOTS: usize, const QUEUE: usize> {
    slots: [SlotMemory<CAP, QUEUE>; SLOTS],
    mixer: MixerMemory<CAP>,
    counters: PlaybackCounters,
    events: EventQueue,
    plan: SharedPlan,
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
    /// Memory before its first use.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(QUEUE > 1, "a stream's queue of N frames holds N - 1, at least 1") };
        Self {
            slots: [const { SlotMemory::new() }; SLOTS],
            mixer: MixerMemory::new(),
            counters: PlaybackCounters::new(),
            events: Queue::new(),
            plan: SharedPlan::new(),
        }
    }

    /// Where streams come in, and where the mix goes out. `timeout` is how long a stream that does
    /// not deliver is waited for before it contributes silence; 100 ms is usual.
    ///
    /// # Errors
    /// Names a format whose 10 ms do not fit `CAP`.
    pub fn split<M: RawMutex>(
        &mut self,
        format: Format,
        timeout: Duration,
    ) -> Result<(TrackPool<'_, M, CAP, SLOTS>, StreamMixer<'_, CAP, SLOTS>), ConfigError> {
        let format = format.fitting(CAP)?;
        self.counters = PlaybackCounters::new();
        self.plan = SharedPlan::new();
        let (ports, slots) = slot::split(&mut self.slots);
        let (sender, events) = queue::fresh(&mut self.events);
        let tracks = TrackPool::new(ports, &self.plan, format);
        let mixer = StreamMixer {
            mixer: Mixer::new(slots, &mut self.mixer, format),
            counters: &self.counters,
            sender: EventSender { queue: sender, dropped: &self.counters.dropped_events },
            events,
            plan: &self.plan,
            timeout,
            late_since: None,
            position: 0,
        };
        Ok((tracks, mixer))
    }
}

/// What asking a [`StreamMixer`] for 10 ms came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Mixed {
    /// The frame holds the next 10 ms.
    Frame,
    /// Nothing yet. With a time, a stream is late and is waited for until then; without one, no
    /// stream has anything.
    Waiting {
        /// When to ask again at the latest.
        until: Option<Instant>,
    },
    /// The input has ended and everything was mixed, or the mixer was closed.
    Ended,
}

/// Mixes streams into one, for a consumer of its own pace: a file, a network, a test.
///
/// Streams are [`Track`](super::Track)s: opened and dropped while it runs, of any rate and channels,
/// each with its gain; a handle that is finished ends once drained, one that is dropped fades away.
/// A stream that does not deliver in time contributes silence, is reported once
/// ([`SessionEvent::TrackStarved`]) and is not waited for again until it delivers; then nothing of
/// it is lost or padded (or late frames are skipped, [`Track::set_skip_late`](super::Track::set_skip_late)).
/// The sum saturates, or is [limited](Limiter). A frame counts as heard when it was taken.
///
/// ```
/// use embassy_sync::blocking_mutex::raw::NoopRawMutex;
/// use handsfree_core::playback::{Mixed, StreamMixerMemory};
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
/// assert_eq!(mixer.next(now, &mut frame), Mixed::Frame);
/// assert_eq!(frame.samples(), [1_200; 480]);
/// assert_eq!(mixer.next(now, &mut frame), Mixed::Frame);
/// assert_eq!(frame.samples(), [1_000; 480]);
/// assert_eq!(mixer.next(now, &mut frame), Mixed::Ended);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct StreamMixer<'a, const CAP: usize, const SLOTS: usize> {
    mixer: Mixer<'a, CAP, SLOTS>,
    counters: &'a PlaybackCounters,
    sender: EventSender<'a>,
    events: queue::Reader<'a, SessionEvent>,
    plan: &'a SharedPlan,
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
    /// Mixes the next 10 ms into `out`, if it is their time. Never blocks.
    ///
    /// Costs an addition a sample and stream, and a look at every slot.
    pub fn next(&mut self, now: Instant, out: &mut Frame<CAP, SLOTS>) -> Mixed {
        self.next_tapped(now, out, &mut ())
    }

    /// The same with a tap that hears single streams.
    pub fn next_tapped(
        &mut self,
        now: Instant,
        out: &mut Frame<CAP, SLOTS>,
        tap: &mut impl TrackTap<CAP>,
    ) -> Mixed {
        if self.plan.is_closed() {
            return Mixed::Ended;
        }
        let sender = &mut self.sender;
        let mut events = |event| sender.send(event);
        self.mixer.reap(&mut |event| {
            events(event);
            tap.on_event(event);
        });
        let supply = self.mixer.supply();
        if supply.tracks == 0 && self.plan.is_input_ended() {
            return Mixed::Ended;
        }
        if !supply.has_data {
            // Late is who makes others wait.
            self.late_since = None;
            self.mixer.idle(&mut |event| {
                events(event);
                tap.on_event(event);
            });
            return Mixed::Waiting { until: None };
        }
        if supply.is_late {
            let until = *self.late_since.get_or_insert(now) + self.timeout;
            if now < until {
                return Mixed::Waiting { until: Some(until) };
            }
        }
        self.late_since = None;
        self.mixer.mix(out, tap, self.counters, &mut events);
        self.mixer.publish_heard();
        out.stamp.position = self.position;
        self.position += self.mixer.format().sample_frames() as u64;
        self.counters.frames.add(1);
        Mixed::Frame
    }

    /// Ends at once: what is queued is dropped, tracks take nothing more.
    pub fn close(&mut self) {
        self.plan.close_input();
        let sender = &mut self.sender;
        self.mixer.close(&mut |event| sender.send(event));
    }

    /// Chooses what happens to sums beyond 16 bits, from the next frame on.
    pub fn set_limiter(&mut self, limiter: Limiter) {
        self.mixer.set_limiter(limiter);
    }

    /// The oldest event that was not taken yet.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop()
    }

    /// What was counted so far.
    #[must_use]
    pub fn stats(&self) -> PlaybackStats {
        self.counters.read()
    }
}
