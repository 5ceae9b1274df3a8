//! A device that stands still without reporting it has lost sound: it is counted as an xrun and told as an event. One that
//! delivers in bursts, is late or changes its latency has lost nothing.

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::audio_io::{AudioIo, Direction, StreamHalves};
use handsfree_core::capture::Bypass;
use handsfree_core::{Duration, Frame, SampleRate, SessionEvent, SessionFormat, Stats};
use handsfree_sim::acoustics::Wire;
use handsfree_sim::board::{BoardConfig, SimulatedBoard, Step};
use handsfree_sim::device::Jitter;
use handsfree_sim::noise::Rng;
use handsfree_sim::scenario::{CAP, SLOTS, SimSession, request};
use handsfree_tests::{for_seeds, plain_board};

type Board<'a> = SimulatedBoard<'a, CAP, SLOTS>;

/// Runs a session for some seconds, calls `incident` with the board after each of the given times, and returns the counters
/// and the stalls that were told, in milliseconds.
fn run(
    config: &BoardConfig,
    seconds: f64,
    times_s: &[f64],
    incident: &dyn Fn(&mut Board<'_>),
) -> (Stats, Vec<(Direction, f64)>) {
    let rate = config.capture.rate;
    let mut session = Box::new(SimSession::new());
    let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap();
    let mut board = SimulatedBoard::new(config.clone(), Box::new(Wire)).unwrap();
    let streams = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
    board.start(&request(config), streams).unwrap();
    let clock = board.clock();
    let (mut times, mut told) = (times_s.iter().peekable(), Vec::new());
    loop {
        let now_s = board.now().as_nanos() as f64 / 1e9;
        if now_s >= seconds {
            return (halves.stats.read(), told);
        }
        if times.next_if(|&&time_s| now_s >= time_s).is_some() {
            incident(&mut board);
        }
        if board.step() != Step::Worker {
            continue;
        }
        halves.playback.poll();
        halves.capture.poll(&clock, &mut |_: &Frame<CAP>| {});
        while let Some(event) = halves.events.poll() {
            if let SessionEvent::DeviceStalled { direction, sample_frames } = event {
                told.push((direction, f64::from(sample_frames) * 1e3 / f64::from(rate.hz())));
            }
        }
    }
}

/// Returns a board with random rates, periods, bursts, latencies and errors of the timestamps.
fn random_board(rng: &mut Rng) -> BoardConfig {
    let rate = SampleRate::new([16_000, 44_100, 48_000][rng.range(0, 3) as usize]).unwrap();
    let mut config = plain_board(rate, rng.next_u64());
    for device in [&mut config.capture, &mut config.playback] {
        let period = rate.hz() / [400, 100, 50][rng.range(0, 3) as usize];
        device.periods = vec![period, period / 2 + rng.range(1, 40) as u32];
        device.ppm = [0.0, 100.0, -3_000.0, 20_000.0, -20_000.0][rng.range(0, 5) as usize];
        device.burst_periods = [1, 1, 4, 8][rng.range(0, 4) as usize];
        device.latency = Duration::from_millis(rng.range(5, 200) as i64);
        device.jitter = match rng.range(0, 3) {
            0 => Jitter::None,
            1 => Jitter::Uniform { micros: 3_000.0 },
            _ => Jitter::Normal { micros: 1_000.0 },
        };
    }
    config
}

#[test]
fn a_stalled_device_is_an_xrun_of_the_length_that_it_lost() {
    for_seeds(24, |rng| {
        let config = random_board(rng);
        let direction = [Direction::Capture, Direction::Playback][rng.range(0, 2) as usize];
        let stall_ms = rng.range(10, 400) as f64;
        let span = Duration::from_micros((stall_ms * 1e3) as i64);
        let at_s = [6.0 + rng.uniform(), 11.0 + rng.uniform(), 11.0 + rng.uniform()];
        let at_s = &at_s[..rng.range(1, 3) as usize];
        let (stats, told) = run(&config, 15.0, at_s, &|board| board.stall(direction, span));
        let expected_ms = stall_ms * at_s.len() as f64;
        let sum_ms: f64 = told.iter().map(|(_, ms)| ms).sum();
        let text = format!("{direction:?} stalled for {expected_ms} ms: {told:?} with {config:?}");
        assert!(told.iter().all(|(told, _)| *told == direction), "{text}");
        assert!((sum_ms - expected_ms).abs() < 4.0 * at_s.len() as f64, "{text}");
        assert_eq!(told.len(), at_s.len(), "{text}");
        let (stalls, lost) = match direction {
            Direction::Capture => (stats.intake.stalls, stats.intake.stalled_sample_frames),
            Direction::Playback => (stats.outlet.stalls, stats.outlet.stalled_sample_frames),
        };
        assert_eq!(stalls as usize, told.len(), "{text}");
        let lost_ms = f64::from(lost) * 1e3 / f64::from(config.capture.rate.hz());
        assert!((lost_ms - sum_ms).abs() < 0.1, "{lost_ms} ms counted: {text}");
        assert!(stats.xruns() >= stalls, "{stats:?}");
    });
}

#[test]
fn bursts_rates_and_jitter_are_no_stalls() {
    for_seeds(24, |rng| {
        let config = random_board(rng);
        let (_, told) = run(&config, 15.0, &[], &|_| {});
        assert_eq!(told, [], "{config:?}");
    });
}

#[test]
fn latency_steps_and_late_workers_are_no_stalls() {
    for_seeds(12, |rng| {
        let config = random_board(rng);
        let by = Duration::from_millis(rng.range(5, 300) as i64);
        let (_, told) = run(&config, 15.0, &[6.0, 9.0], &|board| board.step_render_latency(by));
        assert_eq!(told, [], "latency: {config:?}");
        let (_, told) = run(&config, 15.0, &[6.0, 9.0], &|board| board.stall_worker(by));
        assert_eq!(told, [], "worker: {config:?}");
    });
}
