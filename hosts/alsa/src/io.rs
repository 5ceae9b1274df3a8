//! Control side: ALSA's devices as an [`AudioIo`].

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration as Span, Instant as Moment};

use handsfree_core::audio_io::{
    AudioIo, DeviceInfo, Direction, Directions, Event, StartError, StreamHalves, StreamInfo, StreamRequest,
};
use handsfree_host::request::{self, BOTH_DIRECTIONS, index};

use crate::board::Board;
use crate::config::{AlsaConfig, DriverTimingStats, OpenedPcm};
use crate::device_stream::DeviceStream;
use crate::devices;
use crate::error::AlsaError;
use crate::exchange::{
    BoardCommand, BoardReport, CaptureDeviceStream, ControlEndpoint, DeviceStreams, PlaybackDeviceStream,
    exchange,
};
use crate::halves::{CaptureHalf, PlaybackHalf};
use crate::names;
use crate::opening::PreparedDevice;

/// Longest time that a start waits for the first sample, and a stop for the board's thread. Longer than a device takes
/// to fail, so that it runs out only when the thread hangs in a driver.
const STREAM_TIMEOUT: Span = Span::from_secs(5);
/// Longest time that a start waits for the board's thread to run.
const BOARD_START_TIMEOUT: Span = Span::from_millis(1_000);
/// Interval at which a waiting call looks for the board's reports.
const POLL_INTERVAL: Span = Span::from_millis(1);
/// Interval at which lost devices are searched for.
const SEARCH_INTERVAL: Span = Span::from_millis(250);

/// Control plane of the ALSA host. Belongs to a [`Board`], which ends when this is dropped.
///
/// `stop` waits for the board's thread. A thread that hangs in a driver, for example because of faulty hardware, keeps
/// its halves, and `stop` returns without them after five seconds.
#[derive(Debug)]
pub struct AlsaIo<'a, const CAP: usize, const SLOTS: usize> {
    endpoint: ControlEndpoint<'a, CAP, SLOTS>,
    config: AlsaConfig,
    /// Halves of streams that have ended.
    returned: StreamHalves<'a, CAP, SLOTS>,
    capture: Option<OpenedPcm>,
    playback: Option<OpenedPcm>,
    /// Names of lost devices that are searched for, capture first.
    missing: [Option<String>; 2],
    last_search: Moment,
    /// Number of dropped events that were reported already.
    reported_drops: u32,
}

/// Makes a control plane and its board.
///
/// # Errors
/// Returns the system's error when it cannot create an event descriptor.
#[allow(clippy::type_complexity, reason = "a pair of two documented types")]
pub fn open<'a, const CAP: usize, const SLOTS: usize>(
    config: AlsaConfig,
) -> Result<(AlsaIo<'a, CAP, SLOTS>, Board<'a, CAP, SLOTS>), AlsaError> {
    let (control, board) = exchange().map_err(|error| AlsaError::System {
        doing: "creating an event descriptor",
        errno: error.raw_os_error().unwrap_or(0),
    })?;
    let io = AlsaIo {
        endpoint: control,
        config,
        returned: StreamHalves::default(),
        capture: None,
        playback: None,
        missing: [None, None],
        last_search: Moment::now(),
        reported_drops: 0,
    };
    Ok((io, Board::new(board, config.real_time)))
}

/// Reason why a stream has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EndReason {
    /// Control stopped the stream, or the stream could not start.
    Stopped,
    /// The device was lost.
    DeviceLost,
}

impl<'a, const CAP: usize, const SLOTS: usize> AlsaIo<'a, CAP, SLOTS> {
    /// Returns the parameters of the microphone's device while it runs.
    #[must_use]
    pub fn capture(&self) -> Option<&OpenedPcm> {
        self.capture.as_ref()
    }

    /// Returns the parameters of the loudspeaker's device while it runs.
    #[must_use]
    pub fn playback(&self) -> Option<&OpenedPcm> {
        self.playback.as_ref()
    }

    /// Returns counters of implausible values that the drivers reported, and of dropped events.
    #[must_use]
    pub fn timing_stats(&self) -> DriverTimingStats {
        let counters = &self.endpoint.counters;
        // Relaxed: the counters order no other memory access.
        let read = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
        let [capture_times, playback_times] = &counters.times_rejected;
        let [capture_delays, playback_delays] = &counters.delays_rejected;
        DriverTimingStats {
            capture_times_rejected: read(capture_times),
            playback_times_rejected: read(playback_times),
            capture_delays_rejected: read(capture_delays),
            playback_delays_rejected: read(playback_delays),
            events_dropped: read(&counters.events_dropped),
        }
    }

    /// Opens the requested devices and configures the halves for what they granted. Starts nothing.
    #[allow(clippy::type_complexity, reason = "two optional directions")]
    fn prepare(
        &self,
        request: &StreamRequest<'_>,
        halves: &mut StreamHalves<'a, CAP, SLOTS>,
    ) -> Result<(Option<PreparedDevice>, Option<PreparedDevice>), AlsaError> {
        let runs = |direction| match direction {
            Direction::Capture => self.capture.is_some(),
            Direction::Playback => self.playback.is_some(),
        };
        request::check(request, halves, runs).map_err(AlsaError::Misuse)?;
        self.await_board()?;
        let open = |direction, asked: &Option<_>| {
            asked.as_ref().map(|asked| PreparedDevice::open(direction, asked, &self.config)).transpose()
        };
        let capture = open(Direction::Capture, &request.capture)?;
        let playback = open(Direction::Playback, &request.playback)?;
        let info = |device: &Option<PreparedDevice>| device.as_ref().map(|device| device.info);
        let granted = StreamInfo { capture: info(&capture), playback: info(&playback) };
        request::configure(halves, request, &granted)?;
        Ok((capture, playback))
    }

    /// Waits until the board's thread runs.
    fn await_board(&self) -> Result<(), AlsaError> {
        let started = Moment::now();
        // Acquire: partner of the Release in `Board::run`.
        while !self.endpoint.counters.runs.load(Ordering::Acquire) {
            if self.endpoint.board_is_gone() || started.elapsed() > BOARD_START_TIMEOUT {
                return Err(AlsaError::BoardNotRunning);
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Hands the streams to the board, and waits until samples move in each of them.
    fn run(&mut self, streams: DeviceStreams<'a, CAP, SLOTS>) -> Result<(), AlsaError> {
        let mut awaited = [streams.capture.is_some(), streams.playback.is_some()];
        if let Err(command) = self.endpoint.send(BoardCommand::Start(streams)) {
            if let BoardCommand::Start(streams) = command {
                self.take_back(streams.capture, streams.playback, EndReason::Stopped);
            }
            return Err(AlsaError::BoardNotRunning);
        }
        let started = Moment::now();
        while awaited.contains(&true) {
            match self.endpoint.reports.pop() {
                Ok(BoardReport::Started(direction)) => awaited[index(direction)] = false,
                Ok(BoardReport::CaptureReturned(stream)) => {
                    self.take_back(Some(stream), None, EndReason::Stopped);
                    return Err(AlsaError::NoProgress { direction: Direction::Capture });
                }
                Ok(BoardReport::PlaybackReturned(stream)) => {
                    self.take_back(None, Some(stream), EndReason::Stopped);
                    return Err(AlsaError::NoProgress { direction: Direction::Playback });
                }
                Err(_) if started.elapsed() > STREAM_TIMEOUT => {
                    let late = if awaited[0] { Direction::Capture } else { Direction::Playback };
                    return Err(AlsaError::NoProgress { direction: late });
                }
                Err(_) => std::thread::sleep(POLL_INTERVAL),
            }
        }
        Ok(())
    }

    /// Stops those of the `directions` that run, and waits for the board to return their streams.
    fn halt(&mut self, directions: Directions) {
        let runs = |io: &Self| {
            (directions.includes(Direction::Capture) && io.capture.is_some())
                || (directions.includes(Direction::Playback) && io.playback.is_some())
        };
        self.handle_reports(EndReason::DeviceLost);
        if !runs(self) || self.endpoint.send(BoardCommand::Stop(directions)).is_err() {
            self.handle_reports(EndReason::Stopped);
            return;
        }
        let started = Moment::now();
        while runs(self)
            && started.elapsed() < STREAM_TIMEOUT
            && !(self.endpoint.board_is_gone() && self.endpoint.reports.is_empty())
        {
            std::thread::sleep(POLL_INTERVAL);
            self.handle_reports(EndReason::Stopped);
        }
    }

    fn handle_reports(&mut self, reason: EndReason) {
        while let Ok(report) = self.endpoint.reports.pop() {
            match report {
                BoardReport::Started(_) => {}
                BoardReport::CaptureReturned(stream) => self.take_back(Some(stream), None, reason),
                BoardReport::PlaybackReturned(stream) => self.take_back(None, Some(stream), reason),
            }
        }
    }

    /// Closes the devices of streams that have ended, and keeps their halves. Begins the search for lost devices.
    fn take_back(
        &mut self,
        capture: Option<CaptureDeviceStream<'a, CAP>>,
        playback: Option<PlaybackDeviceStream<'a, CAP, SLOTS>>,
        reason: EndReason,
    ) {
        let lost_device = |opened: Option<OpenedPcm>| {
            opened.filter(|_| reason == EndReason::DeviceLost).map(|opened| opened.device)
        };
        if let Some(stream) = capture {
            self.returned.intake = Some(stream.half.intake);
            self.missing[0] = lost_device(self.capture.take());
        }
        if let Some(stream) = playback {
            let mut outlet = stream.half.outlet;
            outlet.stop();
            self.returned.outlet = Some(outlet);
            self.missing[1] = lost_device(self.playback.take());
        }
    }

    fn search_lost_devices(&mut self) -> Option<Event> {
        if self.last_search.elapsed() < SEARCH_INTERVAL {
            return None;
        }
        self.last_search = Moment::now();
        for direction in BOTH_DIRECTIONS {
            let missing = &mut self.missing[index(direction)];
            if missing.as_deref().is_some_and(names::is_present) {
                *missing = None;
                return Some(Event::DeviceReturned { direction });
            }
        }
        None
    }
}

impl<'a, const CAP: usize, const SLOTS: usize> AudioIo<'a, CAP, SLOTS> for AlsaIo<'a, CAP, SLOTS> {
    type Error = AlsaError;

    fn devices(&self, visit: &mut dyn FnMut(&DeviceInfo<'_>)) -> Result<(), AlsaError> {
        devices::devices()?.iter().for_each(|device| device.show(visit));
        Ok(())
    }

    fn start(
        &mut self,
        request: &StreamRequest<'_>,
        mut halves: StreamHalves<'a, CAP, SLOTS>,
    ) -> Result<StreamInfo, StartError<'a, CAP, SLOTS, AlsaError>> {
        self.handle_reports(EndReason::DeviceLost);
        let (capture, playback) = match self.prepare(request, &mut halves) {
            Ok(devices) => devices,
            Err(error) => return Err(StartError { halves, error }),
        };
        let mut info = StreamInfo::default();
        let mut streams = DeviceStreams { capture: None, playback: None, linked: false };
        if let (Some(device), Some(intake)) = (capture, halves.intake) {
            info.capture = Some(device.info);
            self.capture = Some(device.opened);
            let half = CaptureHalf { intake, memory: device.memory };
            streams.capture = Some(Box::new(DeviceStream::new(device.device, half)));
        }
        if let (Some(device), Some(outlet)) = (playback, halves.outlet) {
            info.playback = Some(device.info);
            self.playback = Some(device.opened);
            let half = PlaybackHalf::new(outlet, device.memory);
            streams.playback = Some(Box::new(DeviceStream::new(device.device, half)));
        }
        let directions = request::directions(request);
        streams.linked = self.config.link && share_one_clock(&info);
        match self.run(streams) {
            Ok(()) => {
                for direction in
                    BOTH_DIRECTIONS.into_iter().filter(|&direction| directions.includes(direction))
                {
                    self.missing[index(direction)] = None;
                }
                Ok(info)
            }
            Err(error) => {
                let halves = self.stop(directions);
                Err(StartError { halves, error })
            }
        }
    }

    fn stop(&mut self, directions: Directions) -> StreamHalves<'a, CAP, SLOTS> {
        self.halt(directions);
        let mut halves = StreamHalves::default();
        if directions.includes(Direction::Capture) {
            halves.intake = self.returned.intake.take();
        }
        if directions.includes(Direction::Playback) {
            halves.outlet = self.returned.outlet.take();
        }
        halves
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.handle_reports(EndReason::DeviceLost);
        if let Ok(event) = self.endpoint.events.pop() {
            return Some(event);
        }
        let dropped = self.endpoint.counters.events_dropped.load(Ordering::Relaxed);
        let count = dropped.wrapping_sub(self.reported_drops);
        if count > 0 {
            self.reported_drops = dropped;
            return Some(Event::EventsLost { count });
        }
        self.search_lost_devices()
    }
}

fn share_one_clock(info: &StreamInfo) -> bool {
    matches!((&info.capture, &info.playback), (Some(capture), Some(playback))
        if capture.clock_domain == playback.clock_domain)
}
