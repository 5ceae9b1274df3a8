//! Control side: cpal's devices as an [`AudioIo`].

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
use handsfree_host::request::{self, BOTH};
use handsfree_host::worker::{Work, Worker};

use crate::config::{CpalConfig, Opened};
use crate::devices::CpalDevice;
use crate::error::CpalError;
use crate::gauge::CallbackStats;
use crate::hosts::{self, Source};
use crate::lookout::{Lookout, News};
use crate::opening::Opening;
use crate::side::Side;

/// The control plane over one audio system, and the worker.
///
/// No call waits for the audio system for more than five seconds a direction; asking for events does not
/// wait for it at all.
pub struct CpalIo<const CAP: usize, const SLOTS: usize> {
    config: CpalConfig,
    source: Source,
    lookout: Lookout,
    capture: Side<Intake<'static, CAP>>,
    playback: Side<Outlet<'static, CAP, SLOTS>>,
    events: VecDeque<Event>,
    /// Set by whoever asked for real-time scheduling in vain; cleared when it was said.
    refused: Arc<AtomicBool>,
    refusal_said: bool,
    worker: Worker,
}

impl<const CAP: usize, const SLOTS: usize> std::fmt::Debug for CpalIo<CAP, SLOTS> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CpalIo")
            .field("host", &self.source.name)
            .field("capture", &self.capture.opened)
            .field("playback", &self.playback.opened)
            .finish_non_exhaustive()
    }
}

/// A control plane over an audio system, and a worker that runs `work` whenever a frame is whole.
///
/// # Errors
/// When there is no such system, none answers, or the system has no thread to give.
pub fn open<const CAP: usize, const SLOTS: usize>(
    config: CpalConfig,
    work: Work,
) -> Result<CpalIo<CAP, SLOTS>, CpalError> {
    let source = hosts::choose(config.host.as_deref())?;
    open_source(source, config, work)
}

/// As [`open`], over connections to an audio system that `connect` makes: one for each direction and one to
/// look for devices, and others when a server was lost. `name` is for messages.
///
/// # Errors
/// When the system has no thread to give.
pub fn open_on<const CAP: usize, const SLOTS: usize>(
    name: &str,
    connect: impl Fn() -> Result<cpal::Host, cpal::Error> + Send + Sync + 'static,
    config: CpalConfig,
    work: Work,
) -> Result<CpalIo<CAP, SLOTS>, CpalError> {
    open_source(Source::of(name.to_owned(), connect), config, work)
}

fn open_source<const CAP: usize, const SLOTS: usize>(
    source: Source,
    config: CpalConfig,
    work: Work,
) -> Result<CpalIo<CAP, SLOTS>, CpalError> {
    let refused = Arc::new(AtomicBool::new(false));
    let work = hurried(work, config.priority, Arc::clone(&refused));
    let worker = Worker::spawn("handsfree worker", work).map_err(|error| CpalError::Backend {
        doing: "starting the worker".to_owned(),
        message: error.to_string(),
    })?;
    Ok(CpalIo {
        lookout: Lookout::spawn(source.clone())?,
        capture: Side::new(Direction::Capture),
        playback: Side::new(Direction::Playback),
        events: VecDeque::new(),
        config,
        source,
        refused,
        refusal_said: false,
        worker,
    })
}

/// The work, on a thread that asks for real-time scheduling first.
#[cfg(target_os = "linux")]
fn hurried(mut work: Work, priority: Option<u8>, refused: Arc<AtomicBool>) -> Work {
    let mut asks = priority;
    Box::new(move || {
        if let Some(priority) = asks.take()
            && handsfree_host::realtime::schedule_fifo(priority).is_err()
        {
            refused.store(true, Ordering::Relaxed);
        }
        work();
    })
}

#[cfg(not(target_os = "linux"))]
fn hurried(work: Work, _: Option<u8>, _: Arc<AtomicBool>) -> Work {
    work
}

impl<const CAP: usize, const SLOTS: usize> CpalIo<CAP, SLOTS> {
    /// The audio system's name.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.source.name
    }

    /// What the microphone's device was granted, while it runs.
    #[must_use]
    pub fn capture(&self) -> Option<&Opened> {
        self.capture.opened.as_ref()
    }

    /// What the loudspeaker's device was granted, while it runs.
    #[must_use]
    pub fn playback(&self) -> Option<&Opened> {
        self.playback.opened.as_ref()
    }

    /// What the callbacks of a direction's present or last stream counted.
    #[must_use]
    pub fn callbacks(&self, direction: Direction) -> CallbackStats {
        match direction {
            Direction::Capture => self.capture.gauge.read(),
            Direction::Playback => self.playback.gauge.read(),
        }
    }

    /// Every device in every direction that it has.
    ///
    /// # Errors
    /// When the audio system does not answer.
    pub fn list(&self) -> Result<Vec<CpalDevice>, CpalError> {
        self.lookout.list()
    }

    /// Opens what is asked for and configures the ends for what was granted; nothing runs yet.
    fn prepare(
        &mut self,
        request: &StreamRequest<'_>,
        halves: &mut StreamHalves<'static, CAP, SLOTS>,
    ) -> Result<StreamInfo, CpalError> {
        let opening = |direction, asked: &Option<_>| {
            let wake = self.worker.wake();
            asked.as_ref().map(|asked| Opening::new(direction, asked, &self.config, &self.source, wake))
        };
        let capture = opening(Direction::Capture, &request.capture);
        let playback = opening(Direction::Playback, &request.playback);
        let info = StreamInfo {
            capture: capture.map(|opening| self.capture.open(opening)).transpose()?,
            playback: playback.map(|opening| self.playback.open(opening)).transpose()?,
        };
        request::configure(halves, request, &info)?;
        Ok(info)
    }

    /// Parks the halves where the callbacks find them, and lets them be called.
    fn run(&mut self, halves: StreamHalves<'static, CAP, SLOTS>) -> Result<(), CpalError> {
        // The loudspeaker first: what the microphone hears before is nothing.
        if let Some(outlet) = halves.outlet {
            self.playback.run(outlet)?;
        }
        if let Some(intake) = halves.intake {
            self.capture.run(intake)?;
        }
        Ok(())
    }

    /// Notices what ended by itself, and says it once.
    fn look(&mut self) {
        if self.capture.is_lost() {
            self.capture.end_lost();
            self.events.push_back(Event::DeviceLost { direction: Direction::Capture });
            self.lookout.await_device(Direction::Capture, self.capture.asked.clone());
        }
        if self.playback.is_lost() {
            let rate = self.playback.rate();
            let end = self.playback.end_lost();
            self.silence_playback(end, rate);
            self.events.push_back(Event::DeviceLost { direction: Direction::Playback });
            self.lookout.await_device(Direction::Playback, self.playback.asked.clone());
        }
        for (direction, sample_frames) in
            [(Direction::Capture, self.capture.new_xruns()), (Direction::Playback, self.playback.new_xruns())]
        {
            if let Some(sample_frames) = sample_frames {
                self.events.push_back(Event::Xrun { direction, sample_frames });
            }
        }
        let refused = [&self.capture.gauge.real_time_refused, &self.playback.gauge.real_time_refused];
        let refused =
            refused.iter().any(|word| word.load(Ordering::Relaxed)) || self.refused.load(Ordering::Relaxed);
        if refused && !std::mem::replace(&mut self.refusal_said, true) {
            self.events.push_back(Event::RealTimeRefused);
        }
        while let Some(news) = self.lookout.news() {
            let event = match news {
                News::Returned(direction) => Some(Event::DeviceReturned { direction }),
                News::Default { direction, device, has_streams } => match direction {
                    Direction::Capture => self.capture.default_changed(device, has_streams),
                    Direction::Playback => self.playback.default_changed(device, has_streams),
                },
            };
            self.events.extend(event);
        }
    }

    /// Tells an outlet that was taken back what will never be played.
    fn silence_playback(&mut self, end: Option<Instant>, rate: Option<SampleRate>) {
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
        let runs = |direction| match direction {
            Direction::Capture => self.capture.is_taken(),
            Direction::Playback => self.playback.is_taken(),
        };
        // Before anything is touched: what runs has halves that would be lost.
        if let Err(misuse) = request::check(request, &halves, runs) {
            return Err(StartError { halves, error: CpalError::Misuse(misuse) });
        }
        let directions = request::directions(request);
        let info = match self.prepare(request, &mut halves) {
            Ok(info) => info,
            Err(error) => {
                // They hold no half yet.
                self.stop(directions);
                return Err(StartError { halves, error });
            }
        };
        match self.run(halves) {
            Ok(()) => {
                for direction in BOTH.into_iter().filter(|&direction| directions.includes(direction)) {
                    self.lookout.forget(direction);
                    let is_elsewhere = match direction {
                        Direction::Capture => self.capture.settle(),
                        Direction::Playback => self.playback.settle(),
                    };
                    if is_elsewhere {
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
            self.silence_playback(end, rate);
            halves.outlet = self.playback.returned.take();
        }
        // A loss that was not told yet would be taken for one of the next stream.
        self.events.retain(
            |event| !matches!(event, Event::DeviceLost { direction } if directions.includes(*direction)),
        );
        halves
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.look();
        self.events.pop_front()
    }
}

impl<const CAP: usize, const SLOTS: usize> Drop for CpalIo<CAP, SLOTS> {
    fn drop(&mut self) {
        // The halves end here, on this thread, and not with a callback that cpal drops when it likes.
        self.stop(Directions::Both);
    }
}
