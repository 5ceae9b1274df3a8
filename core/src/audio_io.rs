//! Control side: the boundary. What a host's devices can do, starting and stopping them, and what
//! happened. The data plane is [`Intake::on_period`] and [`Outlet::on_period`], the same for every
//! host.

use core::fmt;

use crate::capture::Intake;
use crate::error::ConfigError;
use crate::format::{ChannelMap, SampleRate};
use crate::playback::Outlet;
use crate::sample::Gain;
use crate::time::Duration;

/// A direction of audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Direction {
    /// Microphone to application.
    Capture,
    /// Application to loudspeaker.
    Playback,
}

/// What one device can do in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Capabilities<'d> {
    /// Most channels.
    pub max_channels: u32,
    /// Rates it takes; empty when it takes any.
    pub rates: &'d [SampleRate],
    /// Sample formats it takes, by the host's names for them; empty when that is not known.
    pub formats: &'d [&'d str],
    /// Shortest and longest period in sample frames.
    pub period_sample_frames: (u32, u32),
}

/// One device in one direction, as [`AudioIo::devices`] shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DeviceInfo<'d> {
    /// Names the device in a [`StreamRequest`], and stays the same when it is plugged in again.
    pub id: &'d str,
    /// For people.
    pub name: &'d str,
    /// The direction described; a duplex device is shown twice.
    pub direction: Direction,
    /// Whether it is the system's default for its direction.
    pub is_default: bool,
    /// What it can do.
    pub capabilities: Capabilities<'d>,
}

/// One direction of a stream, as asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DirectionRequest<'r> {
    /// Which device; the default one when not said.
    pub device: Option<&'r str>,
    /// The rate wanted; what the device really takes is in [`DirectionInfo`].
    pub rate: SampleRate,
    /// Channels to open on the device.
    pub device_channels: u32,
    /// Between device and frame channels; the natural one when not said.
    pub map: Option<ChannelMap>,
    /// The period wanted, in sample frames.
    pub period_sample_frames: u32,
    /// How late the worker may be, in sample frames (playback).
    pub worker_slack_sample_frames: u32,
    /// Gain before the cut to 16 bits (capture).
    pub gain: Gain,
}

/// A stream as asked for; a direction that is `None` is left as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct StreamRequest<'r> {
    /// The capture direction.
    pub capture: Option<DirectionRequest<'r>>,
    /// The playback direction.
    pub playback: Option<DirectionRequest<'r>>,
}

/// One direction of a stream, as granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DirectionInfo {
    /// The device's rate.
    pub rate: SampleRate,
    /// Channels opened on the device.
    pub device_channels: u32,
    /// Longest period the device will deliver, in sample frames.
    pub max_period_sample_frames: u32,
    /// Latency of the device as far as it is known before it runs.
    pub latency: Duration,
    /// Which clock it runs on. Equal numbers in both directions say that one crystal drives both.
    pub clock_domain: u32,
}

/// A stream as granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct StreamInfo {
    /// The capture direction, if started.
    pub capture: Option<DirectionInfo>,
    /// The playback direction, if started.
    pub playback: Option<DirectionInfo>,
}

/// The interrupt halves on their way between session and host: an intake, an outlet or both.
#[derive(Debug, Default)]
pub struct StreamHalves<'a, const CAP: usize, const SLOTS: usize> {
    /// The capture half.
    pub intake: Option<Intake<'a, CAP>>,
    /// The playback half.
    pub outlet: Option<Outlet<'a, CAP, SLOTS>>,
}

/// A start that failed, with the halves to try again.
#[derive(Debug)]
pub struct StartError<'a, const CAP: usize, const SLOTS: usize, E> {
    /// What was to be started, unharmed.
    pub halves: StreamHalves<'a, CAP, SLOTS>,
    /// Why it was not.
    pub error: E,
}

/// Which directions to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Directions {
    /// Capture only.
    Capture,
    /// Playback only.
    Playback,
    /// Both.
    Both,
}

impl Directions {
    /// Whether `direction` is meant.
    #[must_use]
    pub const fn includes(self, direction: Direction) -> bool {
        matches!(
            (self, direction),
            (Self::Both, _) | (Self::Capture, Direction::Capture) | (Self::Playback, Direction::Playback)
        )
    }
}

/// The portable kinds of a host's errors.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ErrorKind {
    /// A request that cannot work on any host.
    Config(ConfigError),
    /// There is no such device.
    NotFound,
    /// Somebody else uses the device.
    Busy,
    /// The process may not use the device.
    Denied,
    /// The device does not do what was asked.
    Unsupported,
    /// The device went away.
    Lost,
    /// An end was given that runs already, or none was given.
    Misuse,
    /// Anything else the host's audio system says.
    Backend,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::NotFound => f.write_str("no such device"),
            Self::Busy => f.write_str("the device is in use"),
            Self::Denied => f.write_str("permission denied"),
            Self::Unsupported => f.write_str("not supported by the device"),
            Self::Lost => f.write_str("the device went away"),
            Self::Misuse => f.write_str("wrong order of calls"),
            Self::Backend => f.write_str("the audio system failed"),
        }
    }
}

/// Something that happened to a host's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Event {
    /// The device went away; [`AudioIo::stop`] gives the half back. Said once.
    DeviceLost {
        /// Which direction.
        direction: Direction,
    },
    /// The device, or one in its place, is there.
    DeviceReturned {
        /// Which direction.
        direction: Direction,
    },
    /// The system's default device is another one now. A stream runs where it ran.
    DefaultChanged {
        /// Which direction.
        direction: Direction,
    },
    /// A running stream's samples are played or heard in another place. Either the system's default device is
    /// another one now and the audio system has taken the stream there, and it runs on with what was granted; or
    /// the stream was started without a device's name and runs on another one than the last such stream did.
    Moved {
        /// Which direction.
        direction: Direction,
    },
    /// Samples were lost between host and device.
    Xrun {
        /// Which direction.
        direction: Direction,
        /// How many sample frames, as far as known.
        sample_frames: u32,
    },
    /// Real-time scheduling or locked memory was refused; said once.
    RealTimeRefused,
    /// Events were dropped because nobody polled.
    EventsLost {
        /// How many.
        count: u32,
    },
}

/// A host's error, which says which of the portable kinds it is.
pub trait HostError: core::error::Error {
    /// The portable kind.
    fn kind(&self) -> ErrorKind;
}

/// The audio devices of one host: the control plane only.
///
/// No method may be called from an audio callback. Starting can fail, running cannot.
pub trait AudioIo<'a, const CAP: usize, const SLOTS: usize> {
    /// The host's error.
    type Error: HostError;

    /// Shows every device in every direction it has.
    ///
    /// # Errors
    /// When the host's audio system does not answer.
    fn devices(&self, visit: &mut dyn FnMut(&DeviceInfo<'_>)) -> Result<(), Self::Error>;

    /// Starts the ends given: the host configures them for what the device grants and calls their
    /// `on_period` from its audio callbacks until [`stop`](Self::stop).
    ///
    /// # Errors
    /// Gives the ends back, unharmed. A request for an end that is not given is a
    /// [`Misuse`](ErrorKind::Misuse).
    // The halves are the error on purpose: they go back to their owner, and boxing would allocate.
    #[allow(clippy::result_large_err)]
    fn start(
        &mut self,
        request: &StreamRequest<'_>,
        halves: StreamHalves<'a, CAP, SLOTS>,
    ) -> Result<StreamInfo, StartError<'a, CAP, SLOTS, Self::Error>>;

    /// Stops directions and gives their halves back, no callback running any more. What does not
    /// run is `None`.
    fn stop(&mut self, directions: Directions) -> StreamHalves<'a, CAP, SLOTS>;

    /// The oldest event not yet taken.
    fn poll_event(&mut self) -> Option<Event>;
}
