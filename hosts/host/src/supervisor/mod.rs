//! Control side: keeps streams running on any host while devices come and go.
//!
//! A [`StreamSupervisor`] owns a host and both halves of a terminal. When a device is lost, the supervisor takes the
//! half back and restarts the stream, on the device of the same name, when the device returns or at growing intervals.
//! A stream that was opened on the default device follows the default to a different device; a stream that was opened
//! on a device by name never moves to another one. Time is an argument, so nothing here sleeps; the application calls
//! [`StreamSupervisor::poll`] about fifty times a second.

mod config;
mod direction;
mod notice;

use std::fmt;

use handsfree_core::audio_io::{
    AudioIo, DeviceInfo, Direction, DirectionInfo, Directions, Event, StreamHalves, StreamInfo, StreamRequest,
};
use handsfree_core::capture::Intake;
use handsfree_core::playback::Outlet;
use handsfree_core::{Duration, Instant};

pub use self::config::DirectionConfig;
use self::direction::{SupervisedDirection, SupervisedState};
pub use self::notice::{DirectionState, Notice, OpenError};
use crate::request::BOTH_DIRECTIONS;

/// Shortest delay after a loss, and between two attempts to restart a stream: it bounds the rate of events when a
/// device is lost as soon as it returns.
pub const FIRST_RETRY_DELAY: Duration = Duration::from_millis(250);

/// Longest delay between two attempts to restart a stream: it bounds the time until a returned device is used when
/// the host does not report its return.
pub const MAX_RETRY_DELAY: Duration = Duration::from_millis(2_000);

/// Supervisor of the streams of one terminal on one host: restarts each stream that its device interrupts.
///
/// Control side: any one thread.
///
/// ```
/// # use embassy_sync::blocking_mutex::raw::NoopRawMutex;
/// # use handsfree_core::capture::Bypass;
/// # use handsfree_core::{Duration, SampleRate, Session, SessionFormat};
/// # use handsfree_sim::acoustics::Wire;
/// # use handsfree_sim::board::{SimulatedBoard, BoardConfig};
/// # use handsfree_sim::device::DeviceConfig;
/// use handsfree_core::audio_io::{Direction, StreamHalves};
/// use handsfree_host::supervisor::{DirectionConfig, Notice, StreamSupervisor};
///
/// # let rate = SampleRate::new(16_000)?;
/// # let mut session = Box::new(Session::<160, 2, 8, 8, 16, 16, 16_000>::new());
/// # let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
/// # let halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ())?;
/// # let side = DeviceConfig::new(rate, 160);
/// # let board = SimulatedBoard::new(BoardConfig {
/// #     capture: side.clone(), playback: side.clone(), worker_delay: Duration::ZERO,
/// #     worker_spread: Duration::ZERO, seed: 1,
/// # }, Box::new(Wire))?;
/// let halves = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
/// let mut supervisor = StreamSupervisor::new(board, halves); // any AudioIo
/// let config = DirectionConfig::new(rate);
/// let now = supervisor.io().now();
/// supervisor.open(Some(&config), Some(&config), now)?;
///
/// supervisor.io_mut().unplug(Direction::Playback);
/// assert_eq!(supervisor.poll(now), Some(Notice::Lost { direction: Direction::Playback }));
/// assert_eq!(supervisor.poll(now), None, "the supervisor waits for the device");
/// let later = now + Duration::from_millis(250);
/// assert!(matches!(supervisor.poll(later), Some(Notice::Returned { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct StreamSupervisor<'a, Io: AudioIo<'a, CAP, SLOTS>, const CAP: usize, const SLOTS: usize> {
    io: Io,
    intake: Option<Intake<'a, CAP>>,
    outlet: Option<Outlet<'a, CAP, SLOTS>>,
    capture: SupervisedDirection<Io::Error>,
    playback: SupervisedDirection<Io::Error>,
}

impl<'a, Io: AudioIo<'a, CAP, SLOTS>, const CAP: usize, const SLOTS: usize> fmt::Debug
    for StreamSupervisor<'a, Io, CAP, SLOTS>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamSupervisor")
            .field("capture", &self.state(Direction::Capture))
            .field("playback", &self.state(Direction::Playback))
            .finish_non_exhaustive()
    }
}

impl<'a, Io: AudioIo<'a, CAP, SLOTS>, const CAP: usize, const SLOTS: usize>
    StreamSupervisor<'a, Io, CAP, SLOTS>
{
    /// Creates a supervisor of a host and of the halves that will run on it. Starts nothing.
    pub fn new(io: Io, halves: StreamHalves<'a, CAP, SLOTS>) -> Self {
        let StreamHalves { intake, outlet } = halves;
        Self {
            io,
            intake,
            outlet,
            capture: SupervisedDirection::closed(),
            playback: SupervisedDirection::closed(),
        }
    }

    /// Returns the host.
    pub fn io(&self) -> &Io {
        &self.io
    }

    /// Returns the host, for its own functions. Starting or stopping streams here, past the supervisor, makes the
    /// supervisor lose track of the halves.
    pub fn io_mut(&mut self) -> &mut Io {
        &mut self.io
    }

    /// Calls `visit` with every device; see [`AudioIo::devices`].
    ///
    /// # Errors
    /// Returns the host's error when its audio system does not answer.
    pub fn devices(&self, visit: &mut dyn FnMut(&DeviceInfo<'_>)) -> Result<(), Io::Error> {
        self.io.devices(visit)
    }

    /// Opens one direction, or both in one start, which duplex devices need. Open directions are kept running until
    /// they are closed.
    ///
    /// # Errors
    /// Returns an error when a direction is open already, when the host kept a half, or when the host refuses. No
    /// direction is opened in that case.
    pub fn open(
        &mut self,
        capture: Option<&DirectionConfig>,
        playback: Option<&DirectionConfig>,
        now: Instant,
    ) -> Result<StreamInfo, OpenError<Io::Error>> {
        for (wanted, direction) in
            [(capture.is_some(), Direction::Capture), (playback.is_some(), Direction::Playback)]
        {
            if wanted && !matches!(self.supervised(direction).state, SupervisedState::Closed) {
                return Err(OpenError::Open { direction });
            }
            if wanted && !self.has_half(direction) {
                // A host that kept the half at closing may be able to return it by now.
                self.reclaim_half(direction);
            }
            if wanted && !self.has_half(direction) {
                return Err(OpenError::Missing { direction });
            }
        }
        let info = self.start(capture, playback).map_err(OpenError::Host)?;
        for (config, info, supervised) in
            [(capture, info.capture, &mut self.capture), (playback, info.playback, &mut self.playback)]
        {
            if let (Some(config), Some(info)) = (config, info) {
                *supervised = SupervisedDirection::opened(config.clone(), info, now);
            }
        }
        Ok(info)
    }

    /// Stops a direction, or stops waiting for its device. The supervisor keeps the half for the next
    /// [`open`](Self::open). Does nothing when the direction is closed already.
    pub fn close(&mut self, direction: Direction) {
        if !matches!(self.supervised(direction).state, SupervisedState::Closed) {
            self.reclaim_half(direction);
            *self.supervised_mut(direction) = SupervisedDirection::closed();
        }
    }

    /// Returns the state of a direction.
    #[must_use]
    pub fn state(&self, direction: Direction) -> DirectionState {
        match self.supervised(direction).state {
            SupervisedState::Closed => DirectionState::Closed,
            SupervisedState::Running { info, .. } => DirectionState::Running(info),
            SupervisedState::Waiting { .. } => DirectionState::Waiting,
        }
    }

    /// Returns the error of the last failed restart of a direction, while the direction waits for its device.
    #[must_use]
    pub fn last_error(&self, direction: Direction) -> Option<&Io::Error> {
        self.supervised(direction).last_error.as_ref()
    }

    /// Returns the oldest notice that was not returned yet, and restarts the streams that are due. The application
    /// calls this until it returns `None`, with a monotonic time.
    pub fn poll(&mut self, now: Instant) -> Option<Notice> {
        while let Some(event) = self.io.poll_event() {
            match event {
                Event::DeviceLost { direction } => {
                    if let SupervisedState::Running { since, .. } = self.supervised(direction).state {
                        self.reclaim_half(direction);
                        self.supervised_mut(direction).record_loss(since, now);
                        return Some(Notice::Lost { direction });
                    }
                }
                Event::DeviceReturned { direction } => self.supervised_mut(direction).retry_soon(now),
                Event::DefaultChanged { direction } => {
                    if let Some(notice) = self.handle_default_change(direction, false, now) {
                        return Some(notice);
                    }
                }
                Event::Moved { direction } => {
                    if let Some(notice) = self.handle_default_change(direction, true, now) {
                        return Some(notice);
                    }
                }
                other => return Some(Notice::Host(other)),
            }
        }
        BOTH_DIRECTIONS.into_iter().find_map(|direction| self.retry(direction, now))
    }

    /// Handles a new default device. A stream that was opened on the default device follows it. A stream that was
    /// opened on a device by name is restarted there when the audio system `moved` it along. A restart that ends up on
    /// a different device is reported when the host reports the move, like a restart after a loss.
    fn handle_default_change(&mut self, direction: Direction, moved: bool, now: Instant) -> Option<Notice> {
        let default_changed = Notice::Host(Event::DefaultChanged { direction });
        let supervised = self.supervised_mut(direction);
        let follows = supervised.follows_default();
        match supervised.state {
            SupervisedState::Running { info, .. } if follows && moved => {
                Some(Notice::Moved { direction, info })
            }
            SupervisedState::Running { since, .. } if follows || moved => match self.restart(direction) {
                Ok(Some(info)) => {
                    self.supervised_mut(direction).record_start(info, now);
                    (!follows).then_some(default_changed)
                }
                failed => {
                    let supervised = self.supervised_mut(direction);
                    supervised.record_loss(since, now);
                    supervised.last_error = failed.err();
                    Some(Notice::Lost { direction })
                }
            },
            _ => {
                if follows {
                    supervised.retry_soon(now);
                }
                Some(default_changed)
            }
        }
    }

    fn retry(&mut self, direction: Direction, now: Instant) -> Option<Notice> {
        match self.supervised(direction).state {
            SupervisedState::Waiting { retry_at, .. } if retry_at <= now => {}
            _ => return None,
        }
        match self.restart(direction) {
            Ok(Some(info)) => {
                self.supervised_mut(direction).record_start(info, now);
                Some(Notice::Returned { direction, info })
            }
            // The host may have kept the half without reporting it; the next attempt asks for the half again.
            Ok(None) => {
                self.supervised_mut(direction).record_failed_start(None, now);
                None
            }
            Err(error) => {
                self.supervised_mut(direction).record_failed_start(Some(error), now);
                None
            }
        }
    }

    /// Starts a direction with its configuration, whether it runs or not. Returns `None` when the host keeps the half.
    fn restart(&mut self, direction: Direction) -> Result<Option<DirectionInfo>, Io::Error> {
        if !self.has_half(direction) {
            self.reclaim_half(direction);
        }
        let config = self.supervised(direction).config.clone();
        let Some(config) = config.filter(|_| self.has_half(direction)) else {
            return Ok(None);
        };
        Ok(match direction {
            Direction::Capture => self.start(Some(&config), None)?.capture,
            Direction::Playback => self.start(None, Some(&config))?.playback,
        })
    }

    /// Starts the requested directions; keeps the halves when the host refuses.
    fn start(
        &mut self,
        capture: Option<&DirectionConfig>,
        playback: Option<&DirectionConfig>,
    ) -> Result<StreamInfo, Io::Error> {
        let request = StreamRequest {
            capture: capture.map(DirectionConfig::request),
            playback: playback.map(DirectionConfig::request),
        };
        let halves = StreamHalves {
            intake: capture.and_then(|_| self.intake.take()),
            outlet: playback.and_then(|_| self.outlet.take()),
        };
        self.io.start(&request, halves).map_err(|refused| {
            self.store_halves(refused.halves);
            refused.error
        })
    }

    /// Stops a direction on the host and keeps the half that the host returns.
    fn reclaim_half(&mut self, direction: Direction) {
        let halves = self.io.stop(match direction {
            Direction::Capture => Directions::Capture,
            Direction::Playback => Directions::Playback,
        });
        self.store_halves(halves);
    }

    fn store_halves(&mut self, halves: StreamHalves<'a, CAP, SLOTS>) {
        let StreamHalves { intake, outlet } = halves;
        self.intake = self.intake.take().or(intake);
        self.outlet = self.outlet.take().or(outlet);
    }

    fn has_half(&self, direction: Direction) -> bool {
        match direction {
            Direction::Capture => self.intake.is_some(),
            Direction::Playback => self.outlet.is_some(),
        }
    }

    fn supervised(&self, direction: Direction) -> &SupervisedDirection<Io::Error> {
        match direction {
            Direction::Capture => &self.capture,
            Direction::Playback => &self.playback,
        }
    }

    fn supervised_mut(&mut self, direction: Direction) -> &mut SupervisedDirection<Io::Error> {
        match direction {
            Direction::Capture => &mut self.capture,
            Direction::Playback => &mut self.playback,
        }
    }
}
