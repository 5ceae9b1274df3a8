//! Control side: one direction of the host, from the opening of its stream to its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration as Span, Instant as Moment};

use handsfree_core::SampleRate;
use handsfree_core::audio_io::{Direction, DirectionInfo, Event};
use handsfree_core::time::Instant;

use crate::config::GrantedStream;
use crate::error::CpalError;
use crate::signals::CallbackSignals;
use crate::slot::HalfSlot;
use crate::stream_setup::{CallbackHalf, StreamSetup, direction_info};
use crate::stream_thread::{BuiltStream, REPLY_TIMEOUT, StreamOrder, StreamThread};

/// Time without a callback after which a stream counts as lost even if its audio system reports no error: then
/// its server hangs. A running stream calls back at every period, which takes a fraction of a second at most.
const CALLBACK_TIMEOUT: Span = Span::from_millis(2_000);

/// Maximum time that control waits for a lost stream to be dropped. Its server may hang, and the caller only
/// polls for events.
const LOST_STREAM_DROP_TIMEOUT: Span = Span::from_millis(100);

/// One direction. Its half is in the slot of its stream, in `returned`, or with the caller.
pub(crate) struct CpalStream<T> {
    direction: Direction,
    thread: Option<StreamThread>,
    /// Slot of the present stream. Each stream has a slot and signals of its own, because callbacks of the
    /// previous stream may still be called.
    slot: Arc<HalfSlot<T>>,
    pub(crate) signals: Arc<CallbackSignals>,
    /// Whether a stream has, or may have, the half.
    is_running: bool,
    /// The half of a stream that ended by itself, until the caller takes it back.
    pub(crate) returned: Option<T>,
    pub(crate) granted: Option<GrantedStream>,
    rate: Option<SampleRate>,
    /// Device name that was requested; `None` for the default device.
    pub(crate) requested_device: Option<String>,
    /// Device of the last stream that was opened on the default device. It is kept when the stream ends.
    default_device: Option<String>,
    /// Last observed number of callbacks, and the time at which it last increased.
    last_progress: (u32, Moment),
    reported_xruns: u32,
}

impl<T: CallbackHalf> CpalStream<T> {
    pub(crate) fn new(direction: Direction) -> Self {
        Self {
            direction,
            thread: None,
            slot: Arc::new(HalfSlot::empty()),
            signals: Arc::default(),
            is_running: false,
            returned: None,
            granted: None,
            rate: None,
            requested_device: None,
            default_device: None,
            last_progress: (0, Moment::now()),
            reported_xruns: 0,
        }
    }

    /// Returns whether the stream runs or a half waits to be taken back by the caller.
    pub(crate) fn is_in_use(&self) -> bool {
        self.is_running || self.returned.is_some()
    }

    pub(crate) fn rate(&self) -> Option<SampleRate> {
        self.rate
    }

    /// Opens a stream with a new slot and new signals. Its callbacks find no half until [`start`](Self::start).
    pub(crate) fn open(&mut self, setup: StreamSetup) -> Result<DirectionInfo, CpalError> {
        self.slot = Arc::new(HalfSlot::empty());
        self.signals = Arc::default();
        self.reported_xruns = 0;
        let thread = match self.thread.take() {
            Some(thread) => thread,
            None => StreamThread::spawn(setup.system.clone(), self.direction)?,
        };
        let callbacks = T::callbacks(&setup, Arc::clone(&self.slot), Arc::clone(&self.signals));
        let StreamSetup { device, request, .. } = setup;
        let requested_device = device.clone();
        let signals = Arc::clone(&self.signals);
        let built = thread.open(StreamOrder { device, request, callbacks, signals });
        if !matches!(built, Err(CpalError::NoAnswer { .. })) {
            self.thread = Some(thread);
        }
        built.map(|built| self.record_granted(requested_device, built))
    }

    fn record_granted(&mut self, requested_device: Option<String>, built: BuiltStream) -> DirectionInfo {
        self.signals.granted_sample_frames.store(built.longest_sample_frames, Ordering::Relaxed);
        self.requested_device = requested_device;
        self.rate = Some(built.format.rate);
        let info = direction_info(self.direction, &built);
        self.granted = Some(GrantedStream {
            device: built.device,
            format: built.format.sample_format,
            rate_hz: built.format.rate.hz(),
            channels: built.format.channels,
            period_sample_frames: built.format.period_sample_frames,
            longest_sample_frames: built.longest_sample_frames,
        });
        info
    }

    /// Gives the half to the callbacks and starts the stream. After an error, [`end`](Self::end) moves the half
    /// to `returned`.
    pub(crate) fn start(&mut self, half: T) -> Result<(), CpalError> {
        self.is_running = true;
        if let Err(half) = self.slot.park(half) {
            self.returned = Some(half);
            return Err(CpalError::Misuse("the slot of a new stream is in use"));
        }
        self.last_progress = (0, Moment::now());
        match &self.thread {
            Some(thread) => thread.start(),
            None => Err(CpalError::Misuse("there is no stream to start")),
        }
    }

    /// Records the device of a stream that was just started. Returns whether a stream on the default device
    /// runs on another device than the previous stream on the default device.
    pub(crate) fn record_default_device(&mut self) -> bool {
        let Some(granted) = self.granted.as_ref().filter(|_| self.requested_device.is_none()) else {
            return false;
        };
        let previous = self.default_device.replace(granted.device.clone());
        previous.is_some_and(|previous| previous != granted.device)
    }

    /// Returns the event that a changed default device causes for the stream, if any.
    pub(crate) fn default_changed(&mut self, device: String, has_streams: bool) -> Option<Event> {
        let direction = self.direction;
        let Some(granted) = &mut self.granted else { return Some(Event::DefaultChanged { direction }) };
        if granted.device == device {
            // A stream that was opened on the default device during the change is on the new device already.
            return self.requested_device.is_some().then_some(Event::DefaultChanged { direction });
        }
        if !has_streams && !self.signals.was_moved() {
            return Some(Event::DefaultChanged { direction });
        }
        if self.requested_device.is_none() {
            granted.device.clone_from(&device);
            self.default_device = Some(device);
        }
        Some(Event::Moved { direction })
    }

    /// Takes the half from the callbacks, then drops the stream, so that the device is free when this returns.
    /// No callback has the half afterwards. Returns the time at which the stream's last sample would have been
    /// played.
    pub(crate) fn end(&mut self) -> Option<Instant> {
        self.end_within(REPLY_TIMEOUT)
    }

    /// Ends a stream that was lost, like [`end`](Self::end), but waits only [`LOST_STREAM_DROP_TIMEOUT`].
    pub(crate) fn end_lost(&mut self) -> Option<Instant> {
        self.end_within(LOST_STREAM_DROP_TIMEOUT)
    }

    fn end_within(&mut self, timeout: Span) -> Option<Instant> {
        if let Some(half) = self.slot.take() {
            self.returned = Some(half);
        }
        let was_running = std::mem::take(&mut self.is_running);
        self.granted = None;
        // A stream thread that does not answer is detached; the next stream gets a new one.
        self.thread = self.thread.take().filter(|thread| thread.drop_stream(timeout).is_ok());
        was_running.then(|| self.signals.playback_end())
    }

    /// Returns whether the stream ended by itself or its callbacks are no longer called.
    pub(crate) fn is_lost(&mut self) -> bool {
        if !self.is_running {
            return false;
        }
        let callbacks = self.signals.callbacks.load(Ordering::Relaxed);
        if callbacks != self.last_progress.0 {
            self.last_progress = (callbacks, Moment::now());
        }
        self.signals.is_broken() || self.last_progress.1.elapsed() > CALLBACK_TIMEOUT
    }

    /// Returns the length of the overruns or underruns since the last call, `None` if there were none. The
    /// length is always 0, because audio systems do not report it.
    pub(crate) fn new_xruns(&mut self) -> Option<u32> {
        let xruns = self.signals.read().xruns;
        (std::mem::replace(&mut self.reported_xruns, xruns) != xruns).then_some(0)
    }
}
