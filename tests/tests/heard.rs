//! The played position of a track is exact to the sample: it is compared with the sample that the simulated loudspeaker
//! plays at that moment, for several latencies, clocks, pauses, stalls and device changes.

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::audio_io::{AudioIo, Direction, Directions, StreamHalves};
use handsfree_core::av_sync::{AvSyncConfig, AvSynchronizer};
use handsfree_core::capture::Bypass;
use handsfree_core::playback::{Track, TrackEvent};
use handsfree_core::{ChannelMap, Duration, Frame, Halves, Instant, SampleRate, SessionFormat};
use handsfree_sim::acoustics::Wire;
use handsfree_sim::board::{BoardConfig, SimulatedBoard, Step};
use handsfree_sim::device::{DeviceConfig, Jitter};
use handsfree_sim::noise::Rng;
use handsfree_sim::scenario::{CAP, SLOTS, SimSession, request};
use handsfree_tests::{for_seeds, one_in, outlet_config, plain_board, played_at, with_large_stack};

/// Period of the source's ramp, in sample frames. Sample `n` is `n` modulo this plus [`BASE`], so that a sample identifies
/// its position and differs from silence and from a faded sample.
const CYCLE: u64 = 16_000;
const BASE: u64 = 8_000;

type FedTrack<'p, 'a> = Track<'p, 'a, NoopRawMutex, CAP, SLOTS>;

fn source_at(position: u64) -> i16 {
    (position % CYCLE + BASE) as i16
}

/// A simulated board with a session.
struct PlayoutRig<'a> {
    board: SimulatedBoard<'a, CAP, SLOTS>,
    halves: WorkerHalves<'a>,
    /// Largest number of source sample frames between two samples of the device.
    most_step: u32,
}

struct WorkerHalves<'a> {
    capture: handsfree_core::capture::Pipeline<'a, CAP, SLOTS, Bypass>,
    playback: handsfree_core::playback::Pipeline<'a, CAP, SLOTS>,
    stats: handsfree_core::StatsReader<'a>,
}

impl PlayoutRig<'_> {
    /// Runs the board up to and including the next run of the worker.
    fn step(&mut self, voice: &mut FedTrack<'_, '_>, feed: bool) {
        while self.board.step() != Step::Worker {}
        if feed {
            while voice.push(&[source_at(voice.position())]).unwrap() > 0 {}
        }
        self.halves.playback.poll();
        let clock = self.board.clock();
        self.halves.capture.poll(&clock, &mut |_: &Frame<CAP>| {});
    }

    fn run_for(&mut self, span: Duration, voice: &mut FedTrack<'_, '_>) {
        let until = self.board.now() + span;
        while self.board.now() < until {
            self.step(voice, true);
        }
    }
}

/// Runs a test with a track on a board.
fn on_board(
    config: BoardConfig,
    rate: SampleRate,
    test: impl FnOnce(&mut PlayoutRig<'_>, &mut FedTrack<'_, '_>) + Send,
) {
    with_large_stack(|| {
        let mut session = Box::new(SimSession::new());
        let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
        let halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap();
        let Halves { intake, outlet, capture, playback, tracks, stats, .. } = halves;
        let mut board = SimulatedBoard::new(config.clone(), Box::new(Wire)).unwrap();
        let stream_halves = StreamHalves { intake: Some(intake), outlet: Some(outlet) };
        board.start(&request(&config), stream_halves).unwrap_or_else(|refused| panic!("{}", refused.error));
        let most_step = rate.hz().div_ceil(config.playback.rate.hz());
        let mut rig = PlayoutRig { most_step, board, halves: WorkerHalves { capture, playback, stats } };
        let mut voice = tracks.open().unwrap();
        test(&mut rig, &mut voice);
    });
}

/// Returns the source position at the converter, modulo [`CYCLE`]; `None` if the sample there is silent or faded.
fn truth_now(rig: &PlayoutRig<'_>) -> Option<i64> {
    let [before, now] =
        rig.board.loudspeaker_now()?.map(|sample| (sample * 32_768.0).round() as i64 - BASE as i64);
    let follows = (now - before).abs() <= i64::from(rig.most_step);
    (now >= 0 && before >= 0 && follows && now != before).then_some(now)
}

/// Returns the difference between the reported position and the one at the converter, in sample frames.
fn error_now(rig: &PlayoutRig<'_>, voice: &FedTrack<'_, '_>) -> Option<i64> {
    let reported = voice.played_position(rig.board.now());
    let half = CYCLE as i64 / 2;
    Some((reported as i64 - truth_now(rig)? + half).rem_euclid(CYCLE as i64) - half)
}

fn board_with(rate: SampleRate, latency_ms: i64, ppm: f64, jitter: Jitter, seed: u64) -> BoardConfig {
    let mut config = plain_board(rate, seed);
    config.playback.latency = Duration::from_millis(latency_ms);
    config.playback.ppm = ppm;
    config.playback.jitter = jitter;
    config
}

/// Largest error of the position with exact timestamps, in sample frames.
const EXACT: i64 = 1;

#[test]
fn the_played_position_is_the_sample_at_the_converter() {
    let rate = SampleRate::new(48_000).unwrap();
    for (latency_ms, ppm, jitter, within) in [
        (0, 0.0, Jitter::None, EXACT),
        (50, 0.0, Jitter::None, EXACT),
        (1_500, 0.0, Jitter::None, EXACT),
        (200, 300.0, Jitter::None, EXACT),
        (200, -1_000.0, Jitter::None, EXACT),
        // 200 us are 10 sample frames; the clock filters most of the jitter.
        (1_500, 200.0, Jitter::Normal { micros: 200.0 }, 6),
    ] {
        on_board(board_with(rate, latency_ms, ppm, jitter, 1), rate, |rig, voice| {
            let settle = Duration::from_millis(latency_ms + 3_000);
            rig.run_for(settle, voice);
            let (mut worst, mut compared) = (0, 0);
            for _ in 0..3_000 {
                rig.step(voice, true);
                if let Some(error) = error_now(rig, voice) {
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
fn pauses_starvation_and_stalls_do_not_shift_the_position() {
    let rate = SampleRate::new(16_000).unwrap();
    for_seeds(6, |rng| {
        let seed = rng.next_u64();
        let latency_ms = rng.range(0, 400) as i64;
        let mut rng = Rng::for_stream(seed, "pauses");
        on_board(board_with(rate, latency_ms, 100.0, Jitter::None, seed), rate, |rig, voice| {
            rig.run_for(Duration::from_millis(latency_ms + 3_000), voice);
            let (mut worst, mut compared) = (0, 0);
            let mut feed = true;
            for _ in 0..4_000 {
                match rng.range(0, 40) {
                    0 => voice.pause(),
                    1..4 => voice.resume(),
                    4 => feed = false,
                    5..7 => feed = true,
                    7 if one_in(&mut rng, 4) => {
                        rig.board.stall_worker(Duration::from_millis(rng.range(20, 200) as i64));
                    }
                    _ => {}
                }
                rig.step(voice, feed);
                if let Some(error) = error_now(rig, voice) {
                    worst = worst.max(error.abs());
                    compared += 1;
                }
            }
            let underruns = rig.halves.stats.read().outlet.underruns;
            println!("{latency_ms} ms: {compared} moments, {underruns} underruns, off by at most {worst}");
            assert!(compared > 500 && worst <= EXACT, "{compared} moments, off by {worst}");
        });
    });
}

/// Runs until the loudspeaker has been silent for `silence`; returns the time of its last sound and the position that the
/// interruption reported.
fn rest_of_utterance(
    rig: &mut PlayoutRig<'_>,
    voice: &mut FedTrack<'_, '_>,
    silence: Duration,
) -> (Instant, u64) {
    let mut last_sound = rig.board.now();
    let mut events = Vec::new();
    loop {
        rig.step(voice, false);
        events.extend(voice.poll_event(rig.board.now()));
        let now = rig.board.now();
        if rig.board.loudspeaker_now().is_some_and(|[_, sample]| sample != 0.0) {
            last_sound = now;
        }
        if now - last_sound > silence {
            let cut = events.iter().find_map(|event| match event {
                TrackEvent::Interrupted { position } => Some(*position),
                _ => None,
            });
            return (last_sound, cut.expect("the interruption was not reported"));
        }
    }
}

#[test]
fn an_interruption_is_prompt_and_reports_the_last_sample() {
    let rate = SampleRate::new(48_000).unwrap();
    for (latency_ms, fade_ms) in [(0, 3), (50, 5), (200, 10), (1_500, 5)] {
        let mut config = board_with(rate, latency_ms, 0.0, Jitter::None, 7);
        config.worker_delay = Duration::from_micros(100);
        config.worker_spread = Duration::from_micros(100);
        on_board(config, rate, |rig, voice| {
            voice.set_fade(Duration::from_millis(fade_ms)).unwrap();
            rig.board.record();
            rig.run_for(Duration::from_millis(latency_ms + 2_000), voice);
            let asked = rig.board.now();
            voice.interrupt();
            assert_eq!(voice.interrupted_at(asked), None, "reported before the mixer ran");
            let silence = Duration::from_millis(latency_ms + 300);
            let (last_sound, position) = rest_of_utterance(rig, voice, silence);
            let took = last_sound - asked;
            // The sum of one fade, the ring's fill (one period and the worker's slack, 2 frames), one frame, and the
            // device's latency.
            let bound = Duration::from_millis(fade_ms + 20 + 10 + latency_ms);
            let recording = rig.board.take_recording().unwrap();
            let heard: Vec<i16> = recording.far.iter().map(|&s| (s * 32_768.0).round() as i16).collect();
            let begin = heard.iter().position(|&s| s != 0).unwrap();
            let end = heard.iter().rposition(|&s| s != 0).unwrap() + 1;
            let fade = (fade_ms * 48) as usize;
            println!(
                "{latency_ms} ms, fade {fade_ms} ms: silent after {:.1} ms (bound {:.1}), {} sample frames heard, reported position {position}",
                took.as_millis_f64(),
                bound.as_millis_f64(),
                end - begin
            );
            assert!(took <= bound, "{took:?}");
            // The last samples of a fade are zero.
            assert!((end - begin) as u64 <= position && position - (end - begin) as u64 <= 2);
            let whole = end - begin - fade;
            let source: Vec<i16> = (0..whole as u64).map(source_at).collect();
            assert_eq!(heard[begin..begin + whole], source);
            assert_eq!(voice.interrupted_at(rig.board.now()), Some(position));
            assert_eq!(voice.played_position(rig.board.now()), position);
        });
    }
}

#[test]
fn samples_held_by_a_lost_device_do_not_count_as_heard() {
    let rate = SampleRate::new(48_000).unwrap();
    for (latency_ms, new_rate) in [(0, 48_000), (50, 48_000), (400, 44_100), (1_000, 16_000)] {
        on_board(board_with(rate, latency_ms, 0.0, Jitter::None, 3), rate, |rig, voice| {
            rig.run_for(Duration::from_millis(latency_ms + 2_000), voice);
            let truth = truth_now(rig).unwrap() as u64;
            rig.board.unplug(Direction::Playback);
            rig.run_for(Duration::from_millis(300), voice);
            let heard = voice.played_position(rig.board.now());
            // The sample that was at the converter when the device was unplugged counts as heard.
            assert!(
                (heard % CYCLE).abs_diff(truth) <= 1,
                "{latency_ms} ms: reported {heard}, but sample {truth} was playing"
            );
            voice.interrupt();
            rig.run_for(Duration::from_millis(20), voice);
            assert_eq!(
                voice.interrupted_at(rig.board.now()),
                Some(heard),
                "without a device nothing more is heard"
            );

            let begin = voice.position();
            let new_rate = SampleRate::new(new_rate).unwrap();
            let mut side = DeviceConfig::new(new_rate, new_rate.sample_frames() as u32);
            side.latency = Duration::from_millis(120);
            let stream_halves = rig.board.stop(Directions::Both);
            rig.board.replace_device(Direction::Playback, side.clone()).unwrap();
            let board = BoardConfig { playback: side, ..plain_board(rate, 3) };
            rig.board
                .start(&request(&board), stream_halves)
                .unwrap_or_else(|refused| panic!("{}", refused.error));
            rig.run_for(Duration::from_millis(4_000), voice);
            let heard = voice.played_position(rig.board.now());
            println!("{latency_ms} ms then {} Hz: {begin}..{heard} heard", new_rate.hz());
            assert!(heard > begin + 48_000, "the new device does not play");
            if new_rate == rate {
                assert!(error_now(rig, voice).unwrap().abs() <= EXACT);
            }
        });
    }
}

#[test]
fn samples_dropped_by_a_running_device_do_not_count_as_heard() {
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
        // An interrupt handler that restarts its device does this without stopping the stream.
        halves.outlet.discarded(dropped as u32);
        let played = written - dropped;
        if one_in(rng, 2) {
            // The stream continues after a gap of a second.
            let later = written + 48_000;
            halves.outlet.on_period(&mut out[..480], played_at(later, rate, 0));
        }
        halves.outlet.stop();
        halves.capture.poll(&|| Instant::ORIGIN, &mut |_: &Frame<CAP>| {});
        let over = Instant::ORIGIN + Duration::of_sample_frames(written + 1_000, rate);
        assert_eq!(voice.played_position(over), played, "{written} written, {dropped} of them dropped");
    });
}

/// The device's rate differs from the mix: the position includes the delay of the conversion.
#[test]
fn another_device_rate_does_not_shift_the_position() {
    let rate = SampleRate::new(48_000).unwrap();
    for device_hz in [44_100, 16_000, 96_000] {
        let device = SampleRate::new(device_hz).unwrap();
        let mut config = plain_board(rate, 5);
        config.playback = DeviceConfig::new(device, device.sample_frames() as u32);
        config.playback.latency = Duration::from_millis(80);
        on_board(config, rate, |rig, voice| {
            rig.run_for(Duration::from_millis(3_000), voice);
            let (mut worst, mut compared) = (0, 0);
            for _ in 0..2_000 {
                rig.step(voice, true);
                // The conversion rings where the ramp wraps.
                let phase = voice.played_position(rig.board.now()) % CYCLE;
                if (1_000..CYCLE - 1_000).contains(&phase)
                    && let Some(error) = error_now(rig, voice)
                {
                    worst = worst.max(error.abs());
                    compared += 1;
                }
            }
            // A device sample lasts for up to 3 samples of the mix.
            let within = EXACT + 48_000 / i64::from(device_hz);
            println!("{device_hz} Hz: {compared} moments, off by at most {worst}");
            assert!(compared > 500 && worst <= within, "{device_hz} Hz: off by {worst}");
        });
    }
}

/// Video follows the sample at the converter rather than the host's clock or the time of pushing.
#[test]
fn video_follows_the_audio_at_the_converter() {
    let rate = SampleRate::new(16_000).unwrap();
    on_board(board_with(rate, 300, 800.0, Jitter::None, 9), rate, |rig, voice| {
        let mut video = AvSynchronizer::<u64, 16>::new(AvSyncConfig::new(25.0)).unwrap();
        let media = |position: u64| Duration::of_sample_frames(position, rate);
        let (mut pushed, mut shown, mut worst_ms) = (0u64, 0u64, 0.0f64);
        while rig.board.now() < Instant::ORIGIN + Duration::from_millis(30_000) {
            let now_ms = rig.board.now().as_nanos() / 1_000_000;
            // The voice is paused from 10 to 12 s, and video must stop.
            if (10_000..12_000).contains(&now_ms) {
                voice.pause()
            } else {
                voice.resume()
            }
            rig.step(voice, true);
            while video.push(pushed, Some(Duration::from_millis(40 * pushed as i64))).is_ok() {
                pushed += 1;
            }
            let now = rig.board.now();
            video.audio_at(media(voice.played_position(now)), now);
            let mut skipped = 0;
            while let Some(frame) = video.poll(now, |_| skipped += 1) {
                let late_ms = (media(voice.played_position(now)) - Duration::from_millis(40 * frame as i64))
                    .as_millis_f64();
                shown += 1;
                // Video notices the pause with its second report.
                if now_ms > 2_000 && !(10_000..13_500).contains(&now_ms) {
                    worst_ms = worst_ms.max(late_ms.abs());
                }
            }
        }
        println!("{shown} frames shown of {pushed}, off by at most {worst_ms:.1} ms");
        // Video is polled every 10 ms.
        assert!(worst_ms < 13.0, "{worst_ms} ms");
        let heard_s = voice.played_position(rig.board.now()) as f64 / 16_000.0;
        assert!((shown as f64 - heard_s * 25.0).abs() < 5.0, "{shown} frames in {heard_s} s");
    });
}
