//! Control device: the board as a host, with its devices, its streams and its events.

use std::fmt;

use handsfree_core::audio_io::{
    AudioIo, Capabilities, DeviceInfo, Direction, DirectionInfo, Directions, ErrorKind, Event, HostError,
    StartError, StreamHalves, StreamInfo, StreamRequest,
};
use handsfree_core::capture::{Intake, IntakeConfig};
use handsfree_core::playback::{Outlet, OutletConfig};
use handsfree_core::{ChannelMap, ConfigError, Instant};

use super::{CaptureStream, PlaybackStream, SimulatedBoard};
use crate::device::{DeviceClock, DeviceConfig};
use crate::interpolate::PlayedSignal;
use crate::noise::Rng;

/// Error of a simulated stream that did not start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoardError(ErrorKind);

impl fmt::Display for BoardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for BoardError {}

impl HostError for BoardError {
    fn kind(&self) -> ErrorKind {
        self.0
    }
}

impl From<ConfigError> for BoardError {
    fn from(error: ConfigError) -> Self {
        Self(ErrorKind::Config(error))
    }
}

impl<'a, const CAP: usize, const SLOTS: usize> AudioIo<'a, CAP, SLOTS> for SimulatedBoard<'a, CAP, SLOTS> {
    type Error = BoardError;

    fn devices(&self, visit: &mut dyn FnMut(&DeviceInfo<'_>)) -> Result<(), BoardError> {
        for (direction, id, name, device) in [
            (Direction::Capture, "sim:microphone", "Simulated microphone", &self.config.capture),
            (Direction::Playback, "sim:loudspeaker", "Simulated loudspeaker", &self.config.playback),
        ] {
            let longest = device.longest_period();
            visit(&DeviceInfo {
                id,
                name,
                direction,
                is_default: true,
                capabilities: Capabilities {
                    max_channels: device.device_channels,
                    rates: &[device.rate],
                    formats: &[device.format.name()],
                    period_sample_frames: (longest, longest),
                },
            });
        }
        Ok(())
    }

    fn start(
        &mut self,
        request: &StreamRequest<'_>,
        mut halves: StreamHalves<'a, CAP, SLOTS>,
    ) -> Result<StreamInfo, StartError<'a, CAP, SLOTS, BoardError>> {
        match self.configure(request, &mut halves) {
            Ok(info) => {
                let start = self.now();
                if let Some(intake) = halves.intake {
                    self.capture = Some(self.capture_stream(start, Some(intake)));
                }
                if let Some(outlet) = halves.outlet {
                    self.playback = Some(self.playback_stream(start, Some(outlet)));
                }
                Ok(info)
            }
            Err(error) => Err(StartError { halves, error }),
        }
    }

    fn stop(&mut self, directions: Directions) -> StreamHalves<'a, CAP, SLOTS> {
        let mut halves = self.stop_streams(directions);
        if directions.includes(Direction::Capture) {
            halves.intake = halves.intake.or(self.lost.intake.take());
        }
        if directions.includes(Direction::Playback) {
            halves.outlet = halves.outlet.or(self.lost.outlet.take());
        }
        halves
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}

impl<'a, const CAP: usize, const SLOTS: usize> SimulatedBoard<'a, CAP, SLOTS> {
    pub(super) fn capture_stream(
        &self,
        start: Instant,
        intake: Option<Intake<'a, CAP>>,
    ) -> CaptureStream<'a, CAP> {
        let rng = Rng::for_stream(self.config.seed, "capture timestamps");
        CaptureStream { intake, clock: DeviceClock::new(&self.config.capture, start, rng) }
    }

    pub(super) fn playback_stream(
        &self,
        start: Instant,
        outlet: Option<Outlet<'a, CAP, SLOTS>>,
    ) -> PlaybackStream<'a, CAP, SLOTS> {
        let rng = Rng::for_stream(self.config.seed, "playback timestamps");
        let clock = DeviceClock::new(&self.config.playback, start, rng);
        PlaybackStream { outlet, clock, played: PlayedSignal::default() }
    }

    /// Configures the halves for this board's devices, whatever rate the request names.
    fn configure(
        &self,
        request: &StreamRequest<'_>,
        halves: &mut StreamHalves<'a, CAP, SLOTS>,
    ) -> Result<StreamInfo, BoardError> {
        let misuse = BoardError(ErrorKind::Misuse);
        let mut info = StreamInfo::default();
        let unknown = |device: Option<&str>, id: &str| device.is_some_and(|name| name != id);
        if request.capture.is_some() != halves.intake.is_some()
            || request.playback.is_some() != halves.outlet.is_some()
            || (halves.intake.is_some() && self.capture.is_some())
            || (halves.outlet.is_some() && self.playback.is_some())
        {
            return Err(misuse);
        }
        if let (Some(asked), Some(intake)) = (&request.capture, &mut halves.intake) {
            if unknown(asked.device, "sim:microphone") {
                return Err(BoardError(ErrorKind::NotFound));
            }
            let device = &self.config.capture;
            let natural = || ChannelMap::natural(device.device_channels, 1);
            let longest = device.longest_period();
            intake.configure(IntakeConfig {
                rate: device.rate,
                map: asked.map.map_or_else(natural, Ok)?,
                gain: asked.gain,
                max_period_sample_frames: longest,
                clock_domain: self.clock_domain(Direction::Capture),
            })?;
            info.capture = Some(self.direction_info(Direction::Capture, device, longest));
        }
        if let (Some(asked), Some(outlet)) = (&request.playback, &mut halves.outlet) {
            if unknown(asked.device, "sim:loudspeaker") {
                return Err(BoardError(ErrorKind::NotFound));
            }
            let device = &self.config.playback;
            let natural = || ChannelMap::natural(1, device.device_channels);
            let longest = device.longest_period();
            outlet.configure(OutletConfig {
                rate: device.rate,
                map: asked.map.map_or_else(natural, Ok)?,
                max_period_sample_frames: longest,
                worker_slack_sample_frames: asked.worker_slack_sample_frames,
                latency: device.latency,
                clock_domain: self.clock_domain(Direction::Playback),
            })?;
            info.playback = Some(self.direction_info(Direction::Playback, device, longest));
        }
        Ok(info)
    }

    fn direction_info(&self, direction: Direction, device: &DeviceConfig, longest: u32) -> DirectionInfo {
        DirectionInfo {
            rate: device.rate,
            device_channels: device.device_channels,
            max_period_sample_frames: longest,
            latency: device.latency,
            clock_domain: self.clock_domain(direction),
        }
    }

    /// Returns the clock domain of a direction. Two devices with the same clock error share one, unless
    /// [`separate_clocks`](Self::separate_clocks) was called.
    #[must_use]
    pub fn clock_domain(&self, direction: Direction) -> u32 {
        let shared_clock = !self.separate_clocks && self.config.capture.ppm == self.config.playback.ppm;
        if shared_clock || direction == Direction::Capture { 1 } else { 2 }
    }
}
