//! Control side: ALSA's devices as an [`AudioIo`].

use std::sync::atomic::Ordering;
use std::time::{Duration as Span, Instant as Moment};

use handsfree_core::audio_io::{
    AudioIo, DeviceInfo, Direction, EndInfo, EndRequest, Ends, Event, Refused, StreamInfo, StreamRequest,
    Which,
};
use handsfree_core::capture::IntakeConfig;
use handsfree_core::playback::OutletConfig;
use handsfree_core::{ChannelMap, Duration, Gain};

use crate::board::{Board, RealTime};
use crate::devices::{self, DEFAULT};
use crate::error::AlsaError;
use crate::exchange::{CaptureSide, ControlEnd, News, Order, PlaybackSide, Sides, exchange};
use crate::format::{PeriodMemory, SampleFormat};
use crate::halves::{CaptureHalf, PlaybackHalf};
use crate::names;
use crate::params::{self, Granted, Wish};
use crate::pcm::Pcm;
use crate::side::{Side, Stream};

/// How long a start waits for the first sample, and a stop for the board's thread.
const PATIENCE: Span = Span::from_secs(5);
/// How long a start waits for the board's thread to be there.
const BOARD_PATIENCE: Span = Span::from_millis(1_000);
/// How often control looks for the board's answer.
const LOOK_INTERVAL: Span = Span::from_millis(1);
/// How often a lost device is looked for.
const SEARCH_INTERVAL: Span = Span::from_millis(250);

/// How devices are to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlsaConfig {
    /// What the board's thread asks of the system.
    pub real_time: RealTime,
    /// Periods kept between the application and the loudspeaker, 1 to 255. More bear a later thread and
    /// cost latency: render latency is this times the period, plus what the hardware adds.
    pub playback_periods: u32,
    /// The only format to open microphones in; otherwise 16 bits, or more where a gain is asked for.
    pub capture_format: Option<SampleFormat>,
    /// The only format to open loudspeakers in; otherwise 16 bits where the device has them.
    pub playback_format: Option<SampleFormat>,
    /// Whether both directions of one card start in one instant.
    pub link: bool,
}

impl Default for AlsaConfig {
    fn default() -> Self {
        Self {
            real_time: RealTime::default(),
            playback_periods: 2,
            capture_format: None,
            playback_format: None,
            link: true,
        }
    }
}

/// What a running direction was really granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The device as it was asked for.
    pub device: String,
    /// ALSA's name for it at present.
    pub alsa_name: String,
    /// Its sample format.
    pub format: SampleFormat,
    /// Its rate in hertz.
    pub rate_hz: u32,
    /// Its channels.
    pub channels: u32,
    /// Sample frames between two interrupts.
    pub period_sample_frames: u32,
    /// Sample frames that the device can hold.
    pub buffer_sample_frames: u32,
    /// Sample frames kept between the application and the converter (playback).
    pub fill_sample_frames: u32,
}

/// What the board counted; each number wraps at 2^32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Timestamps of the microphone's driver that could not be and were replaced by the clock.
    pub capture_times_disbelieved: u32,
    /// The same for the loudspeaker's.
    pub playback_times_disbelieved: u32,
    /// Delays of the microphone's driver that could not be; the last good one was kept.
    pub capture_delays_disbelieved: u32,
    /// The same for the loudspeaker's.
    pub playback_delays_disbelieved: u32,
    /// Events that nobody polled in time.
    pub events_dropped: u32,
}

/// The control plane over ALSA. Belongs to a [`Board`], which ends when this is dropped.
///
/// `stop` waits for the board's thread. A thread that is stuck in a driver, as with hardware that hangs,
/// keeps its halves, and `stop` returns without them after five seconds.
#[derive(Debug)]
pub struct AlsaIo<'a, const CAP: usize, const SLOTS: usize> {
    end: ControlEnd<'a, CAP, SLOTS>,
    config: AlsaConfig,
    /// The halves of streams that ended by themselves.
    returned: Ends<'a, CAP, SLOTS>,
    capture: Option<Opened>,
    playback: Option<Opened>,
    /// Lost devices that somebody may wait for.
    missing: [Option<String>; 2],
    searched: Moment,
    events_dropped: u32,
}

/// A control plane and its board.
///
/// # Errors
/// When the system has no descriptor to give.
#[allow(clippy::type_complexity, reason = "a pair of two documented types")]
pub fn open<'a, const CAP: usize, const SLOTS: usize>(
    config: AlsaConfig,
) -> Result<(AlsaIo<'a, CAP, SLOTS>, Board<'a, CAP, SLOTS>), AlsaError> {
    let (control, board) = exchange().map_err(|error| AlsaError::System {
        doing: "making an event descriptor",
        errno: error.raw_os_error().unwrap_or(0),
    })?;
    let io = AlsaIo {
        end: control,
        config,
        returned: Ends::default(),
        capture: None,
        playback: None,
        missing: [None, None],
        searched: Moment::now(),
        events_dropped: 0,
    };
    Ok((io, Board::new(board, config.real_time)))
}

/// Why a side does not run any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// It was told to stop, or could not start.
    Ordered,
    /// Its device is gone.
    Lost,
}

/// A device that is open and set up.
struct Ready {
    stream: Stream,
    opened: Opened,
    memory: PeriodMemory,
    info: EndInfo,
    map: ChannelMap,
}

impl<'a, const CAP: usize, const SLOTS: usize> AlsaIo<'a, CAP, SLOTS> {
    /// What the microphone's device was granted, while it runs.
    #[must_use]
    pub fn capture(&self) -> Option<&Opened> {
        self.capture.as_ref()
    }

    /// What the loudspeaker's device was granted, while it runs.
    #[must_use]
    pub fn playback(&self) -> Option<&Opened> {
        self.playback.as_ref()
    }

    /// What drivers said that could not be.
    #[must_use]
    pub fn trust(&self) -> Trust {
        let counters = &self.end.counters;
        let of = |counter: &std::sync::atomic::AtomicU32| counter.load(Ordering::Relaxed);
        let [capture_times, playback_times] = &counters.times_disbelieved;
        let [capture_delays, playback_delays] = &counters.delays_disbelieved;
        Trust {
            capture_times_disbelieved: of(capture_times),
            playback_times_disbelieved: of(playback_times),
            capture_delays_disbelieved: of(capture_delays),
            playback_delays_disbelieved: of(playback_delays),
            events_dropped: of(&counters.events_dropped),
        }
    }

    fn check(&self, request: &StreamRequest<'_>, ends: &Ends<'a, CAP, SLOTS>) -> Result<(), AlsaError> {
        let misuse = |what| Err(AlsaError::Misuse(what));
        if request.capture.is_none() && request.playback.is_none() {
            return misuse("a request for neither direction");
        }
        if request.capture.is_some() != ends.intake.is_some() {
            return misuse("an intake goes with a request for capture, and only with one");
        }
        if request.playback.is_some() != ends.outlet.is_some() {
            return misuse("an outlet goes with a request for playback, and only with one");
        }
        if (request.capture.is_some() && self.capture.is_some())
            || (request.playback.is_some() && self.playback.is_some())
        {
            return misuse("the direction runs already");
        }
        Ok(())
    }

    fn make_ready(&self, direction: Direction, asked: &EndRequest<'_>) -> Result<Ready, AlsaError> {
        let device = asked.device.unwrap_or(DEFAULT);
        let missing = || AlsaError::NotFound { device: device.to_owned() };
        let alsa_name = names::resolve(device).ok_or_else(missing)?;
        let pcm = params::open(&alsa_name, direction)?;
        let (periods, format) = match direction {
            Direction::Capture => (1, self.config.capture_format),
            Direction::Playback => (self.config.playback_periods, self.config.playback_format),
        };
        let mapped = asked.map.map(|map| match direction {
            Direction::Capture => map.from_channels(),
            Direction::Playback => map.to_channels(),
        });
        let wish = Wish {
            rate: asked.rate,
            channels: mapped.map_or(asked.device_channels, |channels| channels as u32),
            any_channels: mapped.is_none(),
            period_sample_frames: asked.period_sample_frames,
            periods,
            format,
            wide: direction == Direction::Capture && asked.gain != Gain::UNITY,
        };
        let granted = params::agree(&pcm, &alsa_name, direction, &wish)?;
        let fill = params::fill_of(&granted, periods);
        let samples = granted.period_sample_frames as usize * granted.channels as usize;
        let memory = PeriodMemory::new(granted.format, samples);
        let frame_bytes = memory.sample_bytes() * granted.channels as usize;
        let told = |error| AlsaError::on(&alsa_name, "setting up", error);
        let card = pcm.info().ok().map(|info| info.get_card()).filter(|&card| card >= 0);
        let stream = Stream::new(Pcm::new(pcm, frame_bytes).map_err(told)?, &granted, fill);
        let natural = || match direction {
            Direction::Capture => ChannelMap::natural(granted.channels, 1),
            Direction::Playback => ChannelMap::natural(1, granted.channels),
        };
        let map = asked.map.map_or_else(natural, Ok)?;
        let info = end_info(direction, &granted, fill, card);
        let opened = Opened {
            device: device.to_owned(),
            alsa_name,
            format: granted.format,
            rate_hz: granted.rate.hz(),
            channels: granted.channels,
            period_sample_frames: granted.period_sample_frames,
            buffer_sample_frames: granted.buffer_sample_frames,
            fill_sample_frames: fill,
        };
        Ok(Ready { stream, opened, memory, info, map })
    }

    /// Opens what is asked for and configures the ends for what was granted; nothing runs yet.
    #[allow(clippy::type_complexity, reason = "two directions, each there or not")]
    fn prepare(
        &self,
        request: &StreamRequest<'_>,
        ends: &mut Ends<'a, CAP, SLOTS>,
    ) -> Result<(Option<Ready>, Option<Ready>), AlsaError> {
        let capture =
            request.capture.as_ref().map(|asked| self.make_ready(Direction::Capture, asked)).transpose()?;
        let playback =
            request.playback.as_ref().map(|asked| self.make_ready(Direction::Playback, asked)).transpose()?;
        if let (Some(ready), Some(intake), Some(asked)) = (&capture, &mut ends.intake, &request.capture) {
            intake.configure(IntakeConfig {
                rate: ready.info.rate,
                map: ready.map,
                gain: asked.gain,
                max_period_sample_frames: ready.info.max_period_sample_frames,
                clock_domain: ready.info.clock_domain,
            })?;
        }
        if let (Some(ready), Some(outlet), Some(asked)) = (&playback, &mut ends.outlet, &request.playback) {
            outlet.configure(OutletConfig {
                rate: ready.info.rate,
                map: ready.map,
                max_period_sample_frames: ready.info.max_period_sample_frames,
                worker_slack_sample_frames: asked.worker_slack_sample_frames,
                latency: ready.info.latency,
                clock_domain: ready.info.clock_domain,
            })?;
        }
        Ok((capture, playback))
    }

    /// Waits until the board's thread runs.
    fn await_board(&self) -> Result<(), AlsaError> {
        let began = Moment::now();
        // Acquire: partner of the Release in `Board::run`.
        while !self.end.counters.runs.load(Ordering::Acquire) {
            if self.end.is_alone() || began.elapsed() > BOARD_PATIENCE {
                return Err(AlsaError::BoardStandsStill);
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        Ok(())
    }

    /// Hands the sides to the board and waits until samples move in each.
    fn run(&mut self, sides: Sides<'a, CAP, SLOTS>) -> Result<(), AlsaError> {
        let mut awaited = [sides.capture.is_some(), sides.playback.is_some()];
        if let Err(order) = self.end.order(Order::Start(sides)) {
            if let Order::Start(sides) = order {
                self.take_back(sides.capture, sides.playback, Ending::Ordered);
            }
            return Err(AlsaError::BoardStandsStill);
        }
        let began = Moment::now();
        while awaited.contains(&true) {
            match self.end.news.pop() {
                Ok(News::Began(direction)) => awaited[index(direction)] = false,
                Ok(News::CaptureBack(side)) => {
                    self.take_back(Some(side), None, Ending::Ordered);
                    return Err(AlsaError::NoProgress { direction: Direction::Capture });
                }
                Ok(News::PlaybackBack(side)) => {
                    self.take_back(None, Some(side), Ending::Ordered);
                    return Err(AlsaError::NoProgress { direction: Direction::Playback });
                }
                Err(_) if began.elapsed() > PATIENCE => {
                    let late = if awaited[0] { Direction::Capture } else { Direction::Playback };
                    return Err(AlsaError::NoProgress { direction: late });
                }
                Err(_) => std::thread::sleep(LOOK_INTERVAL),
            }
        }
        Ok(())
    }

    /// Stops what runs of `which` and waits for it.
    fn halt(&mut self, which: Which) {
        let wanted = |io: &Self| {
            (which.includes(Direction::Capture) && io.capture.is_some())
                || (which.includes(Direction::Playback) && io.playback.is_some())
        };
        self.take_news(Ending::Lost);
        if !wanted(self) || self.end.order(Order::Stop(which)).is_err() {
            self.take_news(Ending::Ordered);
            return;
        }
        let began = Moment::now();
        while wanted(self) && began.elapsed() < PATIENCE && !(self.end.is_alone() && self.end.news.is_empty())
        {
            std::thread::sleep(LOOK_INTERVAL);
            self.take_news(Ending::Ordered);
        }
    }

    fn take_news(&mut self, ending: Ending) {
        while let Ok(news) = self.end.news.pop() {
            match news {
                News::Began(_) => {}
                News::CaptureBack(side) => self.take_back(Some(side), None, ending),
                News::PlaybackBack(side) => self.take_back(None, Some(side), ending),
            }
        }
    }

    /// Closes the devices of sides that do not run any more and keeps their halves. A device that was lost
    /// is looked for from now on.
    fn take_back(
        &mut self,
        capture: Option<CaptureSide<'a, CAP>>,
        playback: Option<PlaybackSide<'a, CAP, SLOTS>>,
        ending: Ending,
    ) {
        let lost =
            |opened: Option<Opened>| opened.filter(|_| ending == Ending::Lost).map(|opened| opened.device);
        if let Some(side) = capture {
            self.returned.intake = Some(side.half.intake);
            self.missing[0] = lost(self.capture.take());
        }
        if let Some(side) = playback {
            let mut outlet = side.half.outlet;
            outlet.stop();
            self.returned.outlet = Some(outlet);
            self.missing[1] = lost(self.playback.take());
        }
    }

    fn search(&mut self) -> Option<Event> {
        if self.searched.elapsed() < SEARCH_INTERVAL {
            return None;
        }
        self.searched = Moment::now();
        for direction in [Direction::Capture, Direction::Playback] {
            let missing = &mut self.missing[index(direction)];
            if missing.as_deref().is_some_and(names::is_present) {
                *missing = None;
                return Some(Event::DeviceReturned { direction });
            }
        }
        None
    }
}

const fn index(direction: Direction) -> usize {
    match direction {
        Direction::Capture => 0,
        Direction::Playback => 1,
    }
}

fn end_info(direction: Direction, granted: &Granted, fill: u32, card: Option<i32>) -> EndInfo {
    // One crystal drives a card. What is behind a name that belongs to no card is not known.
    const NO_CARD: u32 = 1 << 16;
    let clock_domain = match (card.and_then(|card| u32::try_from(card).ok()), direction) {
        (Some(card), _) => card + 1,
        (None, Direction::Capture) => NO_CARD,
        (None, Direction::Playback) => NO_CARD + 1,
    };
    let latency = match direction {
        Direction::Capture => granted.period_sample_frames,
        Direction::Playback => fill,
    };
    EndInfo {
        rate: granted.rate,
        device_channels: granted.channels,
        max_period_sample_frames: granted.period_sample_frames,
        latency: Duration::of_sample_frames(latency.into(), granted.rate),
        clock_domain,
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
        mut ends: Ends<'a, CAP, SLOTS>,
    ) -> Result<StreamInfo, Refused<'a, CAP, SLOTS, AlsaError>> {
        self.take_news(Ending::Lost);
        let ready = self
            .check(request, &ends)
            .and_then(|()| self.await_board())
            .and_then(|()| self.prepare(request, &mut ends));
        let (capture, playback) = match ready {
            Ok(ready) => ready,
            Err(error) => return Err(Refused { ends, error }),
        };
        let mut info = StreamInfo::default();
        let mut which = Which::Both;
        let mut sides = Sides { capture: None, playback: None, linked: false };
        match (capture, ends.intake) {
            (Some(ready), Some(intake)) => {
                info.capture = Some(ready.info);
                self.capture = Some(ready.opened);
                let half = CaptureHalf { intake, memory: ready.memory };
                sides.capture = Some(Box::new(Side::new(ready.stream, half)));
            }
            _ => which = Which::Playback,
        }
        match (playback, ends.outlet) {
            (Some(ready), Some(outlet)) => {
                info.playback = Some(ready.info);
                self.playback = Some(ready.opened);
                let half = PlaybackHalf::new(outlet, ready.memory);
                sides.playback = Some(Box::new(Side::new(ready.stream, half)));
            }
            _ => which = Which::Capture,
        }
        sides.linked = self.config.link && one_clock(&info);
        match self.run(sides) {
            Ok(()) => {
                for direction in [Direction::Capture, Direction::Playback] {
                    if which.includes(direction) {
                        self.missing[index(direction)] = None;
                    }
                }
                Ok(info)
            }
            Err(error) => {
                let ends = self.stop(which);
                Err(Refused { ends, error })
            }
        }
    }

    fn stop(&mut self, which: Which) -> Ends<'a, CAP, SLOTS> {
        self.halt(which);
        let mut ends = Ends::default();
        if which.includes(Direction::Capture) {
            ends.intake = self.returned.intake.take();
        }
        if which.includes(Direction::Playback) {
            ends.outlet = self.returned.outlet.take();
        }
        ends
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.take_news(Ending::Lost);
        if let Ok(event) = self.end.events.pop() {
            return Some(event);
        }
        let dropped = self.end.counters.events_dropped.load(Ordering::Relaxed);
        let count = dropped.wrapping_sub(self.events_dropped);
        if count > 0 {
            self.events_dropped = dropped;
            return Some(Event::EventsLost { count });
        }
        self.search()
    }
}

fn one_clock(info: &StreamInfo) -> bool {
    matches!((&info.capture, &info.playback), (Some(capture), Some(playback))
        if capture.clock_domain == playback.clock_domain)
}
