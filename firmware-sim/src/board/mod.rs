//! A simulated board: two DMA interrupts and a worker on a virtual clock, with air between
//! loudspeaker and microphone. Single-threaded, deterministic from its seed, never sleeping.

mod bare;
mod host;

use std::collections::VecDeque;
use std::fmt;

use handsfree_core::ConfigError;
use handsfree_core::audio_io::{Direction, Directions, Event, StreamHalves};
use handsfree_core::capture::Intake;
use handsfree_core::playback::Outlet;
use handsfree_core::time::{Clock, Duration, Instant};

use self::bare::Pending;
use crate::acoustics::Acoustics;
use crate::device::{DeviceBuffers, collect, deliver};
use crate::interpolate::{Interpolator, Tape};
use crate::noise::Rng;
use crate::side::{SampleFormat, SideClock, SideConfig};

pub use bare::BarePeriod;
pub use host::BoardError;

/// What a board is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct BoardConfig {
    /// The microphone's side.
    pub capture: SideConfig,
    /// The loudspeaker's side.
    pub playback: SideConfig,
    /// The worker runs at least so long after an interrupt.
    pub worker_delay: Duration,
    /// And at most so much longer, at random.
    pub worker_spread: Duration,
    /// Seed of all that is random.
    pub seed: u64,
}

/// What the last [`Board::step`] was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A capture interrupt, already served.
    Capture,
    /// A playback interrupt, already served.
    Playback,
    /// The worker's turn: the caller polls the pipelines.
    Worker,
    /// Nothing is due any more: no stream runs.
    Idle,
}

/// The virtual clock, to be read by whoever must not own the board.
#[derive(Clone, Debug, Default)]
pub struct VirtualClock(std::rc::Rc<std::cell::Cell<i64>>);

impl VirtualClock {
    /// Lets time pass that no interrupt sees: what a slow processor does to its worker.
    pub fn advance(&self, span: Duration) {
        self.0.set(self.0.get() + span.as_nanos());
    }

    fn reach(&self, moment: Instant) {
        self.0.set(self.0.get().max(moment.as_nanos()));
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.get())
    }
}

/// What was really played and heard, on the devices' own clocks, full scale at 1.0.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// What the loudspeaker played, on the microphone's clock.
    pub far: Vec<f32>,
    /// What the microphone heard, as the device delivered it.
    pub mic: Vec<f32>,
}

/// What the microphone heard of the loudspeaker's tape in one period.
#[derive(Clone, Copy, Debug)]
struct Read {
    position: (i64, f64),
    step: f64,
    length: usize,
}

struct CaptureStream<'a, const CAP: usize> {
    /// None on a bare board.
    intake: Option<Intake<'a, CAP>>,
    clock: SideClock,
}

struct PlaybackStream<'a, const CAP: usize, const SLOTS: usize> {
    /// None on a bare board.
    outlet: Option<Outlet<'a, CAP, SLOTS>>,
    clock: SideClock,
    /// What the converter plays, counted from the stream's start on its own clock.
    tape: Tape,
}

#[derive(Debug, Default)]
struct Buffers {
    device: DeviceBuffers,
    loudspeaker: Vec<f32>,
    mic: Vec<f32>,
}

/// The simulated board; the host side of a terminal, like any sound card.
pub struct Board<'a, const CAP: usize, const SLOTS: usize> {
    config: BoardConfig,
    air: Box<dyn Acoustics>,
    clock: VirtualClock,
    rng: Rng,
    capture: Option<CaptureStream<'a, CAP>>,
    playback: Option<PlaybackStream<'a, CAP, SLOTS>>,
    lost: StreamHalves<'a, CAP, SLOTS>,
    interpolator: Interpolator,
    worker_due: Option<Instant>,
    worker_stalled_until: Instant,
    events: VecDeque<Event>,
    recording: Option<Recording>,
    reads: Vec<Read>,
    separate_clocks: bool,
    /// Sample frames that the microphone's converter has made since the board was made.
    heard: u64,
    buffers: Buffers,
    guard: fn(bool),
    /// A bare board's period that waits for its caller.
    pending: Option<Pending>,
}

impl<const CAP: usize, const SLOTS: usize> fmt::Debug for Board<'_, CAP, SLOTS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board")
            .field("config", &self.config)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

impl<'a, const CAP: usize, const SLOTS: usize> Board<'a, CAP, SLOTS> {
    /// A board at time 0, no stream running.
    ///
    /// # Errors
    /// Names a period list that holds no sample frame.
    pub fn new(config: BoardConfig, air: Box<dyn Acoustics>) -> Result<Self, ConfigError> {
        config.capture.check()?;
        config.playback.check()?;
        let interpolator = Interpolator::new(config.playback.true_hz() / config.capture.true_hz());
        Ok(Self {
            rng: Rng::for_stream(config.seed, "board"),
            config,
            air,
            clock: VirtualClock::default(),
            capture: None,
            playback: None,
            lost: StreamHalves::default(),
            interpolator,
            worker_due: None,
            worker_stalled_until: Instant::ORIGIN,
            events: VecDeque::new(),
            recording: None,
            reads: Vec::new(),
            separate_clocks: false,
            heard: 0,
            buffers: Buffers::default(),
            guard: |_| {},
            pending: None,
        })
    }

    /// Keeps what is played and heard from now on; memory grows with the run.
    pub fn record(&mut self) {
        self.recording = Some(Recording::default());
    }

    /// What was kept, and an end of keeping it.
    pub fn take_recording(&mut self) -> Option<Recording> {
        self.finish_far();
        self.recording.take()
    }

    /// Calls `guard(true)` before every interrupt half and `guard(false)` after it, for tests that
    /// watch what happens inside.
    pub fn set_guard(&mut self, guard: fn(bool)) {
        self.guard = guard;
    }

    /// The virtual clock.
    #[must_use]
    pub fn clock(&self) -> VirtualClock {
        self.clock.clone()
    }

    /// The present virtual time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Render plus capture latency as they really are.
    #[must_use]
    pub fn true_delay(&self) -> Duration {
        let render =
            self.config.playback.latency_sample_frames() as f64 * 1e9 / self.config.playback.true_hz();
        Duration::from_nanos(render.round() as i64) + self.config.capture.latency
    }

    /// The sample that the loudspeaker's converter plays at this very moment and the one before it, full
    /// scale at 1.0; `None` while no stream runs or before its second sample.
    #[must_use]
    pub fn loudspeaker_now(&self) -> Option<[f32; 2]> {
        let playing = self.playback.as_ref()?;
        // A sample begins a rounding error early rather than late.
        let index = (playing.clock.index_at(self.now()) + 1e-3).floor();
        if index < 1.0 {
            return None;
        }
        Some([playing.tape.at(index as u64 - 1)?, playing.tape.at(index as u64)?])
    }

    /// Changes the render latency from the next playback period on: a sound server that
    /// re-buffered. What a longer latency leaves open is silence, what a shorter one overlaps is lost.
    pub fn step_render_latency(&mut self, by: Duration) {
        self.config.playback.latency = (self.config.playback.latency + by).max(Duration::ZERO);
    }

    /// Says that the two directions have a crystal each, even though both are equally fast at the
    /// start.
    pub fn separate_clocks(&mut self) {
        self.separate_clocks = true;
    }

    /// Changes how much faster than nominal a direction's clock runs, from its next period on: a
    /// crystal that warms up, or a sound server that resamples.
    pub fn change_ppm(&mut self, direction: Direction, ppm: f64) {
        let (side, clock) = match direction {
            Direction::Capture => {
                (&mut self.config.capture, self.capture.as_mut().map(|stream| &mut stream.clock))
            }
            Direction::Playback => {
                (&mut self.config.playback, self.playback.as_mut().map(|stream| &mut stream.clock))
            }
        };
        side.ppm = ppm;
        if let Some(clock) = clock {
            clock.change_rate(side.true_hz());
        }
    }

    /// Replaces a direction's device while no stream of it runs, as after plugging in another one.
    ///
    /// # Errors
    /// Names a period list that holds no sample frame.
    pub fn replace_device(&mut self, direction: Direction, config: SideConfig) -> Result<(), ConfigError> {
        config.check()?;
        match direction {
            Direction::Capture => self.config.capture = config,
            Direction::Playback => self.config.playback = config,
        }
        self.interpolator = Interpolator::new(self.config.playback.true_hz() / self.config.capture.true_hz());
        self.events.push_back(Event::DeviceReturned { direction });
        Ok(())
    }

    /// Takes a direction's device away in mid-stream.
    pub fn unplug(&mut self, direction: Direction) {
        let StreamHalves { intake, outlet } = self.stop_streams(match direction {
            Direction::Capture => Directions::Capture,
            Direction::Playback => Directions::Playback,
        });
        if intake.is_some() || outlet.is_some() {
            self.events.push_back(Event::DeviceLost { direction });
        }
        self.lost.intake = self.lost.intake.take().or(intake);
        self.lost.outlet = self.lost.outlet.take().or(outlet);
    }

    /// The worker does not run before so much time has passed.
    pub fn stall_worker(&mut self, span: Duration) {
        self.worker_stalled_until = self.now() + span;
    }

    /// Loses sample frames between converter and interrupt: a capture overrun in the device.
    pub fn lose_capture(&mut self, sample_frames: u32) {
        if let Some(stream) = &mut self.capture {
            let mut skipped = vec![0.0; sample_frames as usize];
            let from = stream.clock.done;
            stream.clock.done += u64::from(sample_frames);
            self.hear(from, &mut skipped);
        }
    }

    /// Goes to the next thing that is due, and serves it if it is an interrupt.
    pub fn step(&mut self) -> Step {
        self.finish_pending();
        let capture = self.capture_due();
        let playback = self.playback_due();
        let worker = self.worker_due.map(|due| due.max(self.worker_stalled_until));
        let soonest = [capture, playback, worker].into_iter().flatten().min();
        let Some(due) = soonest else {
            return Step::Idle;
        };
        self.clock.reach(due);
        if capture == Some(due) {
            self.capture_interrupt();
            self.wake_worker();
            return Step::Capture;
        }
        if playback == Some(due) {
            self.playback_interrupt();
            self.wake_worker();
            return Step::Playback;
        }
        self.worker_due = None;
        Step::Worker
    }

    fn wake_worker(&mut self) {
        if self.worker_due.is_none() {
            let spread = self.config.worker_spread.as_nanos() as f64 * self.rng.uniform();
            let delay = self.config.worker_delay + Duration::from_nanos(spread as i64);
            self.worker_due = Some(self.now() + delay);
        }
    }

    fn capture_due(&self) -> Option<Instant> {
        let stream = self.capture.as_ref()?;
        let end = stream.clock.done + u64::from(stream.clock.period(&self.config.capture));
        Some(stream.clock.at(end) + self.config.capture.latency)
    }

    fn playback_due(&self) -> Option<Instant> {
        let stream = self.playback.as_ref()?;
        Some(stream.clock.at(stream.clock.done))
    }

    fn capture_interrupt(&mut self) {
        let Some(mut stream) = self.capture.take() else {
            return;
        };
        let length = stream.clock.period(&self.config.capture);
        let from = stream.clock.done;
        let mut mic = std::mem::take(&mut self.buffers.mic);
        mic.clear();
        mic.resize(length as usize, 0.0);
        self.hear_stream(&stream.clock, from, &mut mic);
        let truth = stream.clock.at(from);
        let config = &self.config.capture;
        let time = stream.clock.stamp(config, truth, self.clock.now());
        let channels = config.device_channels as usize;
        let guard = self.guard;
        let buffers = &mut self.buffers.device;
        match (config.format, &mut stream.intake) {
            (_, None) => {
                deliver(&mut buffers.i16, &mic, channels, guard, |_| 0);
                self.pending = Some(Pending { direction: Direction::Capture, time });
            }
            (SampleFormat::I16, Some(intake)) => {
                deliver(&mut buffers.i16, &mic, channels, guard, |p| intake.on_period(p, time))
            }
            (SampleFormat::I24, Some(intake)) => {
                deliver(&mut buffers.i24, &mic, channels, guard, |p| intake.on_period(p, time))
            }
            (SampleFormat::I32, Some(intake)) => {
                deliver(&mut buffers.i32, &mic, channels, guard, |p| intake.on_period(p, time))
            }
            (SampleFormat::F32, Some(intake)) => {
                deliver(&mut buffers.f32, &mic, channels, guard, |p| intake.on_period(p, time))
            }
        }
        self.buffers.mic = mic;
        stream.clock.advance(length);
        self.capture = Some(stream);
    }

    fn playback_interrupt(&mut self) {
        let Some(mut stream) = self.playback.take() else {
            return;
        };
        let config = &self.config.playback;
        let length = stream.clock.period(config);
        let from = stream.clock.done;
        let place = from + config.latency_sample_frames().max(0) as u64;
        let time = stream.clock.stamp(config, stream.clock.at(place), self.clock.now());
        stream.tape.cut_to(place);
        let gap = place - stream.tape.end();
        stream.tape.extend(gap as usize);
        let played = stream.tape.extend(length as usize);
        let channels = config.device_channels as usize;
        let guard = self.guard;
        let buffers = &mut self.buffers.device;
        match (config.format, &mut stream.outlet) {
            (_, None) => {
                collect(&mut buffers.i16, played, channels, guard, |_| 0);
                self.pending = Some(Pending { direction: Direction::Playback, time });
            }
            (SampleFormat::I16, Some(outlet)) => {
                collect(&mut buffers.i16, played, channels, guard, |p| outlet.on_period(p, time))
            }
            (SampleFormat::I24, Some(outlet)) => {
                collect(&mut buffers.i24, played, channels, guard, |p| outlet.on_period(p, time))
            }
            (SampleFormat::I32, Some(outlet)) => {
                collect(&mut buffers.i32, played, channels, guard, |p| outlet.on_period(p, time))
            }
            (SampleFormat::F32, Some(outlet)) => {
                collect(&mut buffers.f32, played, channels, guard, |p| outlet.on_period(p, time))
            }
        }
        stream.clock.advance(length);
        self.playback = Some(stream);
    }

    fn hear(&mut self, from: u64, mic: &mut [f32]) {
        if let Some(stream) = self.capture.take() {
            self.hear_stream(&stream.clock, from, mic);
            self.capture = Some(stream);
        }
    }

    /// What the microphone's converter makes from sample frame `from` of its stream on.
    fn hear_stream(&mut self, clock: &SideClock, from: u64, mic: &mut [f32]) {
        let mut loudspeaker = std::mem::take(&mut self.buffers.loudspeaker);
        loudspeaker.clear();
        loudspeaker.resize(mic.len(), 0.0);
        if let Some(playing) = &mut self.playback {
            let (position, step) = playing.clock.reading(clock, from);
            if self.recording.is_some() {
                self.reads.push(Read { position, step, length: mic.len() });
            }
            let exact = step == 1.0 && !self.separate_clocks;
            // Between two clocks the interpolator needs samples that are not played yet; the sound
            // then takes that much longer through the air.
            let reach = if exact { 0 } else { self.interpolator.reach() as i64 };
            let start = (position.0 - reach, position.1);
            playing.tape.read_run(&self.interpolator, start, step, &mut loudspeaker);
            if self.recording.is_none() {
                let unneeded = start.0 - 2 * self.interpolator.reach() as i64;
                playing.tape.forget_before(u64::try_from(unneeded).unwrap_or(0));
            }
        }
        self.air.carry(&loudspeaker, mic, self.heard);
        self.heard += mic.len() as u64;
        if let Some(recording) = &mut self.recording {
            recording.mic.extend_from_slice(mic);
        }
        self.buffers.loudspeaker = loudspeaker;
    }

    /// Reads what was played on the microphone's clock, once all of it is known.
    fn finish_far(&mut self) {
        let (Some(recording), Some(playing)) = (&mut self.recording, &self.playback) else { return };
        for read in self.reads.drain(..) {
            let from = recording.far.len();
            recording.far.resize(from + read.length, 0.0);
            playing.tape.read_run(&self.interpolator, read.position, read.step, &mut recording.far[from..]);
        }
    }

    fn stop_streams(&mut self, directions: Directions) -> StreamHalves<'a, CAP, SLOTS> {
        let mut halves = StreamHalves::default();
        if directions.includes(Direction::Capture) {
            halves.intake = self.capture.take().and_then(|stream| stream.intake);
        }
        if directions.includes(Direction::Playback) {
            let now = self.now();
            halves.outlet = self.playback.take().and_then(|stream| {
                let mut outlet = stream.outlet?;
                outlet.stop();
                // What the device still held is gone with it.
                let played = stream.clock.index_at(now).max(0.0).ceil() as u64;
                let held = stream.tape.end().saturating_sub(played);
                outlet.discarded(u32::try_from(held).unwrap_or(u32::MAX));
                Some(outlet)
            });
        }
        halves
    }
}
