//! Simulates every way in which a sound driver can fail, with a plug-in for libasound (`broken.c`). Every lost sample is
//! counted, no failure causes a busy loop, and the host returns the halves. The tests need no sound card.
#![allow(missing_docs)]

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration as Span, Instant as Moment};

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use handsfree_alsa::{AlsaConfig, AlsaIo, RealTimeConfig};
use handsfree_core::audio_io::{
    AudioIo, Direction, DirectionRequest, Directions, ErrorKind, Event, HostError, StreamHalves,
    StreamRequest,
};
use handsfree_core::capture::Bypass;
use handsfree_core::{Frame, Gain, SampleRate, Session, SessionFormat, Stats, StatsReader};
use handsfree_host::clock;

const CAP: usize = 480;
type Memory = Session<CAP, 2, 64, 32, 128, 32, 48_000>;
type Io = AlsaIo<'static, CAP, 2>;

/// Modes of the broken card, each described in `broken.c`. Each is also the name of a device with this mode.
const MODES: [&str; 9] =
    ["healthy", "eio", "gone", "gone_at_restart", "short", "bad_delays", "stalled", "suspended", "xrun"];

/// Environment variable that marks the child process, in which a test runs with the broken card configured.
const IN_CHILD_PROCESS: &str = "HANDSFREE_BROKEN_CARD";

/// Runs a test in a child process in which ALSA is configured with the modes of the broken card and no other device.
fn with_broken_card(test: &str, body: impl FnOnce()) {
    if std::env::var_os(IN_CHILD_PROCESS).is_some() {
        body();
        return;
    }
    let directory =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("broken-{}-{test}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let library = directory.join("libbroken.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/broken_card/broken.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-DPIC", "-o"]);
    compiler.arg(&library).args([source, "-lasound"]);
    let built = compiler.output().expect("a C compiler: `apt install gcc libasound2-dev`, or `make setup`");
    assert!(built.status.success(), "{compiler:?}: {}", String::from_utf8_lossy(&built.stderr));
    let mut config = format!("pcm_type.broken {{ lib \"{}\" }}\n", library.display());
    for mode in MODES {
        config.push_str(&format!("pcm.{mode} {{ type broken mode \"{mode}\" }}\n"));
    }
    let config_file = directory.join("asound.conf");
    std::fs::write(&config_file, config).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env("ALSA_CONFIG_PATH", &config_file)
        .env(IN_CHILD_PROCESS, "1")
        .output()
        .unwrap();
    let report =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let _ = std::fs::remove_dir_all(&directory);
    assert!(output.status.success() && report.contains("1 passed"), "{report}");
}

/// Session on the broken card, in one or both directions, with all events of the host.
struct BrokenCardRig {
    io: Io,
    stats: StatsReader<'static>,
    /// Number of rounds of the board's thread.
    rounds: Arc<AtomicU32>,
    /// Events of the host, each with its time in seconds since the start.
    events: Vec<(f64, Event)>,
    started_at: Moment,
}

fn direction_request(device: &str) -> DirectionRequest<'_> {
    DirectionRequest {
        device: Some(device),
        rate: SampleRate::new(48_000).unwrap(),
        device_channels: 1,
        map: None,
        period_sample_frames: 480,
        worker_slack_sample_frames: 0,
        gain: Gain::UNITY,
    }
}

impl BrokenCardRig {
    fn start(input: Option<&str>, output: Option<&str>) -> Self {
        let rate = SampleRate::new(48_000).unwrap();
        let session: &'static mut Memory = Box::leak(Box::new(Session::new()));
        let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
        let halves = session.split::<CriticalSectionRawMutex, _, _>(terminal, Bypass, ()).unwrap();
        let (mut capture, mut playback, tracks) = (halves.capture, halves.playback, halves.tracks);
        // Without real-time requests, the tests need no permission for them.
        let real_time = RealTimeConfig { priority: None, lock_memory: false };
        let (mut io, board) =
            handsfree_alsa::open(AlsaConfig { real_time, playback_periods: 4, ..AlsaConfig::default() })
                .unwrap();
        let rounds = Arc::new(AtomicU32::new(0));
        let board_rounds = Arc::clone(&rounds);
        board
            .spawn(Box::new(move || {
                board_rounds.fetch_add(1, Ordering::Relaxed);
                playback.poll();
                capture.poll(&clock::now, &mut |_: &Frame<CAP>| ());
            }))
            .unwrap();
        // The tracks stay open without frames, so the mixer plays silence.
        std::mem::forget(tracks);
        let request =
            StreamRequest { capture: input.map(direction_request), playback: output.map(direction_request) };
        let stream_halves =
            StreamHalves { intake: input.map(|_| halves.intake), outlet: output.map(|_| halves.outlet) };
        io.start(&request, stream_halves).map_err(|refused| refused.error).unwrap();
        Self { io, stats: halves.stats, rounds, events: Vec::new(), started_at: Moment::now() }
    }

    /// Collects events for `seconds`, or until an event for which `until` returns true. Returns whether there was one.
    fn collect_events(&mut self, seconds: f64, until: impl Fn(&Event) -> bool) -> bool {
        let deadline = Moment::now() + Span::from_secs_f64(seconds);
        while Moment::now() < deadline {
            while let Some(event) = self.io.poll_event() {
                self.events.push((self.started_at.elapsed().as_secs_f64(), event));
                if until(&event) {
                    return true;
                }
            }
            std::thread::sleep(Span::from_millis(5));
        }
        false
    }

    fn stats(&self) -> Stats {
        self.stats.read()
    }

    fn losses(&self) -> usize {
        self.events.iter().filter(|(_, event)| matches!(event, Event::DeviceLost { .. })).count()
    }

    /// Stops both directions, and checks that the half of `direction` is returned.
    fn stop(mut self, direction: Direction) {
        let stream_halves = self.io.stop(Directions::Both);
        let is_returned = if direction == Direction::Capture {
            stream_halves.intake.is_some()
        } else {
            stream_halves.outlet.is_some()
        };
        assert!(is_returned, "the host kept the half of {direction:?}");
    }
}

fn is_lost(event: &Event) -> bool {
    matches!(event, Event::DeviceLost { .. })
}

/// Starts one direction on the broken card in the given mode.
type StartDirection = fn(&'static str) -> BrokenCardRig;

const BOTH: [(Direction, StartDirection); 2] = [
    (Direction::Capture, |mode| BrokenCardRig::start(Some(mode), None)),
    (Direction::Playback, |mode| BrokenCardRig::start(None, Some(mode))),
];

#[test]
fn a_healthy_card_runs_without_events() {
    with_broken_card("a_healthy_card_runs_without_events", || {
        let mut rig = BrokenCardRig::start(Some("healthy"), Some("healthy"));
        rig.collect_events(1.0, |_| false);
        let stats = rig.stats();
        assert!(stats.intake.periods > 60 && stats.outlet.periods > 60, "{stats:?}");
        assert!(rig.events.is_empty(), "{:?}", rig.events);
        let timing = rig.io.timing_stats();
        assert_eq!((timing.capture_delays_rejected, timing.playback_delays_rejected), (0, 0));
        rig.stop(Direction::Capture);
    });
}

#[test]
fn a_permanent_error_causes_no_busy_loop_or_event_storm() {
    with_broken_card("a_permanent_error_causes_no_busy_loop_or_event_storm", || {
        for (direction, start) in BOTH {
            let mut rig = start("eio");
            let rounds = rig.rounds.load(Ordering::Relaxed);
            rig.collect_events(4.0, is_lost);
            let took_s = rig.started_at.elapsed().as_secs_f64();
            let rounds = rig.rounds.load(Ordering::Relaxed) - rounds;
            println!("{direction:?}: {rounds} rounds in {took_s:.1} s, {:?}", rig.events);
            assert!(
                f64::from(rounds) < 400.0 * took_s.max(1.0),
                "{rounds} rounds in {took_s} s are a busy loop"
            );
            assert!((rig.events.len() as f64) <= 10.0 * took_s + 1.0, "{:?}", rig.events);
            assert!(rig.losses() <= 1);
            rig.stop(direction);
        }
    });
}

#[test]
fn a_removed_card_is_reported_once() {
    with_broken_card("a_removed_card_is_reported_once", || {
        for mode in ["gone", "gone_at_restart"] {
            for (direction, start) in BOTH {
                let mut rig = start(mode);
                assert!(rig.collect_events(5.0, is_lost), "{mode} {direction:?}: {:?}", rig.events);
                println!("{mode} {direction:?}: {:?}", rig.events);
                rig.collect_events(0.5, |_| false);
                assert_eq!(rig.losses(), 1, "{mode} {direction:?}: {:?}", rig.events);
                rig.stop(direction);
            }
        }
    });
}

#[test]
fn short_and_refused_transfers_lose_nothing() {
    with_broken_card("short_and_refused_transfers_lose_nothing", || {
        for (direction, start) in BOTH {
            let mut rig = start("short");
            rig.collect_events(1.0, |_| false);
            let stats = rig.stats();
            println!("{direction:?}: {stats:?}, {:?}", rig.events);
            assert!(rig.events.is_empty(), "{direction:?}: {:?}", rig.events);
            assert_eq!((stats.intake.gaps, stats.outlet.gaps), (0, 0));
            let sample_frames = match direction {
                Direction::Capture => stats.intake.frames,
                Direction::Playback => stats.outlet.periods,
            } * 480;
            assert!(sample_frames > 40_000, "{direction:?}: {sample_frames} sample frames in a second");
            rig.stop(direction);
        }
    });
}

#[test]
fn implausible_delays_are_rejected() {
    with_broken_card("implausible_delays_are_rejected", || {
        let mut rig = BrokenCardRig::start(Some("bad_delays"), Some("bad_delays"));
        rig.collect_events(1.0, |_| false);
        let timing = rig.io.timing_stats();
        println!("{timing:?}, {} us", rig.stats().capture.delay_us);
        assert!(timing.capture_delays_rejected > 30 && timing.playback_delays_rejected > 30, "{timing:?}");
        let delay_us = rig.stats().capture.delay_us;
        // Four periods before the loudspeaker, and up to one period at the microphone.
        assert!((20_000..80_000).contains(&delay_us), "{delay_us} us of render and capture latency");
        rig.stop(Direction::Capture);
    });
}

#[test]
fn a_stalled_card_is_reported_as_lost() {
    with_broken_card("a_stalled_card_is_reported_as_lost", || {
        for (direction, start) in BOTH {
            let mut rig = start("stalled");
            let lost = rig.collect_events(30.0, is_lost);
            println!("{direction:?}: {:?}", rig.events);
            assert!(lost, "{direction:?}: {:?}", rig.events);
            rig.stop(direction);
        }
    });
}

#[test]
fn a_suspended_card_does_not_block_the_other_direction() {
    with_broken_card("a_suspended_card_does_not_block_the_other_direction", || {
        for (direction, input, output) in
            [(Direction::Capture, "suspended", "healthy"), (Direction::Playback, "healthy", "suspended")]
        {
            let mut rig = BrokenCardRig::start(Some(input), Some(output));
            rig.collect_events(1.0, |_| false);
            let before = rig.stats();
            rig.collect_events(0.5, |_| false);
            let during = rig.stats();
            // The other direction keeps running meanwhile.
            let (other, suspended) = match direction {
                Direction::Capture => (
                    during.outlet.periods - before.outlet.periods,
                    during.intake.periods - before.intake.periods,
                ),
                Direction::Playback => (
                    during.intake.periods - before.intake.periods,
                    during.outlet.periods - before.outlet.periods,
                ),
            };
            assert!(
                other > 30,
                "while {direction:?} is suspended, the other moved {other} periods in half a second"
            );
            assert_eq!(suspended, 0, "{direction:?} is suspended");
            let is_reported = rig.collect_events(5.0, |event| matches!(event, Event::Xrun { .. }));
            println!("{direction:?}: {:?}", rig.events);
            assert!(is_reported, "{direction:?} was resumed without an xrun event: {:?}", rig.events);
            let Some((_, Event::Xrun { direction: reported, sample_frames })) = rig.events.last() else {
                unreachable!()
            };
            assert_eq!(*reported, direction);
            assert!(
                (80_000..130_000).contains(sample_frames),
                "suspended for 2 s: {sample_frames} sample frames"
            );
            assert_eq!(rig.losses(), 0);
            rig.stop(direction);
        }
    });
}

#[test]
fn an_xrun_restarts_the_stream_at_once() {
    with_broken_card("an_xrun_restarts_the_stream_at_once", || {
        for (direction, start) in BOTH {
            let mut rig = start("xrun");
            let is_reported = rig.collect_events(5.0, |event| matches!(event, Event::Xrun { .. }));
            assert!(is_reported, "{direction:?}: {:?}", rig.events);
            rig.collect_events(0.5, |_| false);
            println!("{direction:?}: {:?}", rig.events);
            assert_eq!(rig.events.len(), 1, "{direction:?}: {:?}", rig.events);
            let Event::Xrun { sample_frames, .. } = rig.events[0].1 else { unreachable!() };
            assert!(sample_frames < 9_600, "{direction:?}: {sample_frames} sample frames lost by one xrun");
            rig.stop(direction);
        }
    });
}

#[test]
fn a_refused_start_returns_the_halves() {
    with_broken_card("a_refused_start_returns_the_halves", || {
        let session: &'static mut Memory = Box::leak(Box::new(Session::new()));
        let rate = SampleRate::new(48_000).unwrap();
        let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
        let halves = session.split::<CriticalSectionRawMutex, _, _>(terminal, Bypass, ()).unwrap();
        let real_time = RealTimeConfig { priority: None, lock_memory: false };
        let (mut io, board) =
            handsfree_alsa::open(AlsaConfig { real_time, ..AlsaConfig::default() }).unwrap();
        let both = StreamRequest {
            capture: Some(direction_request("healthy")),
            playback: Some(direction_request("healthy")),
        };
        let stream_halves = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
        let refused = io.start(&both, stream_halves).unwrap_err();
        assert_eq!(
            refused.error.kind(),
            ErrorKind::Misuse,
            "the board's thread does not run yet: {}",
            refused.error
        );
        let thread = board.spawn(Box::new(|| {})).unwrap();
        let missing = StreamRequest {
            capture: Some(direction_request("healthy")),
            playback: Some(direction_request("missing")),
        };
        let refused = io.start(&missing, refused.halves).unwrap_err();
        assert_eq!(refused.error.kind(), ErrorKind::NotFound, "{}", refused.error);
        assert!(refused.error.to_string().contains("missing"), "{}", refused.error);
        let capture_only = StreamRequest { capture: Some(direction_request("healthy")), playback: None };
        let refused = io.start(&capture_only, refused.halves).unwrap_err();
        assert_eq!(refused.error.kind(), ErrorKind::Misuse, "{}", refused.error);
        let granted = io.start(&both, refused.halves).map_err(|refused| refused.error).unwrap();
        assert_ne!(
            granted.capture.unwrap().clock_domain,
            granted.playback.unwrap().clock_domain,
            "devices without a card do not share a clock"
        );
        let again = io.start(&both, StreamHalves::default()).unwrap_err();
        assert_eq!(again.error.kind(), ErrorKind::Misuse);
        for _ in 0..3 {
            let stream_halves = io.stop(Directions::Capture);
            assert!(stream_halves.intake.is_some() && stream_halves.outlet.is_none());
            io.start(&capture_only, stream_halves).map_err(|refused| refused.error).unwrap();
        }
        let stream_halves = io.stop(Directions::Both);
        assert!(stream_halves.intake.is_some() && stream_halves.outlet.is_some());
        assert!(io.stop(Directions::Both).intake.is_none());
        // A stopped stream is not reported as lost.
        let deadline = Moment::now() + Span::from_millis(700);
        while Moment::now() < deadline {
            assert_eq!(io.poll_event().filter(|event| *event != Event::RealTimeRefused), None);
            std::thread::sleep(Span::from_millis(5));
        }
        drop(io);
        let deadline = Moment::now() + Span::from_secs(10);
        while !thread.is_finished() {
            assert!(
                Moment::now() < deadline,
                "the board's thread must end after its control plane is dropped"
            );
            std::thread::sleep(Span::from_millis(5));
        }
    });
}
