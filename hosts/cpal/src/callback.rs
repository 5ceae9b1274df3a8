//! Interrupt side: what cpal calls. Borrows the half by one try, says when and where its samples are, and
//! wakes the worker when a frame is whole. No lock is waited for, nothing is allocated or freed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use cpal::{Data, InputCallbackInfo, OutputCallbackInfo};
use handsfree_core::audio_io::Direction;
use handsfree_core::capture::Intake;
use handsfree_core::playback::Outlet;
use handsfree_core::time::{Duration, Instant};
use handsfree_core::{DeviceSample, PeriodTime, SampleRate};
use handsfree_host::clock;
use handsfree_host::worker::Wake;

use crate::format::{self, PieceIn, PieceOut};
use crate::gauge::Gauge;
use crate::slot::Slot;
use crate::timing::{Said, Timing};

/// What a callback has beside its half.
pub(crate) struct Callback<T> {
    slot: Arc<Slot<T>>,
    gauge: Arc<Gauge>,
    wake: Wake,
    timing: Timing,
    rate: SampleRate,
    channels: usize,
    /// Stream position of the next sample frame.
    position: u64,
    /// Real-time priority that the callback's thread gives itself first.
    priority: Option<u8>,
}

/// What a callback is made for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) direction: Direction,
    pub(crate) rate: SampleRate,
    pub(crate) channels: usize,
    /// Latency until one is known.
    pub(crate) latency: Duration,
    pub(crate) priority: Option<u8>,
}

impl<T> Callback<T> {
    pub(crate) fn new(slot: Arc<Slot<T>>, gauge: Arc<Gauge>, wake: Wake, shape: Shape) -> Self {
        Self {
            slot,
            gauge,
            wake,
            timing: Timing::new(shape.direction, shape.latency),
            rate: shape.rate,
            channels: shape.channels.max(1),
            position: 0,
            priority: shape.priority,
        }
    }

    /// Where and when the callback's samples are, and how long a piece of them may be.
    fn enter(&mut self, samples: usize, said: Said) -> (Round, usize) {
        let called = clock::now();
        if let Some(priority) = self.priority.take() {
            self.hurry(priority);
        }
        let sample_frames = samples / self.channels;
        self.gauge.called(u32::try_from(sample_frames).unwrap_or(u32::MAX));
        let period = Duration::of_sample_frames(sample_frames as u64, self.rate);
        let place = self.timing.place(said, called, period);
        self.gauge.timed(place.latency.as_micros(), place.believed);
        let position = self.position;
        // It goes on whether the half is there or not: what nobody took is a gap.
        self.position += sample_frames as u64;
        let round = Round {
            position,
            called,
            begin: place.time,
            done: 0,
            rate: self.rate,
            channels: self.channels,
            frames: 0,
        };
        (round, self.gauge.granted.load(Ordering::Relaxed) as usize)
    }

    /// The thread that calls is the audio system's own, so it is asked for here, once.
    #[cfg(target_os = "linux")]
    fn hurry(&self, priority: u8) {
        if handsfree_host::realtime::schedule_fifo(priority).is_err() {
            self.gauge.real_time_refused.store(true, Ordering::Relaxed);
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn hurry(&self, _: u8) {}

    fn leave(&self, frames: Option<u32>) {
        match frames {
            Some(0) => {}
            Some(_) => self.wake.wake(),
            None => self.gauge.missed(),
        }
    }
}

/// One callback, on its way through its pieces.
#[derive(Clone, Copy)]
struct Round {
    position: u64,
    called: Instant,
    /// When its first sample was or will be at the converter.
    begin: Instant,
    done: u64,
    rate: SampleRate,
    channels: usize,
    frames: u32,
}

impl Round {
    /// The time of a piece of so many samples.
    fn next(&mut self, samples: usize) -> PeriodTime {
        let into = Duration::of_sample_frames(self.done, self.rate);
        let time = PeriodTime {
            position: self.position + self.done,
            converter: self.begin + into,
            called: self.called,
        };
        self.done += (samples / self.channels) as u64;
        time
    }
}

struct TakeIn<'h, const CAP: usize>(&'h mut Intake<'static, CAP>, Round);

impl<const CAP: usize> PieceIn for TakeIn<'_, CAP> {
    fn piece<S: DeviceSample>(&mut self, samples: &[S]) {
        let time = self.1.next(samples.len());
        self.1.frames += self.0.on_period(samples, time);
    }
}

struct PutOut<'h, const CAP: usize, const SLOTS: usize>(&'h mut Outlet<'static, CAP, SLOTS>, Round);

impl<const CAP: usize, const SLOTS: usize> PieceOut for PutOut<'_, CAP, SLOTS> {
    fn piece<S: DeviceSample>(&mut self, samples: &mut [S]) {
        let time = self.1.next(samples.len());
        self.1.frames += self.0.on_period(samples, time);
    }
}

struct Silence;

impl PieceOut for Silence {
    fn piece<S: DeviceSample>(&mut self, samples: &mut [S]) {
        samples.fill(S::SILENCE);
    }
}

impl<const CAP: usize> Callback<Intake<'static, CAP>> {
    /// cpal brings what the microphone heard.
    pub(crate) fn heard(&mut self, data: &Data, info: &InputCallbackInfo) {
        let said = info.timestamp();
        let said = Said { callback: said.callback, converter: said.capture };
        let (round, longest) = self.enter(data.len(), said);
        let channels = self.channels;
        let frames = self.slot.borrow(|intake| {
            let mut taking = TakeIn(intake, round);
            format::take_in(data, channels, longest, &mut taking);
            taking.1.frames
        });
        self.leave(frames);
    }
}

impl<const CAP: usize, const SLOTS: usize> Callback<Outlet<'static, CAP, SLOTS>> {
    /// cpal asks for what the loudspeaker is to play.
    pub(crate) fn wanted(&mut self, data: &mut Data, info: &OutputCallbackInfo) {
        let said = info.timestamp();
        let said = Said { callback: said.callback, converter: said.playback };
        let (round, longest) = self.enter(data.len(), said);
        let channels = self.channels;
        let frames = self.slot.borrow(|outlet| {
            let mut putting = PutOut(outlet, round);
            format::put_out(data, channels, longest, &mut putting);
            putting.1.frames
        });
        if frames.is_some() {
            let end = Duration::of_sample_frames(self.position - round.position, self.rate);
            self.gauge.ends_at(round.begin + end);
        } else {
            // A host may hand its memory over as it was.
            format::put_out(data, channels, longest, &mut Silence);
        }
        self.leave(frames);
    }
}
