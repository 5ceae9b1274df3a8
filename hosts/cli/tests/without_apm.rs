//! A build without C++ (`--no-default-features --features native`): what it does, and what it refuses.
#![cfg(not(feature = "apm"))]
#![allow(missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use handsfree_sim::wav;
use serde_json::Value;

fn handsfree(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_handsfree")).args(words).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn folder(name: &str) -> PathBuf {
    let path =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("without-apm-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// Returns the largest reduction of a simulation's echo in any window.
fn reduction_db(words: &[&str], name: &str) -> f64 {
    let out = folder(name);
    let mut all = vec!["sim", "--json", "--seconds", "20", "--out", out.to_str().unwrap()];
    all.extend(words);
    let output = handsfree(&all);
    assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    std::fs::remove_dir_all(out).unwrap();
    json["erle_db"].as_array().unwrap().iter().filter_map(|window| window["db"].as_f64()).fold(0.0, f64::max)
}

#[test]
fn a_simulation_removes_the_echo_with_every_stage_on() {
    let at_48khz = reduction_db(&[], "sim-48");
    let at_16khz = reduction_db(&["--rate", "16000", "--playback-ppm", "200"], "sim-16");
    assert!(at_48khz > 30.0 && at_16khz > 30.0, "{at_48khz} dB at 48 kHz, {at_16khz} dB at 16 kHz");
}

#[test]
fn other_stages_work_without_echo_cancellation() {
    for off in [&["--no-aec"][..], &["--canceller", "off"]] {
        let reduction = reduction_db(off, "kept");
        assert!(reduction < 15.0, "{off:?}: an echo that nothing cancels was reduced by {reduction} dB");
    }
}

#[test]
fn what_needs_the_missing_library_is_refused_by_name() {
    let out = folder("refused");
    let out = out.to_str().unwrap();
    for (words, found) in [
        (
            &["sim", "--out", out, "--canceller", "webrtc"][..],
            "--canceller webrtc: this build lacks WebRTC's",
        ),
        (&["sim", "--out", out, "--rate", "44100"], "--rate 44100: this build lacks WebRTC's"),
        (
            &["run", "--io", "sim", "--duration", "1", "--canceller", "webrtc"],
            "--canceller webrtc: this build lacks",
        ),
        (&["run", "--io", "sim", "--duration", "1", "--rate", "24000"], "--rate 24000: this build lacks"),
        (&["serve", "--io", "sim", "--canceller", "webrtc"], "--canceller webrtc: this build lacks"),
    ] {
        let output = handsfree(words);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {message}");
        assert!(message.contains(found) && message.contains("feature 'apm'"), "{words:?}: {message}");
    }
}

#[test]
fn the_version_says_what_the_build_lacks() {
    let output = handsfree(&["--version"]);
    assert!(text(&output.stdout).contains("without WebRTC's audio processing"), "{}", text(&output.stdout));
}

#[test]
fn recordings_of_any_rate_and_of_two_channels_are_processed() {
    let folder = folder("process");
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let rate_hz = 44_100;
    let mut noise = 1_u32;
    let mut next = || {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (noise >> 8) as f32 / (1 << 25) as f32 - 0.25
    };
    let left: Vec<f32> = (0..rate_hz * 10).map(|_| next()).collect();
    let right: Vec<f32> = (0..rate_hz * 10).map(|_| next()).collect();
    let mic: Vec<f32> = left.iter().zip(&right).map(|(a, b)| (a + b) / 4.0).collect();
    let both: Vec<f32> = left.iter().zip(&right).flat_map(|(&a, &b)| [a, b]).collect();
    std::fs::write(path("mic.wav"), wav::mono_bytes(rate_hz, &mic).0).unwrap();
    let mut far = wav::mono_bytes(rate_hz, &both).0;
    // Two channels: the number of channels, bytes per second and bytes per sample frame of the header.
    far[22] = 2;
    far[28..32].copy_from_slice(&(rate_hz * 4).to_le_bytes());
    far[32] = 4;
    std::fs::write(path("far.wav"), far).unwrap();
    let (mic, far, out) = (path("mic.wav"), path("far.wav"), path("out.wav"));
    let output = handsfree(&["process", "--json", "--mic", &mic, "--far", &far, "--out", &out]);
    let messages = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{messages}");
    assert!(messages.contains("mixed to one channel: this build lacks WebRTC's"), "{messages}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["rate_hz"], 48_000);
    std::fs::remove_dir_all(folder).unwrap();
}
