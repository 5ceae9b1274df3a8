//! Runs the examples as their readers do, in the simulated room and by the wall clock.
#![allow(missing_docs)]

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Runs an example and returns what it printed.
fn run(name: &str, args: &[&str]) -> String {
    let this = std::env::current_exe().unwrap();
    let path = this.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(name);
    let output = Command::new(&path).args(args).stdin(Stdio::null()).output().unwrap_or_else(|error| {
        panic!(
            "{}: {error}; `cargo test --test` does not build the examples; run cargo build --release -p handsfree \
                --examples",
            path.display()
        )
    });
    let (text, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name}: {}\n{text}{stderr}", output.status);
    print!("{name}:\n{text}");
    text.into_owned()
}

/// Returns the number in front of the text `before`.
fn number(text: &str, before: &str) -> f64 {
    let end = text.find(before).unwrap_or_else(|| panic!("no '{before}' in: {text}"));
    let word = text[..end].split_whitespace().next_back().unwrap();
    word.parse().unwrap_or_else(|_| panic!("'{word}' before '{before}': expected a number, in: {text}"))
}

#[test]
fn duplex_hears_the_room_without_its_own_voice() {
    let text = run("duplex", &["sim", "5"]);
    let lines: Vec<&str> = text.lines().filter(|line| line.contains(" s: ")).collect();
    assert_eq!(lines.len(), 5);
    assert!(number(lines[4], " dB") > 15.0, "{text}");
    let delay_ms = number(lines[4], " ms from");
    assert!((delay_ms - 50.0).abs() < 2.0, "{text}");
}

#[test]
fn record_writes_every_sample_of_the_cleaned_microphone() {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("example-record.wav");
    let text = run("record", &[path.to_str().unwrap(), "sim", "3"]);
    assert_eq!(number(&text, " samples lost"), 0.0, "{text}");
    let mut file = hound::WavReader::open(&path).unwrap();
    assert_eq!((file.spec().channels, file.spec().sample_rate), (1, 48_000));
    let samples: Vec<i16> = file.samples().map(Result::unwrap).collect();
    assert_eq!(samples.len(), 3 * 48_000);
    assert!(samples.iter().any(|&sample| sample != 0), "nothing was recorded");
    assert!(number(&text, " dB") > 15.0, "{text}");
}

#[test]
fn tokio_speaks_to_the_last_sample_and_hears_meanwhile() {
    let text = run("tokio", &["sim", "2"]);
    assert_eq!(number(&text, " samples were heard"), 48_000.0, "{text}");
    assert_eq!(number(&text, " samples lost"), 0.0, "{text}");
    assert!(number(&text, " frames of the microphone") >= 200.0, "{text}");
}

#[test]
fn the_agent_stops_when_interrupted_and_knows_what_was_heard() {
    let text = run("voice_agent", &["sim"]);
    let heard = number(&text, " of 320000 samples");
    // The talker starts 10 s after the room, which is a moment before the agent. The residual echo of the agent's own
    // voice must not be mistaken for a talker.
    assert!((9.5..10.3).contains(&(heard / 16_000.0)), "{text}");
    let pieces = (heard / (0.4 * 16_000.0)).floor() as u64;
    assert_eq!(number(&text, " of 50 pieces"), pieces as f64, "{text}");
    let transcript = (1..=pieces).map(|n| format!("[{n}]")).collect::<Vec<_>>().join(" ");
    assert!(text.contains(&format!("agent: {transcript} --\n")), "{text}");
    // The talker's clip is 6.6 s long; 0.3 s of what came before it are handed over too.
    assert!((6.0..7.5).contains(&number(&text, " s of speech")), "{text}");
    assert_eq!(number(&text, " coughs"), 0.0, "{text}");
}

#[test]
fn an_unknown_host_is_refused_by_name() {
    let this = std::env::current_exe().unwrap();
    let path = this.parent().and_then(|deps| deps.parent()).unwrap().join("examples/duplex");
    let output = Command::new(path).arg("jack").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("jack") && text.contains("auto, cpal"), "{text}");
}
