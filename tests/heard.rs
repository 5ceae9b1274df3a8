//! What was heard is known to the sample: the position that a track reports against what the simulated loudspeaker
//! really plays at that moment, over latencies, clocks, pauses, stalls, and devices that come and go.
#![allow(missing_docs)]

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::audio_io::{AudioIo, Direction, Directions, StreamHalves};
use handsfree_core::av_sync::{AvSyncConfig, AvSynchronizer};
use handsfree_core::capture::Bypass;
use handsfree_core::playback::{Track, TrackEvent};
use handsfree_core::{ChannelMap, Duration, Frame, Halves, Instant, SampleRate, SessionFormat};
use handsfree_sim::acoustics::Wire;
use handsfree_sim::board::{Board, BoardConfig, Step};
use handsfree_sim::noise::Rng;
use handsfree_sim::scenario::{CAP, SLOTS, SimSession, request};
use handsfree_sim::side::{Jitter, SideConfig};
use handsfree_tests::{for_seeds, one_in, outlet_config, plain_board, played_at, with_room};

/// The source says its own position: sample `n` is `n` modulo this plus [`BASE`], so that it is never silence and
/// not mistaken for a faded one.
const CYCLE: u64 = 16_000;
const BASE: u64 = 8_000;

type Voice<'p, 'a> = Track<'p, 'a, NoopRawMutex, CAP, SLOTS>;

fn source_at(position: u64) -> i16 {
    (position % CYCLE + BASE) as i16
}

/// A board with a session on it, and a voice that is fed all the time.
struct Stage<'a> {
    board: Board<'a, CAP, SLOTS>,
    halves: Worker<'a>,
    /// Sample frames of the source from one sample of the device to the next, at most.
    most_step: u32,
}

struct Worker<'a> {
    capture: handsfree_core::capture::Pipeline<'a, CAP, SLOTS, Bypass>,
    playback: handsfree_core::playback::Pipeline<'a, CAP, SLOTS>,
    stats: handsfree_core::StatsReader<'a>,
}

impl Stage<'_> {
    /// Goes on to the next moment the worker runs.
    fn step(&mut self, voice: &mut Voice<'_, '_>, feed: bool) {
        while self.board.step() != Step::Worker {}
        if feed {
            while voice.push(&[source_at(voice.position())]).unwrap() > 0 {}
        }
        self.halves.playback.poll();
        let clock = self.board.clock();
        self.halves.capture.poll(&clock, &mut |_: &Frame<CAP>| {});
    }

    fn run_for(&mut self, span: Duration, voice: &mut Voice<'_, '_>) {
        let until = self.board.now() + span;
        while self.board.now() < until {
            self.step(voice, true);
        }
    }
}

/// Runs a test with a voice on a board.
fn on_board(
    config: BoardConfig,
    rate: SampleRate,
    test: impl FnOnce(&mut Stage<'_>, &mut Voice<'_, '_>) + Send,
) {
    with_room(|| {
        let mut session = Box::new(SimSession::new());
        let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
        let halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap();
        let Halves { intake, outlet, capture, playback, tracks, stats, .. } = halves;
        let mut board = Board::new(config.clone(), Box::new(Wire)).unwrap();
        let stream_halves = StreamHalves { intake: Some(intake), outlet: Some(outlet) };
        board.start(&request(&config), stream_halves).unwrap_or_else(|refused| panic!("{}", refused.error));
        let most_step = rate.hz().div_ceil(config.playback.rate.hz());
        let mut stage = Stage { most_step, board, halves: Worker { capture, playback, stats } };
        let mut voice = tracks.open().unwrap();
        test(&mut stage, &mut voice);
    });
}

/// The source's position, modulo [`CYCLE`], that is at the converter, unless that is silent or fades.
fn truth_now(stage: &Stage<'_>) -> Option<i64> {
    let [before, now] =
        stage.board.loudspeaker_now()?.map(|sample| (sample * 32_768.0).round() as i64 - BASE as i64);
    let follows = (now - before).abs() <= i64::from(stage.most_step);
    (now >= 0 && before >= 0 && follows && now != before).then_some(now)
}

/// How far the reported position is from the sample at the converter.
fn error_now(stage: &Stage<'_>, voice: &Voice<'_, '_>) -> Option<i64> {
    let reported = voice.played_position(stage.board.now());
    let half = CYCLE as i64 / 2;
    Some((reported as i64 - truth_now(stage)? + half).rem_euclid(CYCLE as i64) - half)
}

fn board_with(rate: SampleRate, latency_ms: i64, ppm: f64, jitter: Jitter, seed: u64) -> BoardConfig {
    let mut config = plain_board(rate, seed);
    config.playback.latency = Duration::from_millis(latency_ms);
    config.playback.ppm = ppm;
    config.playback.jitter = jitter;
    config
}

/// Sample frames by which the position may be off at any moment, beside the timestamps' own error.
const EXACT: i64 = 1;

#[test]
fn the_position_is_the_sample_at_the_converter() {
    let rate = SampleRate::new(48_000).unwrap();
    for (latency_ms, ppm, jitter, within) in [
        (0, 0.0, Jitter::None, EXACT),
        (50, 0.0, Jitter::None, EXACT),
        (1_500, 0.0, Jitter::None, EXACT),
        (200, 300.0, Jitter::None, EXACT),
        (200, -1_000.0, Jitter::None, EXACT),
        // 200 us are 10 sample frames; the clock filters most of it.
        (1_500, 200.0, Jitter::Normal { micros: 200.0 }, 6),
    ] {
        on_board(board_with(rate, latency_ms, ppm, jitter, 1), rate, |stage, voice| {
            let settle = Duration::from_millis(latency_ms + 3_000);
            stage.run_for(settle, voice);
            let (mut worst, mut compared) = (0, 0);
            for _ in 0..3_000 {
                stage.step(voice, true);
                if let Some(error) = error_now(stage, voice) {
                    worst = worst.max(error.abs());
                    compared += 1;
                }
            }
            println!(
                "{latency_ms} ms, {ppm} ppm, {jitter:?}: {compared} moments, off by at most {worst} sample frames"
            );
            assert!(compared > 2_500, "{compared} moments");
            assert!(worst <= within, "{latency_ms} ms, {ppm} ppm, {jitter:?}: {worst} sample frames");
        });
    }
}

#[test]
fn pauses_starvation_and_stalls_do_not_shift_it() {
    let rate = SampleRate::new(16_000).unwrap();
    for_seeds(6, |rng| {
        let seed = rng.next_u64();
        let latency_ms = rng.range(0, 400) as i64;
        let mut rng = Rng::for_stream(seed, "pauses");
        on_board(board_with(rate, latency_ms, 100.0, Jitter::None, seed), rate, |stage, voice| {
            stage.run_for(Duration::from_millis(latency_ms + 3_000), voice);
            let (mut worst, mut compared) = (0, 0);
            let mut feed = true;
            for _ in 0..4_000 {
                match rng.range(0, 40) {
                    0 => voice.pause(),
                    1..4 => voice.resume(),
                    4 => feed = false,
                    5..7 => feed = true,
                    7 if one_in(&mut rng, 4) => {
                        stage.board.stall_worker(Duration::from_millis(rng.range(20, 200) as i64));
                    }
                    _ => {}
                }
                stage.step(voice, feed);
                if let Some(error) = error_now(stage, voice) {
                    worst = worst.max(error.abs());
                    compared += 1;
                }
            }
            let underruns = stage.halves.stats.read().outlet.underruns;
            println!("{latency_ms} ms: {compared} moments, {underruns} underruns, off by at most {worst}");
            assert!(compared > 500 && worst <= EXACT, "{compared} moments, off by {worst}");
        });
    });
}

/// The loudspeaker's samples from here on until it has been silent for a while, at one clock.
fn rest_of_utterance(stage: &mut Stage<'_>, voice: &mut Voice<'_, '_>, silence: Duration) -> (Instant, u64) {
    let mut last_sound = stage.board.now();
    let mut events = Vec::new();
    loop {
        stage.step(voice, false);
        events.extend(voice.poll_event(stage.board.now()));
        let now = stage.board.now();
        if stage.board.loudspeaker_now().is_some_and(|[_, sample]| sample != 0.0) {
            last_sound = now;
        }
        if now - last_sound > silence {
            let cut = events.iter().find_map(|event| match event {
                TrackEvent::Interrupted { position } => Some(*position),
                _ => None,
            });
            return (last_sound, cut.expect("told of the interruption"));
        }
    }
}

#[test]
fn an_interruption_is_silent_in_time_and_tells_the_last_sample() {
    let rate = SampleRate::new(48_000).unwrap();
    for (latency_ms, fade_ms) in [(0, 3), (50, 5), (200, 10), (1_500, 5)] {
        let mut config = board_with(rate, latency_ms, 0.0, Jitter::None, 7);
        config.worker_delay = Duration::from_micros(100);
        config.worker_spread = Duration::from_micros(100);
        on_board(config, rate, |stage, voice| {
            voice.set_fade(Duration::from_millis(fade_ms)).unwrap();
            stage.board.record();
            stage.run_for(Duration::from_millis(latency_ms + 2_000), voice);
            let asked = stage.board.now();
            voice.interrupt();
            assert_eq!(voice.interrupted_at(asked), None, "the mixer has not been asked yet");
            let silence = Duration::from_millis(latency_ms + 300);
            let (last_sound, position) = rest_of_utterance(stage, voice, silence);
            let took = last_sound - asked;
            // One fade, the playback ring's fill (one period and the worker's slack: 2 frames), one frame, the device.
            let bound = Duration::from_millis(fade_ms + 20 + 10 + latency_ms);
            let recording = stage.board.take_recording().unwrap();
            let heard: Vec<i16> = recording.far.iter().map(|&s| (s * 32_768.0).round() as i16).collect();
            let begin = heard.iter().position(|&s| s != 0).unwrap();
            let end = heard.iter().rposition(|&s| s != 0).unwrap() + 1;
            let fade = (fade_ms * 48) as usize;
            println!(
                "{latency_ms} ms, fade {fade_ms} ms: silent after {:.1} ms (bound {:.1}), {} sample frames heard, told {position}",
                took.as_millis_f64(),
                bound.as_millis_f64(),
                end - begin
            );
            assert!(took <= bound, "{took:?}");
            // A fade's very last samples are nothing.
            assert!((end - begin) as u64 <= position && position - (end - begin) as u64 <= 2);
            let whole = end - begin - fade;
            let source: Vec<i16> = (0..whole as u64).map(source_at).collect();
            assert_eq!(heard[begin..begin + whole], source);
            assert_eq!(voice.interrupted_at(stage.board.now()), Some(position));
            assert_eq!(voice.played_position(stage.board.now()), position);
        });
    }
}

#[test]
fn a_lost_device_takes_what_it_held_with_it() {
    let rate = SampleRate::new(48_000).unwrap();
    for (latency_ms, new_rate) in [(0, 48_000), (50, 48_000), (400, 44_100), (1_000, 16_000)] {
        on_board(board_with(rate, latency_ms, 0.0, Jitter::None, 3), rate, |stage, voice| {
            stage.run_for(Duration::from_millis(latency_ms + 2_000), voice);
            let truth = truth_now(stage).unwrap() as u64;
            stage.board.unplug(Direction::Playback);
            stage.run_for(Duration::from_millis(300), voice);
            let heard = voice.played_position(stage.board.now());
            // The sample that was at the converter when the plug was pulled counts as heard.
            assert!(
                (heard % CYCLE).abs_diff(truth) <= 1,
                "{latency_ms} ms: told {heard}, sample {truth} was playing"
            );
            voice.interrupt();
            stage.run_for(Duration::from_millis(20), voice);
            assert_eq!(
                voice.interrupted_at(stage.board.now()),
                Some(heard),
                "no device, so nothing more is heard"
            );

            let begin = voice.position();
            let new_rate = SampleRate::new(new_rate).unwrap();
            let mut side = SideConfig::new(new_rate, new_rate.sample_frames() as u32);
            side.latency = Duration::from_millis(120);
            let stream_halves = stage.board.stop(Directions::Both);
            stage.board.replace_device(Direction::Playback, side.clone()).unwrap();
            let board = BoardConfig { playback: side, ..plain_board(rate, 3) };
            stage
                .board
                .start(&request(&board), stream_halves)
                .unwrap_or_else(|refused| panic!("{}", refused.error));
            stage.run_for(Duration::from_millis(4_000), voice);
            let heard = voice.played_position(stage.board.now());
            println!("{latency_ms} ms then {} Hz: {begin}..{heard} heard", new_rate.hz());
            assert!(heard > begin + 48_000, "it plays again");
            if new_rate == rate {
                assert!(error_now(stage, voice).unwrap().abs() <= EXACT);
            }
        });
    }
}

#[test]
fn what_a_running_device_dropped_is_not_heard_wherever_in_a_frame_that_was() {
    for_seeds(60, |rng| {
        let rate = SampleRate::new(48_000).unwrap();
        let mut session = Box::new(SimSession::new());
        let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
        let mut halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap();
        halves.outlet.configure(outlet_config(rate, ChannelMap::natural(1, 1).unwrap(), 960)).unwrap();
        let mut voice = halves.tracks.open().unwrap();
        let mut out = [0_i16; 960];
        let mut written = 0;
        for _ in 0..rng.range(1, 5) {
            while voice.push(&[source_at(voice.position())]).unwrap() > 0 {}
            halves.playback.poll();
            let period = rng.range(1, 961) as usize;
            halves.outlet.on_period(&mut out[..period], played_at(written, rate, 0));
            written += period as u64;
            halves.capture.poll(&|| Instant::ORIGIN, &mut |_: &Frame<CAP>| {});
        }
        let dropped = rng.range(1, written.min(1_000) + 1);
        // As an interrupt does that starts its device anew: the stream is not stopped before.
        halves.outlet.discarded(dropped as u32);
        let played = written - dropped;
        if one_in(rng, 2) {
            // It goes on after a gap; what comes then is due in a later second.
            let later = written + 48_000;
            halves.outlet.on_period(&mut out[..480], played_at(later, rate, 0));
        }
        halves.outlet.stop();
        halves.capture.poll(&|| Instant::ORIGIN, &mut |_: &Frame<CAP>| {});
        let over = Instant::ORIGIN + Duration::of_sample_frames(written + 1_000, rate);
        assert_eq!(voice.played_position(over), played, "{written} written, {dropped} of them dropped");
    });
}

/// The device has another rate than the mix: the conversion's delay is part of the truth.
#[test]
fn another_device_rate_does_not_shift_it() {
    let rate = SampleRate::new(48_000).unwrap();
    for device_hz in [44_100, 16_000, 96_000] {
        let device = SampleRate::new(device_hz).unwrap();
        let mut config = plain_board(rate, 5);
        config.playback = SideConfig::new(device, device.sample_frames() as u32);
        config.playback.latency = Duration::from_millis(80);
        on_board(config, rate, |stage, voice| {
            stage.run_for(Duration::from_millis(3_000), voice);
            let (mut worst, mut compared) = (0, 0);
            for _ in 0..2_000 {
                stage.step(voice, true);
                // Where the ramp wraps the conversion rings.
                let phase = voice.played_position(stage.board.now()) % CYCLE;
                if (1_000..CYCLE - 1_000).contains(&phase)
                    && let Some(error) = error_now(stage, voice)
                {
                    worst = worst.max(error.abs());
                    compared += 1;
                }
            }
            // A sample of the device is up to 3 of the mix, and is played for that long.
            let within = EXACT + 48_000 / i64::from(device_hz);
            println!("{device_hz} Hz: {compared} moments, off by at most {worst}");
            assert!(compared > 500 && worst <= within, "{device_hz} Hz: off by {worst}");
        });
    }
}

/// Video follows the sample at the converter, not the host's clock nor the time of pushing.
#[test]
fn video_follows_what_is_heard() {
    let rate = SampleRate::new(16_000).unwrap();
    on_board(board_with(rate, 300, 800.0, Jitter::None, 9), rate, |stage, voice| {
        let mut video = AvSynchronizer::<u64, 16>::new(AvSyncConfig::new(25.0)).unwrap();
        let media = |position: u64| Duration::of_sample_frames(position, rate);
        let (mut pushed, mut shown, mut worst_ms) = (0u64, 0u64, 0.0f64);
        while stage.board.now() < Instant::ORIGIN + Duration::from_millis(30_000) {
            let now_ms = stage.board.now().as_nanos() / 1_000_000;
            // Ten seconds in, the voice is silent for a while, and so video stands.
            if (10_000..12_000).contains(&now_ms) {
                voice.pause()
            } else {
                voice.resume()
            }
            stage.step(voice, true);
            while video.push(pushed, Some(Duration::from_millis(40 * pushed as i64))).is_ok() {
                pushed += 1;
            }
            let now = stage.board.now();
            video.audio_at(media(voice.played_position(now)), now);
            let mut skipped = 0;
            while let Some(frame) = video.poll(now, |_| skipped += 1) {
                let late_ms = (media(voice.played_position(now)) - Duration::from_millis(40 * frame as i64))
                    .as_millis_f64();
                shown += 1;
                // It starts with the audio, and needs the pause's second report to know of it.
                if now_ms > 2_000 && !(10_000..13_500).contains(&now_ms) {
                    worst_ms = worst_ms.max(late_ms.abs());
                }
            }
        }
        println!("{shown} frames shown of {pushed}, off by at most {worst_ms:.1} ms");
        // Polled once in 10 ms.
        assert!(worst_ms < 13.0, "{worst_ms} ms");
        let heard_s = voice.played_position(stage.board.now()) as f64 / 16_000.0;
        assert!((shown as f64 - heard_s * 25.0).abs() < 5.0, "{shown} frames in {heard_s} s");
    });
}
