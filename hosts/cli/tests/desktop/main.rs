//! `handsfree run --io cpal` on a real PulseAudio and a real PipeWire: speech that is played comes back by the monitor of a null sink, and
//! the canceller takes it out again. Needs no sound card.
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

mod echo;
#[allow(dead_code, reason = "shared with tests that use more of it")]
#[path = "../../../cpal/tests/desktop/server/mod.rs"]
mod server;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant as Moment};

use echo::Echo;
use handsfree_core::audio_io::Direction;
use handsfree_host::supervisor::Notice;

use serde_json::Value;
use server::{ServerKind, with, with_server};

/// Joins recorded speech to one file of the given length.
fn speech(name: &str, seconds: u32) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.wav", std::process::id()));
    let words = ["Front_Center", "Rear_Left", "Side_Right", "Front_Right", "Rear_Center", "Side_Left"];
    let mut out: Option<hound::WavWriter<_>> = None;
    for word in words.iter().cycle() {
        let file = format!("/usr/share/sounds/alsa/{word}.wav");
        let mut reader = hound::WavReader::open(&file)
            .unwrap_or_else(|error| panic!("{file}: {error}: `apt install alsa-utils`, or `make setup`"));
        let spec = reader.spec();
        let writer = out.get_or_insert_with(|| hound::WavWriter::create(&path, spec).unwrap());
        reader.samples::<i16>().for_each(|sample| writer.write_sample(sample.unwrap()).unwrap());
        if writer.duration() > seconds * spec.sample_rate {
            break;
        }
    }
    out.unwrap().finalize().unwrap();
    path
}

fn events(words: &[&str]) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_handsfree")).args(words).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {told}");
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn speech_that_is_played_is_cancelled() {
    cancelled(ServerKind::PulseAudio, "speech_that_is_played_is_cancelled");
}

#[test]
fn speech_that_is_played_on_pipewire_is_cancelled() {
    cancelled(ServerKind::PipeWire, "speech_that_is_played_on_pipewire_is_cancelled");
}

fn cancelled(system: ServerKind, test: &str) {
    with(system, test, |_server| {
        let file = speech("speech", 25);
        for (rate, device) in [("48000", "speaker"), ("16000", "phone")] {
            let events = events(
                &[
                    &[
                        "run",
                        "--io",
                        "cpal",
                        "--json",
                        "--no-ns",
                        "--no-agc",
                        "--duration",
                        "24",
                        // Other tests may keep this one from its processor for longer than a device may.
                        "--voice-deadline-ms",
                        "500",
                        "--rate",
                        rate,
                    ][..],
                    &["--output", device, "--input", &format!("{device}.monitor")],
                    &["--play", file.to_str().unwrap()],
                ]
                .concat(),
            );
            let statuses: Vec<&Value> = events.iter().filter(|event| event["event"] == "status").collect();
            let heard: Vec<f64> = statuses.iter().filter_map(|status| status["erle_db"].as_f64()).collect();
            let best = heard.iter().copied().fold(0.0, f64::max);
            let ended = events.last().unwrap();
            let median = ended["median_erle_db"].as_f64().unwrap();
            println!(
                "{system:?} at {rate} Hz: echo reduction {median:.1} dB, the median second; {best:.1} dB, the best; {ended}"
            );
            assert!(statuses.len() >= 20, "{}", statuses.len());
            assert_eq!(
                (&ended["device_losses"], &ended["unprocessed_frames"]),
                (&0.into(), &0.into()),
                "{ended}"
            );
            // A machine that is busy with other tests delays what the server says of its latency.
            assert!(
                best > 30.0 && median > 10.0,
                "{rate} Hz: best {best:.1} dB, median {median:.1} dB: {heard:?}"
            );
        }
        std::fs::remove_file(file).unwrap();
    });
}

#[test]
fn a_server_that_answers_is_what_is_used() {
    with_server("a_server_that_answers_is_what_is_used", |_server| {
        let events = events(&["run", "--json", "--duration", "1"]);
        assert_eq!(events.first().unwrap()["io"], "cpal", "{:?}", events.first());
    });
}

/// The loudspeaker that becomes the default one is seven times louder, so what was learned of the old one is of no use.
#[test]
fn another_default_devices_echo_is_gone_within_a_second() {
    with_server("another_default_devices_echo_is_gone_within_a_second", |server| {
        let file = speech("default", 20);
        server.pactl(&["set-sink-volume", "speaker", "50%"]);
        let mut echo = Echo::start(48_000, &file);
        echo.pass(10.0);
        let settled = Moment::now() - Duration::from_secs(4);
        for sink in ["other", "speaker"] {
            echo.notices.clear();
            let changed = Moment::now();
            server.pactl(&["set-default-sink", sink]);
            server.pactl(&["set-default-source", &format!("{sink}.monitor")]);
            echo.pass(6.0);
            let before_db = echo.reduction_db(settled, 0.0, 4.0);
            // The server moves both streams one after the other, and plays what it holds before: the new device is heard
            // up to 0.9 s later, and its second begins there.
            let heard_s = echo.falls_s(before_db - 6.0, changed, 1.5, 0.25).unwrap_or(0.0);
            let after_db = echo.reduction_db(changed, heard_s + 1.0, heard_s + 3.0);
            println!(
                "to '{sink}', heard {heard_s} s after: {before_db:.1} dB before, {after_db:.1} dB from the first to the \
                 third second; in quarters of a second: {}; told after {:?}",
                echo.story(changed, 12, 0.25),
                echo.notices.iter().map(|(at, notice)| (*at - changed, notice)).collect::<Vec<_>>(),
            );
            for way in [Direction::Capture, Direction::Playback] {
                let told =
                    |(_, n): &&(_, Notice)| matches!(n, Notice::Moved { direction, .. } if *direction == way);
                assert_eq!(echo.notices.iter().filter(told).count(), 1, "{:?}", echo.notices);
            }
            // Not told, the canceller takes out 12 to 16 dB at this time. A busy machine's times spoil both.
            assert!(after_db > 20.0_f64.min(before_db - 6.0), "{before_db:.1} and {after_db:.1} dB");
        }
        std::fs::remove_file(file).unwrap();
    });
}

#[test]
fn doctor_says_that_a_device_went_away_and_measures_no_other() {
    with_server("doctor_says_that_a_device_went_away_and_measures_no_other", |mut server| {
        let mut doctor = Command::new(env!("CARGO_BIN_EXE_handsfree"))
            .args(["doctor", "--io", "cpal"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(doctor.stderr.take().unwrap()).lines().map(Result::unwrap);
        let said: Vec<String> = lines.by_ref().take_while(|line| !line.contains("listening")).collect();
        server.kill();
        let told = said.into_iter().chain(lines).collect::<Vec<_>>().join("\n");
        let status = doctor.wait().unwrap();
        assert_eq!(status.code(), Some(1), "{told}");
        assert!(told.contains("device went away while it was measured"), "{told}");
    });
}
