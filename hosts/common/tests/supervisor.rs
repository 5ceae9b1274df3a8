//! A supervisor over the simulated board: whatever comes and goes, each loss is told once, each return once, and
//! what is wanted runs again, on a virtual clock. Faults 1 and 3.
#![allow(missing_docs)]

use std::collections::VecDeque;
use std::fmt;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::audio_io::{
    AudioIo, DeviceInfo, Direction, Directions, ErrorKind, Event, HostError, StartError, StreamHalves,
    StreamInfo, StreamRequest,
};
use handsfree_core::capture::{self, Bypass};
use handsfree_core::{Duration, Frame, Instant, SampleRate, Session, SessionFormat, StatsReader, playback};
use handsfree_host::supervisor::{
    DirectionConfig, DirectionState, FIRST_RETRY, LONGEST_RETRY, Notice, OpenError, StreamSupervisor,
};
use handsfree_sim::acoustics::Wire;
use handsfree_sim::board::{Board, BoardConfig, Step};
use handsfree_sim::side::SideConfig;
use proptest::prelude::*;

const CAP: usize = 160;
const SLOTS: usize = 2;
/// How often the application looks.
const TICK: Duration = Duration::from_millis(20);
const BOTH: [Direction; 2] = [Direction::Capture, Direction::Playback];

#[derive(Debug, PartialEq)]
struct Unplugged(Direction);

impl fmt::Display for Unplugged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is unplugged", self.0)
    }
}

impl std::error::Error for Unplugged {}

impl HostError for Unplugged {
    fn kind(&self) -> ErrorKind {
        ErrorKind::NotFound
    }
}

/// The board with devices that are really away while they are unplugged, and with a host's bad manners.
struct Flaky<'a> {
    board: Board<'a, CAP, SLOTS>,
    present: [bool; 2],
    /// Stops that give nothing back yet, as while a callback still runs.
    late_stops: [u32; 2],
    extra: VecDeque<Event>,
    /// When each direction was started, or was to be.
    tries: [Vec<Instant>; 2],
}

impl<'a> AudioIo<'a, CAP, SLOTS> for Flaky<'a> {
    type Error = Unplugged;

    fn devices(&self, _visit: &mut dyn FnMut(&DeviceInfo<'_>)) -> Result<(), Unplugged> {
        Ok(())
    }

    fn start(
        &mut self,
        request: &StreamRequest<'_>,
        halves: StreamHalves<'a, CAP, SLOTS>,
    ) -> Result<StreamInfo, StartError<'a, CAP, SLOTS, Unplugged>> {
        assert_eq!(request.capture.is_some(), halves.intake.is_some());
        assert_eq!(request.playback.is_some(), halves.outlet.is_some());
        let wanted = [request.capture, request.playback];
        for direction in BOTH {
            if let Some(end) = wanted[direction as usize] {
                self.tries[direction as usize].push(self.board.now());
                let name = ["sim:microphone", "sim:loudspeaker"][direction as usize];
                assert_eq!(end.device, Some(name), "always the same name");
                if !self.present[direction as usize] {
                    return Err(StartError { halves, error: Unplugged(direction) });
                }
            }
        }
        Ok(self.board.start(request, halves).expect("the board takes what is present"))
    }

    fn stop(&mut self, directions: Directions) -> StreamHalves<'a, CAP, SLOTS> {
        for direction in BOTH {
            let late = &mut self.late_stops[direction as usize];
            if directions.includes(direction) && *late > 0 {
                *late -= 1;
                return StreamHalves::default();
            }
        }
        self.board.stop(directions)
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.board.poll_event().or_else(|| self.extra.pop_front())
    }
}

type TestSession = Session<CAP, SLOTS, 8, 8, 16, 4, 16_000>;

struct Stage<'a> {
    supervisor: StreamSupervisor<'a, Flaky<'a>, CAP, SLOTS>,
    capture: capture::Pipeline<'a, CAP, SLOTS, Bypass>,
    playback: playback::Pipeline<'a, CAP, SLOTS>,
    stats: StatsReader<'a>,
    plans: [DirectionConfig; 2],
    side: SideConfig,
    notices: Vec<(Instant, Notice)>,
}

impl<'a> Stage<'a> {
    fn new(session: &'a mut TestSession) -> Self {
        let rate = SampleRate::new(16_000).unwrap();
        let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
        let halves = session.split::<NoopRawMutex, _, ()>(terminal, Bypass, ()).unwrap();
        let side = SideConfig::new(rate, 160);
        let config = BoardConfig {
            capture: side.clone(),
            playback: side.clone(),
            worker_delay: Duration::from_micros(100),
            worker_spread: Duration::ZERO,
            seed: 1,
        };
        let host = Flaky {
            board: Board::new(config, Box::new(Wire)).unwrap(),
            present: [true; 2],
            late_stops: [0; 2],
            extra: VecDeque::new(),
            tries: [Vec::new(), Vec::new()],
        };
        let stream_halves = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
        let plan = |name: &str| DirectionConfig { device: Some(name.into()), ..DirectionConfig::new(rate) };
        Self {
            supervisor: StreamSupervisor::new(host, stream_halves),
            capture: halves.capture,
            playback: halves.playback,
            stats: halves.stats,
            plans: [plan("sim:microphone"), plan("sim:loudspeaker")],
            side,
            notices: Vec::new(),
        }
    }

    fn now(&self) -> Instant {
        self.supervisor.io().board.now()
    }

    fn open(&mut self, direction: Direction) -> Result<StreamInfo, OpenError<Unplugged>> {
        let now = self.now();
        let [capture, playback] = &self.plans;
        match direction {
            Direction::Capture => self.supervisor.open(Some(capture), None, now),
            Direction::Playback => self.supervisor.open(None, Some(playback), now),
        }
    }

    fn unplug(&mut self, direction: Direction, late_stops: u32) {
        let host = self.supervisor.io_mut();
        host.present[direction as usize] = false;
        host.late_stops[direction as usize] = late_stops;
        host.board.unplug(direction);
        // Some hosts say it twice.
        host.extra.push_back(Event::DeviceLost { direction });
    }

    /// Plugs in again; a host may notice it or not.
    fn plug_in(&mut self, direction: Direction, is_noticed: bool) {
        let side = self.side.clone();
        let host = self.supervisor.io_mut();
        host.present[direction as usize] = true;
        if is_noticed {
            host.board.replace_device(direction, side).unwrap();
        }
    }

    /// Lets time pass, audio flowing, the application looking each tick.
    fn pass(&mut self, span: Duration) {
        let end = self.now() + span;
        while self.now() < end {
            let tick = self.now() + TICK;
            while self.now() < tick {
                match self.supervisor.io_mut().board.step() {
                    Step::Worker => {
                        let clock = self.supervisor.io().board.clock();
                        self.playback.poll();
                        self.capture.poll(&clock, &mut |_: &Frame<CAP>| {});
                    }
                    Step::Idle => self.supervisor.io().board.clock().advance(TICK),
                    Step::Capture | Step::Playback => {}
                }
            }
            self.look();
        }
    }

    fn look(&mut self) {
        let now = self.now();
        for _ in 0..100 {
            let Some(notice) = self.supervisor.poll(now) else { return };
            self.notices.push((now, notice));
        }
        panic!("the notices do not end: {:?}", self.notices);
    }

    /// Losses and returns of a direction, in order.
    fn story(&self, wanted: Direction) -> Vec<(Instant, bool)> {
        let tell = |&(at, notice): &(Instant, Notice)| match notice {
            Notice::Lost { direction } if direction == wanted => Some((at, false)),
            Notice::Returned { direction, .. } if direction == wanted => Some((at, true)),
            Notice::Lost { .. } | Notice::Returned { .. } => None,
            other => panic!("{other:?}"),
        };
        self.notices.iter().filter_map(tell).collect()
    }

    fn runs(&self, direction: Direction) -> bool {
        matches!(self.supervisor.state(direction), DirectionState::Running(_))
    }

    fn periods(&self, direction: Direction) -> u32 {
        let stats = self.stats.read();
        match direction {
            Direction::Capture => stats.intake.periods,
            Direction::Playback => stats.outlet.periods,
        }
    }
}

#[test]
fn a_device_that_says_it_is_back_runs_at_once_and_the_other_direction_never_stopped() {
    let mut session = Box::new(TestSession::new());
    let mut stage = Stage::new(&mut session);
    for direction in BOTH {
        stage.open(direction).unwrap();
    }
    stage.pass(Duration::from_millis(3_000));
    stage.unplug(Direction::Playback, 0);
    stage.pass(Duration::from_millis(10_000));
    assert_eq!(stage.supervisor.state(Direction::Playback), DirectionState::Waiting);
    assert_eq!(stage.supervisor.last_error(Direction::Playback), Some(&Unplugged(Direction::Playback)));
    let heard = stage.periods(Direction::Capture);
    assert!(heard >= 1_295, "13 s of periods of 10 ms: {heard}");
    let back_at = stage.now();
    stage.plug_in(Direction::Playback, true);
    stage.pass(Duration::from_millis(1_000));
    let story = stage.story(Direction::Playback);
    assert_eq!(story.len(), 2, "{story:?}");
    assert!(story[1].0 - back_at <= FIRST_RETRY + TICK, "{:?}", story[1].0 - back_at);
    assert_eq!(stage.supervisor.last_error(Direction::Playback), None);
    assert_eq!(stage.supervisor.io().tries[0].len(), 1, "capture was started once");
    assert!(stage.story(Direction::Capture).is_empty());
}

#[test]
fn a_device_that_comes_back_silently_runs_within_the_longest_interval() {
    let mut session = Box::new(TestSession::new());
    let mut stage = Stage::new(&mut session);
    stage.open(Direction::Capture).unwrap();
    stage.pass(Duration::from_millis(3_000));
    let lost_at = stage.now();
    stage.unplug(Direction::Capture, 0);
    stage.pass(Duration::from_millis(20_000));
    let tries: Vec<i64> = stage.supervisor.io().tries[0][1..]
        .iter()
        .map(|&at| (at - lost_at).as_nanos() / TICK.as_nanos() * TICK.as_nanos() / 1_000_000)
        .collect();
    // 250 ms, then doubled to 2 s, each seen at the next tick.
    assert_eq!(tries.len(), 12, "{tries:?}");
    for (at, expected) in tries.iter().zip([280, 780, 1_780, 3_780, 5_780]) {
        assert!((at - expected).abs() <= 80, "{tries:?}");
    }
    let back_at = stage.now();
    stage.plug_in(Direction::Capture, false);
    stage.pass(LONGEST_RETRY + TICK);
    let story = stage.story(Direction::Capture);
    assert!(story.len() == 2 && story[1].0 - back_at <= LONGEST_RETRY + TICK, "{story:?}");
}

#[test]
fn a_refused_opening_leaves_the_halves_for_the_next() {
    let mut session = Box::new(TestSession::new());
    let mut stage = Stage::new(&mut session);
    stage.supervisor.io_mut().present[1] = false;
    assert_eq!(stage.open(Direction::Playback), Err(OpenError::Host(Unplugged(Direction::Playback))));
    assert_eq!(
        stage.supervisor.state(Direction::Playback),
        DirectionState::Closed,
        "it was never open: no retries"
    );
    stage.pass(Duration::from_millis(5_000));
    assert_eq!(stage.supervisor.io().tries[1].len(), 1);
    let now = stage.now();
    let [capture, playback] = stage.plans.clone();
    let both = stage.supervisor.open(Some(&capture), Some(&playback), now);
    assert_eq!(both, Err(OpenError::Host(Unplugged(Direction::Playback))));
    assert!(!stage.runs(Direction::Capture), "both or none");
    stage.supervisor.io_mut().present[1] = true;
    stage.supervisor.open(Some(&capture), Some(&playback), now).unwrap();
    assert_eq!(
        stage.open(Direction::Capture),
        Err(OpenError::Open { direction: Direction::Capture }),
        "it is open already"
    );
    stage.supervisor.close(Direction::Capture);
    stage.open(Direction::Capture).unwrap();
}

#[test]
fn a_device_that_goes_as_soon_as_it_comes_makes_no_storm() {
    let mut session = Box::new(TestSession::new());
    let mut stage = Stage::new(&mut session);
    stage.open(Direction::Playback).unwrap();
    for _ in 0..250 {
        stage.unplug(Direction::Playback, 0);
        stage.plug_in(Direction::Playback, true);
        stage.pass(TICK);
    }
    let seconds = 5.0;
    let told = stage.story(Direction::Playback).len() as f64;
    assert!(told / seconds <= 10.0, "{told} notices in {seconds} s");
    assert!(told >= 4.0, "{told}: it is tried all the same");
}

/// Fault 3: an error that stays.
#[test]
fn a_device_that_starts_and_fails_at_once_is_tried_less_and_less_until_it_ran_for_a_while() {
    let mut session = Box::new(TestSession::new());
    let mut stage = Stage::new(&mut session);
    stage.open(Direction::Playback).unwrap();
    for _ in 0..1_000 {
        stage.pass(TICK);
        if stage.runs(Direction::Playback) {
            stage.unplug(Direction::Playback, 0);
            stage.plug_in(Direction::Playback, false);
        }
    }
    let tries = stage.supervisor.io().tries[1].len();
    assert!((8..=14).contains(&tries), "{tries} tries in 20 s");
    stage.pass(Duration::from_millis(5_000));
    assert!(stage.runs(Direction::Playback));
    let lost_at = stage.now();
    stage.unplug(Direction::Playback, 0);
    stage.plug_in(Direction::Playback, false);
    stage.pass(Duration::from_millis(1_000));
    let back_at = stage.story(Direction::Playback).last().unwrap().0;
    assert!(back_at - lost_at <= FIRST_RETRY + TICK + TICK, "quickly again: {:?}", back_at - lost_at);
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Unplug(Direction, u32),
    PlugIn(Direction, bool),
    Open(Direction),
    Close(Direction),
    Pass(u16),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let direction = prop_oneof![Just(Direction::Capture), Just(Direction::Playback)];
    let deed = prop_oneof![
        (direction.clone(), 0..3u32).prop_map(|(direction, late)| Deed::Unplug(direction, late)),
        (direction.clone(), any::<bool>()).prop_map(|(direction, told)| Deed::PlugIn(direction, told)),
        direction.clone().prop_map(Deed::Open),
        direction.prop_map(Deed::Close),
        (1..1_500u16).prop_map(Deed::Pass),
        (1..1_500u16).prop_map(Deed::Pass),
    ];
    prop::collection::vec(deed, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) })]

    #[test]
    fn each_loss_and_return_is_told_once_and_what_is_wanted_runs_in_the_end(deeds in deeds()) {
        let mut session = Box::new(TestSession::new());
        let mut stage = Stage::new(&mut session);
        let mut wanted = [false; 2];
        let mut losses = [0usize; 2];
        for deed in deeds {
            match deed {
                Deed::Unplug(direction, late) => {
                    let was_running = stage.runs(direction);
                    losses[direction as usize] += usize::from(was_running);
                    stage.unplug(direction, if was_running { late } else { 0 });
                    stage.look();
                }
                Deed::PlugIn(direction, told) => stage.plug_in(direction, told),
                Deed::Open(direction) => {
                    let outcome = stage.open(direction);
                    if outcome.is_ok() {
                        wanted[direction as usize] = true;
                    }
                    prop_assert_eq!(matches!(outcome, Err(OpenError::Open { .. })),
                        wanted[direction as usize] && outcome.is_err());
                }
                Deed::Close(direction) => {
                    stage.supervisor.close(direction);
                    wanted[direction as usize] = false;
                }
                Deed::Pass(ms) => stage.pass(Duration::from_millis(ms.into())),
            }
        }
        for direction in BOTH {
            let told = stage.story(direction).iter().filter(|(_, back)| !back).count();
            prop_assert_eq!(told, losses[direction as usize], "losses of {:?}", direction);
        }
        for direction in BOTH {
            stage.plug_in(direction, false);
        }
        // Late stops take a few tries more.
        stage.pass(LONGEST_RETRY + LONGEST_RETRY + LONGEST_RETRY + LONGEST_RETRY);
        for direction in BOTH {
            let is_wanted = wanted[direction as usize];
            prop_assert_eq!(stage.runs(direction), is_wanted, "{:?}", direction);
            let before = stage.periods(direction);
            stage.pass(Duration::from_millis(200));
            prop_assert_eq!(stage.periods(direction) > before, is_wanted, "audio of {:?}", direction);
            let tries = &stage.supervisor.io().tries[direction as usize];
            let story = stage.story(direction);
            // What is told of one direction without a closing in between takes turns, and comes apart in time.
            for pair in story.windows(2) {
                prop_assert!(pair[0].1 != pair[1].1 || !pair[1].1, "{:?} returned twice", direction);
            }
            prop_assert!(tries.len() <= 4 * (stage.now() - Instant::ORIGIN).as_nanos() as usize / 1_000_000_000 + 45);
        }
    }
}
