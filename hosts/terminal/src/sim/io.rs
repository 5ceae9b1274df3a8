//! Control side and a driver thread: the simulated board as a host like any other, in real time or in
//! steps.

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

/// While no stream runs, the virtual clock goes on in steps of this.
const IDLE_STEP: Duration = Duration::from_millis(10);
/// A driver that is later than this, as after a suspension, goes on from there instead of catching up.
const MAX_LATENESS: WallDuration = WallDuration::from_millis(500);

/// What makes the virtual time pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// The wall clock.
    RealTime,
    /// [`SimHandle::advance`] only: for tests, which never sleep.
    Stepped,
}

/// Why the simulated board did not start.
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
    fn gone() -> Self {
        Self { kind: ErrorKind::Backend, message: "the simulated board's thread has ended".into() }
    }
}

type SimBoard = SimulatedBoard<'static, CAP, SLOTS>;
type DriverTask = Box<dyn FnOnce(&mut Driver) + Send>;

/// The simulated board as [`AudioIo`].
///
/// A thread of its own steps the board, calls the interrupt halves and, at the worker's turn, the work.
pub struct SimIo {
    tasks: Sender<DriverTask>,
    config: BoardConfig,
}

/// What a test or a demonstration does to the simulated board.
#[derive(Clone)]
pub struct SimHandle {
    tasks: Sender<DriverTask>,
    time: Arc<SimClock>,
}

/// The virtual time of the last step.
#[derive(Debug, Default)]
pub struct SimClock(AtomicI64);

impl Clock for SimClock {
    fn now(&self) -> Instant {
        // Relaxed: nothing is told by it but the time itself.
        Instant::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

impl SimClock {
    /// A clock for [`SimIo::spawn`] and the terminal that runs on it.
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

/// What the driver thread owns.
struct Driver {
    board: SimBoard,
    work: Work,
    time: Arc<SimClock>,
    /// Microphone, loudspeaker: whether the device is plugged in.
    present: [bool; 2],
}

impl Driver {
    /// Goes to the next thing that is due.
    fn step(&mut self) {
        match self.board.step() {
            Step::Worker => (self.work)(),
            Step::Idle => {
                self.board.clock().advance(IDLE_STEP);
                // Tracks that are closed while nothing plays give their slots back in the worker.
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

    // As in `AudioIo::start`: the halves are the error on purpose.
    #[allow(clippy::result_large_err)]
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
    /// A board with its driver thread, which calls `work`. `clock` is set by it and must be the
    /// terminal's.
    ///
    /// # Errors
    /// Names what is wrong with the board, or that no thread could be started.
    pub fn spawn(
        config: BoardConfig,
        air: Box<dyn Acoustics + Send>,
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
                // The board is made here, for its clock does not leave the thread.
                let board = match SimulatedBoard::new(thread_config, air) {
                    Ok(board) => board,
                    Err(error) => {
                        // Who spawns waits for this.
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
        made.recv().map_err(|_| Failure::run(SimIoError::gone().to_string()))??;
        let handle = SimHandle { tasks: tasks.clone(), time: Arc::clone(clock) };
        Ok((Self { tasks, config }, handle))
    }
}

impl Driver {
    /// The host is gone: what still runs is stopped before it is dropped.
    fn quit(mut self) {
        _ = self.board.stop(Directions::Both);
    }
}

/// Steps the board when it is told to.
fn stepped(mut driver: Driver, inbox: &Receiver<DriverTask>) {
    for task in inbox {
        task(&mut driver);
    }
    driver.quit();
}

/// Steps the board at the wall clock's pace until nobody gives tasks any more.
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

/// Has the driver thread do something and waits for what comes of it.
fn run_on_driver<T: Send + 'static>(
    tasks: &Sender<DriverTask>,
    what: impl FnOnce(&mut Driver) -> T + Send + 'static,
) -> Result<T, SimIoError> {
    let (reply, answer) = channel();
    let task: DriverTask = Box::new(move |driver| _ = reply.send(what(driver)));
    tasks.send(task).map_err(|_| SimIoError::gone())?;
    answer.recv().map_err(|_| SimIoError::gone())
}

impl SimHandle {
    /// Lets virtual time pass, interrupts and worker served; returns when it has.
    ///
    /// # Errors
    /// When the driver thread has ended, as after a panic of the work.
    pub fn advance(&self, span: Duration) -> Result<(), SimIoError> {
        run_on_driver(&self.tasks, move |driver| driver.advance(span))
    }

    /// Takes a device away in mid-stream; it cannot be started until it is plugged in again.
    ///
    /// # Errors
    /// As [`advance`](Self::advance).
    pub fn unplug(&self, direction: Direction) -> Result<(), SimIoError> {
        run_on_driver(&self.tasks, move |driver| {
            driver.present[direction as usize] = false;
            driver.board.unplug(direction);
        })
    }

    /// Plugs a device in: the one that was there, or another one.
    ///
    /// # Errors
    /// As [`advance`](Self::advance), and for a device without a period.
    pub fn plug_in(&self, direction: Direction, device: DeviceConfig) -> Result<(), SimIoError> {
        let outcome = run_on_driver(&self.tasks, move |driver| {
            driver.present[direction as usize] = true;
            driver.board.replace_device(direction, device)
        })?;
        outcome.map_err(|error| SimIoError { kind: ErrorKind::Config(error), message: error.to_string() })
    }

    /// Has the board do something of its own, such as a jump of its latency.
    ///
    /// # Errors
    /// As [`advance`](Self::advance).
    pub fn with_board<T: Send + 'static>(
        &self,
        what: impl FnOnce(&mut SimulatedBoard<'static, CAP, SLOTS>) -> T + Send + 'static,
    ) -> Result<T, SimIoError> {
        run_on_driver(&self.tasks, move |driver| what(&mut driver.board))
    }

    /// The virtual clock.
    #[must_use]
    pub fn clock(&self) -> SharedClock {
        Arc::clone(&self.time) as SharedClock
    }
}

/// One direction's request without borrowed words, to go to the driver thread.
struct OwnedRequest {
    end: DirectionRequest<'static>,
    device: Option<String>,
}

impl OwnedRequest {
    fn of(end: &DirectionRequest<'_>) -> Self {
        Self { end: DirectionRequest { device: None, ..*end }, device: end.device.map(str::to_owned) }
    }

    fn request(&self) -> DirectionRequest<'_> {
        DirectionRequest { device: self.device.as_deref(), ..self.end }
    }
}

impl AudioIo<'static, CAP, SLOTS> for SimIo {
    type Error = SimIoError;

    fn devices(&self, visit: &mut dyn FnMut(&DeviceInfo<'_>)) -> Result<(), SimIoError> {
        let present = run_on_driver(&self.tasks, |driver| driver.present)?;
        for (direction, id, name, side) in [
            (Direction::Capture, "sim:microphone", "Simulated microphone", &self.config.capture),
            (Direction::Playback, "sim:loudspeaker", "Simulated loudspeaker", &self.config.playback),
        ] {
            if !present[direction as usize] {
                continue;
            }
            let longest = side.longest_period();
            let rates: &[SampleRate] = &[side.rate];
            visit(&DeviceInfo {
                id,
                name,
                direction,
                is_default: true,
                capabilities: Capabilities {
                    max_channels: side.device_channels,
                    formats: &[side.format.name()],
                    rates,
                    period_sample_frames: (longest, longest),
                },
            });
        }
        Ok(())
    }

    #[allow(clippy::result_large_err, reason = "as in the trait")]
    fn start(
        &mut self,
        request: &StreamRequest<'_>,
        halves: HostStreamHalves,
    ) -> Result<StreamInfo, StartError<'static, CAP, SLOTS, SimIoError>> {
        let capture = request.capture.as_ref().map(OwnedRequest::of);
        let playback = request.playback.as_ref().map(OwnedRequest::of);
        let started = run_on_driver(&self.tasks, move |driver| {
            let request = StreamRequest {
                capture: capture.as_ref().map(OwnedRequest::request),
                playback: playback.as_ref().map(OwnedRequest::request),
            };
            driver.start(&request, halves)
        });
        match started {
            Ok(outcome) => outcome,
            // The halves went down with the thread.
            Err(error) => Err(StartError { halves: HostStreamHalves::default(), error }),
        }
    }

    fn stop(&mut self, directions: Directions) -> HostStreamHalves {
        // Halves that are not there went down with the thread.
        run_on_driver(&self.tasks, move |driver| driver.board.stop(directions))
            .unwrap_or_else(|_gone| HostStreamHalves::default())
    }

    fn poll_event(&mut self) -> Option<Event> {
        run_on_driver(&self.tasks, |driver| driver.board.poll_event()).ok().flatten()
    }
}
