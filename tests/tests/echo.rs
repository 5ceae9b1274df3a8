//! Echo reduction and its effect on the talker's speech, compared with the same canceller called directly with a perfect
//! reference (the oracle).

use clap::Parser;
use handsfree::pcm::{from_i16, to_i16};
use handsfree_cli::args::{Cli, Command, SimArgs};
use handsfree_cli::evaluate::{advanced, direct, processor_delay_samples};
use handsfree_cli::sim::{self, SimulatedRun};
use handsfree_core::{Format, SampleRate};
use handsfree_sim::measure;

/// Command line for echo canceller and high-pass only, with the echo at least 65 dB above the noise.
const CANCELLER_ONLY: [&str; 8] =
    ["handsfree", "sim", "--canceller", "webrtc", "--no-ns", "--no-agc", "--noise-dbfs", "-100"];
const SEEDS: [&str; 5] = ["1", "2", "3", "4", "5"];

fn sim_args(more: &[&str]) -> SimArgs {
    let words = CANCELLER_ONLY.iter().chain(more);
    match Cli::parse_from(words).command {
        Command::Sim(args) => *args,
        _ => unreachable!("the second word is sim"),
    }
}

fn simulate(more: &[&str]) -> (SimArgs, SimulatedRun) {
    let args = sim_args(more);
    let run = sim::run(&args, &mut |_| {}).unwrap();
    (args, run)
}

/// Checks the median of the windows after the first, and each window against the oracle; returns a description of a
/// violation.
fn check_erle(run: &SimulatedRun, name: &str) -> Option<String> {
    let windows = &run.report.summary.erle_db;
    let db = |value: Option<f64>| value.expect("the far end is alone in every window");
    let short: Vec<f64> = windows.iter().map(|window| db(window.oracle_db) - db(window.db)).collect();
    let median = measure::median(windows[1..].iter().map(|window| db(window.db))).unwrap();
    let levels: Vec<f64> = windows.iter().map(|window| db(window.db)).collect();
    let found =
        format!("{name}: median {median:.1} dB, windows {levels:.1?} dB, below the oracle by {short:.2?} dB");
    println!("{found}");
    (median < 45.0 || short.iter().any(|&short| short > 4.0)).then_some(found)
}

fn assert_none_wrong(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_headline_echo_reduction_holds_for_five_seeds() {
    let mut wrong = Vec::new();
    for seed in SEEDS {
        let (_, run) = simulate(&["--near", "none", "--seconds", "70", "--seed", seed]);
        assert_eq!(run.report.summary.erle_db.len(), 7);
        assert_eq!((run.report.summary.xruns, run.report.summary.frames.lost), (0, 0));
        wrong.extend(check_erle(&run, &format!("seed {seed}")));
        // The figures are meaningful only if the echo is well above the noise.
        let signals = &run.report.signals;
        let echo_dbfs = measure::level_dbfs(&signals.mic);
        assert!(echo_dbfs > -35.0, "seed {seed}: an echo of {echo_dbfs:.1} dBFS, noise of -100 dBFS");
    }
    assert_none_wrong(wrong);
}

#[test]
fn double_talk_degrades_speech_no_more_than_direct_apm_calls() {
    let mut wrong = Vec::new();
    for seed in SEEDS {
        let (args, run) = simulate(&["--seconds", "60", "--seed", seed]);
        let signals = &run.report.signals;
        let rate = SampleRate::new(args.rate).unwrap();
        let format = Format::with_rate(rate, 1).unwrap();
        let mut voice = args.switches.voice(format, format).unwrap();
        let (far, mic) = (to_i16(&signals.far), to_i16(&signals.mic));
        let oracle = direct(voice.as_dyn(), rate, &far, &mic).unwrap();
        let oracle = from_i16(&advanced(&oracle, processor_delay_samples(&args.switches, rate).unwrap()));
        // The far end speaks in the first two thirds, the talker in the last two.
        let third = signals.mic.len() / 3;
        let score = |clean: &[f32], span: std::ops::Range<usize>| {
            measure::near_end(&signals.near[span.clone()], &clean[span], args.rate).si_sdr_db.unwrap()
        };
        for (name, span) in [("double talk", third..2 * third), ("alone", 2 * third..3 * third)] {
            let (ours, best) = (score(&signals.clean, span.clone()), score(&oracle, span));
            let found = format!("seed {seed}, {name}: SI-SDR {ours:.2} dB, direct calls {best:.2} dB");
            println!("{found}");
            wrong.extend((ours <= best - 0.5).then_some(found));
        }
        let whole = run.report.summary.near_end.si_sdr_db.unwrap();
        let best = run.oracle_near_end.si_sdr_db.unwrap();
        let found = format!("seed {seed}, report: SI-SDR {whole:.2} dB, direct calls {best:.2} dB");
        wrong.extend((whole <= best - 0.5).then_some(found));
    }
    assert_none_wrong(wrong);
}

/// Periods other than 10 ms, and other latencies, on one clock.
#[test]
fn echo_is_cancelled_at_odd_periods_and_latencies() {
    let mut wrong = Vec::new();
    for more in [
        ["--capture-period", "441", "--playback-period", "1024"],
        ["--capture-period", "24", "--playback-period", "4096"],
        ["--render-latency-ms", "60", "--capture-latency-ms", "3"],
    ] {
        let mut all = vec!["--near", "none", "--seconds", "30"];
        all.extend(more);
        let (_, run) = simulate(&all);
        wrong.extend(check_erle(&run, &more.join(" ")));
    }
    assert_none_wrong(wrong);
}

/// The same seed gives the same samples, another seed gives others.
#[test]
fn a_run_replays_from_its_seed() {
    let run = |seed: &str| simulate(&["--seconds", "6", "--seed", seed]).1.report;
    let (first, again, other) = (run("11"), run("11"), run("12"));
    assert_eq!(first.signals.mic, again.signals.mic);
    assert_eq!(first.signals.clean, again.signals.clean);
    assert_eq!(first.summary.erle_db, again.summary.erle_db);
    assert_eq!(first.summary.delay_ms, again.summary.delay_ms);
    assert_ne!(first.signals.mic, other.signals.mic);
}
