//! How much echo is taken out, and what that costs the talker: the terminal against the same canceller called directly
//! with a perfect reference.
#![allow(missing_docs)]

use clap::Parser;
use handsfree::cli::{Cli, Command, SimArgs};
use handsfree::evaluate::{advanced, direct, processor_delay_samples, to_air, to_pcm};
use handsfree::sim::{self, Run};
use handsfree_core::{Format, SampleRate};
use handsfree_sim::measure;

/// Echo canceller and high-pass only, the echo at least 65 dB above the noise.
const CANCELLER_ONLY: [&str; 6] = ["handsfree", "sim", "--no-ns", "--no-agc", "--noise-dbfs", "-100"];
const SEEDS: [&str; 5] = ["1", "2", "3", "4", "5"];

fn sim_args(more: &[&str]) -> SimArgs {
    let words = CANCELLER_ONLY.iter().chain(more);
    match Cli::parse_from(words).command {
        Command::Sim(args) => *args,
        _ => unreachable!("the second word is sim"),
    }
}

fn simulate(more: &[&str]) -> (SimArgs, Run) {
    let args = sim_args(more);
    let run = sim::run(&args, &mut |_| {}).unwrap();
    (args, run)
}

/// Median of the windows after the first, and how far each falls short of the perfect reference; returns what is wrong.
fn check_erle(run: &Run, name: &str) -> Option<String> {
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

fn none(wrong: Vec<String>) {
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
        // The echo must stand out for such figures to mean anything.
        let signals = &run.report.signals;
        let echo_dbfs = measure::level_dbfs(&signals.mic);
        assert!(echo_dbfs > -35.0, "seed {seed}: an echo of {echo_dbfs:.1} dBFS, noise of -100 dBFS");
    }
    none(wrong);
}

#[test]
fn double_talk_costs_the_talker_no_more_than_the_canceller_itself_does() {
    let mut wrong = Vec::new();
    for seed in SEEDS {
        let (args, run) = simulate(&["--seconds", "60", "--seed", seed]);
        let signals = &run.report.signals;
        let rate = SampleRate::new(args.rate).unwrap();
        let format = Format::with_rate(rate, 1).unwrap();
        let mut voice = args.switches.voice(format, format).unwrap();
        let (far, mic) = (to_pcm(&signals.far), to_pcm(&signals.mic));
        let oracle = direct(voice.as_dyn(), rate, &far, &mic).unwrap();
        let oracle = to_air(&advanced(&oracle, processor_delay_samples(&args.switches, rate).unwrap()));
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
    none(wrong);
}

/// Periods that are no frames, and other latencies, on one clock.
#[test]
fn odd_periods_and_latencies_cancel_echo_too() {
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
    none(wrong);
}

/// The same seed is the same run, sample by sample; another seed is another.
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
