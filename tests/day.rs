//! Fault 12: two clocks that differ by 500 ppm and wander, for a day. No slip, no click, latency flat.
#![allow(missing_docs)]

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::audio_io::{AudioIo, Direction, StreamHalves};
use handsfree_core::capture::Bypass;
use handsfree_core::{Frame, SampleRate, Session, SessionFormat};
use handsfree_sim::acoustics::Wire;
use handsfree_sim::board::{Board, Step};
use handsfree_sim::scenario::request;
use handsfree_sim::side::Jitter;
use handsfree_tests::{plain_board, with_room};

const RATE_HZ: u32 = 16_000;
type DaySession = Session<160, 1, 16, 16, 32, 8, 16_000>;

/// What a stretch of two wandering clocks did to the terminal.
struct Stretch {
    jumps: u32,
    xruns: u32,
    lost_sample_frames: u64,
    playback_fill: (u32, u32),
    frames: u64,
    worst_drift_error_ppm: f64,
}

/// Lives `hours` with the loudspeaker `ppm` fast, wandering by 20 ppm within each hour.
fn live(hours: f64, ppm: f64, seed: u64) -> Stretch {
    let rate = SampleRate::new(RATE_HZ).unwrap();
    let mut session = Box::new(DaySession::new());
    let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap();
    let mut config = plain_board(rate, seed);
    config.playback.ppm = ppm;
    config.playback.latency = handsfree_core::Duration::from_millis(40);
    config.playback.jitter = Jitter::Uniform { micros: 200.0 };
    config.capture.jitter = Jitter::Uniform { micros: 200.0 };
    // A day's counters begin where 32 bits end.
    config.capture.first_position = u64::from(u32::MAX) - 1_000_000;
    config.playback.first_position = u64::from(u32::MAX) - 2_000_000;
    let mut board = Board::<160, 1>::new(config.clone(), Box::new(Wire)).unwrap();
    let stream_halves = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
    board.start(&request(&config), stream_halves).map_err(|refused| refused.error).unwrap();
    halves.playback.poll();
    let clock = board.clock();
    let end_ns = (hours * 3.6e12) as i64;
    let mut stretch = Stretch {
        jumps: 0,
        xruns: 0,
        lost_sample_frames: 0,
        playback_fill: (u32::MAX, 0),
        frames: 0,
        worst_drift_error_ppm: 0.0,
    };
    let mut next_wander_ns = 0;
    let mut drift_ppm = ppm;
    while board.now().as_nanos() < end_ns {
        let now_ns = board.now().as_nanos();
        if now_ns >= next_wander_ns {
            if now_ns > 60_000_000_000
                && let Some((playback, capture)) = halves.capture.rates()
            {
                let error_ppm = (playback.ppm - capture.ppm - drift_ppm).abs();
                stretch.worst_drift_error_ppm = stretch.worst_drift_error_ppm.max(error_ppm);
            }
            let turn = now_ns as f64 / 3.6e12 * core::f64::consts::TAU;
            drift_ppm = ppm + 20.0 * turn.sin();
            board.change_ppm(Direction::Playback, drift_ppm);
            next_wander_ns += 10_000_000_000;
        }
        if board.step() != Step::Worker {
            continue;
        }
        halves.playback.poll();
        let lost = &mut stretch.lost_sample_frames;
        let polled =
            halves.capture.poll(&clock, &mut |frame: &Frame<160>| *lost += u64::from(frame.stamp.lost));
        stretch.frames += polled as u64;
        if stretch.frames > 100 {
            let fill = halves.stats.read().playback.ring_fill;
            stretch.playback_fill = (stretch.playback_fill.0.min(fill), stretch.playback_fill.1.max(fill));
        }
    }
    stretch.jumps = halves.capture.reference_jumps();
    stretch.xruns = halves.stats.read().xruns();
    stretch
}

fn check(hours: f64, ppm: f64, seed: u64) {
    let begun = std::time::Instant::now();
    let stretch = with_room(|| live(hours, ppm, seed));
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{hours} h at {ppm} ppm in {seconds:.1} s: {} frames, fill {:?}, drift within {:.2} ppm",
        stretch.frames, stretch.playback_fill, stretch.worst_drift_error_ppm
    );
    assert_eq!(stretch.jumps, 1, "the reference is found once and never slips");
    assert_eq!((stretch.xruns, stretch.lost_sample_frames), (0, 0));
    assert!(stretch.playback_fill.1 - stretch.playback_fill.0 <= 1, "{:?}", stretch.playback_fill);
    let expected = hours * 360_000.0;
    assert!((stretch.frames as f64 - expected).abs() < 20.0, "{} of {expected}", stretch.frames);
}

#[test]
fn an_hour_at_500_ppm_either_way() {
    check(1.0, 500.0, 1);
    check(1.0, -500.0, 2);
}

#[test]
#[ignore = "soak: a day"]
fn a_day_at_500_ppm() {
    check(24.0, 500.0, 3);
}
