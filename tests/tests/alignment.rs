//! Alignment of the echo reference: each case compares the echo reduction, window by window, with that of the same
//! canceller with a perfect reference (the oracle).
//!
//! `make test` runs every case with one seed at 48 kHz and at 16 kHz; `make soak` runs five seeds at each rate.

use clap::Parser;
use handsfree::pcm::{from_i16, to_i16};
use handsfree_cli::args::{Cli, Command};
use handsfree_cli::duplex::duplex;
use handsfree_cli::evaluate::{advanced, direct, processor_delay_samples};
use handsfree_cli::sim;
use handsfree_cli::switches::{CancellerName, Switches};
use handsfree_core::{Format, SampleRate};
use handsfree_sim::measure::{erle_windows, median};
use handsfree_sim::report::{EstimatePoint, SimulationReport, Summary};
use handsfree_sim::wav::Clip;

/// Length of each case, in seconds; only the far end speaks.
const SECONDS: f64 = 70.0;
/// Time from which windows are compared.
const SETTLED_S: f64 = 20.0;
const MEDIAN_WITHIN_DB: f64 = 2.0;
const WORST_WITHIN_DB: f64 = 4.0;

fn simulate(words: &str) -> SimulationReport {
    let fixed =
        "handsfree sim --canceller webrtc --near none --no-ns --no-agc --noise-dbfs -100 --json --out unused";
    let line = format!("{fixed} --seconds {SECONDS} {words}");
    let cli = Cli::try_parse_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{error}"));
    let Command::Sim(args) = cli.command else { panic!("not a simulation: {line}") };
    sim::run(&args, &mut |_| {}).unwrap_or_else(|error| panic!("{line}: {error}")).report
}

/// Returns by how many dB the echo reduction of each settled window is below the oracle's.
fn behind_db(summary: &Summary) -> Vec<f64> {
    let settled = summary.erle_db.iter().filter(|window| window.from_s >= SETTLED_S);
    settled.map(|window| window.oracle_db.expect("oracle") - window.db.expect("far end")).collect()
}

fn check_case(words: &str) -> Result<(), String> {
    let summary = simulate(words).summary;
    let behind = behind_db(&summary);
    let middle = median(behind.iter().copied()).expect("five windows");
    let worst = behind.iter().copied().fold(f64::MIN, f64::max);
    let reached = median(summary.erle_db.iter().filter(|w| w.from_s >= SETTLED_S).filter_map(|w| w.db));
    println!("{words:75} {:5.1} dB, median {middle:5.2} and worst {worst:5.2} dB behind", reached.unwrap());
    if middle > MEDIAN_WITHIN_DB || worst > WORST_WITHIN_DB {
        return Err(format!("{words}: {behind:.1?} dB behind the oracle"));
    }
    Ok(())
}

/// Runs every case with every seed at both rates, and reports all failures together.
fn check_all(cases: &[&str], seeds: std::ops::RangeInclusive<u64>) {
    let mut failures = Vec::new();
    for case in cases {
        for seed in seeds.clone() {
            for rate in [48_000, 16_000] {
                failures.extend(check_case(&format!("{case} --rate {rate} --seed {seed}")).err());
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

const DRIFT: &[&str] = &[
    "--playback-ppm 0",
    "--playback-ppm 50",
    "--playback-ppm -50",
    "--playback-ppm 200",
    "--capture-ppm -200",
    "--playback-ppm -500",
    "--capture-ppm 500",
    "--playback-ppm 1000",
    "--playback-ppm -1000",
    "--capture-ppm 1000",
];

const LATENCY: &[&str] = &[
    "--render-latency-ms 20",
    "--render-latency-ms 50 --playback-ppm 100",
    "--render-latency-ms 200 --playback-ppm -100",
    "--render-latency-ms 600 --playback-ppm 100",
    "--render-latency-ms 1500 --playback-ppm 100",
    "--render-latency-ms 900 --playback-ppm 1000",
];

const JITTER: &[&str] = &[
    "--timestamp-jitter-us 0 --playback-ppm 200",
    "--timestamp-jitter-us 200 --playback-ppm 200",
    "--timestamp-jitter-us 1000 --playback-ppm 200",
    "--timestamp-jitter-us 200 --timestamp-jitter-normal --playback-ppm 200",
    "--timestamp-jitter-us 1000 --timestamp-jitter-normal --playback-ppm -200",
];

/// Timestamps with a constant error: the echo arrives later or earlier than they indicate.
const BIAS: &[&str] = &[
    "--timestamp-bias-ms -80",
    "--timestamp-bias-ms -20 --playback-ppm 200",
    "--timestamp-bias-ms 60 --playback-ppm -300",
    "--timestamp-bias-ms 200",
    "--timestamp-bias-ms 400 --playback-ppm 100",
];

const DEVICES: &[&str] = &[
    "--capture-period 441 --playback-period 1024 --playback-ppm 300",
    "--capture-period 24 --playback-period 240 --playback-ppm -300",
    "--playback-rate 44100 --capture-rate 16000 --playback-ppm 300 --capture-period 160",
];

#[test]
fn alignment_holds_with_drift_on_either_device() {
    check_all(DRIFT, 1..=1);
}

#[test]
fn alignment_holds_for_latencies_from_20_to_1500_ms() {
    check_all(LATENCY, 1..=1);
}

#[test]
fn alignment_holds_with_jittered_timestamps() {
    check_all(JITTER, 1..=1);
}

#[test]
fn alignment_holds_when_timestamps_are_biased() {
    check_all(BIAS, 1..=1);
}

#[test]
fn alignment_holds_for_different_periods_and_rates() {
    check_all(DEVICES, 1..=1);
}

#[test]
#[ignore = "soak: every case with five seeds at both rates"]
fn alignment_holds_in_every_case_with_five_seeds() {
    check_all(&[DRIFT, LATENCY, JITTER, BIAS, DEVICES].concat(), 1..=5);
}

/// A jump of the latency or a change of the rate at 30 s: within 6 dB of the oracle after 3 s and
/// within 4 dB after 10 s.
fn check_recovery(words: &str) -> Result<(), String> {
    let report = simulate(words);
    let behind = |from_s: f64, to_s: f64| {
        let inside = |at_s: f64| at_s >= from_s && at_s < to_s;
        let pairs = report.erle_curve.iter().zip(&report.oracle_curve).filter(|(w, _)| inside(w.from_s));
        median(pairs.filter_map(|(ours, oracle)| Some(oracle.db? - ours.db?))).expect("far end")
    };
    let (soon, later) = (behind(33.0, 37.0), behind(40.0, 50.0));
    println!("{words:75} {soon:5.2} dB behind after 3 s, {later:5.2} after 10 s");
    if soon > 6.0 || later > 4.0 {
        return Err(format!("{words}: {soon:.1} dB behind after 3 s, {later:.1} after 10 s"));
    }
    Ok(())
}

#[test]
fn alignment_recovers_after_jumps_of_latency_and_rate() {
    let mut failures = Vec::new();
    for step in [
        "--latency-step 150@30",
        "--latency-step -40@30",
        "--latency-step -60@30",
        "--drift-step 200@30",
        "--drift-step -200@30",
    ] {
        for rate in [48_000, 16_000] {
            for ppm in [0, 200] {
                let words = format!("{step} --render-latency-ms 100 --playback-ppm {ppm} --rate {rate}");
                failures.extend(check_recovery(&words).err());
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn delay_converges_to_1_ms_in_2_s_and_drift_to_2_ppm_in_20_s() {
    for seed in 1..=5 {
        for (ppm, latency_ms) in [(137.0, 80), (-640.0, 600)] {
            let words = format!(
                "--playback-ppm {ppm} --render-latency-ms {latency_ms} --timestamp-jitter-us 200 --rate 16000 --seed {seed}"
            );
            let report = simulate(&words);
            let worst = |points: &[EstimatePoint], from_s: f64| {
                let settled = points.iter().filter(|point| point.at_s >= from_s);
                let errors = settled.map(|point| (point.truth.unwrap() - point.estimated.unwrap()).abs());
                errors.fold(0.0, f64::max)
            };
            let (delay_ms, drift_ppm) = (worst(&report.delay, 2.0), worst(&report.drift, 20.0));
            println!("{words}: delay within {delay_ms:.3} ms, drift within {drift_ppm:.2} ppm");
            assert!(delay_ms < 1.0, "{words}: {delay_ms} ms");
            assert!(drift_ppm < 2.0, "{words}: {drift_ppm} ppm");
        }
    }
}

/// Processes two recordings from devices with different clocks. Only the echo reveals the drift.
#[test]
fn drift_between_two_recordings_is_found_from_the_echo() {
    let rate = SampleRate::new(48_000).unwrap();
    let format = Format::with_rate(rate, 1).unwrap();
    let switches =
        Switches { no_ns: true, no_agc: true, canceller: CancellerName::Webrtc, ..Switches::DEFAULT };
    let delay = processor_delay_samples(&switches, rate).unwrap();
    for ppm in [0.0, 300.0, -1_000.0] {
        let words = format!("--capture-ppm {ppm} --render-latency-ms 0 --capture-latency-ms 0");
        let signals = simulate(&words).signals;
        // The loudspeaker's recording is on its own clock.
        let clip = Clip::far().to_mono_at(rate.hz());
        let far: Vec<i16> = to_i16(&clip.iter().copied().cycle().take(signals.mic.len()).collect::<Vec<_>>());
        let mic = to_i16(&signals.mic);
        let mut voice = switches.voice(format, format).unwrap();
        let duplex = duplex(rate, &far, &mic, None, voice.as_dyn()).unwrap();
        let mut oracle_voice = switches.voice(format, format).unwrap();
        let oracle = direct(oracle_voice.as_dyn(), rate, &to_i16(&signals.far), &mic).unwrap();
        let settled_db = |clean: &[i16]| {
            let clean = from_i16(&advanced(clean, delay));
            let windows = erle_windows(&signals.mic, &clean, &signals.far, &[], rate.hz(), 10.0);
            median(windows.iter().filter(|w| w.from_s >= SETTLED_S).filter_map(|w| w.db)).unwrap()
        };
        let (reached_db, oracle_db) = (settled_db(&duplex.clean), settled_db(&oracle));
        let drift_ppm = duplex.drift_ppm.unwrap();
        println!("{ppm:6} ppm: {reached_db:.1} dB, oracle {oracle_db:.1} dB, drift found {drift_ppm:.1} ppm");
        assert!(oracle_db - reached_db <= MEDIAN_WITHIN_DB, "{ppm} ppm: {reached_db} of {oracle_db} dB");
        assert!((drift_ppm + ppm).abs() < 5.0, "{ppm} ppm: found {drift_ppm}");
    }
}
