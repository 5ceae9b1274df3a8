//! A supervisor on a host where default devices change: a stream on the default device follows it, a stream on a
//! named device stays there, each change is reported once, and audio flows afterwards in every case.
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
use handsfree_host::request::{self, BOTH_DIRECTIONS, index};
use handsfree_host::supervisor::{
    DirectionConfig, DirectionState, MAX_RETRY_DELAY, Notice, StreamSupervisor,
};
use handsfree_sim::acoustics::Wire;
use handsfree_sim::board::{BoardConfig, SimulatedBoard, Step};
use handsfree_sim::device::DeviceConfig;
use proptest::prelude::*;

const CAP: usize = 160;
const SLOTS: usize = 2;

#[derive(Debug)]
struct StartRefused;

impl fmt::Display for StartRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the new default refuses")
    }
}

impl std::error::Error for StartRefused {}

impl HostError for StartRefused {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Busy
    }
}

/// A simulated board with a numbered default device in each direction.
struct SwitchingHost<'a> {
    board: SimulatedBoard<'a, CAP, SLOTS>,
    default: [u32; 2],
    /// Device on which each direction runs; 0 is the named device.
    runs_on: [Option<u32>; 2],
    /// Device on which each direction that was opened on the default device ran last.
    followed: [Option<u32>; 2],
    /// Number of further starts that the host refuses.
    refusals: u32,
    starts: u32,
    events: VecDeque<Event>,
}

impl SwitchingHost<'_> {
    fn change(&mut self, direction: Direction, server_moves_stream: bool) {
        let default = &mut self.default[index(direction)];
        *default += 1;
        let device = &mut self.runs_on[index(direction)];
        let is_moved = server_moves_stream && device.is_some();
        if is_moved {
            self.followed[index(direction)] = self.followed[index(direction)].map(|_| *default);
            *device = Some(*default);
        }
        self.events.push_back(if is_moved {
            Event::Moved { direction }
        } else {
            Event::DefaultChanged { direction }
        });
    }
}

impl<'a> AudioIo<'a, CAP, SLOTS> for SwitchingHost<'a> {
    type Error = StartRefused;

    fn devices(&self, _: &mut dyn FnMut(&DeviceInfo<'_>)) -> Result<(), StartRefused> {
        Ok(())
    }

    fn start(
        &mut self,
        request: &StreamRequest<'_>,
        stream_halves: StreamHalves<'a, CAP, SLOTS>,
    ) -> Result<StreamInfo, StartError<'a, CAP, SLOTS, StartRefused>> {
        let runs = |direction| self.runs_on[index(direction)].is_some();
        request::check(request, &stream_halves, runs).expect("a running direction is stopped first");
        if self.refusals > 0 {
            self.refusals -= 1;
            return Err(StartError { halves: stream_halves, error: StartRefused });
        }
        self.starts += 1;
        for (direction, asked) in
            [(Direction::Capture, request.capture), (Direction::Playback, request.playback)]
        {
            if let Some(asked) = asked {
                let device = asked.device.map_or(self.default[index(direction)], |_| 0);
                self.runs_on[index(direction)] = Some(device);
                if asked.device.is_none() {
                    let before = self.followed[index(direction)].replace(device);
                    if before.is_some_and(|before| before != device) {
                        self.events.push_back(Event::Moved { direction });
                    }
                }
            }
        }
        Ok(self.board.start(request, stream_halves).expect("the board starts every valid request"))
    }

    fn stop(&mut self, directions: Directions) -> StreamHalves<'a, CAP, SLOTS> {
        BOTH_DIRECTIONS
            .into_iter()
            .filter(|&direction| directions.includes(direction))
            .for_each(|direction| self.runs_on[index(direction)] = None);
        self.board.stop(directions)
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.board.poll_event().or_else(|| self.events.pop_front())
    }
}

type TestSession = Session<CAP, SLOTS, 8, 8, 16, 4, 16_000>;

struct DefaultDeviceRig<'a> {
    supervisor: StreamSupervisor<'a, SwitchingHost<'a>, CAP, SLOTS>,
    capture: capture::Pipeline<'a, CAP, SLOTS, Bypass>,
    playback: playback::Pipeline<'a, CAP, SLOTS>,
    stats: StatsReader<'a>,
}

impl<'a> DefaultDeviceRig<'a> {
    /// Opens both directions, each on the default device or on the named one.
    fn open(session: &'a mut TestSession, by_name: [bool; 2]) -> Self {
        let rate = SampleRate::new(16_000).unwrap();
        let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
        let halves = session.split::<NoopRawMutex, _, ()>(terminal, Bypass, ()).unwrap();
        let side = DeviceConfig::new(rate, 160);
        let config = BoardConfig {
            capture: side.clone(),
            playback: side,
            worker_delay: Duration::from_micros(100),
            worker_spread: Duration::ZERO,
            seed: 1,
        };
        let host = SwitchingHost {
            board: SimulatedBoard::new(config, Box::new(Wire)).unwrap(),
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
        let [capture, playback] = [0, 1].map(|index| DirectionConfig {
            device: by_name[index].then(|| names[index].to_owned()),
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
        let mut notices = Vec::new();
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
            notices.extend(std::iter::from_fn(|| self.supervisor.poll(now)));
        }
        notices
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
    fn streams_follow_the_default_but_never_leave_a_named_device(
        by_name in any::<[bool; 2]>(),
        changes in prop::collection::vec((any::<bool>(), any::<bool>(), 0_u32..3), 1..8),
    ) {
        let mut session = Box::new(TestSession::new());
        let mut rig = DefaultDeviceRig::open(&mut session, by_name);
        rig.pass(Duration::from_millis(100));
        for (is_capture, server_moves_stream, refusals) in changes {
            let direction = if is_capture { Direction::Capture } else { Direction::Playback };
            let named = by_name[index(direction)];
            let starts = rig.supervisor.io().starts;
            rig.supervisor.io_mut().refusals = refusals;
            rig.supervisor.io_mut().change(direction, server_moves_stream);
            let notices = rig.pass(MAX_RETRY_DELAY + MAX_RETRY_DELAY + MAX_RETRY_DELAY);

            // A move by the audio server needs no restart, unless it moved a stream that was opened by name.
            let needs_start = server_moves_stream == named;
            let failed = needs_start && refusals > 0;
            prop_assert_eq!(rig.supervisor.io().starts - starts, u32::from(needs_start));
            prop_assert!(notices.iter().all(|&notice| direction_of(notice) == direction), "{:?}", notices);
            match (failed, named) {
                (false, false) => prop_assert!(matches!(notices[..], [Notice::Moved { .. }]), "{:?}", notices),
                (false, true) => prop_assert_eq!(&notices, &[Notice::Host(Event::DefaultChanged { direction })]),
                // The old default counts as lost, and the stream returns on the new default.
                (true, false) => prop_assert!(
                    matches!(notices[..], [Notice::Lost { .. }, Notice::Returned { .. }, Notice::Moved { .. }]),
                    "{:?}", notices),
                (true, true) => prop_assert!(
                    matches!(notices[..], [Notice::Lost { .. }, Notice::Returned { .. }]), "{:?}", notices),
            }
            for direction in BOTH_DIRECTIONS {
                let host = rig.supervisor.io();
                let device = if by_name[index(direction)] { 0 } else { host.default[index(direction)] };
                prop_assert_eq!(host.runs_on[index(direction)], Some(device), "{:?}", direction);
                prop_assert!(matches!(rig.supervisor.state(direction), DirectionState::Running(_)));
            }
            rig.supervisor.io_mut().refusals = 0;
            let before = rig.periods();
            rig.pass(Duration::from_millis(100));
            let after = rig.periods();
            prop_assert!(after[0] > before[0] && after[1] > before[1], "{:?} {:?}", before, after);
        }
    }
}

#[test]
fn a_new_default_is_tried_at_once_while_a_device_is_lost() {
    let mut session = Box::new(TestSession::new());
    let mut rig = DefaultDeviceRig::open(&mut session, [false, false]);
    rig.supervisor.io_mut().refusals = 4;
    rig.supervisor.io_mut().board.unplug(Direction::Playback);
    rig.supervisor.io_mut().runs_on[1] = None;
    let notices = rig.pass(Duration::from_millis(3_600));
    assert_eq!(notices, [Notice::Lost { direction: Direction::Playback }], "the retry delay is long by now");
    rig.supervisor.io_mut().refusals = 0;
    rig.supervisor.io_mut().change(Direction::Playback, false);
    let notices = rig.pass(Duration::from_millis(50));
    assert!(
        matches!(
            notices[..],
            [
                Notice::Host(Event::DefaultChanged { direction: Direction::Playback }),
                Notice::Returned { direction: Direction::Playback, .. },
                Notice::Moved { direction: Direction::Playback, .. }
            ]
        ),
        "{notices:?}"
    );
    rig.supervisor.close(Direction::Capture);
    rig.supervisor.io_mut().change(Direction::Capture, false);
    let notices = rig.pass(Duration::from_millis(500));
    assert_eq!(notices, [Notice::Host(Event::DefaultChanged { direction: Direction::Capture })]);
    assert_eq!(rig.supervisor.state(Direction::Capture), DirectionState::Closed);
}
