//! Test support: a session on the broken card, in a child process that has no other device.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration as Span, Instant as Moment};

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use handsfree_alsa::{AlsaConfig, AlsaIo, RealTimeConfig};
use handsfree_core::audio_io::{
    AudioIo, Direction, DirectionRequest, Directions, Event, StreamHalves, StreamRequest,
};
use handsfree_core::capture::Bypass;
use handsfree_core::{Frame, Gain, SampleRate, Session, SessionFormat, Stats, StatsReader};
use handsfree_host::clock;

pub(crate) const CAP: usize = 480;
pub(crate) type Memory = Session<CAP, 2, 64, 32, 128, 32, 48_000>;
type Io = AlsaIo<'static, CAP, 2>;

/// Modes of the broken card, each described in `broken.c`. Each is also the name of a device with this mode.
const MODES: [&str; 14] = [
    "healthy",
    "eio",
    "bad_state",
    "poll_error",
    "gone",
    "gone_at_restart",
    "closed",
    "short",
    "bad_delays",
    "stalled",
    "suspended",
    "suspended_long",
    "xrun",
    "xrun_in_transfer",
];

/// Environment variable that marks the child process, in which a test runs with the broken card configured.
const IN_CHILD_PROCESS: &str = "HANDSFREE_BROKEN_CARD";

/// Runs a test in a child process in which ALSA is configured with the modes of the broken card and no other device.
pub(crate) fn with_broken_card(test: &str, body: impl FnOnce()) {
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
        .args([test, "--exact", "--include-ignored", "--nocapture"])
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
pub(crate) struct BrokenCardRig {
    pub(crate) io: Io,
    pub(crate) stats: StatsReader<'static>,
    /// Number of rounds of the board's thread.
    pub(crate) rounds: Arc<AtomicU32>,
    /// Events of the host, each with its time in seconds since the start.
    pub(crate) events: Vec<(f64, Event)>,
    pub(crate) started_at: Moment,
}

pub(crate) fn direction_request(device: &str) -> DirectionRequest<'_> {
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
    pub(crate) fn start(input: Option<&str>, output: Option<&str>) -> Self {
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
    pub(crate) fn collect_events(&mut self, seconds: f64, until: impl Fn(&Event) -> bool) -> bool {
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

    pub(crate) fn stats(&self) -> Stats {
        self.stats.read()
    }

    pub(crate) fn losses(&self) -> usize {
        self.events.iter().filter(|(_, event)| matches!(event, Event::DeviceLost { .. })).count()
    }

    /// Stops both directions, and checks that the half of `direction` is returned.
    pub(crate) fn stop(mut self, direction: Direction) {
        let stream_halves = self.io.stop(Directions::Both);
        let is_returned = if direction == Direction::Capture {
            stream_halves.intake.is_some()
        } else {
            stream_halves.outlet.is_some()
        };
        assert!(is_returned, "the host kept the half of {direction:?}");
    }
}

pub(crate) fn is_lost(event: &Event) -> bool {
    matches!(event, Event::DeviceLost { .. })
}

/// Starts one direction on the broken card in the given mode.
pub(crate) type StartDirection = fn(&'static str) -> BrokenCardRig;

pub(crate) const BOTH: [(Direction, StartDirection); 2] = [
    (Direction::Capture, |mode| BrokenCardRig::start(Some(mode), None)),
    (Direction::Playback, |mode| BrokenCardRig::start(None, Some(mode))),
];

/// Starts each direction on the card in each of some modes, all at the same time, because most of the time passes in waiting.
pub(crate) fn in_each_mode(
    modes: &[&'static str],
    check: impl Fn(&'static str, Direction, BrokenCardRig) + Sync,
) {
    std::thread::scope(|scope| {
        for &mode in modes {
            for (direction, start) in BOTH {
                let check = &check;
                scope.spawn(move || check(mode, direction, start(mode)));
            }
        }
    });
}
