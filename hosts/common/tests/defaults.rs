//! A supervisor on a host whose default devices change: what was opened on the default follows it, what was opened by name
//! stays, each change is told once, and audio flows afterwards in every case.
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
use handsfree_host::request::{self, BOTH, index};
use handsfree_host::supervisor::{DirectionConfig, DirectionState, LONGEST_RETRY, Notice, StreamSupervisor};
use handsfree_sim::acoustics::Wire;
use handsfree_sim::board::{Board, BoardConfig, Step};
use handsfree_sim::side::SideConfig;
use proptest::prelude::*;

const CAP: usize = 160;
const SLOTS: usize = 2;

#[derive(Debug)]
struct Refusal;

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the new default refuses")
    }
}

impl std::error::Error for Refusal {}

impl HostError for Refusal {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Busy
    }
}

/// The board, with a default device in each direction by number.
struct Desktop<'a> {
    board: Board<'a, CAP, SLOTS>,
    default: [u32; 2],
    /// On which device each direction runs; 0 is the one that has a name.
    runs_on: [Option<u32>; 2],
    /// On which device each direction ran last that was opened on the default one.
    followed: [Option<u32>; 2],
    /// Starts that are refused.
    refusals: u32,
    starts: u32,
    events: VecDeque<Event>,
}

impl Desktop<'_> {
    fn change(&mut self, direction: Direction, takes_along: bool) {
        let default = &mut self.default[index(direction)];
        *default += 1;
        let place = &mut self.runs_on[index(direction)];
        let is_moved = takes_along && place.is_some();
        if is_moved {
            self.followed[index(direction)] = self.followed[index(direction)].map(|_| *default);
            *place = Some(*default);
        }
        self.events.push_back(if is_moved {
            Event::Moved { direction }
        } else {
            Event::DefaultChanged { direction }
        });
    }
}

impl<'a> AudioIo<'a, CAP, SLOTS> for Desktop<'a> {
    type Error = Refusal;

    fn devices(&self, _: &mut dyn FnMut(&DeviceInfo<'_>)) -> Result<(), Refusal> {
        Ok(())
    }

    fn start(
        &mut self,
        request: &StreamRequest<'_>,
        stream_halves: StreamHalves<'a, CAP, SLOTS>,
    ) -> Result<StreamInfo, StartError<'a, CAP, SLOTS, Refusal>> {
        let runs = |direction| self.runs_on[index(direction)].is_some();
        request::check(request, &stream_halves, runs).expect("what runs is stopped first");
        if self.refusals > 0 {
            self.refusals -= 1;
            return Err(StartError { halves: stream_halves, error: Refusal });
        }
        self.starts += 1;
        for (direction, asked) in
            [(Direction::Capture, request.capture), (Direction::Playback, request.playback)]
        {
            if let Some(asked) = asked {
                let place = asked.device.map_or(self.default[index(direction)], |_| 0);
                self.runs_on[index(direction)] = Some(place);
                if asked.device.is_none() {
                    let before = self.followed[index(direction)].replace(place);
                    if before.is_some_and(|before| before != place) {
                        self.events.push_back(Event::Moved { direction });
                    }
                }
            }
        }
        Ok(self.board.start(request, stream_halves).expect("the board takes what it is asked"))
    }

    fn stop(&mut self, directions: Directions) -> StreamHalves<'a, CAP, SLOTS> {
        BOTH.into_iter()
            .filter(|&way| directions.includes(way))
            .for_each(|way| self.runs_on[index(way)] = None);
        self.board.stop(directions)
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.board.poll_event().or_else(|| self.events.pop_front())
    }
}

type TestSession = Session<CAP, SLOTS, 8, 8, 16, 4, 16_000>;

struct Stage<'a> {
    supervisor: StreamSupervisor<'a, Desktop<'a>, CAP, SLOTS>,
    capture: capture::Pipeline<'a, CAP, SLOTS, Bypass>,
    playback: playback::Pipeline<'a, CAP, SLOTS>,
    stats: StatsReader<'a>,
}

impl<'a> Stage<'a> {
    /// Both directions run, on the default device or the one with a name.
    fn open(session: &'a mut TestSession, by_name: [bool; 2]) -> Self {
        let rate = SampleRate::new(16_000).unwrap();
        let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
        let halves = session.split::<NoopRawMutex, _, ()>(terminal, Bypass, ()).unwrap();
        let side = SideConfig::new(rate, 160);
        let config = BoardConfig {
            capture: side.clone(),
            playback: side,
            worker_delay: Duration::from_micros(100),
            worker_spread: Duration::ZERO,
            seed: 1,
        };
        let host = Desktop {
            board: Board::new(config, Box::new(Wire)).unwrap(),
            default: [1; 2],
            runs_on: [None; 2],
            followed: [None; 2],
            refusals: 0,
            starts: 0,
            events: VecDeque::new(),
        };
        let stream_halves = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
        let mut supervisor = StreamSupervisor::new(host, stream_halves);
        let names = ["sim:microphone", "sim:loudspeaker"];
        let [capture, playback] = [0, 1].map(|way| DirectionConfig {
            device: by_name[way].then(|| names[way].to_owned()),
            ..DirectionConfig::new(rate)
        });
        let now = supervisor.io().board.now();
        supervisor.open(Some(&capture), Some(&playback), now).unwrap();
        Self { supervisor, capture: halves.capture, playback: halves.playback, stats: halves.stats }
    }

    fn now(&self) -> Instant {
        self.supervisor.io().board.now()
    }

    fn pass(&mut self, span: Duration) -> Vec<Notice> {
        let mut said = Vec::new();
        let end = self.now() + span;
        while self.now() < end {
            match self.supervisor.io_mut().board.step() {
                Step::Worker => {
                    let clock = self.supervisor.io().board.clock();
                    self.playback.poll();
                    self.capture.poll(&clock, &mut |_: &Frame<CAP>| {});
                }
                Step::Idle => self.supervisor.io().board.clock().advance(Duration::from_millis(5)),
                Step::Capture | Step::Playback => {}
            }
            let now = self.now();
            said.extend(std::iter::from_fn(|| self.supervisor.poll(now)));
        }
        said
    }

    fn periods(&self) -> [u32; 2] {
        let stats = self.stats.read();
        [stats.intake.periods, stats.outlet.periods]
    }
}

fn direction_of(notice: Notice) -> Direction {
    match notice {
        Notice::Lost { direction } | Notice::Returned { direction, .. } | Notice::Moved { direction, .. } => {
            direction
        }
        Notice::Host(Event::DefaultChanged { direction }) => direction,
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn the_default_is_followed_a_name_is_never_left_and_each_change_is_told_once(
        by_name in any::<[bool; 2]>(),
        changes in prop::collection::vec((any::<bool>(), any::<bool>(), 0_u32..3), 1..8),
    ) {
        let mut session = Box::new(TestSession::new());
        let mut stage = Stage::open(&mut session, by_name);
        stage.pass(Duration::from_millis(100));
        for (is_capture, takes_along, refusals) in changes {
            let direction = if is_capture { Direction::Capture } else { Direction::Playback };
            let named = by_name[index(direction)];
            let starts = stage.supervisor.io().starts;
            stage.supervisor.io_mut().refusals = refusals;
            stage.supervisor.io_mut().change(direction, takes_along);
            let said = stage.pass(LONGEST_RETRY + LONGEST_RETRY + LONGEST_RETRY);

            // The server's own move needs no start, unless it took along what has a name.
            let needs_start = takes_along == named;
            let failed = needs_start && refusals > 0;
            prop_assert_eq!(stage.supervisor.io().starts - starts, u32::from(needs_start));
            prop_assert!(said.iter().all(|&notice| direction_of(notice) == direction), "{:?}", said);
            match (failed, named) {
                (false, false) => prop_assert!(matches!(said[..], [Notice::Moved { .. }]), "{:?}", said),
                (false, true) => prop_assert_eq!(&said, &[Notice::Host(Event::DefaultChanged { direction })]),
                // It is a device that is away, then, and what comes back is another one.
                (true, false) => prop_assert!(
                    matches!(said[..], [Notice::Lost { .. }, Notice::Returned { .. }, Notice::Moved { .. }]),
                    "{:?}", said),
                (true, true) => prop_assert!(
                    matches!(said[..], [Notice::Lost { .. }, Notice::Returned { .. }]), "{:?}", said),
            }
            for way in BOTH {
                let host = stage.supervisor.io();
                let place = if by_name[index(way)] { 0 } else { host.default[index(way)] };
                prop_assert_eq!(host.runs_on[index(way)], Some(place), "{:?}", way);
                prop_assert!(matches!(stage.supervisor.state(way), DirectionState::Running(_)));
            }
            stage.supervisor.io_mut().refusals = 0;
            let before = stage.periods();
            stage.pass(Duration::from_millis(100));
            let after = stage.periods();
            prop_assert!(after[0] > before[0] && after[1] > before[1], "{:?} {:?}", before, after);
        }
    }
}

#[test]
fn a_default_that_changes_while_a_device_is_away_is_tried_at_once_and_what_is_closed_stays_closed() {
    let mut session = Box::new(TestSession::new());
    let mut stage = Stage::open(&mut session, [false, false]);
    stage.supervisor.io_mut().refusals = 4;
    stage.supervisor.io_mut().board.unplug(Direction::Playback);
    stage.supervisor.io_mut().runs_on[1] = None;
    let said = stage.pass(Duration::from_millis(3_600));
    assert_eq!(said, [Notice::Lost { direction: Direction::Playback }], "its tries are far apart by now");
    stage.supervisor.io_mut().refusals = 0;
    stage.supervisor.io_mut().change(Direction::Playback, false);
    let said = stage.pass(Duration::from_millis(50));
    assert!(
        matches!(
            said[..],
            [
                Notice::Host(Event::DefaultChanged { direction: Direction::Playback }),
                Notice::Returned { direction: Direction::Playback, .. },
                Notice::Moved { direction: Direction::Playback, .. }
            ]
        ),
        "{said:?}"
    );
    stage.supervisor.close(Direction::Capture);
    stage.supervisor.io_mut().change(Direction::Capture, false);
    let said = stage.pass(Duration::from_millis(500));
    assert_eq!(said, [Notice::Host(Event::DefaultChanged { direction: Direction::Capture })]);
    assert_eq!(stage.supervisor.state(Direction::Capture), DirectionState::Closed);
}
