//! Application side: the session's track slots and the tasks that wait for tracks.

use core::cell::RefCell;
use core::fmt;
use core::task::Waker;

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::RawMutex;
use embassy_sync::waitqueue::WakerRegistration;

use crate::devices::SharedPlaybackTarget;
use crate::format::Format;
use crate::playback::input_gate::InputGate;
use crate::playback::slot::{SlotShared, TrackPort};
use crate::playback::track::source::{SourceConfig, SourceConverter};
use crate::playback::track::{Track, TrackError};

struct PortPool<'a, const CAP: usize, const SLOTS: usize> {
    /// `None` for a slot that a track's handle uses.
    ports: [Option<TrackPort<'a, CAP>>; SLOTS],
    last_track: u32,
}

/// The session's free track slots. A handle takes one and returns it when dropped.
///
/// `M` is the kind of mutex between application threads or tasks. Audio threads never take it.
pub struct TrackPool<'a, M: RawMutex, const CAP: usize, const SLOTS: usize> {
    pool: Mutex<M, RefCell<PortPool<'a, CAP, SLOTS>>>,
    waiting: Mutex<M, RefCell<[WakerRegistration; SLOTS]>>,
    input: &'a InputGate,
    target: &'a SharedPlaybackTarget,
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
        input: &'a InputGate,
        target: &'a SharedPlaybackTarget,
        format: Format,
    ) -> Self {
        Self {
            pool: Mutex::new(RefCell::new(PortPool { ports, last_track: 0 })),
            waiting: Mutex::new(RefCell::new([const { WakerRegistration::new() }; SLOTS])),
            input,
            target,
            format,
        }
    }

    /// Returns the format of the mix, which is what a track from [`open`](Self::open) takes.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Opens a track of the mix's own format, at unity gain. Application side; takes the pool's mutex for a few
    /// instructions.
    ///
    /// # Errors
    /// Returns [`TrackError::NoSlot`] when all slots are in use, by a handle or by a track that the playback
    /// worker has not yet played or faded to its end, and [`TrackError::Closed`] after
    /// [`end_input`](Self::end_input).
    pub fn open(&self) -> Result<Track<'_, 'a, M, CAP, SLOTS>, TrackError> {
        self.open_with(SourceConverter::unconverted(self.format))
    }

    /// Opens a track whose source has another rate (4 to 192 kHz), other channels, or a clock of its own.
    /// Pushed audio is converted at once, in the application's thread. `MEMORY` is the value of
    /// [`Quality::memory`](crate::dsp::Quality::memory) or `fast_memory` for the two rates and the mix's
    /// channels.
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
    /// Returns the errors of [`open`](Self::open), and [`TrackError::Config`] for a rate, channels or memory
    /// that cannot work.
    pub fn open_source<const MEMORY: usize>(
        &self,
        source: SourceConfig,
    ) -> Result<Track<'_, 'a, M, CAP, SLOTS, MEMORY>, TrackError> {
        self.open_with(SourceConverter::new(source, self.format)?)
    }

    #[cold]
    #[inline(never)]
    fn open_with<const MEMORY: usize>(
        &self,
        source: SourceConverter<MEMORY>,
    ) -> Result<Track<'_, 'a, M, CAP, SLOTS, MEMORY>, TrackError> {
        if self.input.is_ended() {
            return Err(TrackError::Closed);
        }
        self.pool.lock(|pool| {
            // Nothing in here calls the pool again, so the borrow cannot fail; but a panic must not be linked.
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

    /// Returns how many slots can be opened now.
    #[must_use]
    pub fn free(&self) -> usize {
        self.pool.lock(|pool| {
            pool.try_borrow().map_or(0, |pool| pool.ports.iter().filter(|port| is_free(port)).count())
        })
    }

    /// Ends the pool's input: no more tracks can be opened, and open ones go on to their ends.
    pub fn end_input(&self) {
        self.input.end();
    }

    /// Wakes the tasks that wait for a track. To be called whenever the workers have polled, some hundred times
    /// a second.
    ///
    /// On a microcontroller the worker's own task calls it; on a host a thread of its own, never an audio
    /// thread or a board's real-time thread, because it takes the mutex and calls the executor's wakers. Costs
    /// little while no task waits.
    pub fn dispatch(&self) {
        self.waiting.lock(|waiting| {
            // A waker that calls this again while it is woken finds the list borrowed; all tasks are being
            // woken anyway.
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

    /// Returns whether tracks take nothing more.
    pub(crate) fn is_closed(&self) -> bool {
        self.input.is_closed()
    }

    /// Returns whether a playback stream runs.
    pub(crate) fn is_playing(&self) -> bool {
        self.target.is_set()
    }

    pub(crate) fn return_port(&self, port: TrackPort<'a, CAP>) {
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
