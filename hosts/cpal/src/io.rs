//! Control side: cpal's devices as an [`AudioIo`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cpal::SampleFormat;
use handsfree_core::audio_io::{
    AudioIo, DeviceInfo, Direction, EndInfo, EndRequest, Ends, Event, Refused, StreamInfo, StreamRequest,
    Which,
};
use handsfree_core::capture::{Intake, IntakeConfig};
use handsfree_core::playback::{Outlet, OutletConfig};
use handsfree_core::{ChannelMap, Duration, Gain, Instant, SampleRate};
use handsfree_host::clock;
use handsfree_host::worker::{Work, Worker};

use crate::agree::{Agreed, Wish};
use crate::attendant::{Built, Maker, Plan};
use crate::callback::{Callback, Shape};
use crate::devices::{BOTH, CpalDevice};
use crate::error::CpalError;
use crate::gauge::CallbackStats;
use crate::hosts::{self, Source};
use crate::lookout::Lookout;
use crate::side::Side;

/// How the audio system is to be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpalConfig {
    /// Which audio system, as [`hosts`](crate::hosts()) names them; the first that answers when not said.
    pub host: Option<String>,
    /// Priority of `SCHED_FIFO`, 1 to 99, that the worker asks for on Linux, and with it the callbacks'
    /// threads where they are cpal's own (PulseAudio, ALSA). `None` leaves all as they are.
    pub priority: Option<u8>,
    /// Periods of the microphone that PulseAudio is to keep: it drops what it cannot keep and says nothing,
    /// so more bear a busier machine. Other systems bring one period at a time.
    pub kept_periods: u32,
    /// The only format to open microphones in; otherwise 16 bits, or more where a gain is asked for.
    pub capture_format: Option<SampleFormat>,
    /// The only format to open loudspeakers in; otherwise 16 bits where the device has them.
    pub playback_format: Option<SampleFormat>,
}

impl Default for CpalConfig {
    fn default() -> Self {
        Self { host: None, priority: Some(60), kept_periods: 4, capture_format: None, playback_format: None }
    }
}

/// What a running direction was really granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The device's stable name.
    pub device: String,
    /// Its sample format.
    pub format: SampleFormat,
    /// Its rate in hertz.
    pub rate_hz: u32,
    /// Its channels.
    pub channels: u32,
    /// The period asked for, in sample frames.
    pub period_sample_frames: u32,
    /// The longest callback expected, in sample frames; longer ones are counted in [`CallbackStats`].
    pub longest_sample_frames: u32,
}

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

/// A direction that is open and does not run.
struct Ready {
    built: Built,
    map: ChannelMap,
    info: EndInfo,
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

    fn check(&self, request: &StreamRequest<'_>, ends: &Ends<'static, CAP, SLOTS>) -> Result<(), CpalError> {
        let misuse = |what| Err(CpalError::Misuse(what));
        if request.capture.is_none() && request.playback.is_none() {
            return misuse("a request for neither direction");
        }
        if request.capture.is_some() != ends.intake.is_some() {
            return misuse("an intake goes with a request for capture, and only with one");
        }
        if request.playback.is_some() != ends.outlet.is_some() {
            return misuse("an outlet goes with a request for playback, and only with one");
        }
        if (request.capture.is_some() && self.capture.is_taken())
            || (request.playback.is_some() && self.playback.is_taken())
        {
            return misuse("the direction runs already");
        }
        Ok(())
    }

    /// Opens a direction's stream; its callbacks find nothing yet.
    fn make_ready(&mut self, direction: Direction, asked: &EndRequest<'_>) -> Result<Ready, CpalError> {
        let wish = wish(direction, asked, &self.config);
        let keeps = direction == Direction::Capture && self.source.keeps_one_period();
        let priority = self.config.priority.filter(|_| self.source.has_plain_threads());
        let shape = move |agreed: &Agreed| Shape {
            direction,
            rate: agreed.rate,
            channels: agreed.channels as usize,
            latency: latency_of(direction, agreed),
            priority,
        };
        let (wake, maker);
        match direction {
            Direction::Capture => {
                wake = self.worker.wake();
                let (slot, gauge) = self.capture.renew();
                maker = Maker::Capture(Box::new(move |agreed| {
                    let (slot, gauge) = (Arc::clone(&slot), Arc::clone(&gauge));
                    let mut callback = Callback::new(slot, gauge, wake.clone(), shape(agreed));
                    Box::new(move |data, info| callback.heard(data, info))
                }));
            }
            Direction::Playback => {
                wake = self.worker.wake();
                let (slot, gauge) = self.playback.renew();
                maker = Maker::Playback(Box::new(move |agreed| {
                    let (slot, gauge) = (Arc::clone(&slot), Arc::clone(&gauge));
                    let mut callback = Callback::new(slot, gauge, wake.clone(), shape(agreed));
                    Box::new(move |data, info| callback.wanted(data, info))
                }));
            }
        }
        let gauge = match direction {
            Direction::Capture => Arc::clone(&self.capture.gauge),
            Direction::Playback => Arc::clone(&self.playback.gauge),
        };
        let plan = Plan {
            device: asked.device.map(str::to_owned),
            wish,
            periods: if keeps { self.config.kept_periods } else { 1 },
            maker,
            gauge,
        };
        let built = match direction {
            Direction::Capture => self.capture.open(&self.source, plan),
            Direction::Playback => self.playback.open(&self.source, plan),
        }?;
        let natural = || match direction {
            Direction::Capture => ChannelMap::natural(built.agreed.channels, 1),
            Direction::Playback => ChannelMap::natural(1, built.agreed.channels),
        };
        let map = asked.map.map_or_else(natural, Ok)?;
        let info = end_info(direction, &built);
        Ok(Ready { built, map, info })
    }

    /// Opens what is asked for and configures the ends for what was granted; nothing runs yet.
    fn prepare(
        &mut self,
        request: &StreamRequest<'_>,
        ends: &mut Ends<'static, CAP, SLOTS>,
    ) -> Result<StreamInfo, CpalError> {
        let mut info = StreamInfo::default();
        if let (Some(asked), Some(intake)) = (&request.capture, &mut ends.intake) {
            let ready = self.make_ready(Direction::Capture, asked)?;
            intake.configure(IntakeConfig {
                rate: ready.info.rate,
                map: ready.map,
                gain: asked.gain,
                max_period_sample_frames: ready.info.max_period_sample_frames,
                clock_domain: ready.info.clock_domain,
            })?;
            info.capture = Some(ready.info);
            self.capture.grant(asked.device, &ready.built);
        }
        if let (Some(asked), Some(outlet)) = (&request.playback, &mut ends.outlet) {
            let ready = self.make_ready(Direction::Playback, asked)?;
            outlet.configure(OutletConfig {
                rate: ready.info.rate,
                map: ready.map,
                max_period_sample_frames: ready.info.max_period_sample_frames,
                worker_slack_sample_frames: asked.worker_slack_sample_frames,
                latency: ready.info.latency,
                clock_domain: ready.info.clock_domain,
            })?;
            info.playback = Some(ready.info);
            self.playback.grant(asked.device, &ready.built);
        }
        Ok(info)
    }

    /// Parks the halves where the callbacks find them, and lets them be called.
    fn run(&mut self, ends: Ends<'static, CAP, SLOTS>) -> Result<(), CpalError> {
        // The loudspeaker first: what the microphone hears before is nothing.
        if let Some(outlet) = ends.outlet {
            self.playback.run(outlet)?;
        }
        if let Some(intake) = ends.intake {
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
        while let Some(event) = self.lookout.news() {
            self.events.push_back(event);
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

fn wish(direction: Direction, asked: &EndRequest<'_>, config: &CpalConfig) -> Wish {
    let mapped = asked.map.map(|map| match direction {
        Direction::Capture => map.from_channels(),
        Direction::Playback => map.to_channels(),
    });
    Wish {
        rate: asked.rate,
        channels: mapped.map_or(asked.device_channels, |channels| channels as u32),
        any_channels: mapped.is_none(),
        period_sample_frames: asked.period_sample_frames,
        format: match direction {
            Direction::Capture => config.capture_format,
            Direction::Playback => config.playback_format,
        },
        wide: direction == Direction::Capture && asked.gain != Gain::UNITY,
    }
}

/// What may be expected until something is known: a period of the microphone has been waited for, and two
/// of the loudspeaker's are kept ahead.
fn latency_of(direction: Direction, agreed: &Agreed) -> Duration {
    let period = Duration::of_sample_frames(agreed.period_sample_frames.into(), agreed.rate);
    match direction {
        Direction::Capture => period,
        Direction::Playback => period + period,
    }
}

fn end_info(direction: Direction, built: &Built) -> EndInfo {
    // Behind an audio system two devices may have one crystal or two, and it does not say: never equal.
    const CAPTURE_CLOCK: u32 = 1 << 17;
    EndInfo {
        rate: built.agreed.rate,
        device_channels: built.agreed.channels,
        max_period_sample_frames: built.longest_sample_frames,
        latency: latency_of(direction, &built.agreed),
        clock_domain: match direction {
            Direction::Capture => CAPTURE_CLOCK,
            Direction::Playback => CAPTURE_CLOCK + 1,
        },
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
        mut ends: Ends<'static, CAP, SLOTS>,
    ) -> Result<StreamInfo, Refused<'static, CAP, SLOTS, CpalError>> {
        if let Err(error) = self.check(request, &ends) {
            return Err(Refused { ends, error });
        }
        let which = match (request.capture, request.playback) {
            (Some(_), None) => Which::Capture,
            (None, Some(_)) => Which::Playback,
            _ => Which::Both,
        };
        let info = match self.prepare(request, &mut ends) {
            Ok(info) => info,
            Err(error) => {
                // They hold no half yet.
                self.stop(which);
                return Err(Refused { ends, error });
            }
        };
        match self.run(ends) {
            Ok(()) => {
                BOTH.into_iter()
                    .filter(|&direction| which.includes(direction))
                    .for_each(|direction| self.lookout.forget(direction));
                Ok(info)
            }
            Err(error) => {
                let ends = self.stop(which);
                Err(Refused { ends, error })
            }
        }
    }

    fn stop(&mut self, which: Which) -> Ends<'static, CAP, SLOTS> {
        let mut ends = Ends::default();
        if which.includes(Direction::Capture) {
            self.capture.end();
            ends.intake = self.capture.returned.take();
        }
        if which.includes(Direction::Playback) {
            let rate = self.playback.rate();
            let end = self.playback.end();
            self.silence_playback(end, rate);
            ends.outlet = self.playback.returned.take();
        }
        ends
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.look();
        self.events.pop_front()
    }
}

impl<const CAP: usize, const SLOTS: usize> Drop for CpalIo<CAP, SLOTS> {
    fn drop(&mut self) {
        // The halves end here, on this thread, and not with a callback that cpal drops when it likes.
        self.stop(Which::Both);
    }
}
