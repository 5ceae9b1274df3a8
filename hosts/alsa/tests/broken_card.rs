//! Cards that fail in every way that a driver can, by a plug-in of libasound's (`broken_card/broken.c`): nothing is lost
//! uncounted, nothing is tried in a loop, and the halves come back. Needs no sound card.
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

/// Set in the process that runs a test with the broken card in its configuration.
const INSIDE: &str = "HANDSFREE_BROKEN_CARD";

/// Runs a test in a process of its own, whose ALSA knows the broken card and no other.
fn with_broken_card(test: &str, inside: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        inside();
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
    for mode in ["none", "eio", "gone", "lost", "short", "delay", "frozen", "asleep", "once"] {
        config.push_str(&format!("pcm.{mode} {{ type broken mode \"{mode}\" }}\n"));
    }
    let config_file = directory.join("asound.conf");
    std::fs::write(&config_file, config).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env("ALSA_CONFIG_PATH", &config_file)
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let told =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let _ = std::fs::remove_dir_all(&directory);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}

/// A terminal whose microphone or loudspeaker is broken in one way.
struct BrokenCardRig {
    io: Io,
    stats: StatsReader<'static>,
    /// Rounds of the board's thread.
    rounds: Arc<AtomicU32>,
    events: Vec<(f64, Event)>,
    began: Moment,
}

fn end(device: &str) -> DirectionRequest<'_> {
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
        // The test is about cards, not about rights.
        let real_time = RealTimeConfig { priority: None, lock_memory: false };
        let (mut io, board) =
            handsfree_alsa::open(AlsaConfig { real_time, playback_periods: 4, ..AlsaConfig::default() })
                .unwrap();
        let rounds = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&rounds);
        board
            .spawn(Box::new(move || {
                counted.fetch_add(1, Ordering::Relaxed);
                playback.poll();
                capture.poll(&clock::now, &mut |_: &Frame<CAP>| ());
            }))
            .unwrap();
        // A track that nobody feeds keeps the mixer busy; what is played is silence.
        std::mem::forget(tracks);
        let request = StreamRequest { capture: input.map(end), playback: output.map(end) };
        let stream_halves =
            StreamHalves { intake: input.map(|_| halves.intake), outlet: output.map(|_| halves.outlet) };
        io.start(&request, stream_halves).map_err(|refused| refused.error).unwrap();
        Self { io, stats: halves.stats, rounds, events: Vec::new(), began: Moment::now() }
    }

    /// Listens for `seconds`, or until an event is such.
    fn listen(&mut self, seconds: f64, until: impl Fn(&Event) -> bool) -> bool {
        let deadline = Moment::now() + Span::from_secs_f64(seconds);
        while Moment::now() < deadline {
            while let Some(event) = self.io.poll_event() {
                self.events.push((self.began.elapsed().as_secs_f64(), event));
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

    /// Stops what runs; the half must come back.
    fn stop(mut self, direction: Direction) {
        let stream_halves = self.io.stop(Directions::Both);
        let back = if direction == Direction::Capture {
            stream_halves.intake.is_some()
        } else {
            stream_halves.outlet.is_some()
        };
        assert!(back, "the half did not come back");
    }
}

fn is_lost(event: &Event) -> bool {
    matches!(event, Event::DeviceLost { .. })
}

/// Starts one direction on a card that is broken in a way.
type Start = fn(&'static str) -> BrokenCardRig;

const BOTH: [(Direction, Start); 2] = [
    (Direction::Capture, |mode| BrokenCardRig::start(Some(mode), None)),
    (Direction::Playback, |mode| BrokenCardRig::start(None, Some(mode))),
];

#[test]
fn a_card_with_nothing_wrong_runs() {
    with_broken_card("a_card_with_nothing_wrong_runs", || {
        let mut rig = BrokenCardRig::start(Some("none"), Some("none"));
        rig.listen(1.0, |_| false);
        let stats = rig.stats();
        assert!(stats.intake.periods > 60 && stats.outlet.periods > 60, "{stats:?}");
        assert!(rig.events.is_empty(), "{:?}", rig.events);
        let timing = rig.io.timing_stats();
        assert_eq!((timing.capture_delays_rejected, timing.playback_delays_rejected), (0, 0));
        rig.stop(Direction::Capture);
    });
}

#[test]
fn a_card_that_fails_for_ever_is_tried_less_and_less_and_given_up_or_told_at_most_ten_times_a_second() {
    with_broken_card(
        "a_card_that_fails_for_ever_is_tried_less_and_less_and_given_up_or_told_at_most_ten_times_a_second",
        || {
            for (direction, start) in BOTH {
                let mut rig = start("eio");
                let rounds = rig.rounds.load(Ordering::Relaxed);
                rig.listen(4.0, is_lost);
                let took_s = rig.began.elapsed().as_secs_f64();
                let rounds = rig.rounds.load(Ordering::Relaxed) - rounds;
                println!("{direction:?}: {rounds} rounds in {took_s:.1} s, {:?}", rig.events);
                assert!(
                    f64::from(rounds) < 400.0 * took_s.max(1.0),
                    "no busy loop: {rounds} rounds in {took_s} s"
                );
                assert!((rig.events.len() as f64) <= 10.0 * took_s + 1.0, "{:?}", rig.events);
                assert!(rig.losses() <= 1);
                rig.stop(direction);
            }
        },
    );
}

#[test]
fn a_card_that_is_gone_is_told_once_and_at_once() {
    with_broken_card("a_card_that_is_gone_is_told_once_and_at_once", || {
        for mode in ["gone", "lost"] {
            for (direction, start) in BOTH {
                let mut rig = start(mode);
                assert!(rig.listen(5.0, is_lost), "{mode} {direction:?}: {:?}", rig.events);
                println!("{mode} {direction:?}: {:?}", rig.events);
                rig.listen(0.5, |_| false);
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
            rig.listen(1.0, |_| false);
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
fn absurd_delays_are_not_believed() {
    with_broken_card("absurd_delays_are_not_believed", || {
        let mut rig = BrokenCardRig::start(Some("delay"), Some("delay"));
        rig.listen(1.0, |_| false);
        let timing = rig.io.timing_stats();
        println!("{timing:?}, {} us", rig.stats().capture.delay_us);
        assert!(timing.capture_delays_rejected > 30 && timing.playback_delays_rejected > 30, "{timing:?}");
        let delay_us = rig.stats().capture.delay_us;
        // Four periods before the loudspeaker and up to one at the microphone.
        assert!((20_000..80_000).contains(&delay_us), "{delay_us} us of render and capture latency");
        rig.stop(Direction::Capture);
    });
}

#[test]
fn a_card_that_stands_still_is_started_again_and_given_up() {
    with_broken_card("a_card_that_stands_still_is_started_again_and_given_up", || {
        for (direction, start) in BOTH {
            let mut rig = start("frozen");
            let lost = rig.listen(30.0, is_lost);
            println!("{direction:?}: {:?}", rig.events);
            assert!(lost, "{direction:?}: {:?}", rig.events);
            rig.stop(direction);
        }
    });
}

#[test]
fn a_card_that_sleeps_is_asked_now_and_then_and_never_waited_for() {
    with_broken_card("a_card_that_sleeps_is_asked_now_and_then_and_never_waited_for", || {
        for (direction, broken, healthy) in
            [(Direction::Capture, "asleep", "none"), (Direction::Playback, "none", "asleep")]
        {
            let mut rig = BrokenCardRig::start(Some(broken), Some(healthy));
            rig.listen(1.0, |_| false);
            let before = rig.stats();
            rig.listen(0.5, |_| false);
            let during = rig.stats();
            // The other direction goes on meanwhile.
            let (other, asleep) = match direction {
                Direction::Capture => (
                    during.outlet.periods - before.outlet.periods,
                    during.intake.periods - before.intake.periods,
                ),
                Direction::Playback => (
                    during.intake.periods - before.intake.periods,
                    during.outlet.periods - before.outlet.periods,
                ),
            };
            assert!(other > 30, "{direction:?} sleeps, the other moved {other} periods in half a second");
            assert_eq!(asleep, 0, "{direction:?} sleeps");
            let told = rig.listen(5.0, |event| matches!(event, Event::Xrun { .. }));
            println!("{direction:?}: {:?}", rig.events);
            assert!(told, "{direction:?} woke up and nothing was told: {:?}", rig.events);
            let Some((_, Event::Xrun { direction: which, sample_frames })) = rig.events.last() else {
                unreachable!()
            };
            assert_eq!(*which, direction);
            assert!(
                (80_000..130_000).contains(sample_frames),
                "slept for 2 s: {sample_frames} sample frames"
            );
            assert_eq!(rig.losses(), 0);
            rig.stop(direction);
        }
    });
}

#[test]
fn what_ran_out_once_is_started_again_at_once() {
    with_broken_card("what_ran_out_once_is_started_again_at_once", || {
        for (direction, start) in BOTH {
            let mut rig = start("once");
            let told = rig.listen(5.0, |event| matches!(event, Event::Xrun { .. }));
            assert!(told, "{direction:?}: {:?}", rig.events);
            rig.listen(0.5, |_| false);
            println!("{direction:?}: {:?}", rig.events);
            assert_eq!(rig.events.len(), 1, "{direction:?}: {:?}", rig.events);
            let Event::Xrun { sample_frames, .. } = rig.events[0].1 else { unreachable!() };
            assert!(sample_frames < 9_600, "{direction:?}: {sample_frames} sample frames lost by one xrun");
            rig.stop(direction);
        }
    });
}

#[test]
fn what_cannot_start_gives_the_halves_back() {
    with_broken_card("what_cannot_start_gives_the_halves_back", || {
        let session: &'static mut Memory = Box::leak(Box::new(Session::new()));
        let rate = SampleRate::new(48_000).unwrap();
        let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
        let halves = session.split::<CriticalSectionRawMutex, _, _>(terminal, Bypass, ()).unwrap();
        let real_time = RealTimeConfig { priority: None, lock_memory: false };
        let (mut io, board) =
            handsfree_alsa::open(AlsaConfig { real_time, ..AlsaConfig::default() }).unwrap();
        let both = StreamRequest { capture: Some(end("none")), playback: Some(end("none")) };
        let stream_halves = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
        let refused = io.start(&both, stream_halves).unwrap_err();
        assert_eq!(refused.error.kind(), ErrorKind::Misuse, "no board runs: {}", refused.error);
        let thread = board.spawn(Box::new(|| {})).unwrap();
        let wrong = StreamRequest { capture: Some(end("none")), playback: Some(end("nobody")) };
        let refused = io.start(&wrong, refused.halves).unwrap_err();
        assert_eq!(refused.error.kind(), ErrorKind::NotFound, "{}", refused.error);
        assert!(refused.error.to_string().contains("nobody"), "{}", refused.error);
        let alone = StreamRequest { capture: Some(end("none")), playback: None };
        let refused = io.start(&alone, refused.halves).unwrap_err();
        assert_eq!(refused.error.kind(), ErrorKind::Misuse, "{}", refused.error);
        let granted = io.start(&both, refused.halves).map_err(|refused| refused.error).unwrap();
        assert_ne!(
            granted.capture.unwrap().clock_domain,
            granted.playback.unwrap().clock_domain,
            "no card, no common clock"
        );
        let again = io.start(&both, StreamHalves::default()).unwrap_err();
        assert_eq!(again.error.kind(), ErrorKind::Misuse);
        for _ in 0..3 {
            let stream_halves = io.stop(Directions::Capture);
            assert!(stream_halves.intake.is_some() && stream_halves.outlet.is_none());
            io.start(&alone, stream_halves).map_err(|refused| refused.error).unwrap();
        }
        let stream_halves = io.stop(Directions::Both);
        assert!(stream_halves.intake.is_some() && stream_halves.outlet.is_some());
        assert!(io.stop(Directions::Both).intake.is_none());
        // What was stopped is not missed.
        let deadline = Moment::now() + Span::from_millis(700);
        while Moment::now() < deadline {
            assert_eq!(io.poll_event().filter(|event| *event != Event::RealTimeRefused), None);
            std::thread::sleep(Span::from_millis(5));
        }
        drop(io);
        let deadline = Moment::now() + Span::from_secs(10);
        while !thread.is_finished() {
            assert!(Moment::now() < deadline, "an idle board ends with its control plane");
            std::thread::sleep(Span::from_millis(5));
        }
    });
}
