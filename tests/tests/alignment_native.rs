//! Alignment for the default canceller. It removes 20 dB more than AEC3, so that the precision of the reference shows:
//! each window from 20 s on is within 4 dB of the oracle, or at least as quiet as AEC3 makes it (50 dB).

use handsfree_tests::echo_windows::simulate;

const SETTLED_S: f64 = 20.0;
const WITHIN_DB: f64 = 4.0;
/// Echo reduction of AEC3 with a perfect reference, less its scatter.
const ENOUGH_DB: f64 = 50.0;

fn check(cases: &[&str]) {
    let mut failures = Vec::new();
    for case in cases {
        for rate in [16_000, 48_000] {
            let words = format!(
                "--canceller native --near none --no-ns --no-agc --noise-dbfs -100 --seconds 60 --rate {rate} {case}"
            );
            let run = simulate(&words).1;
            let settled: Vec<(f64, f64)> = (run.report.summary.erle_db.iter())
                .filter(|window| window.from_s >= SETTLED_S)
                .map(|window| (window.db.expect("far end"), window.oracle_db.expect("far end")))
                .collect();
            println!("{case} --rate {rate}: reduced by, and the oracle by: {settled:.1?} dB");
            if settled.is_empty()
                || settled.iter().any(|(db, oracle)| *db < (oracle - WITHIN_DB).min(ENOUGH_DB))
            {
                failures.push(format!("{case} --rate {rate}: {settled:.1?} dB"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_default_canceller_keeps_its_echo_low_between_two_clocks() {
    check(&["--playback-ppm -50", "--playback-ppm 1000", "--capture-ppm 500", "--capture-ppm 20000"]);
}

#[test]
fn the_default_canceller_keeps_its_echo_low_with_bad_times() {
    check(&[
        "--timestamp-jitter-us 1000 --timestamp-jitter-normal --playback-ppm -200",
        "--timestamp-bias-ms 60 --playback-ppm -300",
        "--timestamp-bias-ms 250",
        "--timestamp-bias-ms 85 --rt60-ms 580 --timestamp-jitter-us 300 --timestamp-jitter-normal --playback-ppm 5000",
        "--capture-period 441 --playback-period 1024 --playback-ppm 300",
    ]);
}
