//! A bare board, on which the caller serves the interrupts, gives the same samples, times and counters as a board that
//! owns the halves.

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::audio_io::{AudioIo, Direction, StreamHalves};
use handsfree_core::capture::{Bypass, IntakeConfig};
use handsfree_core::playback::OutletConfig;
use handsfree_core::{ChannelMap, Duration, Frame, Gain, SampleRate, SessionFormat, Stats};
use handsfree_sim::acoustics::Wire;
use handsfree_sim::board::{BoardConfig, SimulatedBoard, Step};
use handsfree_sim::device::{DeviceConfig, Jitter};
use handsfree_sim::noise::Rng;
use handsfree_sim::scenario::{CAP, SLOTS, SimSession, request};
use handsfree_tests::{for_seeds, one_in, pick, sample_at};

const SECONDS: i64 = 2;

fn any_side(rng: &mut Rng) -> DeviceConfig {
    let rate = SampleRate::new(pick(rng, &[8_000, 16_000, 48_000])).unwrap();
    let frame = rate.hz() / 100;
    let mut side = DeviceConfig::new(rate, frame);
    side.periods = (0..rng.range(1, 4)).map(|_| rng.range(1, u64::from(2 * frame)) as u32).collect();
    side.ppm = if one_in(rng, 3) { 0.0 } else { rng.uniform() * 2_000.0 - 1_000.0 };
    side.latency = Duration::from_micros(rng.range(0, 100_000) as i64);
    side.jitter = Jitter::Uniform { micros: 100.0 * rng.uniform() };
    side.device_channels = rng.range(1, 3) as u32;
    side
}

/// Runs a board and returns the captured samples, the reference jumps and the counters.
fn run(config: &BoardConfig, is_bare: bool) -> (Vec<i16>, u32, Stats) {
    let mut session = Box::new(SimSession::new());
    let rate = config.capture.rate;
    let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap();
    let mut board = SimulatedBoard::<CAP, SLOTS>::new(config.clone(), Box::new(Wire)).unwrap();
    let mut halves_outside = None;
    let whole = request(config);
    let stream_halves = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
    if is_bare {
        let (mut intake, mut outlet) = (stream_halves.intake.unwrap(), stream_halves.outlet.unwrap());
        intake
            .configure(IntakeConfig {
                rate,
                map: ChannelMap::natural(config.capture.device_channels, 1).unwrap(),
                gain: Gain::UNITY,
                max_period_sample_frames: config.capture.longest_period(),
                clock_domain: board.clock_domain(Direction::Capture),
            })
            .unwrap();
        outlet
            .configure(OutletConfig {
                rate: config.playback.rate,
                map: ChannelMap::natural(1, config.playback.device_channels).unwrap(),
                max_period_sample_frames: config.playback.longest_period(),
                worker_slack_sample_frames: whole.playback.unwrap().worker_slack_sample_frames,
                latency: config.playback.latency,
                clock_domain: board.clock_domain(Direction::Playback),
            })
            .unwrap();
        halves_outside = Some((intake, outlet));
        board.start_bare();
    } else {
        board.start(&whole, stream_halves).unwrap_or_else(|refused| panic!("{}", refused.error));
    }
    let mut track = halves.tracks.open().unwrap();
    let clock = board.clock();
    let mut heard = Vec::new();
    let mut pushed = 0;
    while board.now().as_nanos() < SECONDS * 1_000_000_000 {
        let step = board.step();
        match (board.period(), &mut halves_outside) {
            (None, _) => {}
            (Some(period), Some((intake, outlet))) => {
                match period.direction {
                    Direction::Capture => intake.on_period(period.samples, period.time),
                    Direction::Playback => outlet.on_period(period.samples, period.time),
                };
            }
            (Some(period), None) => {
                panic!("{:?} interrupt reported although the board owns the halves", period.direction)
            }
        }
        if step == Step::Worker {
            let speech: Vec<i16> = (pushed..pushed + 480).map(|at| sample_at(at, 0) / 2).collect();
            pushed += track.push(&speech).unwrap() as u64;
            halves.playback.poll();
            halves.capture.poll(&clock, &mut |frame: &Frame<CAP>| heard.extend_from_slice(frame.samples()));
        }
    }
    (heard, halves.capture.reference_jumps(), halves.stats.read())
}

#[test]
fn a_bare_board_gives_the_same_result_as_a_started_one() {
    for_seeds(30, |rng| {
        let capture = any_side(rng);
        let mut playback = any_side(rng);
        if one_in(rng, 3) {
            playback = DeviceConfig { latency: playback.latency, ..capture.clone() };
        }
        let config = BoardConfig {
            capture,
            playback,
            worker_delay: Duration::from_micros(100),
            worker_spread: Duration::from_micros(500),
            seed: rng.next_u64(),
        };
        let (inside, outside) = (run(&config, false), run(&config, true));
        let loudest = inside.0.iter().map(|sample| sample.unsigned_abs()).max();
        assert!(loudest > Some(3_000), "the played signal was not captured, peak {loudest:?}: {config:?}");
        assert_eq!(inside.0.len(), outside.0.len());
        assert!(inside.0 == outside.0, "the samples differ: {config:?}");
        assert_eq!((inside.1, inside.2), (outside.1, outside.2), "{config:?}");
    });
}
