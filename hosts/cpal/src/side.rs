//! Control side: one direction, from its opening to its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration as Span, Instant as Moment};

use handsfree_core::SampleRate;
use handsfree_core::audio_io::{Direction, DirectionInfo, Event};
use handsfree_core::time::Instant;

use crate::attendant::{Attendant, Built, PATIENCE, Plan};
use crate::config::Opened;
use crate::error::CpalError;
use crate::gauge::Gauge;
use crate::opening::{Half, Opening, end_info};
use crate::slot::Slot;

/// A stream that calls nobody for so long is lost, whatever its audio system says: its server hangs.
const SILENCE: Span = Span::from_millis(2_000);

/// How long the end of a lost stream is waited for.
const LOSS_PATIENCE: Span = Span::from_millis(100);

/// One direction: its half is in the slot of its stream, or in `returned`, or with the caller.
pub(crate) struct Side<T> {
    direction: Direction,
    attendant: Option<Attendant>,
    /// Each stream has a slot and a gauge of its own: callbacks of the one before may still come.
    slot: Arc<Slot<T>>,
    pub(crate) gauge: Arc<Gauge>,
    /// Whether there is a stream that has the half, or may have.
    runs: bool,
    /// The half of a stream that ended by itself.
    pub(crate) returned: Option<T>,
    pub(crate) opened: Option<Opened>,
    rate: Option<SampleRate>,
    /// The device as it was asked for.
    pub(crate) asked: Option<String>,
    /// Where the stream ran that was last opened without a name; kept when it ends.
    default: Option<String>,
    /// The callbacks last seen, and when they last grew.
    seen: (u32, Moment),
    xruns: u32,
}

impl<T: Half> Side<T> {
    pub(crate) fn new(direction: Direction) -> Self {
        Self {
            direction,
            attendant: None,
            slot: Arc::new(Slot::empty()),
            gauge: Arc::default(),
            runs: false,
            returned: None,
            opened: None,
            rate: None,
            asked: None,
            default: None,
            seen: (0, Moment::now()),
            xruns: 0,
        }
    }

    /// Whether it runs, or has a half that nobody took back.
    pub(crate) fn is_taken(&self) -> bool {
        self.runs || self.returned.is_some()
    }

    pub(crate) fn rate(&self) -> Option<SampleRate> {
        self.rate
    }

    /// Opens a stream, with a slot and a gauge of its own; its callbacks find nothing yet.
    pub(crate) fn open(&mut self, opening: Opening) -> Result<DirectionInfo, CpalError> {
        self.slot = Arc::new(Slot::empty());
        self.gauge = Arc::default();
        self.xruns = 0;
        let attendant = match self.attendant.take() {
            Some(attendant) => attendant,
            None => Attendant::spawn(opening.source.clone(), self.direction)?,
        };
        let maker = T::maker(&opening, Arc::clone(&self.slot), Arc::clone(&self.gauge));
        let Opening { device, wish, periods, .. } = opening;
        let asked = device.clone();
        let built = attendant.open(Plan { device, wish, periods, maker, gauge: Arc::clone(&self.gauge) });
        if !matches!(built, Err(CpalError::NoAnswer { .. })) {
            self.attendant = Some(attendant);
        }
        built.map(|built| self.grant(asked, built))
    }

    fn grant(&mut self, asked: Option<String>, built: Built) -> DirectionInfo {
        self.gauge.granted.store(built.longest_sample_frames, Ordering::Relaxed);
        self.asked = asked;
        self.rate = Some(built.agreed.rate);
        let info = end_info(self.direction, &built);
        self.opened = Some(Opened {
            device: built.device,
            format: built.agreed.format,
            rate_hz: built.agreed.rate.hz(),
            channels: built.agreed.channels,
            period_sample_frames: built.agreed.period_sample_frames,
            longest_sample_frames: built.longest_sample_frames,
        });
        info
    }

    /// Parks the half and starts the stream. Where that fails the half comes back with [`end`](Self::end).
    pub(crate) fn run(&mut self, half: T) -> Result<(), CpalError> {
        self.runs = true;
        if let Err(half) = self.slot.park(half) {
            self.returned = Some(half);
            return Err(CpalError::Misuse("the slot of a new stream is in use"));
        }
        self.seen = (0, Moment::now());
        match &self.attendant {
            Some(attendant) => attendant.play(),
            None => Err(CpalError::Misuse("there is no stream to start")),
        }
    }

    /// Notes where a stream runs that was just started. Says whether that is another device than the one before,
    /// both opened as the default.
    pub(crate) fn settle(&mut self) -> bool {
        let Some(opened) = self.opened.as_ref().filter(|_| self.asked.is_none()) else { return false };
        let before = self.default.replace(opened.device.clone());
        before.is_some_and(|before| before != opened.device)
    }

    /// What another default means for the stream.
    pub(crate) fn default_changed(&mut self, device: String, has_streams: bool) -> Option<Event> {
        let direction = self.direction;
        let Some(opened) = &mut self.opened else { return Some(Event::DefaultChanged { direction }) };
        if opened.device == device {
            // Opened on the default while that changed, so there is nothing to follow.
            return self.asked.is_some().then_some(Event::DefaultChanged { direction });
        }
        if !has_streams && !self.gauge.was_moved() {
            return Some(Event::DefaultChanged { direction });
        }
        if self.asked.is_none() {
            opened.device.clone_from(&device);
            self.default = Some(device);
        }
        Some(Event::Moved { direction })
    }

    /// Takes the half back, then has the stream dropped, so that the device is free when this returns. No
    /// callback has the half then. Says until when the stream's last sample would have been played.
    pub(crate) fn end(&mut self) -> Option<Instant> {
        self.end_within(PATIENCE)
    }

    /// The same for a stream that ended by itself, whose server may hang: the caller, who only looks, does
    /// not wait for that.
    pub(crate) fn end_lost(&mut self) -> Option<Instant> {
        self.end_within(LOSS_PATIENCE)
    }

    fn end_within(&mut self, patience: Span) -> Option<Instant> {
        if let Some(half) = self.slot.take() {
            self.returned = Some(half);
        }
        let had = std::mem::take(&mut self.runs);
        self.opened = None;
        // An attendant that does not answer is left alone; the next stream has another.
        self.attendant = self.attendant.take().filter(|attendant| attendant.end(patience).is_ok());
        had.then(|| self.gauge.end())
    }

    /// Whether the stream ended by itself, or stands still.
    pub(crate) fn is_lost(&mut self) -> bool {
        if !self.runs {
            return false;
        }
        let callbacks = self.gauge.callbacks.load(Ordering::Relaxed);
        if callbacks != self.seen.0 {
            self.seen = (callbacks, Moment::now());
        }
        self.gauge.is_broken() || self.seen.1.elapsed() > SILENCE
    }

    /// How many overruns or underruns there were since last asked; how long they were, nobody says.
    pub(crate) fn new_xruns(&mut self) -> Option<u32> {
        let xruns = self.gauge.read().xruns;
        (std::mem::replace(&mut self.xruns, xruns) != xruns).then_some(0)
    }
}
