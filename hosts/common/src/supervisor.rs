//! Control side: keeps what was asked for running, over any host, while devices come and go.
//!
//! A [`StreamSupervisor`] owns a host and both halves of a terminal. When a device is lost it takes the half back,
//! and starts it again, by the same name, when the device returns or at growing intervals. What was opened on
//! the default device follows the default to another one; a device that was named is never left for another.
//! Time is an argument, so nothing here sleeps; [`StreamSupervisor::poll`] wants to be called some fifty times a second.

mod side;

use std::fmt;

use handsfree_core::audio_io::{
    AudioIo, DeviceInfo, Direction, DirectionInfo, DirectionRequest, Directions, Event, StreamHalves,
    StreamInfo, StreamRequest,
};
use handsfree_core::capture::Intake;
use handsfree_core::playback::Outlet;
use handsfree_core::{ChannelMap, Duration, Gain, Instant, SampleRate};

use self::side::{Side, State};
use crate::request::BOTH;

/// After a loss, and between tries, at least so long passes: a device that comes and goes at once makes
/// no storm of events.
pub const FIRST_RETRY: Duration = Duration::from_millis(250);

/// Between tries at most so long passes.
pub const LONGEST_RETRY: Duration = Duration::from_millis(2_000);

/// One direction as asked for, kept for when its device returns.
#[derive(Clone, Debug, PartialEq)]
pub struct DirectionConfig {
    /// Which device; when not said, the one that is the default at any time.
    pub device: Option<String>,
    /// As in [`DirectionRequest`].
    pub rate: SampleRate,
    /// As in [`DirectionRequest`].
    pub device_channels: u32,
    /// As in [`DirectionRequest`].
    pub map: Option<ChannelMap>,
    /// As in [`DirectionRequest`].
    pub period_sample_frames: u32,
    /// As in [`DirectionRequest`].
    pub worker_slack_sample_frames: u32,
    /// As in [`DirectionRequest`].
    pub gain: Gain,
}

impl DirectionConfig {
    /// The default device, mono, in periods of 10 ms, with as much again for the worker.
    #[must_use]
    pub fn new(rate: SampleRate) -> Self {
        let frame = rate.sample_frames() as u32;
        Self {
            device: None,
            rate,
            device_channels: 1,
            map: None,
            period_sample_frames: frame,
            worker_slack_sample_frames: frame,
            gain: Gain::UNITY,
        }
    }

    fn request(&self) -> DirectionRequest<'_> {
        DirectionRequest {
            device: self.device.as_deref(),
            rate: self.rate,
            device_channels: self.device_channels,
            map: self.map,
            period_sample_frames: self.period_sample_frames,
            worker_slack_sample_frames: self.worker_slack_sample_frames,
            gain: self.gain,
        }
    }
}

/// Something an application may want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A device went away; it is waited for. Said once for each loss.
    Lost {
        /// Which direction.
        direction: Direction,
    },
    /// It runs again.
    Returned {
        /// Which direction.
        direction: Direction,
        /// What was granted; perhaps not what it was before.
        info: DirectionInfo,
    },
    /// A direction that was opened on the default device runs on another one than before: it followed the
    /// system's default, or came back there after a loss (told after [`Returned`](Self::Returned) then). What an
    /// echo canceller learned before is of the old device.
    Moved {
        /// Which direction.
        direction: Direction,
        /// What was granted; perhaps not what it was before.
        info: DirectionInfo,
    },
    /// Anything else that the host says.
    Host(Event),
}

/// Why a direction was not opened.
#[derive(Debug, PartialEq)]
pub enum OpenError<E> {
    /// It is open already, or waits for its device: close it first.
    Open {
        /// Which direction.
        direction: Direction,
    },
    /// The host has not given the half back.
    Missing {
        /// Which direction.
        direction: Direction,
    },
    /// The host refused.
    Host(E),
}

impl<E: fmt::Display> fmt::Display for OpenError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { direction } => {
                write!(f, "{} is open: expected it to be closed", name(*direction))
            }
            Self::Missing { direction } => {
                write!(f, "the host kept the half of {}: expected it back", name(*direction))
            }
            Self::Host(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error> std::error::Error for OpenError<E> {}

const fn name(direction: Direction) -> &'static str {
    match direction {
        Direction::Capture => "capture",
        Direction::Playback => "playback",
    }
}

/// How a direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectionState {
    /// Not wanted.
    Closed,
    /// Audio flows.
    Running(DirectionInfo),
    /// Its device is away.
    Waiting,
}

/// Keeps the directions of one terminal running on one host. Control side, any one thread.
///
/// ```
/// # use embassy_sync::blocking_mutex::raw::NoopRawMutex;
/// # use handsfree_core::capture::Bypass;
/// # use handsfree_core::{Duration, SampleRate, Session, SessionFormat};
/// # use handsfree_sim::acoustics::Wire;
/// # use handsfree_sim::board::{Board, BoardConfig};
/// # use handsfree_sim::side::SideConfig;
/// use handsfree_core::audio_io::{Direction, StreamHalves};
/// use handsfree_host::supervisor::{DirectionConfig, StreamSupervisor, Notice};
///
/// # let rate = SampleRate::new(16_000)?;
/// # let mut session = Box::new(Session::<160, 2, 8, 8, 16, 16, 16_000>::new());
/// # let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
/// # let halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ())?;
/// # let side = SideConfig::new(rate, 160);
/// # let board = Board::new(BoardConfig {
/// #     capture: side.clone(), playback: side.clone(), worker_delay: Duration::ZERO,
/// #     worker_spread: Duration::ZERO, seed: 1,
/// # }, Box::new(Wire))?;
/// let halves = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
/// let mut supervisor = StreamSupervisor::new(board, halves); // any AudioIo
/// let plan = DirectionConfig::new(rate);
/// let now = supervisor.io().now();
/// supervisor.open(Some(&plan), Some(&plan), now)?;
///
/// supervisor.io_mut().unplug(Direction::Playback);
/// assert_eq!(supervisor.poll(now), Some(Notice::Lost { direction: Direction::Playback }));
/// assert_eq!(supervisor.poll(now), None, "it is waited for");
/// let later = now + Duration::from_millis(250);
/// assert!(matches!(supervisor.poll(later), Some(Notice::Returned { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct StreamSupervisor<'a, Io: AudioIo<'a, CAP, SLOTS>, const CAP: usize, const SLOTS: usize> {
    io: Io,
    intake: Option<Intake<'a, CAP>>,
    outlet: Option<Outlet<'a, CAP, SLOTS>>,
    capture: Side<Io::Error>,
    playback: Side<Io::Error>,
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
    /// A supervisor of a host and the halves to run on it; nothing is started.
    pub fn new(io: Io, halves: StreamHalves<'a, CAP, SLOTS>) -> Self {
        let StreamHalves { intake, outlet } = halves;
        Self { io, intake, outlet, capture: Side::new(), playback: Side::new() }
    }

    /// The host.
    pub fn io(&self) -> &Io {
        &self.io
    }

    /// The host, for what is its own. Starting and stopping past the supervisor loses track of the halves.
    pub fn io_mut(&mut self) -> &mut Io {
        &mut self.io
    }

    /// Shows every device, as [`AudioIo::devices`].
    ///
    /// # Errors
    /// When the host's audio system does not answer.
    pub fn devices(&self, visit: &mut dyn FnMut(&DeviceInfo<'_>)) -> Result<(), Io::Error> {
        self.io.devices(visit)
    }

    /// Opens one direction or both; both are started together, as a duplex device wants it. They are kept
    /// running until they are closed.
    ///
    /// # Errors
    /// Nothing is opened then.
    pub fn open(
        &mut self,
        capture: Option<&DirectionConfig>,
        playback: Option<&DirectionConfig>,
        now: Instant,
    ) -> Result<StreamInfo, OpenError<Io::Error>> {
        for (wanted, direction) in
            [(capture.is_some(), Direction::Capture), (playback.is_some(), Direction::Playback)]
        {
            if wanted && !matches!(self.side(direction).state, State::Closed) {
                return Err(OpenError::Open { direction });
            }
            if wanted && !self.has_half(direction) {
                // A host that kept it when it was closed may have it ready now.
                self.take_back(direction);
            }
            if wanted && !self.has_half(direction) {
                return Err(OpenError::Missing { direction });
            }
        }
        let info = self.start(capture, playback).map_err(OpenError::Host)?;
        for (plan, info, side) in
            [(capture, info.capture, &mut self.capture), (playback, info.playback, &mut self.playback)]
        {
            if let (Some(plan), Some(info)) = (plan, info) {
                *side = Side { plan: Some(plan.clone()), ..Side::new() };
                side.runs(info, now);
            }
        }
        Ok(info)
    }

    /// Stops a direction, or stops waiting for its device; its half waits here for the next opening.
    /// Closing what is closed does nothing.
    pub fn close(&mut self, direction: Direction) {
        if !matches!(self.side(direction).state, State::Closed) {
            self.take_back(direction);
            *self.side_mut(direction) = Side::new();
        }
    }

    /// How a direction is.
    #[must_use]
    pub fn state(&self, direction: Direction) -> DirectionState {
        match self.side(direction).state {
            State::Closed => DirectionState::Closed,
            State::Running { info, .. } => DirectionState::Running(info),
            State::Waiting { .. } => DirectionState::Waiting,
        }
    }

    /// Why the last try to start a lost direction again failed, while it waits.
    #[must_use]
    pub fn last_error(&self, direction: Direction) -> Option<&Io::Error> {
        self.side(direction).last_error.as_ref()
    }

    /// What happened, oldest first; starts again what is due. To be called until it says `None`, with a
    /// monotonic time.
    pub fn poll(&mut self, now: Instant) -> Option<Notice> {
        while let Some(event) = self.io.poll_event() {
            match event {
                Event::DeviceLost { direction } => {
                    if let State::Running { since, .. } = self.side(direction).state {
                        self.take_back(direction);
                        self.side_mut(direction).lose(since, now);
                        return Some(Notice::Lost { direction });
                    }
                }
                Event::DeviceReturned { direction } => self.side_mut(direction).hurry(now),
                Event::DefaultChanged { direction } => {
                    if let Some(notice) = self.meet_default(direction, false, now) {
                        return Some(notice);
                    }
                }
                Event::Moved { direction } => {
                    if let Some(notice) = self.meet_default(direction, true, now) {
                        return Some(notice);
                    }
                }
                other => return Some(Notice::Host(other)),
            }
        }
        BOTH.into_iter().find_map(|direction| self.retry(direction, now))
    }

    /// The default device is another one. It is followed by what was opened on the default device; what was
    /// opened on a device by name goes back there, where the audio system took it along. A new start that lands
    /// elsewhere is told when the host says so, as with one after a loss.
    fn meet_default(&mut self, direction: Direction, moved: bool, now: Instant) -> Option<Notice> {
        let told = Notice::Host(Event::DefaultChanged { direction });
        let side = self.side_mut(direction);
        let follows = side.plan.as_ref().is_some_and(|plan| plan.device.is_none());
        match side.state {
            State::Running { info, .. } if follows && moved => Some(Notice::Moved { direction, info }),
            State::Running { since, .. } if follows || moved => match self.start_again(direction) {
                Ok(Some(info)) => {
                    self.side_mut(direction).runs(info, now);
                    (!follows).then_some(told)
                }
                failed => {
                    let side = self.side_mut(direction);
                    side.lose(since, now);
                    side.last_error = failed.err();
                    Some(Notice::Lost { direction })
                }
            },
            _ => {
                if follows {
                    side.hurry(now);
                }
                Some(told)
            }
        }
    }

    fn retry(&mut self, direction: Direction, now: Instant) -> Option<Notice> {
        match self.side(direction).state {
            State::Waiting { retry_at, .. } if retry_at <= now => {}
            _ => return None,
        }
        match self.start_again(direction) {
            Ok(Some(info)) => {
                self.side_mut(direction).runs(info, now);
                Some(Notice::Returned { direction, info })
            }
            // A host that takes a half and does not say so is asked to give it back at the next try.
            Ok(None) => {
                self.side_mut(direction).fails(None, now);
                None
            }
            Err(error) => {
                self.side_mut(direction).fails(Some(error), now);
                None
            }
        }
    }

    /// Starts a direction by its plan, whether it runs or not; `None` where its half is not to be had.
    fn start_again(&mut self, direction: Direction) -> Result<Option<DirectionInfo>, Io::Error> {
        if !self.has_half(direction) {
            self.take_back(direction);
        }
        let Some(plan) = self.side(direction).plan.clone().filter(|_| self.has_half(direction)) else {
            return Ok(None);
        };
        Ok(match direction {
            Direction::Capture => self.start(Some(&plan), None)?.capture,
            Direction::Playback => self.start(None, Some(&plan))?.playback,
        })
    }

    /// Starts what is asked for; a refusal gives the halves back.
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
            self.keep(refused.halves);
            refused.error
        })
    }

    fn take_back(&mut self, direction: Direction) {
        let halves = self.io.stop(match direction {
            Direction::Capture => Directions::Capture,
            Direction::Playback => Directions::Playback,
        });
        self.keep(halves);
    }

    fn keep(&mut self, halves: StreamHalves<'a, CAP, SLOTS>) {
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

    fn side(&self, direction: Direction) -> &Side<Io::Error> {
        match direction {
            Direction::Capture => &self.capture,
            Direction::Playback => &self.playback,
        }
    }

    fn side_mut(&mut self, direction: Direction) -> &mut Side<Io::Error> {
        match direction {
            Direction::Capture => &mut self.capture,
            Direction::Playback => &mut self.playback,
        }
    }
}
