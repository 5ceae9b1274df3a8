//! `handsfree run` on a sound server whose microphone has a clock of its own, beside the server's own echo canceller in the
//! same run. Needs no sound card.
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

mod room;
#[allow(dead_code, reason = "shared with tests that use more of it")]
#[path = "../../../cpal/tests/desktop/server/mod.rs"]
mod server;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use room::{Delivery, EchoPathConfig, RATE_HZ, RoomMicrophone, realtime_command};
use serde_json::Value;
use server::{SERVER_PRIORITY, ServerKind, SoundServer, null_sink, with};

/// Length of a run in seconds, of which the start is not measured.
const RUN_S: usize = 62;
/// First second that is measured.
const FROM_S: usize = 20;
/// Length of a measured window in seconds. The far end repeats itself after it, so that a window holds the same speech
/// wherever it begins.
const WINDOW_S: usize = 10;
/// Number of rows that run at the same time in one server.
const TOGETHER: usize = 3;
/// How much less than the server's module ours may remove, in dB.
const BEHIND_DB: f64 = 1.0;
/// Options of the server's module: only the echo canceller and its high-pass, as here.
const MODULE_OPTIONS: &str =
    "analog_gain_control=0 digital_gain_control=0 noise_suppression=0 high_pass_filter=1";

const fn row(delivery: Delivery, ppm: u32, delay_ms: u32) -> EchoPathConfig {
    EchoPathConfig { delivery, ppm, delay_ms }
}

#[test]
#[ignore = "two minutes of real time: `make test-desktop` runs it"]
fn own_clock_echo_is_removed_as_by_pulseaudio() {
    compare(
        ServerKind::PulseAudio,
        "own_clock_echo_is_removed_as_by_pulseaudio",
        &[
            row(Delivery::Smooth, 0, 0),
            row(Delivery::Bursts, 0, 0),
            row(Delivery::Bursts, 300, 200),
            row(Delivery::Smooth, 1_000, 0),
            row(Delivery::Bursts, 1_000, 0),
            row(Delivery::Smooth, 300, 600),
        ],
    );
}

/// PipeWire reads a pipe on the clock of its graph, so the microphone has no clock of its own there.
#[test]
#[ignore = "a minute of real time: `make test-desktop` runs it"]
fn own_clock_echo_is_removed_as_by_pipewire() {
    let rows = [row(Delivery::Smooth, 0, 0), row(Delivery::Smooth, 0, 200)];
    compare(ServerKind::PipeWire, "own_clock_echo_is_removed_as_by_pipewire", &rows);
}

#[test]
#[ignore = "seven minutes of real time: `make soak` runs it"]
fn own_clock_grid_is_removed_as_by_pulseaudio() {
    let rows = [Delivery::Smooth, Delivery::Bursts].into_iter().flat_map(|delivery| {
        [0, 300, 1_000]
            .into_iter()
            .flat_map(move |ppm| [0, 200, 600].map(|delay_ms| row(delivery, ppm, delay_ms)))
    });
    compare(ServerKind::PulseAudio, "own_clock_grid_is_removed_as_by_pulseaudio", &rows.collect::<Vec<_>>());
}

/// Runs all rows and checks that in each of them no more echo is left than the server's module leaves.
fn compare(kind: ServerKind, test: &str, rows: &[EchoPathConfig]) {
    with(kind, test, |server| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("own-clock-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let far = far_end(&folder);
        let mut behind = Vec::new();
        println!(
            "echo reduction in dB, median and worst {WINDOW_S} s from {FROM_S} s on: ours, the server's module"
        );
        for (batch, rows) in rows.chunks(TOGETHER).enumerate() {
            let started: Vec<Row> = rows
                .iter()
                .enumerate()
                .map(|(k, &path)| Row::start(&server, &folder, &far, &format!("{batch}{k}"), path))
                .collect();
            for row in started {
                let result = row.finish();
                println!("{}", result.line);
                behind.extend((!result.is_ahead()).then_some(result.line));
            }
        }
        assert!(
            behind.is_empty(),
            "more than {BEHIND_DB} dB behind the server's module:\n{}",
            behind.join("\n")
        );
        std::fs::remove_dir_all(&folder).unwrap();
    });
}

/// Writes speech that repeats after one window and lasts for the whole run.
fn far_end(folder: &Path) -> PathBuf {
    let words = ["Front_Center", "Rear_Left", "Side_Right", "Front_Right", "Rear_Center", "Side_Left"];
    let mut period = Vec::new();
    for word in words.iter().cycle() {
        let file = format!("/usr/share/sounds/alsa/{word}.wav");
        let clip = handsfree_sim::wav::read(&file)
            .unwrap_or_else(|error| panic!("{error}: run `apt install alsa-utils` or `make setup`"));
        period.extend(clip.to_mono_at(RATE_HZ));
        if period.len() > WINDOW_S * RATE_HZ as usize {
            period.truncate(WINDOW_S * RATE_HZ as usize);
            break;
        }
    }
    let path = folder.join("far.wav");
    handsfree_sim::wav::write_mono(&path, RATE_HZ, &period.repeat(RUN_S / WINDOW_S + 2)).unwrap();
    path
}

/// One row while it runs: two equal pairs of devices, one for each canceller.
struct Row {
    folder: PathBuf,
    path: EchoPathConfig,
    ours: Option<Child>,
    /// Programs that play to the server's module and record from the server. They run until they are ended.
    helpers: Vec<Child>,
    microphones: [RoomMicrophone; 2],
}

/// Echo reductions of the windows of one row.
struct RowResult {
    ours_db: Vec<f64>,
    theirs_db: Vec<f64>,
    line: String,
}

impl Row {
    fn start(server: &SoundServer, folder: &Path, far: &Path, name: &str, path: EchoPathConfig) -> Self {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let record = |source: &str, file: &str| {
            Command::new("parec")
                .args(["--raw", "--format=s16le", "--channels=1", "--latency-msec=50"])
                .args([format!("--rate={RATE_HZ}"), format!("--device={source}-{name}")])
                .stderr(Stdio::null())
                .stdout(File::create(folder.join(file)).unwrap())
                .spawn()
                .unwrap()
        };
        let mut helpers = Vec::new();
        let microphones = ["ours", "theirs"].map(|lane| {
            let pipe = folder.join(format!("{lane}.pipe"));
            load(
                server,
                &format!("module-null-sink {}", null_sink(&format!("speaker-{lane}-{name}"), RATE_HZ)),
            );
            let source = format!("source_name=microphone-{lane}-{name} file={}", pipe.display());
            load(server, &format!("module-pipe-source {source} rate={RATE_HZ} channels=1 format=s16le"));
            // A source that nobody records would not empty its pipe.
            helpers.push(record(&format!("microphone-{lane}"), &format!("microphone-{lane}.raw")));
            RoomMicrophone::start(&format!("speaker-{lane}-{name}"), &pipe, path)
        });
        let devices = format!("sink_master=speaker-theirs-{name} source_master=microphone-theirs-{name}");
        let cancelled = format!("sink_name=far-{name} source_name=cancelled-{name} use_master_format=1");
        let mut words: Vec<&str> = ["load-module", "module-echo-cancel", "aec_method=webrtc"].to_vec();
        let options = format!("aec_args=\"{MODULE_OPTIONS}\"");
        words.extend(devices.split(' ').chain(cancelled.split(' ')).chain([options.as_str()]));
        server.pactl(&words);
        helpers.push(record("cancelled", "cancelled.raw"));
        let mut play = Command::new("paplay");
        helpers
            .push(play.arg(format!("--device=far-{name}")).arg(far).stderr(Stdio::null()).spawn().unwrap());
        // The module is part of the server, whose threads have a real-time priority here, so the terminal gets one too.
        let ours = realtime_command(env!("CARGO_BIN_EXE_handsfree"), SERVER_PRIORITY)
            .args("run --io cpal --json --no-ns --no-agc --voice-deadline-ms 500".split(' '))
            .args([
                "--output",
                &format!("speaker-ours-{name}"),
                "--input",
                &format!("microphone-ours-{name}"),
            ])
            .args(["--duration", &RUN_S.to_string(), "--play"])
            .arg(far)
            .arg("--dump")
            .arg(folder.join("dump"))
            .stdout(Stdio::piped())
            .stderr(File::create(folder.join("errors")).unwrap())
            .spawn()
            .unwrap();
        Self { folder, path, ours: Some(ours), helpers, microphones }
    }

    /// Waits for the end of the run and measures it.
    fn finish(mut self) -> RowResult {
        let output = self.ours.take().unwrap().wait_with_output().unwrap();
        let errors = std::fs::read_to_string(self.folder.join("errors")).unwrap();
        assert!(output.status.success(), "{:?}: {errors}", self.path);
        self.end_helpers();
        let ended = String::from_utf8(output.stdout).unwrap();
        let ended: Value = serde_json::from_str(ended.lines().last().unwrap()).unwrap();
        let starved = self.microphones.each_ref().map(RoomMicrophone::starved_samples);
        let [dump, heard] = ["dump", "heard"].map(|name| self.folder.join(name));
        let replayed = Command::new(env!("CARGO_BIN_EXE_handsfree"))
            .arg("replay")
            .arg(&dump)
            .arg("--out")
            .arg(&heard)
            .output()
            .unwrap();
        assert!(replayed.status.success(), "{:?}: {}", self.path, String::from_utf8_lossy(&replayed.stdout));
        let wav = |name: &str| handsfree_sim::wav::read(heard.join(name)).unwrap().to_mono_at(RATE_HZ);
        let raw = |name: &str| -> Vec<f32> {
            let bytes = std::fs::read(self.folder.join(name)).unwrap();
            bytes.as_chunks().0.iter().map(|&pair| f32::from(i16::from_le_bytes(pair)) / 32_768.0).collect()
        };
        let ours_db = reductions_db(&wav("microphone.wav"), &wav("cleaned.wav"));
        let theirs_db = reductions_db(&raw("microphone-theirs.raw"), &raw("cancelled.raw"));
        let EchoPathConfig { delivery, ppm, delay_ms } = self.path;
        let text =
            |windows: &[f64]| windows.iter().map(|db| format!("{db:.0}")).collect::<Vec<_>>().join(" ");
        let line = format!(
            "{delivery:?}, {ppm} ppm, {delay_ms} ms: {:.0}/{:.0}, {:.0}/{:.0}; windows {}; {}; xruns {}, delay {} ms, drift {} \
             ppm, samples that the microphones missed {starved:?}",
            median(&ours_db),
            worst(&ours_db),
            median(&theirs_db),
            worst(&theirs_db),
            text(&ours_db),
            text(&theirs_db),
            ended["xruns"],
            ended["delay_ms"],
            ended["drift_ppm"],
        );
        RowResult { ours_db, theirs_db, line }
    }

    fn end_helpers(&mut self) {
        for child in self.helpers.iter_mut().chain(&mut self.ours) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        self.end_helpers();
    }
}

impl RowResult {
    fn is_ahead(&self) -> bool {
        let least_db = |figure: fn(&[f64]) -> f64| figure(&self.theirs_db) - BEHIND_DB;
        median(&self.ours_db) >= least_db(median) && worst(&self.ours_db) >= least_db(worst)
    }
}

fn load(server: &SoundServer, module: &str) {
    server.pactl(&["load-module"].into_iter().chain(module.split(' ')).collect::<Vec<_>>());
}

/// Returns the echo reduction of each whole window from [`FROM_S`] on, in dB.
fn reductions_db(microphone: &[f32], cleaned: &[f32]) -> Vec<f64> {
    let windows = |signal: &[f32]| -> Vec<f64> {
        let energy = |window: &[f32]| window.iter().map(|&sample| f64::from(sample).powi(2)).sum::<f64>();
        let measured = signal.get(FROM_S * RATE_HZ as usize..).unwrap_or(&[]);
        measured.chunks_exact(WINDOW_S * RATE_HZ as usize).map(energy).collect()
    };
    let reduction_db = |(before, after): (f64, f64)| {
        assert!(before > 0.0, "the microphone was silent: expected an echo");
        10.0 * (before / after.max(1e-9)).log10()
    };
    windows(microphone).into_iter().zip(windows(cleaned)).map(reduction_db).collect()
}

fn median(windows_db: &[f64]) -> f64 {
    let mut sorted = windows_db.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    } else {
        sorted[middle]
    }
}

fn worst(windows_db: &[f64]) -> f64 {
    windows_db.iter().copied().fold(f64::INFINITY, f64::min)
}
