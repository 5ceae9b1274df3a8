//! Command-line interface of `handsfree sim` and `handsfree process`: files, stdout, exit codes, errors. Fault 24.
#![allow(missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use handsfree_cli::evaluate::{advanced, direct, processor_delay_samples};
use handsfree_cli::switches::Switches;
use handsfree_core::{Format, SampleRate};
use handsfree_sim::measure;
use handsfree_sim::wav;
use serde_json::Value;

/// Temporary folder of one test, removed when the test passes.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.0.join(name)).unwrap()
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

fn succeeds(words: &[&str]) -> Output {
    let output = handsfree(words);
    assert_eq!(output.status.code(), Some(0), "{words:?}: {}", text(&output.stderr));
    output
}

fn json(output: &Output) -> Value {
    let out = text(&output.stdout);
    assert!(out.starts_with('{') && out.trim_end().ends_with('}'), "{out}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// Returns noise in bursts: no part resembles another, it suffices for echo reduction figures and is fast to generate.
fn noise(count: usize, seed: u64, peak: f64) -> Vec<i16> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|at| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let loud = (at / 9_600) % 5 < 3;
            if loud { (((state >> 40) as f64 / f64::from(1 << 23) - 1.0) * peak) as i16 } else { 0 }
        })
        .collect()
}

/// Returns a WAV file made of the given format tag, number of channels, rate, bits per sample and sample bytes.
fn wav_bytes(tag: u16, channels: u16, rate_hz: u32, bits: u16, data: &[u8]) -> Vec<u8> {
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

fn pcm16(samples: &[i16]) -> Vec<u8> {
    wav_bytes(1, 1, 48_000, 16, &samples.iter().flat_map(|s| s.to_le_bytes()).collect::<Vec<u8>>())
}

/// Returns the number of channels, the rate and the samples of a file that the command wrote, which must be 16-bit PCM.
fn read_back(path: &str) -> (u16, u32, Vec<i16>) {
    let bytes = fs::read(path).unwrap();
    assert_eq!((&bytes[..4], &bytes[8..16]), (&b"RIFF"[..], &b"WAVEfmt "[..]), "{path}");
    let short = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    assert_eq!((short(20), short(34)), (1, 16), "{path}: 16-bit PCM");
    let rate_hz = u32::from_le_bytes(bytes[24..28].try_into().unwrap());
    let data = bytes.windows(4).position(|four| four == b"data").unwrap() + 8;
    let samples = bytes[data..].chunks_exact(2).map(|two| i16::from_le_bytes([two[0], two[1]])).collect();
    (short(22), rate_hz, samples)
}

const SUMMARY_KEYS: [&str; 11] = [
    "delay_ms",
    "drift_ppm",
    "erle_db",
    "frames",
    "near_end",
    "processing_delay_samples",
    "rate_hz",
    "realtime_factor",
    "seconds",
    "seed",
    "xruns",
];

fn check_summary(summary: &Value) {
    // Only 'process' reports on the echo.
    let mut keys_of_sim = keys(summary);
    keys_of_sim.retain(|key| *key != "echo");
    assert_eq!(keys_of_sim, SUMMARY_KEYS);
    assert_eq!(keys(&summary["delay_ms"]), ["estimated", "true"]);
    assert_eq!(keys(&summary["drift_ppm"]), ["estimated", "true"]);
    assert_eq!(keys(&summary["near_end"]), ["level_change_db", "si_sdr_db"]);
    assert_eq!(keys(&summary["frames"]), ["captured", "lost", "played"]);
    for window in summary["erle_db"].as_array().unwrap() {
        assert_eq!(keys(window), ["db", "from_s", "oracle_db", "to_s"]);
    }
}

#[test]
fn json_mode_prints_only_the_report_on_stdout() {
    let folder = Folder::new("json");
    let out = folder.file("report");
    let output = succeeds(&["sim", "--seconds", "21", "--seed", "5", "--json", "--out", &out]);
    let summary = json(&output);
    check_summary(&summary);
    assert_eq!(text(&output.stdout), text(&folder.bytes("report/report.json")));
    assert_eq!((summary["seed"].as_u64(), summary["rate_hz"].as_u64()), (Some(5), Some(48_000)));
    assert_eq!(summary["seconds"].as_f64(), Some(21.0));
    let windows = summary["erle_db"].as_array().unwrap();
    let bounds: Vec<_> =
        windows.iter().map(|w| (w["from_s"].as_f64().unwrap(), w["to_s"].as_f64().unwrap())).collect();
    assert_eq!(bounds, [(0.0, 10.0), (10.0, 20.0), (20.0, 21.0)]);
    assert!(windows[0]["db"].is_number() && windows[0]["oracle_db"].is_number());
    assert!(windows[2]["db"].is_null(), "only the talker is active there: {}", windows[2]);
    assert!((summary["delay_ms"]["true"].as_f64().unwrap() - 50.0).abs() < 0.1);
    assert!((summary["delay_ms"]["estimated"].as_f64().unwrap() - 50.0).abs() < 1.0);
    assert_eq!(summary["drift_ppm"]["true"].as_f64(), Some(0.0));
    assert!(summary["near_end"]["si_sdr_db"].is_number());
    assert_eq!(summary["xruns"].as_u64(), Some(0));
    assert_eq!(summary["frames"]["lost"].as_u64(), Some(0));
    assert!(summary["frames"]["captured"].as_u64().unwrap() >= 21 * 48_000);
    assert!(text(&output.stderr).is_empty(), "{}", text(&output.stderr));
    let html = text(&folder.bytes("report/report.html"));
    assert!(html.contains("<html") && html.contains("--seed 5"));
    assert!(
        !html.contains("http://") && !html.contains("https://"),
        "the page must load nothing from the network"
    );
}

#[test]
fn a_comparison_has_a_row_for_each_canceller() {
    let folder = Folder::new("compare");
    let out = folder.file("report");
    let words = ["sim", "--seconds", "6", "--rate", "16000", "--no-agc", "--compare", "--out", &out];
    let output = succeeds(&[&words[..], &["--json"]].concat());
    let summary = json(&output);
    let rows = summary["comparison"].as_array().unwrap();
    let reduction = |k: usize| rows[k]["echo_reduction_db"].as_f64().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["canceller"].as_str().unwrap()).collect();
    assert_eq!(names, ["native", "webrtc", "webrtc, gentle", "off"]);
    let run = summary["erle_db"][0]["db"].as_f64().unwrap();
    assert!((reduction(0) - run).abs() < 1e-3, "the default is native: {rows:?}");
    assert!(reduction(1) > 10.0 && reduction(2) > 10.0 && reduction(3) < 3.0, "{rows:?}");
    let page = text(&folder.bytes("report/report.html"));
    assert!(page.contains("Other cancellers") && page.contains("--compare"));
    let table = text(&succeeds(&words).stdout);
    assert!(table.contains("webrtc, gentle"), "{table}");
}

#[test]
fn the_table_names_the_path_of_the_report() {
    let folder = Folder::new("table");
    let out = folder.file("here");
    let output = succeeds(&["sim", "--seconds", "3", "--out", &out]);
    let table = text(&output.stdout);
    assert!(table.contains("here/report.html") && table.contains("handsfree sim"), "{table}");
    assert!(table.lines().count() >= 6, "{table}");
}

#[test]
fn recordings_are_mono_16_bits_equally_long_and_aligned() {
    for (name, more) in [
        ("plain", &[][..]),
        ("rates", &["--rate", "16000", "--capture-rate", "44100", "--playback-rate", "48000"][..]),
        (
            "late",
            &["--render-latency-ms", "180", "--capture-latency-ms", "35", "--capture-period", "333"][..],
        ),
    ] {
        let folder = Folder::new(&format!("aligned-{name}"));
        let out = folder.file("report");
        // Without voice processing the terminal's output is the microphone signal, with the delay removed.
        let switches = ["--no-aec", "--no-ns", "--no-agc", "--no-hpf"];
        let mut words = vec!["sim", "--seconds", "9", "--noise-dbfs", "-90", "--json", "--out", &out];
        words.extend(switches.iter().chain(more));
        let summary = json(&succeeds(&words));
        let rate_hz = summary["rate_hz"].as_u64().unwrap() as u32;
        let signal = |file: &str| {
            let (channels, rate, samples) = read_back(&folder.file(&format!("report/{file}.wav")));
            assert_eq!((channels, rate, samples.len()), (1, rate_hz, 9 * rate_hz as usize), "{name}: {file}");
            samples.iter().map(|&s| f32::from(s) / 32_768.0).collect::<Vec<f32>>()
        };
        let (far, mic, near, clean) = (signal("far"), signal("mic"), signal("near"), signal("clean"));
        let max_offset = rate_hz as usize / 2;
        assert_eq!(measure::best_offset(&mic, &clean, max_offset), 0, "{name}: microphone and clean");
        // At the end only the talker is active, and the microphone records the talker at the same position.
        let last = 2 * mic.len() / 3 + max_offset;
        assert_eq!(
            measure::best_offset(&near[last..], &mic[last..], max_offset),
            0,
            "{name}: near and microphone"
        );
        // At the start only the far end is active. Its echo travels 0.4 m through air, which takes 1.2 ms; the recordings
        // contain no device latency.
        let first = mic.len() / 3;
        let echo_delay_ms =
            measure::best_offset(&far[..first], &mic[..first], max_offset) as f64 / f64::from(rate_hz) * 1e3;
        assert!(
            (0.8..=2.2).contains(&echo_delay_ms),
            "{name}: {echo_delay_ms} ms from loudspeaker to microphone"
        );
        let si_sdr_db = measure::si_sdr_db(&mic, &clean).unwrap();
        // Rate conversion removes frequencies above its pass band, and its delay may be a fraction of a sample.
        let floor_db = if name == "rates" { 10.0 } else { 35.0 };
        assert!(si_sdr_db > floor_db, "{name}: {si_sdr_db:.1} dB");
    }
}

#[test]
fn equal_seeds_give_equal_files_and_other_seeds_do_not() {
    let folder = Folder::new("seeds");
    for (out, seed) in [("a", "3"), ("b", "3"), ("c", "4")] {
        succeeds(&["sim", "--seconds", "4", "--seed", seed, "--out", &folder.file(out)]);
    }
    for name in ["far.wav", "mic.wav", "near.wav", "clean.wav"] {
        let of = |out: &str| folder.bytes(&format!("{out}/{name}"));
        assert_eq!(of("a"), of("b"), "{name}");
        if name != "far.wav" {
            assert_ne!(of("a"), of("c"), "{name}");
        }
    }
    let report = |out: &str| {
        let mut report: Value = serde_json::from_slice(&folder.bytes(&format!("{out}/report.json"))).unwrap();
        report["realtime_factor"] = Value::Null;
        report
    };
    assert_eq!(report("a"), report("b"));
    assert_ne!(report("a"), report("c"));
}

#[test]
fn unusual_rates_and_periods_run() {
    let folder = Folder::new("odd");
    for (index, more) in [
        &["--rate", "8000"][..],
        &["--rate", "44100", "--capture-period", "1", "--playback-period", "4093"],
        &["--rate", "24000", "--capture-rate", "96000", "--playback-rate", "8000"],
        &["--rate", "32000", "--capture-rate", "44100", "--capture-period", "997"],
        &["--capture-ppm", "-300", "--playback-ppm", "500", "--timestamp-jitter-us", "900"],
        &["--latency-step", "150@1", "--latency-step", "-40@2", "--timestamp-bias-ms", "-5"],
        &["--near", "none", "--no-aec", "--noise-dbfs", "-120"],
    ]
    .into_iter()
    .enumerate()
    {
        let out = folder.file(&index.to_string());
        let mut words = vec!["sim", "--seconds", "3", "--json", "--out", &out];
        words.extend(more);
        let summary = json(&succeeds(&words));
        check_summary(&summary);
        assert_eq!(summary["seconds"].as_f64(), Some(3.0), "{more:?}");
        assert_eq!(summary["xruns"].as_u64(), Some(0), "{more:?}: {summary}");
    }
}

/// Runs a command that must fail with `code` and print nothing on stdout. Returns its message.
fn fails(words: &[&str], code: i32) -> String {
    let output = handsfree(words);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {message}");
    assert!(output.stdout.is_empty(), "{words:?} prints {}", text(&output.stdout));
    assert!(!message.contains("panicked"), "{words:?}: {message}");
    message
}

#[test]
fn invalid_values_are_named_with_exit_code_2() {
    let folder = Folder::new("refused");
    let out = folder.file("report");
    for (more, expected) in [
        (&["--rate", "22050"][..], "sample rate 22050 Hz: expected a multiple of 100 Hz"),
        (&["--rate", "0"], "sample rate 0 Hz: expected 8000 to 192000 Hz"),
        (&["--rate", "96000"], "96000"),
        (&["--capture-rate", "22050"], "sample rate 22050 Hz"),
        (&["--capture-period", "0"], "a period of 0 sample frames: expected at least 1"),
        (&["--playback-period", "0"], "a period of 0 sample frames: expected at least 1"),
        (&["--playback-period", "40000"], "a period of 40000 sample frames: expected at most 29760"),
        (&["--capture-rate", "192000"], "expected at most the frame's capacity of 960"),
        (&["--seconds", "0"], "--seconds 0: expected 1 to 3600"),
        (&["--seconds", "nan"], "--seconds NaN: expected 1 to 3600"),
        (&["--noise-dbfs", "3"], "--noise-dbfs 3: expected -200 to 0"),
        (&["--latency-step", "150"], "'150': expected AMOUNT@SECONDS"),
        (&["--latency-step", "150@99999"], "--latency-step at 99999: expected 0 to 60"),
        (&["--capture-ppm", "1e9"], "--capture-ppm 1000000000: expected"),
        (&["--render-latency-ms", "-1"], "-1"),
        (&["--seed", "x"], "invalid value 'x' for '--seed"),
        (&["--gentle"], "--gentle with --canceller auto: expected --canceller webrtc"),
        (&["--gentle", "--canceller", "off"], "--gentle with --canceller off: expected --canceller webrtc"),
        (&["--gentle", "--canceller", "webrtc", "--no-aec"], "--gentle with --no-aec: expected"),
        (&["--frobnicate"], "--frobnicate"),
    ] {
        let mut words = vec!["sim", "--out", &out];
        words.extend(more);
        let message = fails(&words, 2);
        assert!(message.contains(expected), "{more:?}: {message}");
    }
    assert!(!Path::new(&out).exists(), "a rejected run must write nothing");
    assert!(fails(&[], 2).contains("Usage"));
}

#[test]
fn file_errors_name_the_file_with_exit_code_1() {
    let folder = Folder::new("file-errors");
    let missing = folder.file("missing.wav");
    let out = folder.file("report");
    let message = fails(&["sim", "--seconds", "2", "--far", &missing, "--out", &out], 1);
    assert!(message.contains(&missing) && message.contains("does not exist"), "{message}");
    let file = folder.file("file");
    fs::write(&file, "not a folder").unwrap();
    let message = fails(&["sim", "--seconds", "1", "--out", &file], 1);
    assert!(message.contains(&file), "{message}");
}

#[test]
fn help_states_every_default() {
    let help = text(&succeeds(&["sim", "--help"]).stdout);
    for (switch, default) in [
        ("--far", "default: a shipped voice"),
        ("--near", "default: a shipped voice"),
        ("--rir", "default: a living room"),
        ("--seconds", "default: 60"),
        ("--rate", "default: 48000"),
        ("--capture-rate", "default: the terminal's"),
        ("--playback-rate", "default: the terminal's"),
        ("--capture-period", "default: 10 ms"),
        ("--playback-period", "default: 10 ms"),
        ("--capture-ppm", "default: 0"),
        ("--playback-ppm", "default: 0"),
        ("--render-latency-ms", "default: 40"),
        ("--capture-latency-ms", "default: 10"),
        ("--timestamp-jitter-us", "default: 50"),
        ("--timestamp-bias-ms", "default: 0"),
        ("--noise-dbfs", "default: -75"),
        ("--seed", "default: 1"),
        ("--out", "default: handsfree-report"),
    ] {
        let lines: Vec<&str> = help.lines().collect();
        let at = lines
            .iter()
            .position(|line| line.trim_start().starts_with(&format!("{switch} ")))
            .unwrap_or_else(|| panic!("{switch}"));
        let paragraph = lines[at..].iter().take(6).map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        assert!(paragraph.contains(default), "{switch}: {paragraph}");
    }
    for switch in ["--latency-step", "--no-aec", "--no-ns", "--no-agc", "--no-hpf", "--json"] {
        assert!(help.contains(switch), "{switch}");
    }
}

/// Fault 24: each file is read, or the message names the file and the problem.
#[test]
fn any_wav_file_is_read_or_rejected_by_name() {
    let folder = Folder::new("kinds");
    let samples = noise(48_000, 1, 9_000.0);
    let as_bytes =
        |bytes_of: &dyn Fn(i16) -> Vec<u8>| samples.iter().flat_map(|&s| bytes_of(s)).collect::<Vec<u8>>();
    let good = pcm16(&samples);
    let of_24 = as_bytes(&|s| (i32::from(s) << 8).to_le_bytes()[..3].to_vec());
    let of_float = as_bytes(&|s| (f32::from(s) / 32_768.0).to_le_bytes().to_vec());
    let of_8_channels = as_bytes(&|s| s.to_le_bytes().repeat(8));
    let mut with_nan = of_float.clone();
    with_nan[4_000..4_004].copy_from_slice(&f32::NAN.to_le_bytes());
    let mut truncated = good.clone();
    truncated.truncate(good.len() / 2 + 1);
    let accepted: [(&str, Vec<u8>, &str); 8] = [
        ("plain.wav", good.clone(), ""),
        ("truncated.wav", truncated, "truncated.wav"),
        ("24-bit.wav", wav_bytes(1, 1, 48_000, 24, &of_24), ""),
        ("float.wav", wav_bytes(3, 1, 48_000, 32, &of_float), ""),
        ("nan.wav", wav_bytes(3, 1, 48_000, 32, &with_nan), "nan.wav"),
        ("eight.wav", wav_bytes(1, 8, 48_000, 16, &of_8_channels), ""),
        ("rate.wav", wav_bytes(1, 1, 22_050, 16, &good[44..]), ""),
        ("wrong.mp3", good.clone(), ""),
    ];
    let far = folder.file("far.wav");
    fs::write(&far, &good).unwrap();
    let clean = folder.file("clean.wav");
    for (name, bytes, note) in accepted {
        let mic = folder.file(name);
        fs::write(&mic, bytes).unwrap();
        let output = succeeds(&["process", "--far", &far, "--mic", &mic, "--out", &clean, "--json"]);
        check_summary(&json(&output));
        let notes = text(&output.stderr);
        assert_eq!(note.is_empty(), notes.is_empty(), "{name}: {notes}");
        assert!(notes.contains(note), "{name}: {notes}");
        // The same file must also work as the far end of a simulation.
        succeeds(&["sim", "--seconds", "1", "--far", &mic, "--out", &folder.file("sim")]);
    }
    let rejected: [(&str, Vec<u8>, &str); 7] = [
        ("empty.wav", Vec::new(), "0 bytes"),
        ("stub.wav", good[..20].to_vec(), "short"),
        ("header.wav", good[..44].to_vec(), "sample"),
        ("text.wav", b"this is plain text and contains no audio at all..".to_vec(), "WAV"),
        ("coded.wav", wav_bytes(0x55, 1, 48_000, 16, &good[44..]), "coded"),
        ("no-channels.wav", wav_bytes(1, 0, 48_000, 16, &good[44..]), "channels"),
        ("no-rate.wav", wav_bytes(1, 1, 0, 16, &good[44..]), "0 Hz"),
    ];
    for (name, bytes, expected) in rejected {
        let mic = folder.file(name);
        fs::write(&mic, bytes).unwrap();
        let message =
            fails(&["process", "--far", &far, "--mic", &mic, "--out", &folder.file("never.wav")], 1);
        assert!(message.contains(&mic) && message.contains(expected), "{name}: {message}");
        let message = fails(&["sim", "--seconds", "1", "--near", &mic, "--out", &folder.file("never")], 1);
        assert!(message.contains(&mic), "{name}: {message}");
    }
    let message =
        fails(&["process", "--far", &folder.0.display().to_string(), "--mic", &far, "--out", &clean], 1);
    assert!(message.contains("is a directory"), "{message}");
    assert!(!folder.0.join("never.wav").exists() && !folder.0.join("never").exists());
}

fn parse_switches(words: &[&str]) -> Switches {
    let has = |word: &str| words.contains(&word);
    Switches {
        no_aec: has("--no-aec"),
        no_ns: has("--no-ns"),
        no_agc: has("--no-agc"),
        no_hpf: has("--no-hpf"),
        ..Switches::DEFAULT
    }
}

/// With one clock, 10 ms periods and no latency, the terminal must add nothing to the voice processor.
#[test]
fn process_equals_direct_calls_bit_for_bit() {
    let folder = Folder::new("direct");
    let (far, mic, clean) = (folder.file("far.wav"), folder.file("mic.wav"), folder.file("clean.wav"));
    for (rate_hz, switches) in [
        (48_000, &[][..]),
        (48_000, &["--no-ns", "--no-agc"][..]),
        (16_000, &["--no-agc"]),
        (44_100, &["--no-ns"]),
        (48_000, &["--no-aec", "--no-ns", "--no-agc", "--no-hpf"]),
    ] {
        let rate = SampleRate::new(rate_hz).unwrap();
        // The length is not a whole number of frames.
        let count = 8 * rate_hz as usize + 123;
        let played = noise(count, 3, 12_000.0);
        let talker = noise(count, 4, 3_000.0);
        let echo_delay = rate_hz as usize / 50;
        let recorded: Vec<i16> = (0..count)
            .map(|at| if at < echo_delay { 0 } else { played[at - echo_delay] / 3 } + if at > count / 2 { talker[at] } else { 0 })
            .collect();
        let to_f32 = |samples: &[i16]| samples.iter().map(|&s| f32::from(s) / 32_768.0).collect::<Vec<f32>>();
        wav::write_mono(&far, rate_hz, &to_f32(&played)).unwrap();
        wav::write_mono(&mic, rate_hz, &to_f32(&recorded)).unwrap();
        let mut words = vec!["process", "--far", &far, "--mic", &mic, "--out", &clean, "--json"];
        words.extend(switches);
        let summary = json(&succeeds(&words));
        check_summary(&summary);

        let switches_set = parse_switches(switches).for_recordings();
        let format = Format::with_rate(rate, 1).unwrap();
        let mut voice = switches_set.voice(format, format).unwrap();
        let delay = processor_delay_samples(&switches_set, rate).unwrap();
        assert_eq!(summary["processing_delay_samples"].as_u64(), Some(delay as u64));
        let expected = advanced(&direct(voice.as_dyn(), rate, &played, &recorded).unwrap(), delay);
        let (channels, found_rate, found) = read_back(&clean);
        assert_eq!((channels, found_rate), (1, rate_hz));
        assert_eq!(
            found.len(),
            expected.len(),
            "the output must have the length of the microphone recording"
        );
        let differ = found.iter().zip(&expected).position(|(a, b)| a != b);
        assert_eq!(differ, None, "{rate_hz} Hz, {switches:?}: first difference");
        assert_eq!((summary["xruns"].as_u64(), summary["frames"]["lost"].as_u64()), (Some(0), Some(0)));
        assert!(summary["delay_ms"]["true"].is_null() && summary["seed"].as_u64() == Some(0));
    }
}

#[test]
fn the_output_has_the_microphones_length() {
    let folder = Folder::new("lengths");
    let (far, mic, clean) = (folder.file("far.wav"), folder.file("mic.wav"), folder.file("clean.wav"));
    for (played, recorded) in [(48_000, 96_017), (96_017, 48_000), (1, 48_000), (48_000, 1), (48_000, 479)] {
        fs::write(&far, pcm16(&noise(played, 5, 9_000.0))).unwrap();
        fs::write(&mic, pcm16(&noise(recorded, 6, 9_000.0))).unwrap();
        let summary = json(&succeeds(&["process", "--far", &far, "--mic", &mic, "--out", &clean, "--json"]));
        assert_eq!(read_back(&clean).2.len(), recorded, "{played} played");
        assert!((summary["seconds"].as_f64().unwrap() - recorded as f64 / 48_000.0).abs() < 1e-3);
    }
}

#[test]
fn process_rejects_invalid_values() {
    let folder = Folder::new("process-refused");
    let (far, clean) = (folder.file("far.wav"), folder.file("clean.wav"));
    fs::write(&far, pcm16(&noise(4_800, 7, 9_000.0))).unwrap();
    let words = ["process", "--far", &far, "--mic", &far, "--out", &clean];
    let with = |more: &[&str]| [&words[..], more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>();
    for (more, expected) in
        [(&["--rate", "22050"], "22050 Hz"), (&["--rate", "96000"], "96000"), (&["--rate", "0"], "0 Hz")]
    {
        let words = with(more);
        let message = fails(&words.iter().map(String::as_str).collect::<Vec<_>>(), 2);
        assert!(message.contains(expected), "{message}");
    }
    let nowhere = folder.file("no/such/folder/clean.wav");
    let message = fails(&["process", "--far", &far, "--mic", &far, "--out", &nowhere], 1);
    assert!(message.contains(&nowhere), "{message}");
    assert!(fails(&["process", "--far", &far], 2).contains("--mic"));
}
