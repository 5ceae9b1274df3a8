//! Command-line interface of `handsfree run` and `handsfree devices`, in real time with the simulated room. Fault 24.
#![allow(missing_docs)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Temporary folder of one test, removed when the test passes.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("run-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn with(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.0.join(name), bytes).unwrap();
        self.file(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

fn handsfree(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_handsfree")).args(words).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Returns the events of a run that must succeed.
fn events(words: &[&str]) -> Vec<Value> {
    let output = handsfree(&[&["run", "--io", "sim", "--json"], words].concat());
    assert_eq!(output.status.code(), Some(0), "{words:?}: {}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "", "{words:?}");
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of<'e>(events: &'e [Value], kind: &str) -> Vec<&'e Value> {
    events.iter().filter(|event| event["event"] == kind).collect()
}

/// Returns a WAV file made of the given format tag, number of channels, rate, bits per sample and sample bytes.
fn wav(tag: u16, channels: u16, rate_hz: u32, bits: u16, data: &[u8]) -> Vec<u8> {
    let block = channels * bits / 8;
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + data.len() as u32).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16u32.to_le_bytes());
    bytes.extend(tag.to_le_bytes());
    bytes.extend(channels.to_le_bytes());
    bytes.extend(rate_hz.to_le_bytes());
    bytes.extend((rate_hz * u32::from(block)).to_le_bytes());
    bytes.extend(block.to_le_bytes());
    bytes.extend(bits.to_le_bytes());
    bytes.extend(b"data");
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    bytes
}

#[test]
fn a_talker_is_reported_from_the_first_sample_on() {
    let events = events(&["--duration", "14", "--rate", "16000", "--canceller", "native"]);
    let [started, confirmed] = ["speech_started", "speech_confirmed"].map(|kind| of(&events, kind));
    // The talker speaks from 10 s on; the room's clock starts a moment before the run's.
    assert_eq!((started.len(), confirmed.len()), (1, 1), "{started:?} {confirmed:?}");
    let at_s = started[0]["at_s"].as_f64().unwrap();
    assert!((9.3..10.3).contains(&at_s), "{at_s}");
    assert_eq!(started[0]["position"], confirmed[0]["position"]);
}

/// Returns a 500 Hz tone with an amplitude of 0.3 of full scale.
fn tone(seconds: f64, rate_hz: u32) -> impl Iterator<Item = f32> {
    (0..(seconds * f64::from(rate_hz)) as u32).map(move |at| {
        (0.3 * (f64::from(at) * 500.0 * std::f64::consts::TAU / f64::from(rate_hz)).sin()) as f32
    })
}

fn pcm16(seconds: f64, rate_hz: u32) -> Vec<u8> {
    let data: Vec<u8> =
        tone(seconds, rate_hz).flat_map(|sample| ((sample * 32_767.0) as i16).to_le_bytes()).collect();
    wav(1, 1, rate_hz, 16, &data)
}

#[test]
fn a_run_prints_its_status_and_ends_with_a_summary() {
    let events = events(&["--duration", "3.7"]);
    assert_eq!(events.first().unwrap()["event"], "started");
    assert_eq!(events.last().unwrap()["event"], "ended");
    let statuses = of(&events, "status");
    assert_eq!(statuses.len(), 3);
    for status in &statuses {
        for key in [
            "microphone",
            "cleaned",
            "loudspeaker",
            "ring_ms",
            "erle_db",
            "drift_ppm",
            "reference_jumps",
            "cpu_percent",
            "xruns",
        ] {
            assert!(status.get(key).is_some(), "{key} is missing in {status}");
        }
        assert_eq!(
            (status["capture"].as_str(), status["playback"].as_str()),
            (Some("running"), Some("running"))
        );
    }
    let last = statuses[2];
    assert!(last["loudspeaker"]["peak_dbfs"].as_f64().unwrap() > -40.0, "the shipped voice: {last}");
    assert!((last["delay_ms"].as_f64().unwrap() - 50.0).abs() < 1.0, "{last}");
    let ended = events.last().unwrap();
    assert_eq!(ended["reason"], "duration");
    assert!((ended["seconds"].as_f64().unwrap() - 3.7).abs() < 2.0, "{ended}");
    assert!(ended["captured_sample_frames"].as_u64().unwrap() > 100_000, "{ended}");
    assert_eq!((&ended["device_losses"], &ended["unprocessed_frames"]), (&0.into(), &0.into()));
}

#[test]
fn files_play_to_their_ends_and_the_microphone_is_recorded() {
    let folder = Folder::new("record");
    let (first, second) =
        (folder.with("a.wav", &pcm16(1.0, 44_100)), folder.with("b.wav", &pcm16(1.6, 8_000)));
    let recording = folder.file("clean.wav");
    let words = ["--play", &first, "--play", &second, "--record", &recording, "--near", "none", "--no-aec"];
    let events = events(&[&words[..], &["--no-ns", "--no-agc", "--no-hpf", "--rate", "16000"]].concat());
    let played: Vec<&str> =
        of(&events, "played").iter().map(|event| event["name"].as_str().unwrap()).collect();
    assert_eq!(played, [first.as_str(), second.as_str()], "the shorter file must end first");
    let ended = events.last().unwrap();
    assert_eq!((&ended["reason"], &ended["dropped_frames"]), (&"played".into(), &0.into()));
    let mut reader = hound::WavReader::open(&recording).unwrap();
    assert_eq!((reader.spec().sample_rate, reader.spec().channels), (16_000, 1));
    let samples: Vec<i16> = reader.samples().map(Result::unwrap).collect();
    let seconds = samples.len() as f64 / 16_000.0;
    assert!((seconds - ended["recorded_s"].as_f64().unwrap()).abs() < 0.01);
    assert!((1.5..3.0).contains(&seconds), "{seconds} s");
    // Without processing the recording contains what was played: two tones, then one tone, then the room's noise.
    let power = |from_s: f64, to_s: f64| {
        let part = &samples[(from_s * 16_000.0) as usize..((to_s * 16_000.0) as usize).min(samples.len())];
        part.iter().map(|&sample| f64::from(sample).powi(2)).sum::<f64>() / part.len() as f64
    };
    assert!(power(0.3, 0.8) > 2.0 * power(1.25, 1.5), "{} {}", power(0.3, 0.8), power(1.25, 1.5));
    assert!(power(1.25, 1.5) > 1e4, "the second file must continue: {}", power(1.25, 1.5));
}

/// The program `script` provides a terminal; the variable `TERM` tells its capabilities.
#[test]
fn a_terminal_without_cursor_control_gets_lines() {
    let output_with_term = |name: &str| {
        let run = format!("{} run --io sim --duration 1.2", env!("CARGO_BIN_EXE_handsfree"));
        let output = Command::new("script").args(["-qec", &run, "/dev/null"]).env("TERM", name).output();
        let output = output.expect("script cannot be started; install it with: apt-get install bsdutils");
        assert!(output.status.success(), "{}", text(&output.stdout));
        text(&output.stdout)
    };
    assert!(output_with_term("xterm").contains("\u{1b}["), "the live view must move the cursor");
    for name in ["dumb", ""] {
        let lines = output_with_term(name);
        assert!(!lines.contains('\u{1b}') && lines.contains("on host sim"), "{name:?}: {lines}");
    }
}

#[test]
fn an_unplugged_loudspeaker_is_reported_once_and_returns() {
    let events = events(&["--duration", "4.5", "--unplug", "1@1"]);
    let (lost, back) = (of(&events, "device_lost"), of(&events, "device_returned"));
    assert_eq!((lost.len(), back.len()), (1, 1), "{events:?}");
    assert_eq!((&lost[0]["direction"], &back[0]["direction"]), (&"playback".into(), &"playback".into()));
    // The device is unplugged for 1 s; a retry then finds it within 250 ms and some polling intervals.
    let away_s = back[0]["away_s"].as_f64().unwrap();
    assert!((0.9..3.0).contains(&away_s), "{away_s} s");
    assert!(of(&events, "status").iter().any(|status| status["playback"] == "waiting"));
    assert_eq!(events.last().unwrap()["device_losses"], 1);
}

/// Fault 24 for the decoder of played files.
#[test]
fn files_play_in_any_format_or_are_rejected_by_name() {
    let folder = Folder::new("formats");
    let i24: Vec<u8> =
        tone(0.2, 48_000).flat_map(|s| ((s * 8e6) as i32).to_le_bytes()[..3].to_vec()).collect();
    let float: Vec<u8> = tone(0.2, 48_000).flat_map(f32::to_le_bytes).collect();
    let eight: Vec<u8> =
        tone(0.2, 48_000).flat_map(|s| [(s * 3e4) as i16; 8]).flat_map(i16::to_le_bytes).collect();
    let mut cut = pcm16(0.4, 48_000);
    cut.truncate(cut.len() / 2);
    for (name, bytes) in [
        ("i24.wav", wav(1, 1, 48_000, 24, &i24)),
        ("float.wav", wav(3, 1, 48_000, 32, &float)),
        ("eight.wav", wav(1, 8, 48_000, 16, &eight)),
        ("cut.wav", cut),
        ("wrong-extension.mp3", pcm16(0.2, 22_050)),
        ("none", pcm16(0.2, 192_000)),
        ("a-law.wav", wav(6, 1, 8_000, 8, &[0x2a; 1_600])),
        ("mu-law.wav", wav(7, 2, 8_000, 8, &[0x70; 3_200])),
        ("pipe.wav", {
            let mut bytes = pcm16(0.2, 48_000);
            bytes[40..44].fill(255);
            bytes
        }),
    ] {
        let path = folder.with(name, &bytes);
        let events = events(&["--play", &path]);
        let notes = of(&events, "note");
        assert!(notes.iter().all(|note| note["message"].as_str().unwrap().contains(name)), "{notes:?}");
        assert_eq!(notes.is_empty(), name != "cut.wav", "{name}: {notes:?}");
        assert_eq!(of(&events, "played").len(), 1, "{name}: {events:?}");
    }
    for (name, bytes) in [
        ("empty.wav", vec![]),
        (
            "text.wav",
            b"this is plain text without any audio, but long enough for format detection".repeat(20),
        ),
        ("no-samples.wav", wav(1, 1, 48_000, 16, &[])),
        ("head.wav", pcm16(0.2, 48_000)[..20].to_vec()),
        ("slow.wav", wav(1, 1, 1_000, 16, &[0; 4_000])),
        ("raw.pcm", pcm16(0.2, 48_000)[44..].to_vec()),
    ] {
        let path = folder.with(name, &bytes);
        let output = handsfree(&["run", "--io", "sim", "--json", "--play", &path]);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {message}");
        assert!(message.contains(name) && message.lines().count() == 1, "{name}: {message}");
        assert_eq!(text(&output.stdout), "", "{name}");
    }
}

#[test]
fn invalid_arguments_give_the_documented_exit_code() {
    let folder = Folder::new("refused");
    let nowhere = folder.file("no/such/folder.wav");
    for (words, code, expected) in [
        (vec!["run", "--io", "sim", "--rate", "7000"], 2, "7000"),
        (vec!["run", "--io", "sim", "--period-ms", "0"], 2, "--period-ms 0"),
        (vec!["run", "--io", "sim", "--input", "none", "--output", "none"], 2, "none"),
        (vec!["run", "--io", "sim", "--input", "hw:9", "--duration", "1"], 1, "hw:9"),
        (vec!["run", "--io", "sim", "--play", "/no/such/file.wav"], 1, "/no/such/file.wav"),
        (vec!["run", "--io", "sim", "--record", &nowhere], 1, "folder.wav"),
        (vec!["run", "--io", "sim", "--unplug", "1"], 2, "'1'"),
        (vec!["run", "--io", "banana"], 2, "banana"),
    ] {
        let output = handsfree(&words);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {message}");
        assert!(message.contains(expected), "{words:?}: {message}");
    }
}

#[test]
fn devices_are_listed_as_a_table_and_as_json() {
    let output = handsfree(&["devices", "--io", "sim", "--json"]);
    assert_eq!(output.status.code(), Some(0));
    let devices: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found: Vec<(&str, &str)> = devices
        .as_array()
        .unwrap()
        .iter()
        .map(|device| (device["id"].as_str().unwrap(), device["direction"].as_str().unwrap()))
        .collect();
    assert_eq!(found, [("sim:microphone", "capture"), ("sim:loudspeaker", "playback")]);
    assert!(devices.as_array().unwrap().iter().all(|device| device["is_default"] == true));
    let table = text(&handsfree(&["devices", "--io", "sim"]).stdout);
    assert!(table.contains("sim:microphone") && table.contains("Simulated loudspeaker"), "{table}");
}

/// ALSA's and JACK's libraries would print some thirty lines where there is no sound server.
#[test]
fn only_the_command_writes_to_stderr() {
    for (words, most) in [
        ("devices", 1),
        ("devices --io cpal", 1),
        ("devices --io alsa", 1),
        ("run --json --duration 0.2", 0),
        ("run --io cpal --audio-system alsa --duration 0.2", 1),
        ("run --io alsa --duration 0.2 --input null --output hw:nowhere", 1),
    ] {
        let output = handsfree(&words.split(' ').collect::<Vec<_>>());
        let message = text(&output.stderr);
        assert!(message.lines().count() <= most, "{words}: {message}");
        assert!(message.lines().all(|line| line.starts_with("handsfree: ")), "{words}: {message}");
    }
}

#[test]
fn completions_contain_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = handsfree(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains("devices"), "{shell}");
    }
    assert_eq!(handsfree(&["completions", "cmd.exe"]).status.code(), Some(2));
}

#[test]
fn the_manual_has_a_page_for_every_subcommand() {
    let folder =
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("man-{}", std::process::id()));
    let output = handsfree(&["man", "--out", folder.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let main = handsfree(&["man"]);
    assert!(text(&main.stdout).starts_with(".ie"), "{}", text(&main.stdout));
    assert_eq!(std::fs::read(folder.join("handsfree.1")).unwrap(), main.stdout);
    for name in
        ["sim", "process", "run", "serve", "mic", "speak", "ctl", "replay", "devices", "doctor", "man"]
    {
        let page = std::fs::read_to_string(folder.join(format!("handsfree-{name}.1"))).unwrap();
        assert!(page.contains(".SH NAME") && page.contains("EXAMPLES"), "{name}: {page}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(handsfree(&["man", "--out", "/dev/null/man"]).status.code(), Some(1));
}

/// SIGTERM ends a run with a summary. `files.rs` tests a reader that closes the output.
#[cfg(unix)]
#[test]
fn a_signal_ends_the_run_with_a_summary() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_handsfree"))
        .args(["run", "--io", "sim", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("started"));
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let last = lines.map(Result::unwrap).last().unwrap();
    let ended: Value = serde_json::from_str(&last).unwrap();
    assert_eq!((&ended["event"], &ended["reason"]), (&"ended".into(), &"signal".into()));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
