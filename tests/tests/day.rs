//! Two clocks that differ by 500 ppm and vary over a day: no slip of the reference, no xrun, constant latency (fault 12).

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::audio_io::{AudioIo, Direction, StreamHalves};
use handsfree_core::capture::Bypass;
use handsfree_core::{Frame, SampleRate, Session, SessionFormat};
use handsfree_sim::acoustics::Wire;
use handsfree_sim::board::{SimulatedBoard, Step};
use handsfree_sim::device::Jitter;
use handsfree_sim::scenario::request;
use handsfree_tests::{plain_board, with_large_stack};

const RATE_HZ: u32 = 16_000;
type DaySession = Session<160, 1, 16, 16, 32, 8, 16_000>;

/// Results of a run with two clocks of varying rates.
struct DriftRun {
    jumps: u32,
    xruns: u32,
    lost_sample_frames: u64,
    playback_fill: (u32, u32),
    frames: u64,
    worst_drift_error_ppm: f64,
}

/// Runs a board for `hours` with the loudspeaker `ppm` fast, varying by 20 ppm within each hour.
fn run_board(hours: f64, ppm: f64, seed: u64) -> DriftRun {
    let rate = SampleRate::new(RATE_HZ).unwrap();
    let mut session = Box::new(DaySession::new());
    let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap();
    let mut config = plain_board(rate, seed);
    config.playback.ppm = ppm;
    config.playback.latency = handsfree_core::Duration::from_millis(40);
    config.playback.jitter = Jitter::Uniform { micros: 200.0 };
    config.capture.jitter = Jitter::Uniform { micros: 200.0 };
    // Positions start just below 2^32, so that they cross it during the run.
    config.capture.first_position = u64::from(u32::MAX) - 1_000_000;
    config.playback.first_position = u64::from(u32::MAX) - 2_000_000;
    let mut board = SimulatedBoard::<160, 1>::new(config.clone(), Box::new(Wire)).unwrap();
    let stream_halves = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
    board.start(&request(&config), stream_halves).map_err(|refused| refused.error).unwrap();
    halves.playback.poll();
    let clock = board.clock();
    let end_ns = (hours * 3.6e12) as i64;
    let mut run = DriftRun {
        jumps: 0,
        xruns: 0,
        lost_sample_frames: 0,
        playback_fill: (u32::MAX, 0),
        frames: 0,
        worst_drift_error_ppm: 0.0,
    };
    let mut next_rate_change_ns = 0;
    let mut drift_ppm = ppm;
    while board.now().as_nanos() < end_ns {
        let now_ns = board.now().as_nanos();
        if now_ns >= next_rate_change_ns {
            if now_ns > 60_000_000_000
                && let Some((playback, capture)) = halves.capture.rates()
            {
                let error_ppm = (playback.ppm - capture.ppm - drift_ppm).abs();
                run.worst_drift_error_ppm = run.worst_drift_error_ppm.max(error_ppm);
            }
            let phase = now_ns as f64 / 3.6e12 * core::f64::consts::TAU;
            drift_ppm = ppm + 20.0 * phase.sin();
            board.change_ppm(Direction::Playback, drift_ppm);
            next_rate_change_ns += 10_000_000_000;
        }
        if board.step() != Step::Worker {
            continue;
        }
        halves.playback.poll();
        let lost = &mut run.lost_sample_frames;
        let polled =
            halves.capture.poll(&clock, &mut |frame: &Frame<160>| *lost += u64::from(frame.stamp.lost));
        run.frames += polled as u64;
        if run.frames > 100 {
            let fill = halves.stats.read().playback.ring_fill;
            run.playback_fill = (run.playback_fill.0.min(fill), run.playback_fill.1.max(fill));
        }
    }
    run.jumps = halves.capture.reference_jumps();
    run.xruns = halves.stats.read().xruns();
    run
}

fn check(hours: f64, ppm: f64, seed: u64) {
    let begun = std::time::Instant::now();
    let run = with_large_stack(|| run_board(hours, ppm, seed));
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{hours} h at {ppm} ppm in {seconds:.1} s: {} frames, fill {:?}, drift within {:.2} ppm",
        run.frames, run.playback_fill, run.worst_drift_error_ppm
    );
    assert_eq!(run.jumps, 1, "the reference jumped again after it was found");
    assert_eq!((run.xruns, run.lost_sample_frames), (0, 0));
    assert!(run.playback_fill.1 - run.playback_fill.0 <= 1, "{:?}", run.playback_fill);
    let expected = hours * 360_000.0;
    assert!((run.frames as f64 - expected).abs() < 20.0, "{} of {expected}", run.frames);
}

#[test]
fn clocks_500_ppm_apart_run_for_an_hour_without_a_slip() {
    check(1.0, 500.0, 1);
    check(1.0, -500.0, 2);
}

#[test]
#[ignore = "soak: a day"]
fn clocks_500_ppm_apart_run_for_a_day_without_a_slip() {
    check(24.0, 500.0, 3);
}
