//! Control side and driver thread: the simulated board as a host, in real time or in steps.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration as WallDuration, Instant as WallInstant};

use handsfree_core::audio_io::{
    AudioIo, Capabilities, DeviceInfo, Direction, DirectionRequest, Directions, ErrorKind, Event, HostError,
    StartError, StreamInfo, StreamRequest,
};
use handsfree_core::{Clock, Duration, Instant, SampleRate};
use handsfree_host::worker::Work;
use handsfree_sim::acoustics::Acoustics;
use handsfree_sim::board::{BoardConfig, SimulatedBoard, Step};
use handsfree_sim::device::DeviceConfig;

use crate::failure::Failure;
use crate::terminal::{CAP, HostStreamHalves, SLOTS, SharedClock};

/// Step of the virtual clock while no stream runs.
const IDLE_STEP: Duration = Duration::from_millis(10);
/// Lateness from which the driver continues at the current time instead of catching up. A suspended computer
/// causes it.
const MAX_LATENESS: WallDuration = WallDuration::from_millis(500);

/// Choice of what advances the virtual time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// The wall clock advances it.
    RealTime,
    /// Only [`SimHandle::advance`] advances it, so that tests never sleep.
    Stepped,
}

/// Error of the simulated board.
#[derive(Clone, Debug, PartialEq)]
pub struct SimIoError {
    kind: ErrorKind,
    message: String,
}

impl fmt::Display for SimIoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SimIoError {}

impl HostError for SimIoError {
    fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl SimIoError {
    fn thread_ended() -> Self {
        Self { kind: ErrorKind::Backend, message: "the simulated board's thread has ended".into() }
    }
}

type SimBoard = SimulatedBoard<'static, CAP, SLOTS>;
type DriverTask = Box<dyn FnOnce(&mut Driver) + Send>;

/// The simulated board as a host.
///
/// A driver thread steps the board, and calls the interrupt halves and the worker's work.
pub struct SimIo {
    tasks: Sender<DriverTask>,
    config: BoardConfig,
}

/// Handle with which a test or a demonstration controls the simulated board.
#[derive(Clone)]
pub struct SimHandle {
    tasks: Sender<DriverTask>,
    time: Arc<SimClock>,
}

/// Virtual clock, which shows the time of the board's last step.
#[derive(Debug, Default)]
pub struct SimClock(AtomicI64);

impl Clock for SimClock {
    fn now(&self) -> Instant {
        // Relaxed: no other memory depends on the time.
        Instant::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

impl SimClock {
    /// Makes a clock for [`SimIo::spawn`] and the terminal that runs on it.
    #[must_use]
    pub fn shared() -> Arc<Self> {
        Arc::new(Self::default())
    }
}

impl fmt::Debug for SimIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimIo").field("config", &self.config).finish_non_exhaustive()
    }
}

impl fmt::Debug for SimHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimHandle").field("time", &self.time).finish_non_exhaustive()
    }
}

/// State of the driver thread, which runs the board and the work.
struct Driver {
    board: SimBoard,
    work: Work,
    time: Arc<SimClock>,
    /// Whether the microphone and the loudspeaker are plugged in.
    present: [bool; 2],
}

impl Driver {
    /// Runs the board's next event.
    fn step(&mut self) {
        match self.board.step() {
            Step::Worker => (self.work)(),
            Step::Idle => {
                self.board.clock().advance(IDLE_STEP);
                // The worker frees the slots of tracks that are closed while nothing plays.
                (self.work)();
            }
            Step::Capture | Step::Playback => {}
        }
        self.time.0.store(self.board.now().as_nanos(), Ordering::Relaxed);
    }

    fn advance(&mut self, span: Duration) {
        let end = self.board.now() + span;
        while self.board.now() < end {
            self.step();
        }
    }

    #[allow(clippy::result_large_err, reason = "the error returns the halves, like that of `AudioIo::start`")]
    fn start(
        &mut self,
        request: &StreamRequest<'_>,
        halves: HostStreamHalves,
    ) -> Result<StreamInfo, StartError<'static, CAP, SLOTS, SimIoError>> {
        let wanted = [request.capture.is_some(), request.playback.is_some()];
        if let Some(at) = wanted.iter().zip(self.present).position(|(wanted, present)| *wanted && !present) {
            let device = ["microphone", "loudspeaker"][at];
            let message = format!("the simulated {device} is unplugged");
            return Err(StartError { halves, error: SimIoError { kind: ErrorKind::NotFound, message } });
        }
        self.board.start(request, halves).map_err(|refused| StartError {
            halves: refused.halves,
            error: SimIoError { kind: refused.error.kind(), message: refused.error.to_string() },
        })
    }
}

impl SimIo {
    /// Starts a board with its driver thread, which calls `work` and sets `clock`. The terminal must use the
    /// same clock. `acoustics` carries the sound from the loudspeaker to the microphone.
    ///
    /// # Errors
    /// Returns an error for an invalid value in `config`, and when the thread cannot be started.
    pub fn spawn(
        config: BoardConfig,
        acoustics: Box<dyn Acoustics + Send>,
        work: Work,
        clock: &Arc<SimClock>,
        pace: Pace,
    ) -> Result<(Self, SimHandle), Failure> {
        let (tasks, inbox) = channel::<DriverTask>();
        let (ready, made) = channel();
        let (thread_config, time) = (config.clone(), Arc::clone(clock));
        std::thread::Builder::new()
            .name("simulated board".into())
            .spawn(move || {
                // The board is made on this thread because its clock cannot be sent to another.
                let board = match SimulatedBoard::new(thread_config, acoustics) {
                    Ok(board) => board,
                    Err(error) => {
                        _ = ready.send(Err(error));
                        return;
                    }
                };
                _ = ready.send(Ok(()));
                let driver = Driver { board, work, time, present: [true; 2] };
                match pace {
                    Pace::RealTime => real_time(driver, &inbox),
                    Pace::Stepped => stepped(driver, &inbox),
                }
            })
            .map_err(|error| {
                Failure::run(format!("the simulated board's thread could not be started: {error}"))
            })?;
        made.recv().map_err(|_| Failure::run(SimIoError::thread_ended().to_string()))??;
        let handle = SimHandle { tasks: tasks.clone(), time: Arc::clone(clock) };
        Ok((Self { tasks, config }, handle))
    }
}

impl Driver {
    /// Stops the streams that still run, so that their halves are dropped on this thread.
    fn quit(mut self) {
        _ = self.board.stop(Directions::Both);
    }
}

/// Steps the board only by tasks, until all handles are dropped.
fn stepped(mut driver: Driver, inbox: &Receiver<DriverTask>) {
    for task in inbox {
        task(&mut driver);
    }
    driver.quit();
}

/// Steps the board at the pace of the wall clock until all handles are dropped.
fn real_time(mut driver: Driver, inbox: &Receiver<DriverTask>) {
    let mut origin = (WallInstant::now(), driver.board.now());
    loop {
        driver.step();
        let virtual_ns = (driver.board.now() - origin.1).as_nanos();
        let due = origin.0 + WallDuration::from_nanos(u64::try_from(virtual_ns).unwrap_or(0));
        if due.elapsed() > MAX_LATENESS {
            origin = (WallInstant::now(), driver.board.now());
        }
        loop {
            match inbox.recv_timeout(due.saturating_duration_since(WallInstant::now())) {
                Ok(task) => task(&mut driver),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return driver.quit(),
            }
        }
    }
}

/// Runs a task on the driver thread and waits for its result.
fn run_on_driver<T: Send + 'static>(
    tasks: &Sender<DriverTask>,
    task: impl FnOnce(&mut Driver) -> T + Send + 'static,
) -> Result<T, SimIoError> {
    let (reply, answer) = channel();
    let boxed: DriverTask = Box::new(move |driver| _ = reply.send(task(driver)));
    tasks.send(boxed).map_err(|_| SimIoError::thread_ended())?;
    answer.recv().map_err(|_| SimIoError::thread_ended())
}

impl SimHandle {
    /// Advances the virtual time by `span`, and runs all interrupts and rounds of the worker that are due.
    ///
    /// # Errors
    /// Returns an error when the driver thread has ended, for example because the work panicked.
    pub fn advance(&self, span: Duration) -> Result<(), SimIoError> {
        run_on_driver(&self.tasks, move |driver| driver.advance(span))
    }

    /// Unplugs a device, also while its stream runs. The device cannot be started until one is plugged in again.
    ///
    /// # Errors
    /// Returns the errors of [`advance`](Self::advance).
    pub fn unplug(&self, direction: Direction) -> Result<(), SimIoError> {
        run_on_driver(&self.tasks, move |driver| {
            driver.present[direction as usize] = false;
            driver.board.unplug(direction);
        })
    }

    /// Plugs in a device, which may differ from the previous one.
    ///
    /// # Errors
    /// Returns the errors of [`advance`](Self::advance), and an error for a device without period lengths.
    pub fn plug_in(&self, direction: Direction, device: DeviceConfig) -> Result<(), SimIoError> {
        let outcome = run_on_driver(&self.tasks, move |driver| {
            driver.present[direction as usize] = true;
            driver.board.replace_device(direction, device)
        })?;
        outcome.map_err(|error| SimIoError { kind: ErrorKind::Config(error), message: error.to_string() })
    }

    /// Calls `task` with the board, for example to make its latency jump.
    ///
    /// # Errors
    /// Returns the errors of [`advance`](Self::advance).
    pub fn with_board<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut SimulatedBoard<'static, CAP, SLOTS>) -> T + Send + 'static,
    ) -> Result<T, SimIoError> {
        run_on_driver(&self.tasks, move |driver| task(&mut driver.board))
    }

    /// Returns the virtual clock.
    #[must_use]
    pub fn clock(&self) -> SharedClock {
        Arc::clone(&self.time) as SharedClock
    }
}

/// Request for one direction without borrowed strings, for the driver thread.
struct OwnedRequest {
    request: DirectionRequest<'static>,
    device: Option<String>,
}

impl OwnedRequest {
    fn of(request: &DirectionRequest<'_>) -> Self {
        Self {
            request: DirectionRequest { device: None, ..*request },
            device: request.device.map(str::to_owned),
        }
    }

    fn borrowed(&self) -> DirectionRequest<'_> {
        DirectionRequest { device: self.device.as_deref(), ..self.request }
    }
}

impl AudioIo<'static, CAP, SLOTS> for SimIo {
    type Error = SimIoError;

    fn devices(&self, visit: &mut dyn FnMut(&DeviceInfo<'_>)) -> Result<(), SimIoError> {
        let present = run_on_driver(&self.tasks, |driver| driver.present)?;
        for (direction, id, name, device) in [
            (Direction::Capture, "sim:microphone", "Simulated microphone", &self.config.capture),
            (Direction::Playback, "sim:loudspeaker", "Simulated loudspeaker", &self.config.playback),
        ] {
            if !present[direction as usize] {
                continue;
            }
            let longest = device.longest_period();
            let rates: &[SampleRate] = &[device.rate];
            visit(&DeviceInfo {
                id,
                name,
                direction,
                is_default: true,
                capabilities: Capabilities {
                    max_channels: device.device_channels,
                    formats: &[device.format.name()],
                    rates,
                    period_sample_frames: (longest, longest),
                },
            });
        }
        Ok(())
    }

    #[allow(clippy::result_large_err, reason = "the trait returns the halves in the error")]
    fn start(
        &mut self,
        request: &StreamRequest<'_>,
        halves: HostStreamHalves,
    ) -> Result<StreamInfo, StartError<'static, CAP, SLOTS, SimIoError>> {
        let capture = request.capture.as_ref().map(OwnedRequest::of);
        let playback = request.playback.as_ref().map(OwnedRequest::of);
        let started = run_on_driver(&self.tasks, move |driver| {
            let request = StreamRequest {
                capture: capture.as_ref().map(OwnedRequest::borrowed),
                playback: playback.as_ref().map(OwnedRequest::borrowed),
            };
            driver.start(&request, halves)
        });
        match started {
            Ok(outcome) => outcome,
            // The halves were dropped with the thread.
            Err(error) => Err(StartError { halves: HostStreamHalves::default(), error }),
        }
    }

    fn stop(&mut self, directions: Directions) -> HostStreamHalves {
        // Missing halves were dropped with the thread.
        run_on_driver(&self.tasks, move |driver| driver.board.stop(directions))
            .unwrap_or_else(|_thread_ended| HostStreamHalves::default())
    }

    fn poll_event(&mut self) -> Option<Event> {
        run_on_driver(&self.tasks, |driver| driver.board.poll_event()).ok().flatten()
    }
}
