//! Control side: the interface that every host implements to list, start and stop its devices and to report
//! what happens to them. The data plane is [`Intake::on_period`] and [`Outlet::on_period`], which all hosts
//! call.

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
    /// From the microphone to the application.
    Capture,
    /// From the application to the loudspeaker.
    Playback,
}

/// Capabilities of one device in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Capabilities<'d> {
    /// Largest number of channels.
    pub max_channels: u32,
    /// Sample rates that the device supports; empty if it supports any.
    pub rates: &'d [SampleRate],
    /// Sample formats that the device supports, by the host's names; empty if they are not known.
    pub formats: &'d [&'d str],
    /// Shortest and longest period, in sample frames.
    pub period_sample_frames: (u32, u32),
}

/// Description of one device in one direction, as [`AudioIo::devices`] passes it to its visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DeviceInfo<'d> {
    /// Identifier of the device in a [`StreamRequest`]; it stays the same when the device is plugged in
    /// again.
    pub id: &'d str,
    /// Name of the device for display.
    pub name: &'d str,
    /// Direction that is described; a duplex device is listed twice.
    pub direction: Direction,
    /// Whether the device is the system's default for its direction.
    pub is_default: bool,
    /// Capabilities of the device in this direction.
    pub capabilities: Capabilities<'d>,
}

/// Request for one direction of a stream.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DirectionRequest<'r> {
    /// Identifier of the device; `None` for the system's default device.
    pub device: Option<&'r str>,
    /// Requested sample rate; [`DirectionInfo`] holds the one that the device granted.
    pub rate: SampleRate,
    /// Number of channels to open on the device.
    pub device_channels: u32,
    /// Channel map between device and frame; `None` for [`ChannelMap::natural`].
    pub map: Option<ChannelMap>,
    /// Requested period, in sample frames.
    pub period_sample_frames: u32,
    /// Time that the worker may be late before silence is played, in sample frames (playback only).
    pub worker_slack_sample_frames: u32,
    /// Gain before the conversion to 16 bits (capture only).
    pub gain: Gain,
}

/// Request for a stream; a direction that is `None` is left unchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct StreamRequest<'r> {
    /// Request for the capture direction.
    pub capture: Option<DirectionRequest<'r>>,
    /// Request for the playback direction.
    pub playback: Option<DirectionRequest<'r>>,
}

/// Properties of one direction of a stream, as the device granted them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DirectionInfo {
    /// Sample rate of the device.
    pub rate: SampleRate,
    /// Number of channels opened on the device.
    pub device_channels: u32,
    /// Longest period that the device will deliver or ask for, in sample frames.
    pub max_period_sample_frames: u32,
    /// Latency of the device, as far as it is known before it runs.
    pub latency: Duration,
    /// Number of the clock that drives the device. Equal numbers in both directions state that one clock
    /// drives both.
    pub clock_domain: u32,
}

/// Properties of a stream, as its devices granted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct StreamInfo {
    /// Properties of the capture direction, if it was started.
    pub capture: Option<DirectionInfo>,
    /// Properties of the playback direction, if it was started.
    pub playback: Option<DirectionInfo>,
}

/// The interrupt halves on their way between session and host: an intake, an outlet or both.
#[derive(Debug, Default)]
pub struct StreamHalves<'a, const CAP: usize, const SLOTS: usize> {
    /// Interrupt half of capture.
    pub intake: Option<Intake<'a, CAP>>,
    /// Interrupt half of playback.
    pub outlet: Option<Outlet<'a, CAP, SLOTS>>,
}

/// Error of a start that failed, with the halves, so that the start can be retried.
#[derive(Debug)]
pub struct StartError<'a, const CAP: usize, const SLOTS: usize, E> {
    /// Halves that were to be started, unchanged.
    pub halves: StreamHalves<'a, CAP, SLOTS>,
    /// Reason of the failure.
    pub error: E,
}

/// Selection of the directions to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Directions {
    /// Capture only.
    Capture,
    /// Playback only.
    Playback,
    /// Capture and playback.
    Both,
}

impl Directions {
    /// Returns whether the selection includes `direction`.
    #[must_use]
    pub const fn includes(self, direction: Direction) -> bool {
        matches!(
            (self, direction),
            (Self::Both, _) | (Self::Capture, Direction::Capture) | (Self::Playback, Direction::Playback)
        )
    }
}

/// Kind of a host's error, the same for all hosts.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request cannot work on any host.
    Config(ConfigError),
    /// The device does not exist.
    NotFound,
    /// Another program uses the device.
    Busy,
    /// The process lacks the permission to use the device.
    Denied,
    /// The device does not support the request.
    Unsupported,
    /// The device disappeared.
    Lost,
    /// The request does not match the halves: one runs already, or one is missing.
    Misuse,
    /// The host's audio system reported another error.
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

/// An event of a host's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Event {
    /// The device disappeared; [`AudioIo::stop`] returns the half. Reported once for each loss.
    DeviceLost {
        /// Direction of the lost device.
        direction: Direction,
    },
    /// The device, or one in its place, is available again.
    DeviceReturned {
        /// Direction of the device.
        direction: Direction,
    },
    /// The system's default device has changed. A running stream stays on its device.
    DefaultChanged {
        /// Direction of the default device.
        direction: Direction,
    },
    /// A running stream uses another device than before. Either the system's default device has changed and
    /// the audio system moved the stream there, with the granted properties unchanged; or the stream was
    /// started without a device's identifier and runs on another device than the last such stream did.
    Moved {
        /// Direction of the stream.
        direction: Direction,
    },
    /// Samples were lost between host and device.
    Xrun {
        /// Direction of the stream.
        direction: Direction,
        /// Number of sample frames lost, as far as it is known.
        sample_frames: u32,
    },
    /// The system refused real-time scheduling or locked memory. Reported once.
    RealTimeRefused,
    /// Events were dropped because they were not polled in time.
    EventsLost {
        /// Number of dropped events.
        count: u32,
    },
}

/// An error of a host, with its [`ErrorKind`].
pub trait HostError: core::error::Error {
    /// Returns the kind of the error.
    fn kind(&self) -> ErrorKind;
}

/// The control plane of one host's audio devices.
///
/// No method may be called from an audio callback. Starting a stream can fail; a running stream has no
/// errors, only [`Event`]s.
pub trait AudioIo<'a, const CAP: usize, const SLOTS: usize> {
    /// Type of the host's errors.
    type Error: HostError;

    /// Calls `visit` for every device in every direction it has.
    ///
    /// # Errors
    /// Reports an audio system that does not answer.
    fn devices(&self, visit: &mut dyn FnMut(&DeviceInfo<'_>)) -> Result<(), Self::Error>;

    /// Starts the given halves: the host configures them for what the device grants and calls their
    /// `on_period` from its audio callbacks until [`stop`](Self::stop).
    ///
    /// # Errors
    /// Returns the halves unchanged. A request for a direction without its half is a
    /// [`Misuse`](ErrorKind::Misuse).
    // The error holds the halves on purpose: they go back to their owner, and boxing would allocate.
    #[allow(clippy::result_large_err)]
    fn start(
        &mut self,
        request: &StreamRequest<'_>,
        halves: StreamHalves<'a, CAP, SLOTS>,
    ) -> Result<StreamInfo, StartError<'a, CAP, SLOTS, Self::Error>>;

    /// Stops the selected directions and returns their halves; no callback uses them any more. The half of a
    /// direction that does not run is `None`.
    fn stop(&mut self, directions: Directions) -> StreamHalves<'a, CAP, SLOTS>;

    /// Takes the oldest event.
    fn poll_event(&mut self) -> Option<Event>;
}
