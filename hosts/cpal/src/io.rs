//! Control side: the [`AudioIo`] implementation over cpal.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use handsfree_core::audio_io::{
    AudioIo, DeviceInfo, Direction, Directions, Event, StartError, StreamHalves, StreamInfo, StreamRequest,
};
use handsfree_core::capture::Intake;
use handsfree_core::playback::Outlet;
use handsfree_core::{Duration, Instant, SampleRate};
use handsfree_host::clock;
use handsfree_host::request::{self, BOTH_DIRECTIONS};
use handsfree_host::worker::{Work, Worker};

use crate::audio_system::{self, AudioSystem};
use crate::config::{CpalConfig, GrantedStream};
use crate::device_monitor::{DeviceMonitor, MonitorEvent};
use crate::devices::CpalDevice;
use crate::error::CpalError;
use crate::signals::CallbackStats;
use crate::stream::CpalStream;
use crate::stream_setup::StreamSetup;

/// Control plane over one audio system, with its worker thread.
///
/// No call waits for more than five seconds per direction for the audio system. `poll_event` does not wait for
/// it, except for at most 0.1 s when it reports a lost device.
pub struct CpalIo<const CAP: usize, const SLOTS: usize> {
    config: CpalConfig,
    system: AudioSystem,
    monitor: DeviceMonitor,
    capture: CpalStream<Intake<'static, CAP>>,
    playback: CpalStream<Outlet<'static, CAP, SLOTS>>,
    events: VecDeque<Event>,
    /// Set by the worker's thread when its request for real-time scheduling was refused.
    real_time_refused: Arc<AtomicBool>,
    is_refusal_reported: bool,
    worker: Worker,
}

impl<const CAP: usize, const SLOTS: usize> std::fmt::Debug for CpalIo<CAP, SLOTS> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CpalIo")
            .field("host", &self.system.name)
            .field("capture", &self.capture.granted)
            .field("playback", &self.playback.granted)
            .finish_non_exhaustive()
    }
}

/// Connects to the configured audio system and spawns a worker thread that runs `work` whenever a frame is
/// complete.
///
/// # Errors
/// When there is no such audio system, none answers, or a thread cannot be created.
pub fn open<const CAP: usize, const SLOTS: usize>(
    config: CpalConfig,
    work: Work,
) -> Result<CpalIo<CAP, SLOTS>, CpalError> {
    let system = audio_system::choose(config.host.as_deref())?;
    open_system(system, config, work)
}

/// Uses the audio system to which `connect` makes connections, and spawns a worker thread like [`open`].
/// `connect` is called once for each direction and once for the device monitor, and again after the loss of a
/// server. `name` appears in messages.
///
/// # Errors
/// When a thread cannot be created.
pub fn open_on<const CAP: usize, const SLOTS: usize>(
    name: &str,
    connect: impl Fn() -> Result<cpal::Host, cpal::Error> + Send + Sync + 'static,
    config: CpalConfig,
    work: Work,
) -> Result<CpalIo<CAP, SLOTS>, CpalError> {
    open_system(AudioSystem::new(name.to_owned(), connect), config, work)
}

fn open_system<const CAP: usize, const SLOTS: usize>(
    system: AudioSystem,
    config: CpalConfig,
    work: Work,
) -> Result<CpalIo<CAP, SLOTS>, CpalError> {
    let real_time_refused = Arc::new(AtomicBool::new(false));
    let work = with_realtime_request(work, config.priority, Arc::clone(&real_time_refused));
    let worker = Worker::spawn("handsfree worker", work).map_err(|error| CpalError::Backend {
        doing: "starting the worker".to_owned(),
        message: error.to_string(),
    })?;
    Ok(CpalIo {
        monitor: DeviceMonitor::spawn(system.clone())?,
        capture: CpalStream::new(Direction::Capture),
        playback: CpalStream::new(Direction::Playback),
        events: VecDeque::new(),
        config,
        system,
        real_time_refused,
        is_refusal_reported: false,
        worker,
    })
}

/// Wraps the work so that its first run requests real-time scheduling for the worker's thread.
#[cfg(target_os = "linux")]
fn with_realtime_request(mut work: Work, priority: Option<u8>, refused: Arc<AtomicBool>) -> Work {
    let mut requested = priority;
    Box::new(move || {
        if let Some(priority) = requested.take()
            && handsfree_host::realtime::schedule_fifo(priority).is_err()
        {
            refused.store(true, Ordering::Relaxed);
        }
        work();
    })
}

#[cfg(not(target_os = "linux"))]
fn with_realtime_request(work: Work, _: Option<u8>, _: Arc<AtomicBool>) -> Work {
    work
}

impl<const CAP: usize, const SLOTS: usize> CpalIo<CAP, SLOTS> {
    /// Returns the name of the audio system.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.system.name
    }

    /// Returns the settings that the microphone's stream was granted; `None` unless it runs.
    #[must_use]
    pub fn capture(&self) -> Option<&GrantedStream> {
        self.capture.granted.as_ref()
    }

    /// Returns the settings that the loudspeaker's stream was granted; `None` unless it runs.
    #[must_use]
    pub fn playback(&self) -> Option<&GrantedStream> {
        self.playback.granted.as_ref()
    }

    /// Returns the callback counters of a direction's present stream, or of its last one.
    #[must_use]
    pub fn callbacks(&self, direction: Direction) -> CallbackStats {
        match direction {
            Direction::Capture => self.capture.signals.read(),
            Direction::Playback => self.playback.signals.read(),
        }
    }

    /// Lists every device once for each direction that it supports.
    ///
    /// # Errors
    /// When the audio system does not answer.
    pub fn list(&self) -> Result<Vec<CpalDevice>, CpalError> {
        self.monitor.list()
    }

    /// Opens the requested streams and configures the halves for what was granted. Starts nothing.
    fn prepare(
        &mut self,
        request: &StreamRequest<'_>,
        halves: &mut StreamHalves<'static, CAP, SLOTS>,
    ) -> Result<StreamInfo, CpalError> {
        let setup = |direction, request: &Option<_>| {
            let wake = self.worker.wake();
            request
                .as_ref()
                .map(|request| StreamSetup::new(direction, request, &self.config, &self.system, wake))
        };
        let capture = setup(Direction::Capture, &request.capture);
        let playback = setup(Direction::Playback, &request.playback);
        let info = StreamInfo {
            capture: capture.map(|setup| self.capture.open(setup)).transpose()?,
            playback: playback.map(|setup| self.playback.open(setup)).transpose()?,
        };
        request::configure(halves, request, &info)?;
        Ok(info)
    }

    /// Gives the halves to the callbacks and starts the streams.
    fn start_streams(&mut self, halves: StreamHalves<'static, CAP, SLOTS>) -> Result<(), CpalError> {
        // The loudspeaker starts first, so that the echo reference exists when the microphone starts.
        if let Some(outlet) = halves.outlet {
            self.playback.start(outlet)?;
        }
        if let Some(intake) = halves.intake {
            self.capture.start(intake)?;
        }
        Ok(())
    }

    /// Collects the events since the last call, each once, and ends streams that were lost.
    fn collect_events(&mut self) {
        if self.capture.is_lost() {
            self.capture.end_lost();
            self.events.push_back(Event::DeviceLost { direction: Direction::Capture });
            self.monitor.await_device(Direction::Capture, self.capture.requested_device.clone());
        }
        if self.playback.is_lost() {
            let rate = self.playback.rate();
            let end = self.playback.end_lost();
            self.report_unplayed(end, rate);
            self.events.push_back(Event::DeviceLost { direction: Direction::Playback });
            self.monitor.await_device(Direction::Playback, self.playback.requested_device.clone());
        }
        for (direction, sample_frames) in
            [(Direction::Capture, self.capture.new_xruns()), (Direction::Playback, self.playback.new_xruns())]
        {
            if let Some(sample_frames) = sample_frames {
                self.events.push_back(Event::Xrun { direction, sample_frames });
            }
        }
        let refused = [&self.capture.signals.real_time_refused, &self.playback.signals.real_time_refused];
        let refused = refused.iter().any(|flag| flag.load(Ordering::Relaxed))
            || self.real_time_refused.load(Ordering::Relaxed);
        if refused && !std::mem::replace(&mut self.is_refusal_reported, true) {
            self.events.push_back(Event::RealTimeRefused);
        }
        while let Some(observed) = self.monitor.try_event() {
            let event = match observed {
                MonitorEvent::Returned(direction) => Some(Event::DeviceReturned { direction }),
                MonitorEvent::DefaultChanged { direction, device, has_streams } => match direction {
                    Direction::Capture => self.capture.default_changed(device, has_streams),
                    Direction::Playback => self.playback.default_changed(device, has_streams),
                },
            };
            self.events.extend(event);
        }
    }

    /// Reports to an outlet that was taken back how many of its sample frames will not be played, given the
    /// time at which the last one would have been played.
    fn report_unplayed(&mut self, end: Option<Instant>, rate: Option<SampleRate>) {
        if let (Some(outlet), Some(end), Some(rate)) = (&mut self.playback.returned, end, rate) {
            let left = (end - clock::now()).max(Duration::ZERO);
            let left = i128::from(left.as_nanos()) * i128::from(rate.hz()) / 1_000_000_000;
            outlet.stop();
            outlet.discarded(u32::try_from(left).unwrap_or(u32::MAX));
        }
    }
}

impl<const CAP: usize, const SLOTS: usize> AudioIo<'static, CAP, SLOTS> for CpalIo<CAP, SLOTS> {
    type Error = CpalError;

    fn devices(&self, visit: &mut dyn FnMut(&DeviceInfo<'_>)) -> Result<(), CpalError> {
        self.list()?.iter().for_each(|device| device.show(visit));
        Ok(())
    }

    fn start(
        &mut self,
        request: &StreamRequest<'_>,
        mut halves: StreamHalves<'static, CAP, SLOTS>,
    ) -> Result<StreamInfo, StartError<'static, CAP, SLOTS, CpalError>> {
        let in_use = |direction| match direction {
            Direction::Capture => self.capture.is_in_use(),
            Direction::Playback => self.playback.is_in_use(),
        };
        // Checked before any change, because a running stream has a half that would be lost.
        if let Err(misuse) = request::check(request, &halves, in_use) {
            return Err(StartError { halves, error: CpalError::Misuse(misuse) });
        }
        let directions = request::directions(request);
        let info = match self.prepare(request, &mut halves) {
            Ok(info) => info,
            Err(error) => {
                // The streams hold no half yet.
                self.stop(directions);
                return Err(StartError { halves, error });
            }
        };
        match self.start_streams(halves) {
            Ok(()) => {
                for direction in
                    BOTH_DIRECTIONS.into_iter().filter(|&direction| directions.includes(direction))
                {
                    self.monitor.stop_awaiting(direction);
                    let has_moved = match direction {
                        Direction::Capture => self.capture.record_default_device(),
                        Direction::Playback => self.playback.record_default_device(),
                    };
                    if has_moved {
                        self.events.push_back(Event::Moved { direction });
                    }
                }
                Ok(info)
            }
            Err(error) => {
                let halves = self.stop(directions);
                Err(StartError { halves, error })
            }
        }
    }

    fn stop(&mut self, directions: Directions) -> StreamHalves<'static, CAP, SLOTS> {
        let mut halves = StreamHalves::default();
        if directions.includes(Direction::Capture) {
            self.capture.end();
            halves.intake = self.capture.returned.take();
        }
        if directions.includes(Direction::Playback) {
            let rate = self.playback.rate();
            let end = self.playback.end();
            self.report_unplayed(end, rate);
            halves.outlet = self.playback.returned.take();
        }
        // A loss that was not reported yet would be mistaken for a loss of the next stream.
        self.events.retain(
            |event| !matches!(event, Event::DeviceLost { direction } if directions.includes(*direction)),
        );
        halves
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.collect_events();
        self.events.pop_front()
    }
}

impl<const CAP: usize, const SLOTS: usize> Drop for CpalIo<CAP, SLOTS> {
    fn drop(&mut self) {
        // The halves are dropped on this thread, not with the callbacks, which cpal drops at some later time.
        self.stop(Directions::Both);
    }
}
