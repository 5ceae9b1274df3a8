//! Application side: the session's track slots, and who waits for them.

use core::cell::RefCell;
use core::fmt;
use core::task::Waker;

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::RawMutex;
use embassy_sync::waitqueue::WakerRegistration;

use crate::error::ConfigError;
use crate::format::Format;
use crate::playback::SharedPlan;
use crate::playback::slot::{SlotShared, TrackPort};
use crate::playback::track::source::{Source, SourceConfig};
use crate::playback::track::{Track, TrackError};

struct Pool<'a, const CAP: usize, const SLOTS: usize> {
    /// None where a track has it.
    ports: [Option<TrackPort<'a, CAP>>; SLOTS],
    last_track: u32,
}

/// The session's free track slots. Handles take one each and bring it back when dropped.
///
/// `M` is the kind of mutex between application threads or tasks; no audio thread ever takes it.
pub struct TrackPool<'a, M: RawMutex, const CAP: usize, const SLOTS: usize> {
    pool: Mutex<M, RefCell<Pool<'a, CAP, SLOTS>>>,
    waiting: Mutex<M, RefCell<[WakerRegistration; SLOTS]>>,
    plan: &'a SharedPlan,
    format: Format,
}

impl<M: RawMutex, const CAP: usize, const SLOTS: usize> fmt::Debug for TrackPool<'_, M, CAP, SLOTS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackPool").field("format", &self.format).field("slots", &SLOTS).finish()
    }
}

impl<'a, M: RawMutex, const CAP: usize, const SLOTS: usize> TrackPool<'a, M, CAP, SLOTS> {
    pub(crate) fn new(
        ports: [Option<TrackPort<'a, CAP>>; SLOTS],
        plan: &'a SharedPlan,
        format: Format,
    ) -> Self {
        Self {
            pool: Mutex::new(RefCell::new(Pool { ports, last_track: 0 })),
            waiting: Mutex::new(RefCell::new([const { WakerRegistration::new() }; SLOTS])),
            plan,
            format,
        }
    }

    /// The format of the mix, which [`open`](Self::open)'s tracks take.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Opens a track of the mix's own format, at unity gain. Application side; takes the pool's
    /// mutex for a few instructions.
    ///
    /// # Errors
    /// [`TrackError::NoSlot`] when all slots are in use: by a handle, or by a track that the
    /// playback worker has not yet played or faded to its end. [`TrackError::Closed`] after
    /// [`end_input`](Self::end_input).
    pub fn open(&self) -> Result<Track<'_, 'a, M, CAP, SLOTS>, TrackError> {
        self.open_with(Source::same(self.format))
    }

    /// Opens a track whose source has another rate (4 to 192 kHz), other channels, or a clock of its
    /// own. What is pushed is converted there and then, in the application's thread; `MEMORY` is
    /// what [`Quality::memory`](crate::dsp::Quality::memory) or `fast_memory` says for the two rates
    /// and the mix's channels.
    ///
    /// ```
    /// # use embassy_sync::blocking_mutex::raw::NoopRawMutex;
    /// # use handsfree_core::capture::Bypass;
    /// # use handsfree_core::{SampleRate, Session, SessionFormat};
    /// use handsfree_core::dsp::Quality;
    /// use handsfree_core::playback::SourceConfig;
    ///
    /// # let mut session = Box::new(Session::<480, 2, 8, 8, 16, 101, 48_000>::new());
    /// # let terminal = SessionFormat { rate: SampleRate::new(48_000)?, near_channels: 1, far_channels: 1 };
    /// # let halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ())?;
    /// // Speech synthesis at 22,050 Hz, in bytes.
    /// const MEMORY: usize = Quality::MEDIUM.fast_memory(22_050, 48_000, 1);
    /// let source = SourceConfig { rate_hz: 22_050, channels: 1, quality: Quality::MEDIUM, matching: None };
    /// let mut track = halves.tracks.open_source::<MEMORY>(source)?;
    /// assert_eq!(track.push_bytes(&[0; 4_411])?, 4_411, "half a sample waits for its other half");
    /// assert_eq!(track.position(), 2_205);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`TrackError::Config`] for a rate, channels or memory that
    /// cannot work.
    pub fn open_source<const MEMORY: usize>(
        &self,
        source: SourceConfig,
    ) -> Result<Track<'_, 'a, M, CAP, SLOTS, MEMORY>, TrackError> {
        self.open_with(Source::new(source, self.format)?)
    }

    #[cold]
    #[inline(never)]
    fn open_with<const MEMORY: usize>(
        &self,
        source: Source<MEMORY>,
    ) -> Result<Track<'_, 'a, M, CAP, SLOTS, MEMORY>, TrackError> {
        if self.plan.is_input_ended() {
            return Err(TrackError::Closed);
        }
        self.pool.lock(|pool| {
            // Nothing in here comes back here, so it is never borrowed; but a panic must not be linked.
            let Ok(mut pool) = pool.try_borrow_mut() else { return Err(TrackError::NoSlot { slots: SLOTS }) };
            let pool = &mut *pool;
            let free = pool.ports.iter_mut().find(|port| is_free(port)).and_then(Option::take);
            let mut port = free.ok_or(TrackError::NoSlot { slots: SLOTS })?;
            pool.last_track = if pool.last_track == SlotShared::LAST_TRACK { 1 } else { pool.last_track + 1 };
            port.track = pool.last_track;
            port.pending.begin(self.format);
            port.shared.open(port.track);
            Ok(Track::new(self, port, source))
        })
    }

    /// Slots that can be opened now.
    #[must_use]
    pub fn free(&self) -> usize {
        self.pool.lock(|pool| {
            pool.try_borrow().map_or(0, |pool| pool.ports.iter().filter(|port| is_free(port)).count())
        })
    }

    /// Says that no more tracks will be opened; those that are open go on to their ends.
    pub fn end_input(&self) {
        self.plan.end_input();
    }

    /// Lets the tasks that wait for a track look again: to be called whenever the workers have
    /// polled, some hundred times a second.
    ///
    /// On a microcontroller by the worker's own task. On a host by a thread of its own, never by an
    /// audio thread or a board's real-time thread: it takes the mutex and calls the executor's
    /// wakers. Costs little while nobody waits.
    pub fn dispatch(&self) {
        self.waiting.lock(|waiting| {
            // A waker that comes back here while it is called finds it borrowed, and all woken anyway.
            if let Ok(mut waiting) = waiting.try_borrow_mut() {
                waiting.iter_mut().for_each(WakerRegistration::wake);
            }
        });
    }

    pub(crate) fn wait(&self, slot: usize, waker: &Waker) {
        self.waiting.lock(|waiting| {
            if let Ok(mut waiting) = waiting.try_borrow_mut()
                && let Some(place) = waiting.get_mut(slot)
            {
                place.register(waker);
            }
        });
    }

    /// Whether tracks take nothing more.
    pub(crate) fn is_closed(&self) -> bool {
        self.plan.is_closed()
    }

    /// Whether a playback stream runs.
    pub(crate) fn is_playing(&self) -> bool {
        self.plan.get().is_some()
    }

    pub(crate) fn give_back(&self, port: TrackPort<'a, CAP>) {
        self.pool.lock(|pool| {
            if let Ok(mut pool) = pool.try_borrow_mut()
                && let Some(place) = pool.ports.get_mut(port.index)
            {
                *place = Some(port);
            }
        });
    }
}

fn is_free<const CAP: usize>(port: &Option<TrackPort<'_, CAP>>) -> bool {
    port.as_ref().is_some_and(|port| port.shared.is_done(port.track))
}

impl From<ConfigError> for TrackError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}
