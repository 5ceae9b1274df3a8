//! `handsfree process`: start offsets, clock rates, channels, what it reports and its exit codes.
#![allow(missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use handsfree::sim::LivingRoom;
use handsfree_core::SampleRate;
use handsfree_sim::convolver::Convolver;
use handsfree_sim::interpolate::Interpolator;
use handsfree_sim::noise::{Colour, Noise, Rng};
use handsfree_sim::wav::{self, Clip};
use serde_json::Value;

const RATE_HZ: u32 = 16_000;

/// Temporary folder of one test, removed when the test passes.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("process-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// Writes a recording with interleaved channels of 16 bits and returns its path.
    fn write(&self, name: &str, channels: &[&[f32]]) -> String {
        let path = self.file(name);
        fs::write(&path, wav_bytes(channels)).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

fn wav_bytes(channels: &[&[f32]]) -> Vec<u8> {
    let count = channels.len() as u16;
    let mut data = Vec::new();
    for at in 0..channels[0].len() {
        for channel in channels {
            data.extend(wav::to_i16(channel[at]).0.to_le_bytes());
        }
    }
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + data.len() as u32).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0");
    bytes.extend(count.to_le_bytes());
    bytes.extend(RATE_HZ.to_le_bytes());
    bytes.extend((RATE_HZ * 2 * u32::from(count)).to_le_bytes());
    bytes.extend((2 * count).to_le_bytes());
    bytes.extend(b"\x10\0data");
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    bytes
}

fn run(words: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_handsfree")).args(words).output().unwrap();
    let message = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(!message.contains("panicked"), "{words:?}: {message}");
    (output, message)
}

/// Runs `process --json` without gain control and noise suppression. Returns the exit code, the report and the messages.
fn process(folder: &Folder, more: &[&str]) -> (i32, Value, String) {
    let out = folder.file("clean.wav");
    let mut words = vec!["process", "--out", &out, "--json", "--no-ns", "--no-agc"];
    words.extend(more);
    let _ = fs::remove_file(&out);
    let (output, message) = run(&words);
    let code = output.status.code().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let report = serde_json::from_str(&stdout)
        .unwrap_or_else(|error| panic!("{words:?}: {error}: {stdout} {message}"));
    assert!(Path::new(&out).exists(), "{words:?}: the output is always written");
    (code, report, message)
}

/// Returns the echo reduction from 10 s on, in dB.
fn reduction_db(report: &Value) -> f64 {
    report["erle_db"].as_array().unwrap()[1]["db"].as_f64().unwrap()
}

fn seconds(samples: f64) -> usize {
    (samples * f64::from(RATE_HZ)) as usize
}

/// Returns speech of both shipped voices in turn, from a place that depends on the seed.
fn speech(seed: u64, length_s: f64) -> Vec<f32> {
    let clip: Vec<f32> =
        [Clip::far(), Clip::near()].iter().flat_map(|clip| clip.to_mono_at(RATE_HZ)).collect();
    let from = Rng::for_stream(seed, "speech").range(0, clip.len() as u64) as usize;
    clip.iter().copied().cycle().skip(from).take(seconds(length_s)).collect()
}

/// Returns what the microphone in a living room records of the far end, `lag_s` later at its start and with a clock that is fast
/// by `mic_ppm`.
fn recorded(far: &[f32], seed: u64, length_s: f64, lag_s: f64, mic_ppm: f64) -> Vec<f32> {
    let rate = SampleRate::new(RATE_HZ).unwrap();
    let response = LivingRoom::new(seed).loudspeaker_response(rate).unwrap();
    let mut echo = vec![0.0; far.len()];
    Convolver::new(&response).process(far, &mut echo);
    let start = -lag_s * f64::from(RATE_HZ);
    let mut mic = vec![0.0; seconds(length_s)];
    Interpolator::new(1.0).read_run(
        &echo,
        (start.floor() as i64, start - start.floor()),
        1.0 - mic_ppm * 1e-6,
        &mut mic,
    );
    Noise::new(Rng::for_stream(seed, "noise"), Colour::Pink, -70.0).add_to(&mut mic);
    mic
}

#[test]
fn start_offsets_cost_no_echo_reduction() {
    let folder = Folder::new("offsets");
    for seed in 1..=2 {
        let far = speech(seed, 32.0);
        let far_path = folder.write("far.wav", &[&far]);
        let mut aligned_db = 0.0;
        for lag_s in [0.0, -0.3, 1.1, 8.0, 0.25, -9.5] {
            let mic = recorded(&far, seed, 20.0, lag_s, 0.0);
            let mic_path = folder.write("mic.wav", &[&mic]);
            let (code, report, message) = process(&folder, &["--far", &far_path, "--mic", &mic_path]);
            let context = format!("seed {seed}, {lag_s} s: {} {message}", report["echo"]);
            assert_eq!((code, report["echo"]["result"].as_str()), (0, Some("found")), "{context}");
            let lag_ms = report["echo"]["lag_ms"].as_f64().unwrap();
            assert!((-0.5..12.0).contains(&(lag_ms - lag_s * 1e3)), "{context}");
            assert_eq!(report["echo"]["drift_ppm"].as_f64(), Some(0.0), "{context}");
            let db = reduction_db(&report);
            println!("seed {seed}, {lag_s} s: {db:.1} dB");
            if lag_s == 0.0 {
                aligned_db = db;
                assert_eq!(report["echo"]["far_moved_ms"].as_f64(), Some(0.0), "{context}");
                assert!(db > 25.0, "{context}");
            } else if lag_s <= 1.2 && lag_s > -9.0 {
                assert!(db > aligned_db - 3.0, "{db} instead of {aligned_db} dB: {context}");
            } else {
                // Another part of the far end is heard, so the figure differs.
                assert!(db > 25.0, "{db} dB: {context}");
            }
        }
    }
}

#[test]
fn drift_is_found_and_costs_no_echo_reduction() {
    let folder = Folder::new("drift");
    for (seed, lag_s, mic_ppm) in [
        (1, 0.02, 0.0),
        (1, 0.02, 150.0),
        (2, 0.4, -1_700.0),
        (3, -2.0, 5_500.0),
        (4, 3.0, -20_000.0),
        (5, 0.0, 20_000.0),
    ] {
        let far = speech(seed, 32.0);
        let far_path = folder.write("far.wav", &[&far]);
        let mic_path = folder.write("mic.wav", &[&recorded(&far, seed, 24.0, lag_s, mic_ppm)]);
        let (code, report, message) = process(&folder, &["--far", &far_path, "--mic", &mic_path]);
        let context = format!("seed {seed}, {lag_s} s, {mic_ppm} ppm: {} {message}", report["echo"]);
        let db = reduction_db(&report);
        println!("{db:.1} dB: {context}");
        assert_eq!((code, report["echo"]["result"].as_str()), (0, Some("found")), "{context}");
        assert!((report["echo"]["drift_ppm"].as_f64().unwrap() + mic_ppm).abs() < 3.0, "{context}");
        assert!(db > 25.0, "{db} dB: {context}");
    }
}

#[test]
fn a_given_drift_is_used_and_contradicted() {
    let folder = Folder::new("given");
    let far = speech(7, 30.0);
    let far_path = folder.write("far.wav", &[&far]);
    let mic_path = folder.write("mic.wav", &[&recorded(&far, 7, 20.0, 1.3, 300.0)]);
    let words = ["--far", &far_path, "--mic", &mic_path, "--mic-ppm"];
    let (code, report, message) = process(&folder, &[&words[..], &["300"]].concat());
    assert_eq!((code, message.as_str()), (0, ""), "{report}");
    assert_eq!(report["echo"]["drift_ppm"].as_f64(), Some(-300.0), "{report}");
    assert!(reduction_db(&report) > 25.0, "{report}");
    let (code, report, message) = process(&folder, &[&words[..], &["-500"]].concat());
    assert_eq!(code, 0, "{message}");
    let (_, shown) =
        message.split_once("--mic-ppm -500: the echo shows ").unwrap_or_else(|| panic!("{message}"));
    let shown: f64 = shown.split(' ').next().unwrap().parse().unwrap();
    assert!((shown - 300.0).abs() < 3.0, "{message}");
    assert_eq!(report["echo"]["drift_ppm"].as_f64(), Some(500.0), "{report}");
}

#[test]
fn a_tone_is_reported_as_ambiguous_and_not_moved() {
    let folder = Folder::new("tone");
    let far: Vec<f32> = (0..seconds(24.0))
        .map(|n| {
            let at_s = n as f64 / f64::from(RATE_HZ);
            let tone = |hz: f64| (std::f64::consts::TAU * hz * at_s).sin();
            if at_s % 6.0 < 2.0 { (0.15 * (tone(440.0) + tone(480.0))) as f32 } else { 0.0 }
        })
        .collect();
    let far_path = folder.write("far.wav", &[&far]);
    let mic_path = folder.write("mic.wav", &[&recorded(&far, 1, 24.0, 0.03, 0.0)]);
    let words = ["--far", &far_path, "--mic", &mic_path];
    let (code, report, _) = process(&folder, &words);
    assert_eq!((code, report["echo"]["result"].as_str()), (0, Some("ambiguous")), "{}", report["echo"]);
    assert_eq!(report["echo"]["far_moved_ms"].as_f64(), Some(0.0));
    assert!(report["echo"]["lag_ms"].is_null());
    assert!(reduction_db(&report) > 10.0, "{report}");
    assert_eq!(process(&folder, &[&words[..], &["--require-echo"]].concat()).0, 3);
}

#[test]
fn a_missing_echo_is_told_by_text_and_exit_code() {
    let folder = Folder::new("missing");
    let far: Vec<f32> = Clip::far().to_mono_at(RATE_HZ).into_iter().cycle().take(seconds(20.0)).collect();
    let far_path = folder.write("far.wav", &[&far]);
    // Another loudspeaker signal: continuous noise.
    let mut noise = Noise::new(Rng::for_stream(2, "other"), Colour::Pink, -25.0);
    let other: Vec<f32> = (0..seconds(20.0)).map(|_| noise.next_sample()).collect();
    let unrelated = folder.write("unrelated.wav", &[&recorded(&other, 1, 20.0, 0.0, 0.0)]);
    // With headphones, the microphone records its own noise until the talker speaks.
    let mut talker = vec![0.0; seconds(3.0)];
    talker.extend(Clip::near().to_mono_at(RATE_HZ));
    talker.resize(seconds(20.0), 0.0);
    let headphones = folder.write("headphones.wav", &[&recorded(&talker, 1, 20.0, 0.0, 0.0)]);
    let silent = folder.write("silent.wav", &[&vec![0.0; seconds(20.0)]]);
    let short = folder.write("short.wav", &[&other[..seconds(3.0)]]);
    for (far, mic, result, code) in [
        (&far_path, &unrelated, "not_found", 3),
        (&far_path, &headphones, "microphone_quiet", 0),
        (&silent, &unrelated, "far_end_silent", 0),
        (&far_path, &short, "too_short", 0),
    ] {
        let words = ["--far", far, "--mic", mic];
        let (found, report, message) = process(&folder, &words);
        assert_eq!((report["echo"]["result"].as_str(), found), (Some(result), code), "{message}");
        assert_eq!(message.contains("no echo"), code == 3, "{message}");
        assert!(report["echo"]["lag_ms"].is_null() && report["echo"]["drift_ppm"].is_null());
        let (required, _, message) = process(&folder, &[&words[..], &["--require-echo"]].concat());
        assert_eq!(required, 3, "{result}");
        assert!(message.contains("no echo"), "{message}");
        // Without echo cancellation a missing echo is no fault.
        assert_eq!(process(&folder, &[&words[..], &["--no-aec"]].concat()).0, 0, "{result}");
        let out = folder.file("text.wav");
        let (output, _) = run(&["process", "--far", far, "--mic", mic, "--out", &out]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("echo            none"), "{text}");
    }
}

#[test]
fn both_channels_of_a_stereo_far_end_are_cancelled() {
    let folder = Folder::new("stereo");
    let (left, other) = (speech(1, 24.0), speech(9, 24.0));
    let right: Vec<f32> = left.iter().map(|x| -x).collect();
    let sum = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a + b).collect::<Vec<f32>>();
    for (name, right, lag_s) in [("opposite", &right, 0.4), ("different", &other, -1.5)] {
        let far_path = folder.write("far.wav", &[&left, right]);
        // Loudspeakers at different distances.
        let mic = sum(&recorded(&left, 1, 20.0, lag_s, 0.0), &recorded(right, 2, 20.0, lag_s + 0.003, 0.0));
        let mic_path = folder.write("mic.wav", &[&mic]);
        let words = ["--far", &far_path, "--mic", &mic_path];
        let (code, report, message) = process(&folder, &words);
        let context = format!("{name}: {} {message}", report["echo"]);
        println!("{:.1} dB: {context}", reduction_db(&report));
        assert_eq!((code, report["echo"]["far_channels"].as_u64()), (0, Some(2)), "{context}");
        assert!((report["echo"]["lag_ms"].as_f64().unwrap() - lag_s * 1e3).abs() < 15.0, "{context}");
        assert!(reduction_db(&report) > 20.0, "{}: {context}", reduction_db(&report));
        let (_, report, _) = process(&folder, &[&words[..], &["--far-channels", "1"]].concat());
        assert_eq!(report["echo"]["far_channels"].as_u64(), Some(1));
        let (_, report, _) = process(&folder, &[&words[..], &["--far-channels", "mono"]].concat());
        assert_eq!(report["echo"]["far_channels"].as_u64(), Some(1));
    }
    // Two equal channels are one.
    let far_path = folder.write("far.wav", &[&left, &left]);
    let mic_path = folder.write("mic.wav", &[&recorded(&left, 1, 20.0, 0.0, 0.0)]);
    let (_, report, _) = process(&folder, &["--far", &far_path, "--mic", &mic_path]);
    assert_eq!(report["echo"]["far_channels"].as_u64(), Some(1), "{report}");
}

#[test]
fn channels_of_one_recording_serve_as_both_ends() {
    let folder = Folder::new("array");
    let far = speech(3, 20.0);
    let echo = recorded(&far, 3, 20.0, 0.01, 0.0);
    let loud = speech(5, 20.0);
    // The second channel is clean of the talker, the sixth carries what the loudspeaker played.
    let array = folder.write("array.wav", &[&loud, &echo, &loud, &loud, &loud, &far]);
    let single = folder.write("far.wav", &[&far]);
    let words = ["--mic", &array, "--mic-channel", "2", "--reference-channel", "6"];
    let (code, report, message) = process(&folder, &words);
    assert_eq!((code, report["echo"]["result"].as_str()), (0, Some("found")), "{message}");
    assert!(reduction_db(&report) > 25.0, "{report}");
    let clean = fs::read(folder.file("clean.wav")).unwrap();
    let mono = folder.write("mic.wav", &[&echo]);
    process(&folder, &["--far", &single, "--mic", &mono]);
    assert_eq!(clean, fs::read(folder.file("clean.wav")).unwrap(), "the same signals give the same output");
    let out = folder.file("never.wav");
    for (more, expected) in [
        (&["--mic", &array, "--mic-channel", "7", "--far", &single][..], "--mic-channel 7: expected 1 to 6"),
        (&["--mic", &array, "--mic-channel", "0", "--far", &single], "--mic-channel 0: expected 1 to 6"),
        (&["--mic", &array, "--reference-channel", "9"], "--reference-channel 9: expected 1 to 6"),
        (
            &["--mic", &array, "--reference-channel", "2", "--mic-channel", "2"],
            "--reference-channel 2: expected another",
        ),
        (&["--mic", &mono, "--reference-channel", "1"], "--reference-channel 1: expected another"),
        (&["--mic", &mono, "--far", &array, "--far-channels", "each"], "expected at most 2"),
        (&["--mic", &mono, "--far", &array, "--far-channels", "8"], "--far-channels 8: expected 1 to 6"),
        (&["--mic", &mono, "--far", &array, "--far-channels", "all"], "'all': expected mono, each or"),
        (&["--mic", &mono], "--far"),
        (&["--mic", &mono, "--far", &single, "--reference-channel", "1"], "cannot be used with"),
    ] {
        let (output, message) = run(&[&["process", "--out", &out], more].concat());
        assert_eq!(output.status.code(), Some(2), "{more:?}: {message}");
        assert!(message.contains(expected), "{more:?}: {message}");
    }
    assert!(!Path::new(&out).exists());
}

/// A recording of 24 valid bits in 32 has the level of its speech, not of the noise in its low bits.
#[test]
fn samples_with_unused_bits_keep_their_level() {
    let folder = Folder::new("valid-bits");
    let voice = speech(1, 6.0);
    let mut bytes = b"RIFF\0\0\0\0WAVEfmt \x28\0\0\0\xfe\xff\x01\0".to_vec();
    bytes.extend(RATE_HZ.to_le_bytes());
    bytes.extend((RATE_HZ * 4).to_le_bytes());
    bytes.extend([
        4, 0, 32, 0, 22, 0, 24, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b,
        0x71,
    ]);
    bytes.extend(b"data");
    bytes.extend((4 * voice.len() as u32).to_le_bytes());
    bytes.extend(voice.iter().flat_map(|x| (((f64::from(*x) * 8_388_608.0) as i32) << 8).to_le_bytes()));
    let path = folder.file("ext.wav");
    fs::write(&path, bytes).unwrap();
    process(&folder, &["--far", &path, "--mic", &path, "--no-aec", "--no-hpf"]);
    let clean = wav::read(folder.file("clean.wav")).unwrap();
    let level = handsfree_sim::measure::level_dbfs;
    assert!((level(&clean.samples) - level(&voice)).abs() < 0.01, "{} dBFS", level(&clean.samples));
}

/// Twenty minutes fit into the memory of one: without temporary files each signal would take 77 MB, and there are nine of them.
#[cfg(target_os = "linux")]
#[test]
fn a_long_recording_needs_no_more_memory_than_a_short_one() {
    const MOST_KB: u32 = 250_000;
    let folder = Folder::new("long");
    let far = speech(4, 60.0);
    let echo = recorded(&far, 4, 60.0, 0.3, 0.0);
    let repeat = |signal: &[f32]| signal.iter().copied().cycle().take(seconds(1_200.0)).collect::<Vec<f32>>();
    let far_path = folder.write("far.wav", &[&repeat(&far)]);
    let mic_path = folder.write("mic.wav", &[&repeat(&echo)]);
    let out = folder.file("clean.wav");
    let output = Command::new("sh")
        .args(["-c", &format!("ulimit -v {MOST_KB}; exec \"$@\""), "sh", env!("CARGO_BIN_EXE_handsfree")])
        .args([
            "process", "--no-ns", "--no-agc", "--far", &far_path, "--mic", &mic_path, "--out", &out, "--json",
        ])
        // Each thread would reserve 64 MB.
        .env("MALLOC_ARENA_MAX", "1")
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {message}", output.status);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    println!("{}", report["echo"]);
    assert!(reduction_db(&report) > 25.0, "{}", report["echo"]);
    let header = fs::metadata(&out).unwrap().len() - 2 * seconds(1_200.0) as u64;
    assert!(header < 100, "{header} bytes more than the samples");
}
