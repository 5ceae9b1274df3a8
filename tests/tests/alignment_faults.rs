//! Alignment against evidence that is wrong: scattered and late timestamps, tones, clocks far apart, untrue rates, and
//! jumps of the host's clock. Each case is judged against the same canceller with a perfect reference (the oracle), and
//! in its first 10 s against the same run with the reference left alone.

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_cli::sim::SimulatedRun;
use handsfree_core::audio_io::{AudioIo, Direction, StreamHalves};
use handsfree_core::capture::Bypass;
use handsfree_core::timing::AcousticMemory;
use handsfree_core::{Frame, SampleRate, SessionEvent, SessionFormat};
use handsfree_sim::acoustics::Wire;
use handsfree_sim::board::{SimulatedBoard, Step};
use handsfree_sim::device::Jitter;
use handsfree_sim::measure::median;
use handsfree_sim::scenario::{CAP, SimSession, request};
use handsfree_tests::echo_windows::{self, EchoSignals, EchoWindow};
use handsfree_tests::{plain_board, with_large_stack};

const MEDIAN_WITHIN_DB: f64 = 2.0;
const WORST_WITHIN_DB: f64 = 4.0;
/// Loss that looking for the echo may cause in the first 10 s, in dB.
const FIRST_WITHIN_DB: f64 = 1.0;

fn run(words: &str) -> SimulatedRun {
    echo_windows::simulate(&format!(
        "--canceller webrtc --near none --no-ns --no-agc --noise-dbfs -100 --seconds 70 {words}"
    ))
    .1
}

/// Returns the measurable windows of 10 s from `from_s` on, and from 10 s after each disturbance.
fn windows(run: &SimulatedRun, from_s: f64, disturbances_s: &[f64]) -> Vec<EchoWindow> {
    EchoSignals::of_run(run).settled_windows(from_s, disturbances_s, 10.0)
}

/// Checks the windows from `from_s` on against the oracle, and prints the result.
fn check_settled(words: &str, run: &SimulatedRun, from_s: f64, disturbances_s: &[f64]) -> Vec<String> {
    let settled = windows(run, from_s, disturbances_s);
    let middle = median(settled.iter().map(EchoWindow::behind_db)).expect("a measurable window");
    let worst = settled.iter().map(EchoWindow::behind_db).fold(f64::MIN, f64::max);
    let reached = median(settled.iter().map(|window| window.db)).expect("a measurable window");
    println!("{words}: {reached:.1} dB, median {middle:.2} and worst {worst:.2} dB behind");
    if middle <= MEDIAN_WITHIN_DB && worst <= WORST_WITHIN_DB {
        return Vec::new();
    }
    vec![format!("{words}: median {middle:.1} and worst {worst:.1} dB behind the oracle")]
}

/// Checks the first 10 s against the same run without acoustic delay estimation.
fn check_first(words: &str, run: &SimulatedRun) -> Vec<String> {
    let alone = self::run(&format!("{words} --no-echo-search"));
    let first_db = |run: &SimulatedRun| run.report.summary.erle_db[0].db.expect("far end");
    let (searched_db, alone_db) = (first_db(run), first_db(&alone));
    println!(
        "{words}: {searched_db:.1} dB in the first 10 s, {alone_db:.1} dB with the reference left alone"
    );
    if alone_db - searched_db <= FIRST_WITHIN_DB {
        return Vec::new();
    }
    vec![format!(
        "{words}: {searched_db:.1} dB in the first 10 s, {alone_db:.1} dB with the reference left alone"
    )]
}

fn assert_none(failures: &[String]) {
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn scattered_timestamps_of_one_clock_do_not_lose_the_echo() {
    let mut failures = Vec::new();
    for (rate, seeds) in [(16_000, 5..=18), (48_000, 15..=17)] {
        for jitter_us in [1_000, 5_000] {
            for seed in seeds.clone() {
                let words = format!("--rate {rate} --timestamp-jitter-us {jitter_us} --seed {seed}");
                failures.extend(check_settled(&words, &run(&words), 20.0, &[]));
            }
        }
    }
    assert_none(&failures);
}

#[test]
fn a_late_echo_is_found_without_losing_the_canceller() {
    let mut failures = Vec::new();
    for rate in [16_000, 48_000] {
        for bias_ms in [110, 150, 250, 400] {
            let words = format!("--rate {rate} --timestamp-bias-ms {bias_ms}");
            let run = run(&words);
            failures.extend(check_first(&words, &run));
            failures.extend(check_settled(&words, &run, 20.0, &[]));
        }
    }
    assert_none(&failures);
}

/// Honest timestamps outweigh a tone, whose correlation peaks at many delays.
#[test]
#[ignore = "open: a tone still costs more than 4 dB in one window of some cases"]
fn a_tone_does_not_move_the_reference() {
    let mut failures = Vec::new();
    for rate in [16_000, 48_000] {
        for tone in ["ring-back", "siren", "dial-tone"] {
            let words = format!("--rate {rate} --far-program {tone}:30,speech:40");
            let run = run(&words);
            failures.extend(check_first(&words, &run));
            failures.extend(check_settled(&words, &run, 10.0, &[]));
            let delay = &run.report.summary.delay_ms;
            let (truth, estimated) = (delay.truth.unwrap(), delay.estimated.unwrap());
            println!("{words}: delay {estimated:.1} of {truth:.1} ms");
            if (truth - estimated).abs() > 1.0 {
                failures.push(format!("{words}: delay {estimated:.1} ms, expected {truth:.1} ms"));
            }
        }
    }
    assert_none(&failures);
}

#[test]
fn clocks_20000_ppm_apart_are_tracked() {
    let mut failures = Vec::new();
    for rate in [16_000, 48_000] {
        for (device, ppm) in [
            ("playback", 5_500),
            ("playback", -14_000),
            ("capture", 14_000),
            ("playback", 20_000),
            ("capture", 20_000),
        ] {
            let words = format!("--rate {rate} --{device}-ppm {ppm}");
            let run = run(&words);
            failures.extend(check_settled(&words, &run, 20.0, &[]));
            let drift = &run.report.summary.drift_ppm;
            let (truth, estimated) = (drift.truth.unwrap(), drift.estimated.unwrap_or(f64::NAN));
            println!("{words}: drift {estimated:.1} of {truth:.1} ppm");
            // The negated comparison rejects an unknown drift as well.
            if (truth - estimated).abs() > 5.0 || estimated.is_nan() {
                failures.push(format!("{words}: drift {estimated:.1} ppm, expected {truth:.1} ppm"));
            }
        }
    }
    assert_none(&failures);
}

/// Runs a loudspeaker whose real rate becomes, or is from the start, 44.1 of 48 kHz.
#[test]
fn an_untrue_playback_rate_loses_no_captured_frame() {
    let mut failures = Vec::new();
    for rate in [16_000, 48_000] {
        for words in ["--drift-step -81250@20", "--drift-step 88435@20", "--two-clocks --playback-ppm -81250"]
        {
            let words = format!("--rate {rate} {words}");
            let run = run(&words);
            let (lost, gaps) = (run.stats.intake.overrun_frames, run.stats.intake.gap_sample_frames);
            let silent = run.stats.capture.reference_silence_frames;
            println!(
                "{words}: {lost} captured frames lost, gaps of {gaps}, {silent} frames without a reference"
            );
            if lost > 0 || gaps > 0 {
                failures.push(format!("{words}: {lost} captured frames lost, gaps of {gaps} sample frames"));
            }
        }
    }
    assert_none(&failures);
}

/// Runs a session for ten seconds on devices with these clock errors, and returns the rates that it reports as untrue.
fn reported_rates(rate: SampleRate, capture_ppm: f64, playback_ppm: f64) -> Vec<(Direction, u32)> {
    let mut config = plain_board(rate, 28);
    config.capture.ppm = capture_ppm;
    config.playback.ppm = playback_ppm;
    config.capture.jitter = Jitter::Uniform { micros: 200.0 };
    config.playback.jitter = Jitter::Uniform { micros: 200.0 };
    let mut session = Box::new(SimSession::new());
    let mut acoustic_memory = Box::new(AcousticMemory::new());
    let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap();
    halves.capture.use_acoustic_delay(&mut acoustic_memory);
    let mut board = SimulatedBoard::new(config.clone(), Box::new(Wire)).unwrap();
    board.separate_clocks();
    let streams = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
    board.start(&request(&config), streams).unwrap();
    let clock = board.clock();
    let mut reported = Vec::new();
    while board.now().as_nanos() < 10_000_000_000 {
        if board.step() != Step::Worker {
            continue;
        }
        halves.playback.poll();
        halves.capture.poll(&clock, &mut |_: &Frame<CAP>| {});
        while let Some(event) = halves.events.poll() {
            if let SessionEvent::RateUntrue { direction, rate_hz } = event {
                reported.push((direction, rate_hz));
            }
        }
    }
    reported
}

/// Checks that a device at another rate than it states is reported once, with the rate that was measured.
fn check_untrue_rate(hz: u32, found_hz: u32) {
    let rate = SampleRate::new(hz).unwrap();
    let ppm = (f64::from(found_hz) / f64::from(hz) - 1.0) * 1e6;
    for direction in [Direction::Capture, Direction::Playback] {
        let reported = match direction {
            Direction::Capture => reported_rates(rate, ppm, 0.0),
            Direction::Playback => reported_rates(rate, 0.0, ppm),
        };
        println!("{hz} Hz is {found_hz} Hz: {reported:?}");
        assert_eq!(reported.len(), 1, "{hz} Hz is {found_hz} Hz, {direction:?}: {reported:?}");
        let (of, rate_hz) = reported[0];
        assert!(of == direction && rate_hz.abs_diff(found_hz) < found_hz / 1_000, "{reported:?}");
    }
}

#[test]
fn an_untrue_rate_is_reported_with_the_rate_found() {
    with_large_stack(|| {
        check_untrue_rate(48_000, 44_100);
        check_untrue_rate(16_000, 17_400);
        check_untrue_rate(44_100, 32_000);
        check_untrue_rate(32_000, 48_000);
        let honest = SampleRate::new(48_000).unwrap();
        assert_eq!(reported_rates(honest, 15_000.0, -15_000.0), [], "1.5 % is tracked without a report");
    });
}

/// Lets the host's clock jump as after a laptop's sleep, and the drift change at the same moment.
#[test]
fn drift_is_learned_again_after_a_jump_of_the_time() {
    let mut failures = Vec::new();
    for jump_s in [72, 7_200, -72] {
        for search in ["", "--no-echo-search"] {
            let words = format!(
                "--rate 16000 --playback-ppm 50 --time-jump {jump_s}@25 --drift-step 30@25 {search} \
                 --timestamp-jitter-us 20"
            );
            let run = run(&words);
            failures.extend(check_settled(&words, &run, 35.0, &[25.0]));
            let estimated = run.report.summary.drift_ppm.estimated.unwrap_or(f64::NAN);
            println!("{words}: drift {estimated:.1} of 80 ppm");
            if (estimated - 80.0).abs() > 2.0 || estimated.is_nan() {
                failures.push(format!("{words}: drift {estimated:.1} ppm, expected 80 ppm"));
            }
        }
    }
    assert_none(&failures);
}

/// Lets the host's clock jump between times that scatter: each device's times alone show only up to a millisecond by how much.
#[test]
fn a_jump_of_the_time_leaves_the_reference_in_its_place() {
    let mut worst_db = Vec::new();
    for jump_s in [2, 3_600, -3_600] {
        for seed in 1..=4 {
            let words = format!(
                "--near none --no-ns --no-agc --canceller native --noise-dbfs -80 --rate 16000 --seconds 50 --two-clocks \
                 --playback-ppm 80 --render-latency-ms 150 --timestamp-jitter-us 1500 --time-jump {jump_s}@30 --seed {seed}"
            );
            let (_, run) = echo_windows::simulate(&words);
            let behind = windows(&run, 20.0, &[]).iter().map(EchoWindow::behind_db).fold(f64::MIN, f64::max);
            println!("{words}: worst window {behind:.1} dB behind");
            worst_db.push(behind);
        }
    }
    let middle = median(worst_db.iter().copied()).expect("runs");
    let worst = worst_db.iter().copied().fold(f64::MIN, f64::max);
    assert!(middle <= MEDIAN_WITHIN_DB && worst < 10.0, "median {middle:.1} dB behind, worst {worst:.1} dB");
}
