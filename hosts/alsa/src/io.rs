//! Control side: ALSA's devices as an [`AudioIo`].

use std::sync::atomic::Ordering;
use std::time::{Duration as Span, Instant as Moment};

use handsfree_core::audio_io::{
    AudioIo, DeviceInfo, Direction, Directions, Event, StartError, StreamHalves, StreamInfo, StreamRequest,
};
use handsfree_host::request::{self, BOTH, index};

use crate::board::Board;
use crate::config::{AlsaConfig, Opened, Trust};
use crate::devices;
use crate::error::AlsaError;
use crate::exchange::{CaptureSide, ControlEnd, News, Order, PlaybackSide, Sides, exchange};
use crate::halves::{CaptureHalf, PlaybackHalf};
use crate::names;
use crate::ready::Ready;
use crate::side::Side;

/// How long a start waits for the first sample, and a stop for the board's thread.
const PATIENCE: Span = Span::from_secs(5);
/// How long a start waits for the board's thread to be there.
const BOARD_PATIENCE: Span = Span::from_millis(1_000);
/// How often control looks for the board's answer.
const LOOK_INTERVAL: Span = Span::from_millis(1);
/// How often a lost device is looked for.
const SEARCH_INTERVAL: Span = Span::from_millis(250);

/// The control plane over ALSA. Belongs to a [`Board`], which ends when this is dropped.
///
/// `stop` waits for the board's thread. A thread that is stuck in a driver, as with hardware that hangs,
/// keeps its halves, and `stop` returns without them after five seconds.
#[derive(Debug)]
pub struct AlsaIo<'a, const CAP: usize, const SLOTS: usize> {
    end: ControlEnd<'a, CAP, SLOTS>,
    config: AlsaConfig,
    /// The halves of streams that ended by themselves.
    returned: StreamHalves<'a, CAP, SLOTS>,
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
        returned: StreamHalves::default(),
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

    /// Opens what is asked for and configures the ends for what was granted; nothing runs yet.
    #[allow(clippy::type_complexity, reason = "two directions, each there or not")]
    fn prepare(
        &self,
        request: &StreamRequest<'_>,
        halves: &mut StreamHalves<'a, CAP, SLOTS>,
    ) -> Result<(Option<Ready>, Option<Ready>), AlsaError> {
        let runs = |direction| match direction {
            Direction::Capture => self.capture.is_some(),
            Direction::Playback => self.playback.is_some(),
        };
        request::check(request, halves, runs).map_err(AlsaError::Misuse)?;
        self.await_board()?;
        let open = |direction, asked: &Option<_>| {
            asked.as_ref().map(|asked| Ready::open(direction, asked, &self.config)).transpose()
        };
        let capture = open(Direction::Capture, &request.capture)?;
        let playback = open(Direction::Playback, &request.playback)?;
        let info = |ready: &Option<Ready>| ready.as_ref().map(|ready| ready.info);
        let granted = StreamInfo { capture: info(&capture), playback: info(&playback) };
        request::configure(halves, request, &granted)?;
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
    fn halt(&mut self, directions: Directions) {
        let wanted = |io: &Self| {
            (directions.includes(Direction::Capture) && io.capture.is_some())
                || (directions.includes(Direction::Playback) && io.playback.is_some())
        };
        self.take_news(Ending::Lost);
        if !wanted(self) || self.end.order(Order::Stop(directions)).is_err() {
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
        for direction in BOTH {
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
        self.take_news(Ending::Lost);
        let (capture, playback) = match self.prepare(request, &mut halves) {
            Ok(ready) => ready,
            Err(error) => return Err(StartError { halves, error }),
        };
        let mut info = StreamInfo::default();
        let mut sides = Sides { capture: None, playback: None, linked: false };
        if let (Some(ready), Some(intake)) = (capture, halves.intake) {
            info.capture = Some(ready.info);
            self.capture = Some(ready.opened);
            let half = CaptureHalf { intake, memory: ready.memory };
            sides.capture = Some(Box::new(Side::new(ready.stream, half)));
        }
        if let (Some(ready), Some(outlet)) = (playback, halves.outlet) {
            info.playback = Some(ready.info);
            self.playback = Some(ready.opened);
            let half = PlaybackHalf::new(outlet, ready.memory);
            sides.playback = Some(Box::new(Side::new(ready.stream, half)));
        }
        let directions = request::directions(request);
        sides.linked = self.config.link && one_clock(&info);
        match self.run(sides) {
            Ok(()) => {
                for direction in BOTH.into_iter().filter(|&direction| directions.includes(direction)) {
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
