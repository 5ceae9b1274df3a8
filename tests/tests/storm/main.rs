//! Alignment under random mixtures of everything that devices, clocks and far ends do at once: 1,000 seeds, each
//! judged window by window against the same canceller with a perfect reference (the oracle).
//!
//! `make test` runs the seeds that have held, `make soak` all of them. A failure prints the equivalent `handsfree sim` line.
//! `STORM_SEED=123` runs one seed alone, `STORM_SEED=1-200` a range; `STORM_TABLE=1` prints every window of every
//! seed. `STORM_CANCELLER=webrtc` runs them with AEC3 instead of the default canceller. `STORM_LEAD_MS=3` judges the oracle itself with a reference that comes 3 ms earlier: what remains is the
//! scatter of the canceller and the judge.
#![allow(missing_docs)]

mod case;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use handsfree::pcm::{from_i16, to_i16};
use handsfree_cli::args::SimArgs;
use handsfree_cli::evaluate::{advanced, direct, processor_delay_samples};
use handsfree_core::{Format, SampleRate};
use handsfree_sim::measure::median;
use handsfree_sim::report::Signals;
use handsfree_tests::echo_windows::{EchoSignals, EchoWindow, simulate};

use case::StormCase;

/// Time from which windows are compared.
const SETTLED_S: f64 = 20.0;
/// Time after a step of latency or rate at which windows are compared again: the bound of `tests/alignment.rs`.
const GRACE_S: f64 = 10.0;
/// Distance from the oracle in the worst window, in dB, that `WITHIN_SHARE` of the seeds keep.
const WITHIN_DB: f64 = 4.0;
const WITHIN_SHARE: f64 = 0.99;
/// Distance from the oracle that no window of any seed exceeds, in dB.
const NEVER_DB: f64 = 10.0;
/// Median distance from the oracle in the first 10 s, in dB.
const FIRST_DB: f64 = 2.0;
/// Leads of further perfect references, in ms. With tones, silence and long reverberation the canceller itself
/// scatters: the oracle with a lead of 3 ms is more than 4 dB below the oracle without one in half of the seeds. A
/// window that is behind the oracle is therefore judged against the lowest of these perfect references.
const LEADS_MS: [f64; 6] = [2.0, 3.0, 4.0, 6.0, 8.0, 10.0];
/// Number of seeds that run at once.
const THREADS: usize = 2;

struct Outcome {
    case: StormCase,
    first: Option<EchoWindow>,
    settled: Vec<EchoWindow>,
    jumps: u32,
    /// True and estimated drift in ppm and delay in ms at the end of the run.
    truths: String,
    cpu_s: f64,
}

impl Outcome {
    /// Returns how far the worst settled window is below the oracle, in dB; `None` without a measurable window.
    fn worst_db(&self) -> Option<f64> {
        self.settled.iter().map(EchoWindow::behind_db).max_by(f64::total_cmp)
    }

    /// Returns how far the worst window's median second is below the oracle, in dB.
    fn worst_second_db(&self) -> Option<f64> {
        self.settled.iter().map(EchoWindow::second_behind_db).max_by(f64::total_cmp)
    }

    fn print(&self, with_windows: bool) {
        let worst = self.worst_db().map_or("-".to_owned(), |db| format!("{db:.1}"));
        let first = self.first.map_or("-".to_owned(), |window| format!("{:.1}", window.behind_db()));
        println!(
            "seed {:4}: worst {worst:>5} dB behind, first 10 s {first:>5}, {} jumps, {}; {:.1} s; {}",
            self.case.seed,
            self.jumps,
            self.truths,
            self.cpu_s,
            self.case.kinds.join(", ")
        );
        if with_windows {
            println!("    handsfree sim {}", self.case.words);
            for window in self.first.iter().chain(&self.settled) {
                println!(
                    "    {:4.0} s: {:5.1} dB, oracle {:5.1} dB; median second {:5.1} and {:5.1} dB{}",
                    window.from_s,
                    window.db,
                    window.oracle_db,
                    window.second_db,
                    window.oracle_second_db,
                    if window.behind_db() > WITHIN_DB { "  <-" } else { "" }
                );
            }
        }
    }
}

fn run(seed: u64, canceller: &str) -> Outcome {
    let case = StormCase::new(seed, canceller);
    let begun = std::time::Instant::now();
    let (args, run) = simulate(&case.words);
    let (signals, summary) = (&run.report.signals, &run.report.summary);
    let echo = EchoSignals::of_run(&run);
    let control = std::env::var("STORM_LEAD_MS").ok().map(|text| {
        let lead_ms: f64 = text.parse().unwrap_or_else(|_| panic!("STORM_LEAD_MS={text}: expected a number"));
        with_lead(&args, signals, lead_ms)
    });
    let echo = EchoSignals { clean: control.as_deref().unwrap_or(echo.clean), ..echo };
    let mut settled = echo.settled_windows(SETTLED_S, &case.disturbances_s, GRACE_S);
    if settled.iter().any(|window| window.behind_db() > WITHIN_DB) {
        for lead_ms in LEADS_MS {
            let other = with_lead(&args, signals, lead_ms);
            let other = EchoSignals { clean: &other, ..echo };
            let windows = other.settled_windows(SETTLED_S, &case.disturbances_s, GRACE_S);
            settled.iter_mut().for_each(|window| window.lower_oracle(&windows));
        }
    }
    let value = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
    Outcome {
        first: echo.window(0.0),
        settled,
        jumps: run.reference_jumps,
        truths: format!(
            "delay {} of {} ms, drift {} of {} ppm",
            value(summary.delay_ms.estimated),
            value(summary.delay_ms.truth),
            value(summary.drift_ppm.estimated),
            value(summary.drift_ppm.truth)
        ),
        case,
        cpu_s: begun.elapsed().as_secs_f64(),
    }
}

/// Returns the output of the oracle with a reference that comes earlier by `lead_ms`, at the report's times.
fn with_lead(args: &SimArgs, signals: &Signals, lead_ms: f64) -> Vec<f32> {
    let rate = SampleRate::new(signals.rate_hz).expect("the run's rate");
    let format = Format::with_rate(rate, 1).expect("one channel");
    let lead = (lead_ms * f64::from(signals.rate_hz) / 1e3).round() as usize;
    let far = to_i16(&signals.far);
    let earlier: Vec<i16> = far.iter().copied().skip(lead).chain(std::iter::repeat_n(0, lead)).collect();
    let mut voice = args.switches.voice(format, format).expect("the run's voice processor");
    let clean = direct(voice.as_dyn(), rate, &earlier, &to_i16(&signals.mic)).expect("the oracle ran");
    from_i16(&advanced(&clean, processor_delay_samples(&args.switches, rate).expect("the oracle ran")))
}

/// Runs the seeds, on two threads, and returns their outcomes in the order of the seeds.
fn run_all(seeds: &[u64], canceller: &str, with_windows: bool) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let (sender, outcomes) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            let (sender, next) = (sender.clone(), &next);
            let work = move || {
                while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if sender.send(run(seed, canceller)).is_err() {
                        break;
                    }
                }
            };
            // A whole session is built on the stack before it is boxed.
            thread::Builder::new().stack_size(256 << 20).spawn_scoped(scope, work).expect("a thread");
        }
        drop(sender);
        let mut all: Vec<Outcome> = outcomes.iter().inspect(|outcome| outcome.print(with_windows)).collect();
        all.sort_by_key(|outcome| outcome.case.seed);
        all
    })
}

/// Prints for each kind of case how many seeds keep the bound.
fn print_kinds(outcomes: &[Outcome]) {
    let mut kinds: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for outcome in outcomes {
        for kind in &outcome.case.kinds {
            kinds.entry(kind).or_default().extend(outcome.worst_db());
        }
    }
    for (kind, worst) in kinds {
        let within = worst.iter().filter(|&&db| db <= WITHIN_DB).count();
        let largest = worst.iter().copied().fold(f64::MIN, f64::max);
        println!("{kind:26} {within:4} of {:4} within {WITHIN_DB} dB, largest {largest:5.1} dB", worst.len());
    }
}

/// Prints the echo reduction that shares of all settled windows keep.
fn print_windows(outcomes: &[Outcome]) {
    let mut kept: Vec<f64> =
        outcomes.iter().flat_map(|outcome| &outcome.settled).map(|window| window.db).collect();
    kept.sort_by(f64::total_cmp);
    for percent in [1, 5, 25, 50] {
        if let Some(db) = kept.get(kept.len() * percent / 100) {
            println!("{} % of the windows from {SETTLED_S} s on keep {db:.1} dB", 100 - percent);
        }
    }
}

/// Runs the cases and compares all of them with the bounds of the whole storm.
fn check(default_seeds: std::ops::RangeInclusive<u64>) {
    let number =
        |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("STORM_SEED={text}: expected N or N-N"));
    let chosen = std::env::var("STORM_SEED").ok();
    let seeds = chosen.as_deref().map_or(default_seeds, |text| match text.split_once('-') {
        Some((from, to)) => number(from)..=number(to),
        None => number(text)..=number(text),
    });
    let canceller = std::env::var("STORM_CANCELLER").unwrap_or_else(|_| "native".to_owned());
    let with_windows = std::env::var_os("STORM_TABLE").is_some() || seeds.start() == seeds.end();
    let outcomes = run_all(&seeds.collect::<Vec<u64>>(), &canceller, with_windows);
    let measured: Vec<(&Outcome, f64)> =
        outcomes.iter().filter_map(|outcome| Some((outcome, outcome.worst_db()?))).collect();
    let within = measured.iter().filter(|(_, db)| *db <= WITHIN_DB).count();
    let share = within as f64 / measured.len().max(1) as f64;
    let first_db = median(outcomes.iter().filter_map(|outcome| Some(outcome.first?.behind_db())));
    print_kinds(&outcomes);
    let seconds: Vec<f64> = outcomes.iter().filter_map(Outcome::worst_second_db).collect();
    println!(
        "by the median second: {} of {} seeds within {WITHIN_DB} dB, {} more than {NEVER_DB} dB behind",
        seconds.iter().filter(|&&db| db <= WITHIN_DB).count(),
        seconds.len(),
        seconds.iter().filter(|&&db| db > NEVER_DB).count()
    );
    println!(
        "{within} of {} seeds within {WITHIN_DB} dB ({:.1} %), {} more than {NEVER_DB} dB behind, first 10 s {:.2} dB \
         behind (median); {} seeds without a measurable window",
        measured.len(),
        share * 100.0,
        measured.iter().filter(|(_, db)| *db > NEVER_DB).count(),
        first_db.unwrap_or(f64::NAN),
        outcomes.len() - measured.len()
    );
    print_windows(&outcomes);
    let mut beyond: Vec<&(&Outcome, f64)> = measured.iter().filter(|(_, db)| *db > WITHIN_DB).collect();
    beyond.sort_by(|a, b| b.1.total_cmp(&a.1));
    if !with_windows {
        beyond.iter().for_each(|(outcome, _)| outcome.print(true));
    }
    let fails = share < WITHIN_SHARE
        || beyond.iter().any(|(_, db)| *db > NEVER_DB)
        || first_db.is_some_and(|db| db > FIRST_DB);
    let seeds: Vec<String> = beyond.iter().map(|(outcome, _)| outcome.case.seed.to_string()).collect();
    assert!(!fails, "beyond {WITHIN_DB} dB, worst first (STORM_SEED=n replays one): {}", seeds.join(" "));
}

/// Seeds at 16 kHz that the default canceller keeps within the bound: of the first 50, and four that were mended later. Four of
/// the first 50 are beyond it still (27, 28, 38 and 42), and a fifth of others: the bound of the whole storm, 99 %,
/// is open (docs/echo-reference.md).
const HOLDING_SEEDS: [u64; 39] = [
    2, 3, 5, 6, 7, 9, 11, 13, 15, 16, 17, 18, 19, 21, 23, 24, 25, 26, 29, 30, 31, 32, 33, 34, 36, 37, 39, 40,
    41, 43, 45, 46, 48, 49, 50, 54, 86, 93, 98,
];
/// Seeds of the first 50 that AEC3 keeps within the bound in little time. Five of the 50 are beyond it (8, 14, 21, 44 and 46).
const HOLDING_SEEDS_WEBRTC: [u64; 12] = [2, 3, 9, 12, 18, 19, 31, 33, 39, 40, 41, 48];

fn check_holding(seeds: &[u64], canceller: &str) {
    let outcomes = run_all(seeds, canceller, false);
    assert_eq!(outcomes.len(), seeds.len());
    let beyond = outcomes.iter().filter(|outcome| outcome.worst_db().is_none_or(|db| db > WITHIN_DB));
    let beyond: Vec<u64> =
        beyond.inspect(|outcome| outcome.print(true)).map(|outcome| outcome.case.seed).collect();
    assert!(beyond.is_empty(), "beyond {WITHIN_DB} dB (STORM_SEED=n replays one): {beyond:?}");
}

#[test]
fn random_cases_that_held_hold_again() {
    check_holding(&HOLDING_SEEDS, "native");
    check_holding(&HOLDING_SEEDS_WEBRTC, "webrtc");
}

#[test]
#[ignore = "soak: 50 random cases"]
fn alignment_keeps_up_with_the_oracle_in_50_random_cases() {
    check(1..=50);
}

#[test]
#[ignore = "soak: 1,000 random cases"]
fn alignment_keeps_up_with_the_oracle_in_1000_random_cases() {
    check(1..=1_000);
}
