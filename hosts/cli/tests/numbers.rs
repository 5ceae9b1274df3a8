//! Every switch that takes a value, of every subcommand, with numbers that make no sense: each run ends soon, without a panic, and
//! with an error that names the value unless the value is legal.
#![allow(missing_docs)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::CommandFactory;
use handsfree_cli::args::Cli;
use handsfree_sim::wav;

/// Switches whose values are no numbers: files, names and choices.
const NO_NUMBERS: [&str; 21] = [
    "pcm-in",
    "pcm-out",
    "events",
    "scenario",
    "far",
    "near",
    "rir",
    "out",
    "mic",
    "io",
    "input",
    "output",
    "play",
    "record",
    "dump",
    "audio-system",
    "input-format",
    "output-format",
    "raw-format",
    "canceller",
    "shell",
];
/// Time in which each command must end. All take under a second on an idle machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs the command with a time limit. Returns the exit code and what it printed on stderr.
fn run(words: &[String], log: &Path) -> (i32, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_handsfree"))
        .args(words)
        // A value that is taken for a path must not be written into the sources.
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(log).unwrap())
        .spawn()
        .unwrap();
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > LIMIT {
            child.kill().unwrap();
            panic!("{words:?} did not end within {LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let message = fs::read_to_string(log).unwrap();
    (status.code().unwrap_or_else(|| panic!("{words:?}: {status}: {message}")), message)
}

/// Returns whether a message names a value, as it was given or as it was understood.
fn names(message: &str, value: &str) -> bool {
    let understood: &[&str] = match value {
        "nan" => &["NaN"],
        "1e30" | "-1e30" => &["1000000000000000000000000000000"],
        _ => &[],
    };
    message.contains(value) || understood.iter().any(|text| message.contains(text))
}

#[test]
fn senseless_numbers_are_refused_by_every_switch() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("numbers-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let samples: Vec<f32> = (0..8_000).map(|n| ((n * n % 977) as f32 / 977.0 - 0.5) * 0.2).collect();
    wav::write_mono(file("in.wav"), 16_000, &samples).unwrap();
    let (mut checked, mut wrong) = (0, Vec::new());
    for command in Cli::command().get_subcommands() {
        let name = command.get_name();
        let base: &[(&str, String)] = match name {
            "sim" => &[("seconds", "1".into()), ("out", file("report"))],
            "process" => &[("far", file("in.wav")), ("mic", file("in.wav")), ("out", file("out.wav"))],
            "run" => &[("io", "sim".into()), ("duration", "0.2".into())],
            "doctor" => &[("io", "sim".into())],
            _ => continue,
        };
        for arg in command.get_arguments() {
            let Some(switch) = arg.get_long().filter(|_| arg.get_action().takes_values()) else { continue };
            if NO_NUMBERS.contains(&switch) {
                continue;
            }
            let pairs = ["nan@0", "0@nan", "inf@0", "-1@0", "0@-1", "1e30@0", "0@1e30"];
            let is_pair = ["latency-step", "drift-step", "unplug"].contains(&switch);
            let values = ["nan", "inf", "-inf", "-1", "1e30", "-1e30", "4294967295"]
                .iter()
                .chain(&pairs[..if is_pair { 7 } else { 0 }]);
            for &value in values {
                // A diagnosis with a legal value takes 40 s.
                if name == "doctor" && (switch == "playback-ppm" || is_pair) && value.starts_with("-1") {
                    continue;
                }
                if name == "doctor" && ((is_pair && value == "0@-1") || value == "4294967295") {
                    continue;
                }
                let mut words = vec![name.to_owned()];
                for (base_switch, base_value) in base {
                    let is_replaced =
                        *base_switch == switch || (switch == "reference-channel" && *base_switch == "far");
                    if !is_replaced {
                        words.push(format!("--{base_switch}={base_value}"));
                    }
                }
                if switch == "input-loopback" {
                    words.push("--input-channel=0".into());
                }
                words.push(format!("--{switch}={value}"));
                let (code, message) = run(&words, &folder.join("stderr"));
                assert!(!message.contains("panicked"), "{words:?}: {message}");
                let is_named = value.split('@').any(|part| names(&message, part));
                let is_clean_error = code == 2 && is_named;
                let is_legal = code == 0 && !["nan", "inf", "1e30"].iter().any(|text| value.contains(text));
                if !is_clean_error && !is_legal {
                    wrong.push(format!("{words:?}: exit code {code}: {message}"));
                }
                checked += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 200, "only {checked} command lines were tried");
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_drift_of_recordings_is_limited() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("drift-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    wav::write_mono(file("in.wav"), 16_000, &[0.1; 3_200]).unwrap();
    for (value, expected) in [
        ("nan", Some("--mic-ppm NaN: expected -20000 to 20000")),
        ("1e9", Some("--mic-ppm 1000000000: expected -20000 to 20000")),
        ("-20000.5", Some("--mic-ppm -20000.5: expected -20000 to 20000")),
        ("20000", None),
        ("-20000", None),
    ] {
        let files = [format!("--far={}", file("in.wav")), format!("--mic={}", file("in.wav"))];
        let words = [
            &["process".to_owned()],
            &files[..],
            &[format!("--out={}", file("out.wav"))],
            &[format!("--mic-ppm={value}")],
        ]
        .concat();
        let (code, message) = run(&words, &folder.join("stderr"));
        match expected {
            Some(expected) => assert!(code == 2 && message.contains(expected), "{value}: {code}: {message}"),
            None => assert_eq!(code, 0, "{value}: {message}"),
        }
    }
    fs::remove_dir_all(&folder).unwrap();
}
