//! A supervisor over the simulated board, on a virtual clock: whichever devices are lost or return, each loss and each
//! return is reported once, and every open direction runs again. Covers faults 1 and 3.
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
    DirectionConfig, DirectionState, FIRST_RETRY_DELAY, MAX_RETRY_DELAY, Notice, OpenError, StreamSupervisor,
};
use handsfree_sim::acoustics::Wire;
use handsfree_sim::board::{BoardConfig, SimulatedBoard, Step};
use handsfree_sim::device::DeviceConfig;
use proptest::prelude::*;

const CAP: usize = 160;
const SLOTS: usize = 2;
/// Interval at which the application polls the supervisor.
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

/// A simulated board on which unplugged devices cannot be opened, and which misbehaves like real hosts: it reports
/// losses twice and returns halves late.
struct FlakyHost<'a> {
    board: SimulatedBoard<'a, CAP, SLOTS>,
    present: [bool; 2],
    /// Number of stops that return no half yet, like a host that still has a callback running.
    late_stops: [u32; 2],
    extra: VecDeque<Event>,
    /// Times at which each direction was started, successfully or not.
    attempts: [Vec<Instant>; 2],
}

impl<'a> AudioIo<'a, CAP, SLOTS> for FlakyHost<'a> {
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
            if let Some(asked) = wanted[direction as usize] {
                self.attempts[direction as usize].push(self.board.now());
                let name = ["sim:microphone", "sim:loudspeaker"][direction as usize];
                assert_eq!(asked.device, Some(name), "a restart uses the name of the first start");
                if !self.present[direction as usize] {
                    return Err(StartError { halves, error: Unplugged(direction) });
                }
            }
        }
        Ok(self.board.start(request, halves).expect("the board starts every present device"))
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

struct SupervisorRig<'a> {
    supervisor: StreamSupervisor<'a, FlakyHost<'a>, CAP, SLOTS>,
    capture: capture::Pipeline<'a, CAP, SLOTS, Bypass>,
    playback: playback::Pipeline<'a, CAP, SLOTS>,
    stats: StatsReader<'a>,
    plans: [DirectionConfig; 2],
    side: DeviceConfig,
    notices: Vec<(Instant, Notice)>,
}

impl<'a> SupervisorRig<'a> {
    fn new(session: &'a mut TestSession) -> Self {
        let rate = SampleRate::new(16_000).unwrap();
        let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
        let halves = session.split::<NoopRawMutex, _, ()>(terminal, Bypass, ()).unwrap();
        let side = DeviceConfig::new(rate, 160);
        let config = BoardConfig {
            capture: side.clone(),
            playback: side.clone(),
            worker_delay: Duration::from_micros(100),
            worker_spread: Duration::ZERO,
            seed: 1,
        };
        let host = FlakyHost {
            board: SimulatedBoard::new(config, Box::new(Wire)).unwrap(),
            present: [true; 2],
            late_stops: [0; 2],
            extra: VecDeque::new(),
            attempts: [Vec::new(), Vec::new()],
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
        // Some hosts report a loss twice.
        host.extra.push_back(Event::DeviceLost { direction });
    }

    /// Plugs the device in again; not every host reports that.
    fn plug_in(&mut self, direction: Direction, is_noticed: bool) {
        let side = self.side.clone();
        let host = self.supervisor.io_mut();
        host.present[direction as usize] = true;
        if is_noticed {
            host.board.replace_device(direction, side).unwrap();
        }
    }

    /// Lets `span` pass while audio flows and the application polls at each tick.
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
            self.poll_notices();
        }
    }

    fn poll_notices(&mut self) {
        let now = self.now();
        for _ in 0..100 {
            let Some(notice) = self.supervisor.poll(now) else { return };
            self.notices.push((now, notice));
        }
        panic!("the notices do not end: {:?}", self.notices);
    }

    /// Losses (`false`) and returns (`true`) of a direction, in order.
    fn losses_and_returns(&self, wanted: Direction) -> Vec<(Instant, bool)> {
        let select = |&(at, notice): &(Instant, Notice)| match notice {
            Notice::Lost { direction } if direction == wanted => Some((at, false)),
            Notice::Returned { direction, .. } if direction == wanted => Some((at, true)),
            Notice::Lost { .. } | Notice::Returned { .. } => None,
            other => panic!("{other:?}"),
        };
        self.notices.iter().filter_map(select).collect()
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
fn a_reported_return_restarts_at_once_and_only_that_direction() {
    let mut session = Box::new(TestSession::new());
    let mut rig = SupervisorRig::new(&mut session);
    for direction in BOTH {
        rig.open(direction).unwrap();
    }
    rig.pass(Duration::from_millis(3_000));
    rig.unplug(Direction::Playback, 0);
    rig.pass(Duration::from_millis(10_000));
    assert_eq!(rig.supervisor.state(Direction::Playback), DirectionState::Waiting);
    assert_eq!(rig.supervisor.last_error(Direction::Playback), Some(&Unplugged(Direction::Playback)));
    let periods = rig.periods(Direction::Capture);
    assert!(periods >= 1_295, "13 s of periods of 10 ms: {periods}");
    let back_at = rig.now();
    rig.plug_in(Direction::Playback, true);
    rig.pass(Duration::from_millis(1_000));
    let reported = rig.losses_and_returns(Direction::Playback);
    assert_eq!(reported.len(), 2, "{reported:?}");
    assert!(reported[1].0 - back_at <= FIRST_RETRY_DELAY + TICK, "{:?}", reported[1].0 - back_at);
    assert_eq!(rig.supervisor.last_error(Direction::Playback), None);
    assert_eq!(rig.supervisor.io().attempts[0].len(), 1, "capture was started once");
    assert!(rig.losses_and_returns(Direction::Capture).is_empty());
}

#[test]
fn an_unreported_return_is_found_within_the_longest_delay() {
    let mut session = Box::new(TestSession::new());
    let mut rig = SupervisorRig::new(&mut session);
    rig.open(Direction::Capture).unwrap();
    rig.pass(Duration::from_millis(3_000));
    let lost_at = rig.now();
    rig.unplug(Direction::Capture, 0);
    rig.pass(Duration::from_millis(20_000));
    let attempts_ms: Vec<i64> = rig.supervisor.io().attempts[0][1..]
        .iter()
        .map(|&at| (at - lost_at).as_nanos() / TICK.as_nanos() * TICK.as_nanos() / 1_000_000)
        .collect();
    // The delay doubles from 250 ms to 2 s, and each attempt happens at the next tick.
    assert_eq!(attempts_ms.len(), 12, "{attempts_ms:?}");
    for (at, expected) in attempts_ms.iter().zip([280, 780, 1_780, 3_780, 5_780]) {
        assert!((at - expected).abs() <= 80, "{attempts_ms:?}");
    }
    let back_at = rig.now();
    rig.plug_in(Direction::Capture, false);
    rig.pass(MAX_RETRY_DELAY + TICK);
    let reported = rig.losses_and_returns(Direction::Capture);
    assert!(reported.len() == 2 && reported[1].0 - back_at <= MAX_RETRY_DELAY + TICK, "{reported:?}");
}

#[test]
fn a_refused_opening_keeps_the_halves() {
    let mut session = Box::new(TestSession::new());
    let mut rig = SupervisorRig::new(&mut session);
    rig.supervisor.io_mut().present[1] = false;
    assert_eq!(rig.open(Direction::Playback), Err(OpenError::Host(Unplugged(Direction::Playback))));
    assert_eq!(
        rig.supervisor.state(Direction::Playback),
        DirectionState::Closed,
        "a direction that was never open is not retried"
    );
    rig.pass(Duration::from_millis(5_000));
    assert_eq!(rig.supervisor.io().attempts[1].len(), 1);
    let now = rig.now();
    let [capture, playback] = rig.plans.clone();
    let both = rig.supervisor.open(Some(&capture), Some(&playback), now);
    assert_eq!(both, Err(OpenError::Host(Unplugged(Direction::Playback))));
    assert!(!rig.runs(Direction::Capture), "both directions are opened or neither");
    rig.supervisor.io_mut().present[1] = true;
    rig.supervisor.open(Some(&capture), Some(&playback), now).unwrap();
    assert_eq!(
        rig.open(Direction::Capture),
        Err(OpenError::Open { direction: Direction::Capture }),
        "the direction is open already"
    );
    rig.supervisor.close(Direction::Capture);
    rig.open(Direction::Capture).unwrap();
}

#[test]
fn a_flapping_device_causes_no_event_storm() {
    let mut session = Box::new(TestSession::new());
    let mut rig = SupervisorRig::new(&mut session);
    rig.open(Direction::Playback).unwrap();
    for _ in 0..250 {
        rig.unplug(Direction::Playback, 0);
        rig.plug_in(Direction::Playback, true);
        rig.pass(TICK);
    }
    let seconds = 5.0;
    let notices = rig.losses_and_returns(Direction::Playback).len() as f64;
    assert!(notices / seconds <= 10.0, "{notices} notices in {seconds} s");
    assert!(notices >= 4.0, "{notices} notices: restarts must go on");
}

/// Fault 3: a permanent error.
#[test]
fn restarts_back_off_until_the_device_ran_for_two_seconds() {
    let mut session = Box::new(TestSession::new());
    let mut rig = SupervisorRig::new(&mut session);
    rig.open(Direction::Playback).unwrap();
    for _ in 0..1_000 {
        rig.pass(TICK);
        if rig.runs(Direction::Playback) {
            rig.unplug(Direction::Playback, 0);
            rig.plug_in(Direction::Playback, false);
        }
    }
    let attempts = rig.supervisor.io().attempts[1].len();
    assert!((8..=14).contains(&attempts), "{attempts} attempts in 20 s");
    rig.pass(Duration::from_millis(5_000));
    assert!(rig.runs(Direction::Playback));
    let lost_at = rig.now();
    rig.unplug(Direction::Playback, 0);
    rig.plug_in(Direction::Playback, false);
    rig.pass(Duration::from_millis(1_000));
    let back_at = rig.losses_and_returns(Direction::Playback).last().unwrap().0;
    assert!(
        back_at - lost_at <= FIRST_RETRY_DELAY + TICK + TICK,
        "the retry delay is short again: {:?}",
        back_at - lost_at
    );
}

#[derive(Clone, Copy, Debug)]
enum HostAction {
    Unplug(Direction, u32),
    PlugIn(Direction, bool),
    Open(Direction),
    Close(Direction),
    Pass(u16),
}

fn host_actions() -> impl Strategy<Value = Vec<HostAction>> {
    let direction = prop_oneof![Just(Direction::Capture), Just(Direction::Playback)];
    let action = prop_oneof![
        (direction.clone(), 0..3u32).prop_map(|(direction, late)| HostAction::Unplug(direction, late)),
        (direction.clone(), any::<bool>())
            .prop_map(|(direction, is_noticed)| HostAction::PlugIn(direction, is_noticed)),
        direction.clone().prop_map(HostAction::Open),
        direction.prop_map(HostAction::Close),
        (1..1_500u16).prop_map(HostAction::Pass),
        (1..1_500u16).prop_map(HostAction::Pass),
    ];
    prop::collection::vec(action, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) })]

    #[test]
    fn each_loss_and_return_is_reported_once_and_streams_recover(host_actions in host_actions()) {
        let mut session = Box::new(TestSession::new());
        let mut rig = SupervisorRig::new(&mut session);
        let mut wanted = [false; 2];
        let mut losses = [0usize; 2];
        for action in host_actions {
            match action {
                HostAction::Unplug(direction, late) => {
                    let was_running = rig.runs(direction);
                    losses[direction as usize] += usize::from(was_running);
                    rig.unplug(direction, if was_running { late } else { 0 });
                    rig.poll_notices();
                }
                HostAction::PlugIn(direction, is_noticed) => rig.plug_in(direction, is_noticed),
                HostAction::Open(direction) => {
                    let outcome = rig.open(direction);
                    if outcome.is_ok() {
                        wanted[direction as usize] = true;
                    }
                    prop_assert_eq!(matches!(outcome, Err(OpenError::Open { .. })),
                        wanted[direction as usize] && outcome.is_err());
                }
                HostAction::Close(direction) => {
                    rig.supervisor.close(direction);
                    wanted[direction as usize] = false;
                }
                HostAction::Pass(ms) => rig.pass(Duration::from_millis(ms.into())),
            }
        }
        for direction in BOTH {
            let reported = rig.losses_and_returns(direction).iter().filter(|(_, back)| !back).count();
            prop_assert_eq!(reported, losses[direction as usize], "losses of {:?}", direction);
        }
        for direction in BOTH {
            rig.plug_in(direction, false);
        }
        // Each late stop costs another attempt.
        rig.pass(MAX_RETRY_DELAY + MAX_RETRY_DELAY + MAX_RETRY_DELAY + MAX_RETRY_DELAY);
        for direction in BOTH {
            let is_wanted = wanted[direction as usize];
            prop_assert_eq!(rig.runs(direction), is_wanted, "{:?}", direction);
            let before = rig.periods(direction);
            rig.pass(Duration::from_millis(200));
            prop_assert_eq!(rig.periods(direction) > before, is_wanted, "audio of {:?}", direction);
            let attempts = &rig.supervisor.io().attempts[direction as usize];
            let reported = rig.losses_and_returns(direction);
            // While a direction stays open, losses and returns alternate.
            for pair in reported.windows(2) {
                prop_assert!(pair[0].1 != pair[1].1 || !pair[1].1, "{:?} returned twice", direction);
            }
            prop_assert!(attempts.len() <= 4 * (rig.now() - Instant::ORIGIN).as_nanos() as usize / 1_000_000_000 + 45);
        }
    }
}
