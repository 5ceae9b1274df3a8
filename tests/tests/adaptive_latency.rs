//! A playback ring that holds fewer frames while the worker is punctual: new sound is heard earlier, all of it is heard, and an
//! underrun ends that.

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::audio_io::{AudioIo, StreamHalves};
use handsfree_core::capture::Bypass;
use handsfree_core::playback::AdaptiveFill;
use handsfree_core::{Duration, Frame, SampleRate, SessionEvent, SessionFormat};
use handsfree_sim::acoustics::Wire;
use handsfree_sim::board::{BoardConfig, SimulatedBoard, Step};
use handsfree_sim::scenario::{CAP, SimSession, request};
use handsfree_tests::{for_seeds, pick, plain_board, with_large_stack};

const RATE_HZ: u64 = 48_000;
/// Sound that is pushed once a second: a frame, because a track waits for a whole one.
const BURST: [i16; 480] = [1_000; 480];

fn rate() -> SampleRate {
    SampleRate::new(RATE_HZ as u32).unwrap()
}

/// What was heard, and how the ring changed.
struct Heard {
    /// Position in the microphone's signal at which each burst began, after the position at which it was pushed.
    latencies: Vec<u64>,
    /// Time in seconds and number of frames of each change of the ring.
    changes: Vec<(f64, u32, u32)>,
    underruns: u32,
    /// Number of samples that differ from silence.
    loud_samples: usize,
}

/// Plays bursts for a time on a board whose microphone hears the loudspeaker by a wire. The worker stalls at `stall_s`.
fn play(config: BoardConfig, seconds: u64, stall_s: Option<f64>) -> Heard {
    let mut session = Box::new(SimSession::new());
    let format = SessionFormat { rate: rate(), near_channels: 1, far_channels: 1 };
    let mut halves = session.split::<NoopRawMutex, _, _>(format, Bypass, ()).unwrap();
    let mut fill = AdaptiveFill::new(halves.stats);
    let request = request(&config);
    let mut board = SimulatedBoard::new(config, Box::new(Wire)).unwrap();
    board.start(&request, StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) }).unwrap();
    let mut track = halves.tracks.open().unwrap();
    let clock = board.clock();
    let now_s = |board: &SimulatedBoard<'_, _, _>| board.now().as_nanos() as f64 / 1e9;
    let (mut pushed_at, mut clean, mut changes) = (Vec::new(), Vec::new(), Vec::new());
    let mut stall_s = stall_s;
    // Half a second more, so that the last burst is heard whole.
    while now_s(&board) < seconds as f64 + 0.5 {
        if stall_s.is_some_and(|at| now_s(&board) >= at) {
            board.stall_worker(Duration::from_millis(100));
            stall_s = None;
        }
        if board.step() != Step::Worker {
            continue;
        }
        // Not in step with the periods, so that a difference of a frame is not lost in one of a period.
        if now_s(&board) >= (pushed_at.len() + 1) as f64 {
            pushed_at.push((now_s(&board) * RATE_HZ as f64) as u64);
            assert_eq!(track.push(&BURST).unwrap(), BURST.len());
        }
        halves.playback.poll_adaptive(&mut fill, &mut ());
        halves.capture.poll(&clock, &mut |frame: &Frame<CAP>| {
            clean.resize(frame.stamp.position as usize, 0);
            clean.extend_from_slice(frame.samples());
        });
        while let Some(event) = halves.events.poll() {
            if let SessionEvent::PlaybackFillChanged { frames, most_frames } = event {
                assert_eq!(frames as usize, fill.frames());
                changes.push((now_s(&board), frames, most_frames));
            }
        }
    }
    let latencies = pushed_at
        .iter()
        .map(|&at| {
            let heard = clean[at as usize..].iter().position(|&sample: &i16| sample != 0);
            heard.expect("each burst is heard") as u64
        })
        .collect();
    let loud_samples = clean.iter().filter(|&&sample| sample != 0).count();
    Heard { latencies, changes, underruns: halves.stats.read().outlet.underruns, loud_samples }
}

fn mean_ms(latencies: &[u64]) -> f64 {
    latencies.iter().sum::<u64>() as f64 * 1e3 / RATE_HZ as f64 / latencies.len() as f64
}

#[test]
fn new_sound_is_heard_earlier_once_the_worker_was_punctual_for_ten_seconds() {
    for_seeds(12, |rng| {
        with_large_stack(|| {
            let mut config = plain_board(rate(), rng.next_u64());
            let period = pick(rng, &[480, 240, 960, 441, 512]);
            config.playback.periods = vec![period];
            config.capture.periods = vec![period];
            // Some slack beyond the period, which a worker that is never late by a period does not need.
            config.worker_spread = Duration::from_micros(rng.range(2_000, 4_000) as i64);
            let heard = play(config, 40, None);
            if period == 512 {
                // A period takes two frames once in a while, and the ring has no more from the start.
                assert!(heard.changes.is_empty() && heard.underruns == 0, "{:?}", heard.changes);
                return;
            }
            let [(at_s, frames, most_frames)] = heard.changes[..] else {
                panic!("period {period}: changes {:?}", heard.changes);
            };
            let (before, after) = (mean_ms(&heard.latencies[1..9]), mean_ms(&heard.latencies[15..]));
            println!(
                "period {period}: {before:.1} ms, from {at_s:.1} s on {after:.1} ms, {frames} of {most_frames} frames"
            );
            assert_eq!((heard.underruns, frames), (0, period.div_ceil(480)));
            assert!((9.5..12.0).contains(&at_s), "{at_s} s");
            let spared_ms = 10.0 * f64::from(most_frames - frames);
            // Each latency is exact to the time between two runs of the worker.
            assert!((before - after - spared_ms).abs() < 3.0, "{before:.1} and {after:.1} ms");
            assert_eq!(heard.loud_samples, BURST.len() * heard.latencies.len(), "each burst is heard whole");
        });
    });
}

#[test]
fn an_underrun_brings_the_frames_back_for_twenty_seconds() {
    with_large_stack(|| {
        let mut config = plain_board(rate(), 3);
        config.worker_spread = Duration::from_millis(3);
        let heard = play(config, 60, Some(25.3));
        let changes: Vec<_> = heard.changes.iter().map(|&(_, frames, most)| (frames, most)).collect();
        assert_eq!(changes, [(1, 2), (2, 2), (1, 2)]);
        assert_eq!(heard.underruns, 1);
        let [first, back, again] = [0, 1, 2].map(|change| heard.changes[change].0);
        println!("fewer frames at {first:.1} s, as many again at {back:.1} s, fewer at {again:.1} s");
        assert!((25.3..25.6).contains(&back), "{back} s");
        assert!((19.5..22.0).contains(&(again - back)), "{again} s");
    });
}
