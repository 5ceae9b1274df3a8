//! Plain samples of `handsfree run`: `--pcm-in`, `--pcm-out` and `--record` to a pipe, in real time on a simulated wire. Files of
//! raw samples for every command that reads files.
#![cfg(unix)]
#![allow(missing_docs)]

#[path = "support/samples.rs"]
mod samples;

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use samples::{bytes_of, noise, samples_of};
use serde_json::Value;

/// A microphone that records the loudspeaker's samples bit for bit, without any processing.
const WIRE: &str = "run --io sim --wire --no-aec --no-ns --no-agc --no-hpf --no-echo-search --json";

fn start(words: &str, stdin: Stdio, stdout: Stdio) -> Child {
    Command::new(env!("CARGO_BIN_EXE_handsfree"))
        .args(WIRE.split(' ').chain(words.split_whitespace()))
        .stdin(stdin)
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("pcm-{name}"));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

fn mkfifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Returns whether `all` contains `part` without a hole.
fn contains(all: &[i16], part: &[i16]) -> bool {
    all.windows(32.min(part.len()))
        .position(|window| window == &part[..window.len()])
        .is_some_and(|at| all[at..].starts_with(part))
}

/// Waits for the run's end, and returns its events, which are the lines of stderr.
fn events(mut child: Child) -> Vec<Value> {
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success(), "{text}");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[test]
fn every_sample_of_a_pipe_is_heard_and_comes_back() {
    let mut run = start("--rate 16000 --pcm-in - --pcm-out -", Stdio::piped(), Stdio::piped());
    let sent = noise(40_000, 1);
    // The run ends when the last sample is heard, so a pause lets the microphone record everything before it.
    let with_pause = [&sent[..], &[0; 1_600]].concat();
    let (mut stdin, bytes) = (run.stdin.take().unwrap(), bytes_of(&with_pause));
    let writer = std::thread::spawn(move || {
        // Pieces that divide neither samples nor frames.
        bytes.chunks(333).for_each(|piece| stdin.write_all(piece).unwrap());
    });
    let mut heard = Vec::new();
    run.stdout.take().unwrap().read_to_end(&mut heard).unwrap();
    writer.join().unwrap();
    let events = events(run);
    let ended = events.last().unwrap();
    assert!(contains(&samples_of(&heard), &sent), "{} bytes came back", heard.len());
    assert_eq!(ended["pcm_in_sample_frames"], 41_600, "{ended}");
    assert_eq!(ended["pcm_out_sample_frames"].as_u64().unwrap(), heard.len() as u64 / 2, "{ended}");
    assert_eq!((&ended["reason"], &ended["pcm_out_dropped_sample_frames"]), (&"played".into(), &0.into()));
}

/// A busy machine may delay the writer until nothing is queued any more, so it has three attempts.
#[test]
fn a_writer_that_pauses_is_heard_without_a_hole() {
    let sent = noise(16_000, 6);
    let is_whole = || {
        let mut run = start("--rate 16000 --pcm-in - --pcm-out -", Stdio::piped(), Stdio::piped());
        let (mut stdin, bytes) = (run.stdin.take().unwrap(), bytes_of(&[&sent[..], &[0; 1_600]].concat()));
        let writer = std::thread::spawn(move || {
            // No whole frames. They are taken after 0.3 s and heard after 0.5 s.
            let (first, rest) = bytes.split_at(2 * 8_077);
            stdin.write_all(first).unwrap();
            std::thread::sleep(Duration::from_millis(400));
            stdin.write_all(rest).unwrap();
        });
        let mut heard = Vec::new();
        run.stdout.take().unwrap().read_to_end(&mut heard).unwrap();
        writer.join().unwrap();
        events(run);
        contains(&samples_of(&heard), &sent)
    };
    assert!((0..3).any(|_| is_whole()), "the pause is heard in each attempt");
}

#[test]
fn input_is_taken_as_fast_as_it_is_heard() {
    let mut run = start("--pcm-in - --pcm-rate 48000 --pcm-channels 2", Stdio::piped(), Stdio::piped());
    let mut stdin = run.stdin.take().unwrap();
    let begun = Instant::now();
    // 3 s, of which the pipe holds 0.34 s and the run 0.3 s.
    stdin.write_all(&bytes_of(&noise(2 * 144_000, 1))).unwrap();
    let written_in = begun.elapsed();
    drop(stdin);
    let mut text = String::new();
    run.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(run.wait().unwrap().success());
    assert!(written_in > Duration::from_millis(1_800), "{written_in:?}");
    let ended: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(ended["pcm_in_sample_frames"], 144_000, "events go to stdout if no sound does: {text}");
}

#[test]
fn a_slow_reader_loses_samples_which_are_counted() {
    let mut run =
        start("--pcm-out - --pcm-rate 48000 --pcm-channels 2 --duration 4", Stdio::null(), Stdio::piped());
    let mut stdout = run.stdout.take().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let mut heard = Vec::new();
    stdout.read_to_end(&mut heard).unwrap();
    let events = events(run);
    let ended = events.last().unwrap();
    let (written, dropped) = (
        ended["pcm_out_sample_frames"].as_u64().unwrap(),
        ended["pcm_out_dropped_sample_frames"].as_u64().unwrap(),
    );
    assert_eq!(written, heard.len() as u64 / 4, "{ended}");
    assert!(dropped > 24_000, "more than 0.5 s of 2 s: {ended}");
    let captured = ended["captured_sample_frames"].as_u64().unwrap();
    assert!(captured.abs_diff(written + dropped) <= 960, "each sample is written or counted: {ended}");
    assert!(
        events.iter().any(|event| event["message"].as_str().is_some_and(|text| text.contains("dropped")))
    );
}

#[test]
fn a_reader_that_stops_reading_does_not_hang_the_end() {
    let run = start("--pcm-out - --duration 3 --pcm-rate 48000", Stdio::null(), Stdio::piped());
    let begun = Instant::now();
    let mut run = run;
    let stdout = run.stdout.take().unwrap();
    events(run);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    drop(stdout);
}

#[test]
fn a_reader_that_closes_the_pipe_ends_the_run() {
    let mut run = start("--pcm-out -", Stdio::null(), Stdio::piped());
    let mut first = [0; 3_200];
    run.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(events(run).last().unwrap()["reason"], "signal");
}

#[test]
fn a_recording_to_a_pipe_is_a_wav_without_length() {
    for (words, sink) in [("--record -", "stdout"), ("--record fd:1", "stdout")] {
        let mut run = start(&format!("{words} --duration 1.2 --rate 16000"), Stdio::null(), Stdio::piped());
        let mut bytes = Vec::new();
        run.stdout.take().unwrap().read_to_end(&mut bytes).unwrap();
        let events = events(run);
        assert_eq!((&bytes[..4], &bytes[8..16]), (&b"RIFF"[..], &b"WAVEfmt "[..]), "{words} to {sink}");
        assert_eq!((&bytes[4..8], &bytes[36..44]), (&[255; 4][..], &b"data\xff\xff\xff\xff"[..]));
        assert_eq!(bytes[24..28], 16_000u32.to_le_bytes());
        let recorded_s = events.last().unwrap()["recorded_s"].as_f64().unwrap();
        assert!((recorded_s - (bytes.len() - 44) as f64 / 32_000.0).abs() < 1e-3, "{recorded_s}");
        assert!(recorded_s > 1.0, "{recorded_s}");
    }
    assert!(!Path::new("-").exists(), "no file of that name");
}

#[test]
fn programs_may_come_and_go_at_fifos() {
    let folder = folder("fifos");
    let (into, out, wav) = (folder.join("in"), folder.join("out"), folder.join("clean.wav"));
    mkfifo(&into);
    mkfifo(&out);
    let words = format!(
        "--rate 16000 --duration 6 --pcm-in {} --pcm-out {} --record {}",
        into.display(),
        out.display(),
        wav.display()
    );
    let run = start(&words, Stdio::null(), Stdio::null());
    let sent = noise(8_000, 1);
    for round in 0..2 {
        let mut reader = fs::File::open(&out).unwrap();
        fs::OpenOptions::new().write(true).open(&into).unwrap().write_all(&bytes_of(&sent)).unwrap();
        let mut heard = vec![0; 2 * 24_000];
        reader.read_exact(&mut heard).unwrap();
        assert!(contains(&samples_of(&heard), &sent), "round {round}");
    }
    let mut run = run;
    let mut stderr = String::new();
    run.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert!(run.wait().unwrap().success(), "{stderr}");
    // The events went to stdout, because no sound did. The file has both utterances too.
    let recorded: Vec<i16> = hound::WavReader::open(&wav).unwrap().samples().map(Result::unwrap).collect();
    let second = recorded.windows(32).rposition(|window| window == &sent[..32]).unwrap();
    assert!(contains(&recorded, &sent) && recorded[second..].starts_with(&sent));
    assert!(recorded.len() > 5 * 16_000);
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn each_reader_of_a_fifo_gets_a_wav_header() {
    let folder = folder("fifo-header");
    let out = folder.join("out.wav");
    mkfifo(&out);
    let run =
        start(&format!("--rate 16000 --duration 4 --record {}", out.display()), Stdio::null(), Stdio::null());
    for round in 0..2 {
        // The run has begun long before it has a reader, and the first one leaves.
        std::thread::sleep(Duration::from_millis(700));
        let mut header = [0; 44];
        fs::File::open(&out).unwrap().read_exact(&mut header).unwrap();
        assert_eq!((&header[..4], &header[36..40]), (&b"RIFF"[..], &b"data"[..]), "reader {round}");
    }
    assert!(run.wait_with_output().unwrap().status.success());
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn inherited_descriptors_carry_sound_and_events() {
    let folder = folder("descriptors");
    let (sent, raw, log) = (folder.join("sent.raw"), folder.join("heard.raw"), folder.join("log"));
    let samples = noise(11_025, 1);
    fs::write(&sent, bytes_of(&samples)).unwrap();
    let script = format!(
        "exec {} {WIRE} --rate 44100 --pcm-in fd:5 --pcm-out fd:6 --events fd:7 --pcm-rate 11025 5<{} 6>{} 7>{}",
        env!("CARGO_BIN_EXE_handsfree"),
        sent.display(),
        raw.display(),
        log.display()
    );
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && text.is_empty() && output.stdout.is_empty(), "{text}");
    let log = fs::read_to_string(&log).unwrap();
    assert!(
        log.lines().next().unwrap().contains("started") && log.lines().last().unwrap().contains("ended"),
        "{log}"
    );
    let heard = samples_of(&fs::read(&raw).unwrap());
    let energy = |all: &[i16]| all.iter().map(|&sample| f64::from(sample).powi(2)).sum::<f64>();
    let share = energy(&heard) / energy(&samples);
    assert!((0.5..1.1).contains(&share), "1 s at 11025 Hz came back with {share} of its energy");
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn invalid_streams_are_refused_by_name() {
    for (words, code, expected) in [
        ("--pcm-out - --pcm-rate 7999", 2, "7999"),
        ("--pcm-out - --pcm-channels 3", 2, "3 channels"),
        ("--pcm-out - --record -", 2, "stdout"),
        ("--pcm-out - --events -", 2, "--events"),
        ("--pcm-in /no/such/pipe", 1, "/no/such/pipe"),
        ("--pcm-out /no/such/folder/pipe", 1, "/no/such/folder/pipe"),
        ("--pcm-in fd:77", 1, "fd:77"),
        ("--pcm-in fd:x", 2, "fd:x"),
    ] {
        let output = start(words, Stdio::null(), Stdio::null()).wait_with_output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{words}: {message}");
        assert!(message.contains(expected), "{words}: {message}");
    }
}

/// Runs a command, and returns its exit code and messages.
fn run(words: &str) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_handsfree"));
    let output = command.args(words.split_whitespace()).stdin(Stdio::null()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn played_raw_samples_are_heard_in_every_coding() {
    let folder = folder("raw-played");
    let said = [noise(8_000, 3), vec![0; 1_600]].concat();
    for (coding, channels, bytes_of_sample) in [
        ("S16_LE", 1, (|sample| sample.to_le_bytes().to_vec()) as fn(i16) -> Vec<u8>),
        ("FLOAT_LE", 2, |sample| (f32::from(sample) / 32_768.0).to_le_bytes().repeat(2)),
        ("S24_3LE", 1, |sample| (i32::from(sample) << 8).to_le_bytes()[..3].to_vec()),
    ] {
        let file = folder.join(coding);
        fs::write(&file, said.iter().flat_map(|&sample| bytes_of_sample(sample)).collect::<Vec<u8>>())
            .unwrap();
        let words = format!(
            "--rate 16000 --play {} --raw-rate 16000 --raw-channels {channels} --raw-format {coding} --pcm-out -",
            file.display()
        );
        let mut run = start(&words, Stdio::null(), Stdio::piped());
        let mut heard = Vec::new();
        run.stdout.take().unwrap().read_to_end(&mut heard).unwrap();
        let events = events(run);
        assert!(events.iter().all(|event| event["event"] != "note"), "{coding}: {events:?}");
        assert!(contains(&samples_of(&heard), &said[..8_000]), "{coding}: {} bytes came back", heard.len());
    }
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn raw_recordings_give_what_wav_files_give() {
    let folder = folder("raw-recordings");
    let path = |name: &str| folder.join(name).display().to_string();
    for (name, seed) in [("far", 4), ("mic", 5)] {
        let samples = noise(16_000, seed);
        fs::write(path(&format!("{name}.raw")), bytes_of(&samples)).unwrap();
        let floats: Vec<f32> = samples.iter().map(|&sample| f32::from(sample) / 32_768.0).collect();
        handsfree_sim::wav::write_mono(path(&format!("{name}.wav")), 16_000, &floats).unwrap();
    }
    let [far, mic, far_wav, mic_wav, out] = ["far.raw", "mic.raw", "far.wav", "mic.wav", "out"].map(path);
    let mut results = Vec::new();
    for (far, mic) in [(&far_wav, &mic_wav), (&far, &mic), (&far_wav, &mic)] {
        let (code, message) =
            run(&format!("process --far {far} --mic {mic} --raw-rate 16000 --out {out}.wav"));
        assert_eq!(code, Some(0), "{message}");
        let words = format!("sim --seconds 1 --far {far} --near {mic} --raw-rate 16000 --out {out}");
        let (code, message) = run(&words);
        assert_eq!(code, Some(0), "{message}");
        results
            .push((fs::read(format!("{out}.wav")).unwrap(), fs::read(format!("{out}/clean.wav")).unwrap()));
    }
    assert!(results.iter().all(|result| result == &results[0]));
    let (code, message) =
        run(&format!("run --io sim --duration 0.1 --near {mic} --raw-rate 16000 --play {far}"));
    assert_eq!(code, Some(0), "{message}");
    fs::write(&mic, [1, 0, 2]).unwrap();
    for (words, code, expected) in [
        (format!("run --io sim --play {far}"), 1, "far.raw: is no audio file: it starts with"),
        (format!("run --io sim --near {far}"), 1, "far.raw: is no audio file"),
        (format!("process --far {far} --mic {far_wav} --out {out}.wav"), 1, "far.raw: is no audio file"),
        (format!("sim --far {far} --raw-rate 100"), 2, "100"),
        (format!("sim --far {far} --raw-rate 16000 --raw-channels 9"), 2, "9"),
        (format!("sim --far {far} --raw-channels 2"), 2, "--raw-rate"),
        (format!("sim --far {far} --raw-rate 16000 --raw-format S17_LE"), 2, "S17_LE"),
        (
            format!("sim --seconds 1 --far {mic} --raw-rate 16000 --out {out}"),
            0,
            "ends with 1 bytes of an incomplete",
        ),
    ] {
        let (found, message) = run(&words);
        assert_eq!(found, Some(code), "{words}: {message}");
        assert!(message.contains(expected), "{words}: {message}");
    }
    fs::remove_dir_all(&folder).unwrap();
}
