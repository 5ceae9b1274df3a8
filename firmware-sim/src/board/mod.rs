//! A simulated board: two DMA interrupts and a worker on a virtual clock, with an acoustic path between
//! loudspeaker and microphone.
//!
//! A board is single-threaded and deterministic from its seed, and it never sleeps.

mod bare;
mod host;
mod interrupts;

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use handsfree_core::ConfigError;
use handsfree_core::audio_io::{Direction, Directions, Event, StreamHalves};
use handsfree_core::capture::Intake;
use handsfree_core::playback::Outlet;
use handsfree_core::time::{Clock, Duration, Instant};

use self::bare::PendingPeriod;
use crate::acoustics::Acoustics;
use crate::device::{DeviceBuffers, DeviceClock, DeviceConfig, TimeFault};
use crate::interpolate::{Interpolator, PlayedSignal};
use crate::noise::Rng;

pub use bare::BarePeriod;
pub use host::BoardError;

/// Configuration of a simulated board.
#[derive(Clone, Debug, PartialEq)]
pub struct BoardConfig {
    /// The microphone.
    pub capture: DeviceConfig,
    /// The loudspeaker.
    pub playback: DeviceConfig,
    /// Shortest time between an interrupt and the worker's run.
    pub worker_delay: Duration,
    /// Longest random addition to `worker_delay`, uniformly distributed.
    pub worker_spread: Duration,
    /// Seed of everything random on the board.
    pub seed: u64,
}

/// What [`SimulatedBoard::step`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It served a capture interrupt.
    Capture,
    /// It served a playback interrupt.
    Playback,
    /// The worker is due: the caller polls the pipelines.
    Worker,
    /// Nothing is due, because no stream runs.
    Idle,
}

/// Handle to a board's virtual clock, as the host shows it. It reads the time without borrowing the board.
#[derive(Clone, Debug, Default)]
pub struct VirtualClock(Rc<HostTime>);

/// Time of a [`VirtualClock`], in nanoseconds.
#[derive(Debug, Default)]
struct HostTime {
    /// Time that has passed since the board was made.
    passed: Cell<i64>,
    /// Sum of the jumps of the host's clock.
    jumped: Cell<i64>,
}

impl VirtualClock {
    /// Lets time pass without serving interrupts, as when a slow frame processor keeps the worker busy.
    pub fn advance(&self, span: Duration) {
        self.0.passed.set(self.0.passed.get() + span.as_nanos());
    }

    fn advance_to(&self, moment: Instant) {
        self.0.passed.set(self.0.passed.get().max(moment.as_nanos()));
    }

    /// Returns the time without the jumps.
    fn passed(&self) -> Instant {
        Instant::from_nanos(self.0.passed.get())
    }

    fn jumped(&self) -> Duration {
        Duration::from_nanos(self.0.jumped.get())
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Instant {
        self.passed() + self.jumped()
    }
}

/// What was really played and captured in a run, full scale at 1.0.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// What the loudspeaker played, resampled to the microphone's clock.
    pub far: Vec<f32>,
    /// What the microphone captured, as the device delivered it.
    pub mic: Vec<f32>,
}

/// Part of the played signal that reached the microphone in one period.
#[derive(Clone, Copy, Debug)]
struct PlayedRead {
    /// Position of the first sample on the loudspeaker's clock: whole part and fraction.
    position: (i64, f64),
    step: f64,
    length: usize,
}

struct CaptureStream<'a, const CAP: usize> {
    /// `None` on a bare board.
    intake: Option<Intake<'a, CAP>>,
    clock: DeviceClock,
}

struct PlaybackStream<'a, const CAP: usize, const SLOTS: usize> {
    /// `None` on a bare board.
    outlet: Option<Outlet<'a, CAP, SLOTS>>,
    clock: DeviceClock,
    /// What the converter plays, in sample frames of its own clock since the stream's start.
    played: PlayedSignal,
}

#[derive(Debug, Default)]
struct Buffers {
    device: DeviceBuffers,
    loudspeaker: Vec<f32>,
    mic: Vec<f32>,
}

/// A simulated board. It is the host of a terminal, as a sound card is.
pub struct SimulatedBoard<'a, const CAP: usize, const SLOTS: usize> {
    config: BoardConfig,
    acoustics: Box<dyn Acoustics>,
    clock: VirtualClock,
    rng: Rng,
    capture: Option<CaptureStream<'a, CAP>>,
    playback: Option<PlaybackStream<'a, CAP, SLOTS>>,
    /// Halves of unplugged devices, until `stop` takes them back.
    lost: StreamHalves<'a, CAP, SLOTS>,
    interpolator: Interpolator,
    worker_due: Option<Instant>,
    worker_stalled_until: Instant,
    events: VecDeque<Event>,
    recording: Option<Recording>,
    played_reads: Vec<PlayedRead>,
    separate_clocks: bool,
    /// Sample frames that the microphone has converted since the board was made.
    converted: u64,
    buffers: Buffers,
    guard: fn(bool),
    /// Period of a bare board that the caller has yet to serve.
    pending: Option<PendingPeriod>,
}

impl<const CAP: usize, const SLOTS: usize> fmt::Debug for SimulatedBoard<'_, CAP, SLOTS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedBoard")
            .field("config", &self.config)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

impl<'a, const CAP: usize, const SLOTS: usize> SimulatedBoard<'a, CAP, SLOTS> {
    /// Makes a board at virtual time 0 with no stream running.
    ///
    /// # Errors
    /// [`ConfigError::EmptyPeriod`] if a period list is empty or holds only zeros.
    pub fn new(config: BoardConfig, acoustics: Box<dyn Acoustics>) -> Result<Self, ConfigError> {
        config.capture.check()?;
        config.playback.check()?;
        let interpolator = Interpolator::new(config.playback.true_hz() / config.capture.true_hz());
        Ok(Self {
            rng: Rng::for_stream(config.seed, "board"),
            config,
            acoustics,
            clock: VirtualClock::default(),
            capture: None,
            playback: None,
            lost: StreamHalves::default(),
            interpolator,
            worker_due: None,
            worker_stalled_until: Instant::ORIGIN,
            events: VecDeque::new(),
            recording: None,
            played_reads: Vec::new(),
            separate_clocks: false,
            converted: 0,
            buffers: Buffers::default(),
            guard: |_| {},
            pending: None,
        })
    }

    /// Starts recording what is played and captured. Memory grows with the length of the run.
    pub fn record(&mut self) {
        self.recording = Some(Recording::default());
    }

    /// Stops recording and returns the recording; `None` if there was none.
    pub fn take_recording(&mut self) -> Option<Recording> {
        self.finish_far_recording();
        self.recording.take()
    }

    /// Makes the board call `guard(true)` before every interrupt half and `guard(false)` after it, for tests
    /// that check what an interrupt half does.
    pub fn set_guard(&mut self, guard: fn(bool)) {
        self.guard = guard;
    }

    /// Returns a handle to the virtual clock.
    #[must_use]
    pub fn clock(&self) -> VirtualClock {
        self.clock.clone()
    }

    /// Returns the current virtual time. [`jump_time`](Self::jump_time) does not affect it.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.clock.passed()
    }

    /// Makes the host's clock jump, as after a laptop's sleep: from now on the timestamps and the virtual clock
    /// show a time that is later by `by`, and the devices run on.
    pub fn jump_time(&mut self, by: Duration) {
        self.clock.0.jumped.set(self.clock.0.jumped.get() + by.as_nanos());
    }

    /// Returns the true render plus capture latency, without the acoustic path.
    #[must_use]
    pub fn true_delay(&self) -> Duration {
        let render =
            self.config.playback.latency_sample_frames() as f64 * 1e9 / self.config.playback.true_hz();
        Duration::from_nanos(render.round() as i64) + self.config.capture.latency
    }

    /// Returns the previous and the current sample at the loudspeaker's converter, full scale at 1.0. Returns
    /// `None` while no stream runs and before its second sample.
    #[must_use]
    pub fn loudspeaker_now(&self) -> Option<[f32; 2]> {
        let playing = self.playback.as_ref()?;
        // Rounding errors of the position must not select the sample before.
        let index = (playing.clock.index_at(self.now()) + 1e-3).floor();
        if index < 1.0 {
            return None;
        }
        Some([playing.played.at(index as u64 - 1)?, playing.played.at(index as u64)?])
    }

    /// Changes the render latency from the next playback period on, as a sound server does when it changes its
    /// buffering. A longer latency inserts silence, a shorter one drops the overlapped samples.
    pub fn step_render_latency(&mut self, by: Duration) {
        self.config.playback.latency = (self.config.playback.latency + by).max(Duration::ZERO);
    }

    /// Gives each direction a clock domain of its own, even if both clocks start at the same rate.
    pub fn separate_clocks(&mut self) {
        self.separate_clocks = true;
    }

    /// Changes the clock error of a direction from its next period on, as when a crystal warms up or a sound
    /// server resamples. `ppm` is how much faster than nominal the clock runs, in parts per million.
    pub fn change_ppm(&mut self, direction: Direction, ppm: f64) {
        let (device, clock) = match direction {
            Direction::Capture => {
                (&mut self.config.capture, self.capture.as_mut().map(|stream| &mut stream.clock))
            }
            Direction::Playback => {
                (&mut self.config.playback, self.playback.as_mut().map(|stream| &mut stream.clock))
            }
        };
        device.ppm = ppm;
        if let Some(clock) = clock {
            clock.change_rate(device.true_hz());
        }
    }

    /// Replaces a direction's device while no stream of it runs, as after plugging in another one.
    ///
    /// # Errors
    /// [`ConfigError::EmptyPeriod`] if the period list is empty or holds only zeros.
    pub fn replace_device(&mut self, direction: Direction, config: DeviceConfig) -> Result<(), ConfigError> {
        config.check()?;
        match direction {
            Direction::Capture => self.config.capture = config,
            Direction::Playback => self.config.playback = config,
        }
        self.interpolator = Interpolator::new(self.config.playback.true_hz() / self.config.capture.true_hz());
        self.events.push_back(Event::DeviceReturned { direction });
        Ok(())
    }

    /// Unplugs a direction's device, also while its stream runs.
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

    /// Keeps the worker from running for `span` of virtual time.
    pub fn stall_worker(&mut self, span: Duration) {
        self.worker_stalled_until = self.now() + span;
    }

    /// Stops a direction's device for `span` of virtual time without a report: its position stands still and then continues
    /// at its rate.
    pub fn stall(&mut self, direction: Direction, span: Duration) {
        if let Some(clock) = self.device_clock(direction) {
            clock.stall(span);
        }
    }

    /// Makes the timestamps of a direction's running stream false from its next period on, or true again. Its samples and
    /// positions stay right.
    pub fn falsify_times(&mut self, direction: Direction, fault: Option<TimeFault>) {
        if let Some(clock) = self.device_clock(direction) {
            clock.falsify(fault);
        }
    }

    fn device_clock(&mut self, direction: Direction) -> Option<&mut DeviceClock> {
        match direction {
            Direction::Capture => self.capture.as_mut().map(|stream| &mut stream.clock),
            Direction::Playback => self.playback.as_mut().map(|stream| &mut stream.clock),
        }
    }

    /// Loses sample frames between converter and interrupt, as in a capture overrun of the device.
    pub fn lose_capture(&mut self, sample_frames: u32) {
        if let Some(stream) = &mut self.capture {
            let mut lost = vec![0.0; sample_frames as usize];
            let from = stream.clock.done;
            stream.clock.done += u64::from(sample_frames);
            self.convert_microphone(from, &mut lost);
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
                // Samples that the device had not played yet are lost.
                let played = stream.clock.index_at(now).max(0.0).ceil() as u64;
                let held = stream.played.end().saturating_sub(played);
                outlet.discarded(u32::try_from(held).unwrap_or(u32::MAX));
                Some(outlet)
            });
        }
        halves
    }
}
