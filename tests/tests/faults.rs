//! Faults that a whole session must survive: playback that stops and resumes (16), a worker that stalls (20), devices and
//! references that disappear and return (1 and 8). Fault 17 is in voice_faults.rs, other faults in the files of their
//! concerns.

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_apm::{ApmConfig, ApmProcessor, NoiseSuppression};
use handsfree_core::audio_io::{AudioIo, Direction, Directions, Event, StreamHalves, StreamRequest};
use handsfree_core::capture::{BreakerState, Bypass, VoiceProcessor};
use handsfree_core::{
    ChannelMap, Clock, Duration, Format, Frame, Instant, SampleRate, Session, SessionEvent, SessionFormat,
};
use handsfree_sim::acoustics::{RoomAcoustics, Wire};
use handsfree_sim::board::{BoardConfig, SimulatedBoard, Step, VirtualClock};
use handsfree_sim::noise::{Colour, Noise, Rng};
use handsfree_sim::room::{Loudspeaker, Room, RoomSource};
use handsfree_sim::scenario::{CAP, SLOTS, SimSession, request};
use handsfree_tests::{
    RecordingVoice, captured_at, far_speech, intake_config, level_db, outlet_config, plain_board, played_at,
    sample_at, to_pcm, with_large_stack,
};

const RATE_HZ: usize = 48_000;

fn rate() -> SampleRate {
    SampleRate::new(RATE_HZ as u32).unwrap()
}

fn terminal() -> SessionFormat {
    SessionFormat { rate: rate(), near_channels: 1, far_channels: 1 }
}

/// A session on the simulated board that plays far-end speech and records the cleaned microphone signal.
struct FaultRig<'a, 'p, V> {
    board: SimulatedBoard<'a, CAP, SLOTS>,
    capture: handsfree_core::capture::Pipeline<'a, CAP, SLOTS, V>,
    playback: handsfree_core::playback::Pipeline<'a, CAP, SLOTS>,
    track: handsfree_core::playback::Track<'p, 'a, NoopRawMutex, CAP, SLOTS>,
    stats: handsfree_core::StatsReader<'a>,
    far: Vec<i16>,
    fed: usize,
    /// Cleaned samples, each at its position; lost samples are silent.
    clean: Vec<i16>,
    /// Largest number of frames that one playback poll mixed.
    largest_burst: usize,
    /// State after each worker run: time in seconds, fill of the playback and the capture ring in frames, and estimated
    /// delay.
    trace: Vec<(f64, u32, u32, Duration)>,
}

impl<V: VoiceProcessor> FaultRig<'_, '_, V> {
    fn now_s(&self) -> f64 {
        self.board.now().as_nanos() as f64 / 1e9
    }

    fn run_until(&mut self, until_s: f64) {
        let clock = self.board.clock();
        while self.now_s() < until_s {
            if self.board.step() != Step::Worker {
                continue;
            }
            while self.fed < self.far.len() {
                let taken = self.track.push(&self.far[self.fed..]).unwrap();
                self.fed += taken;
                if taken == 0 {
                    break;
                }
            }
            self.largest_burst = self.largest_burst.max(self.playback.poll());
            let clean = &mut self.clean;
            self.capture.poll(&clock, &mut |frame: &Frame<CAP>| {
                clean.resize(frame.stamp.position as usize, 0);
                clean.extend_from_slice(frame.samples());
            });
            let stats = self.stats.read();
            let delay = self.capture.delay();
            self.trace.push((self.now_s(), stats.playback.ring_fill, stats.capture.ring_fill, delay));
        }
    }
}

fn with_fault_rig<V: VoiceProcessor>(
    config: BoardConfig,
    air: Box<dyn handsfree_sim::acoustics::Acoustics>,
    voice: V,
    far: Vec<i16>,
    test: impl FnOnce(&mut FaultRig<'_, '_, V>, &StreamRequest<'static>),
) {
    let mut session = Box::new(SimSession::new());
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal(), voice, ()).unwrap();
    let mut board = SimulatedBoard::new(config.clone(), air).unwrap();
    board.record();
    let request = request(&config);
    board.start(&request, StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) }).unwrap();
    let mut track = halves.tracks.open().unwrap();
    let fed = track.push(&far).unwrap();
    halves.playback.poll();
    let mut rig = FaultRig {
        board,
        capture: halves.capture,
        playback: halves.playback,
        track,
        stats: halves.stats,
        far,
        fed,
        clean: Vec::new(),
        largest_burst: 0,
        trace: Vec::new(),
    };
    test(&mut rig, &request);
}

fn echo_canceller_only() -> ApmProcessor {
    let format = Format::new(RATE_HZ as u32, 1).unwrap();
    let config = ApmConfig { noise_suppression: NoiseSuppression::Off, ..ApmConfig::default() };
    ApmProcessor::new(format, format, config).unwrap()
}

fn living_room() -> RoomAcoustics {
    let mut response =
        Room::default().impulse_response(RoomSource::Loudspeaker, RATE_HZ as u32, RATE_HZ * 3 / 10).unwrap();
    response.iter_mut().for_each(|tap| *tap *= 3.0);
    let noise = Noise::new(Rng::new(1), Colour::Pink, -90.0);
    RoomAcoustics::new(Loudspeaker::new(0.0).unwrap(), &response, Vec::new(), noise)
}

/// Period of the far-end speech, in seconds, so that stretches of this length can be compared with each other.
const LOOP_S: usize = 4;

fn looped_speech(seconds: usize) -> Vec<i16> {
    let piece = to_pcm(&far_speech(rate(), LOOP_S as f64));
    piece.iter().copied().cycle().take(seconds * RATE_HZ).collect()
}

/// Fault 16: the canceller keeps its echo path while nothing is played.
#[test]
fn the_canceller_stays_converged_while_playback_is_stopped() {
    with_large_stack(|| {
        let mut config = plain_board(rate(), 3);
        config.playback.latency = Duration::from_millis(40);
        config.capture.latency = Duration::from_millis(10);
        let far = looped_speech(60);
        with_fault_rig(config, Box::new(living_room()), echo_canceller_only(), far, |rig, request| {
            rig.run_until(32.0);
            let before = rig.stats.read();
            let outlet = rig.board.stop(Directions::Playback);
            assert!(outlet.outlet.is_some() && outlet.intake.is_none());
            rig.run_until(35.0);
            let stopped = rig.stats.read();
            let silent = stopped.capture.reference_silence_frames - before.capture.reference_silence_frames;
            // Three seconds are 300 frames; the first few may still contain earlier playback.
            assert!((285..=301).contains(&silent), "{silent} frames of silence");
            assert_eq!(stopped.intake.overrun_frames, 0);
            let again = StreamRequest { capture: None, ..*request };
            rig.board.start(&again, outlet).unwrap();
            rig.run_until(45.0);
            let mic = to_pcm(&rig.board.take_recording().unwrap().mic);
            let erle = |from_s: usize| {
                let span = from_s * RATE_HZ..(from_s + LOOP_S) * RATE_HZ;
                level_db(&mic[span.clone()]) - level_db(&rig.clean[span])
            };
            let (before_db, after_db) = (erle(28), erle(37));
            let initial_db = erle(0);
            let first = (35 * RATE_HZ..37 * RATE_HZ, level_db(&mic[35 * RATE_HZ..37 * RATE_HZ]));
            let first_db = first.1 - level_db(&rig.clean[first.0]);
            println!(
                "ERLE {before_db:.1} dB before, {first_db:.1} dB in the 2 s after, {after_db:.1} dB from then on; {initial_db:.1} dB in the first 4 s of all"
            );
            assert!(before_db > 30.0, "{before_db:.1} dB");
            assert!(after_db > before_db - 3.0, "{before_db:.1} dB before, {after_db:.1} dB after");
            assert!(
                first_db > initial_db - 3.0,
                "no better than unconverged: {first_db:.1} dB, {initial_db:.1} dB"
            );
            assert_eq!(rig.capture.voice_state(), BreakerState::Active);
        });
    });
}

/// Fault 20: a stall causes silence for its own length and has no effect afterwards.
#[test]
fn a_stalled_worker_causes_silence_only_while_it_stalls() {
    with_large_stack(|| {
        for (capture_period, playback_period) in [(480, 480), (441, 1_024), (160, 240)] {
            let mut config = plain_board(rate(), 5);
            config.capture.periods = vec![capture_period];
            config.playback.periods = vec![playback_period];
            config.playback.latency = Duration::from_millis(30);
            config.capture.latency = Duration::from_millis(10);
            let source: Vec<i16> = (0..8 * RATE_HZ as u64).map(|at| sample_at(at, 0)).collect();
            with_fault_rig(config, Box::new(Wire), Bypass, source.clone(), |rig, _| {
                rig.run_until(3.0);
                let before = rig.stats.read();
                let normal: Vec<_> = rig.trace.iter().filter(|point| point.0 > 1.0).copied().collect();
                let highest =
                    normal.iter().map(|point| (point.1, point.2)).reduce(|a, b| (a.0.max(b.0), a.1.max(b.1)));
                let (playback_fill, capture_fill) = highest.unwrap();
                let delay = normal.last().unwrap().3;
                let burst = rig.largest_burst;
                assert_eq!(before.xruns(), 0);

                rig.board.stall_worker(Duration::from_millis(200));
                rig.run_until(7.0);
                let after = rig.stats.read();
                assert_eq!(after.outlet.underruns, 1, "one run of silence");
                let silent = after.outlet.underrun_sample_frames as usize;
                assert!(silent > RATE_HZ * 12 / 100 && silent < RATE_HZ * 22 / 100, "{silent} sample frames");
                assert_eq!((after.intake.overrun_frames, after.intake.gaps, after.outlet.gaps), (0, 0, 0));
                assert!(rig.largest_burst <= burst.max(1) + 1, "{} frames in one poll", rig.largest_burst);
                for point in rig.trace.iter().filter(|point| point.0 > 4.2) {
                    let (at_s, playback, capture, estimated) = *point;
                    assert!(
                        playback <= playback_fill,
                        "playback ring {playback}, normally {playback_fill}, at {at_s}"
                    );
                    assert!(
                        capture <= capture_fill,
                        "capture ring {capture}, normally {capture_fill}, at {at_s}"
                    );
                    let off = (estimated - delay).abs();
                    assert!(off < Duration::from_millis(2), "delay off by {} us at {at_s}", off.as_micros());
                }
                // The wire carries every played sample once and in order, with one run of silence.
                let first = rig.clean.iter().position(|&s| s != 0).unwrap();
                let heard: Vec<i16> = rig.clean.iter().copied().filter(|&s| s != 0).collect();
                assert_eq!(heard, source[..heard.len()]);
                let zeros = rig.clean[first..].iter().filter(|&&s| s == 0).count();
                assert_eq!(zeros, silent);
                assert!(heard.len() > 6 * RATE_HZ);
            });
        }
    });
}

/// Faults 1 and 8 on the board: a lost device is reported once, its half is returned, and another device continues.
#[test]
fn an_unplugged_loudspeaker_is_reported_once_and_replaced() {
    with_large_stack(|| {
        let config = plain_board(rate(), 7);
        let source: Vec<i16> = (0..4 * RATE_HZ as u64).map(|at| sample_at(at, 0)).collect();
        with_fault_rig(config.clone(), Box::new(Wire), Bypass, source.clone(), |rig, request| {
            rig.run_until(1.0);
            rig.board.unplug(Direction::Playback);
            assert_eq!(rig.board.poll_event(), Some(Event::DeviceLost { direction: Direction::Playback }));
            assert_eq!(rig.board.poll_event(), None);
            rig.run_until(1.5);
            assert_eq!(rig.board.poll_event(), None, "reported twice");
            let stream_halves = rig.board.stop(Directions::Playback);
            assert!(stream_halves.outlet.is_some(), "the half is returned");
            let mut other = config.playback.clone();
            other.periods = vec![333];
            other.device_channels = 2;
            rig.board.replace_device(Direction::Playback, other).unwrap();
            let again = StreamRequest { capture: None, ..*request };
            rig.board.start(&again, stream_halves).unwrap();
            rig.run_until(3.0);
            let heard: Vec<i16> = rig.clean.iter().copied().filter(|&s| s != 0).collect();
            // Part of one frame and the samples held by the device were never heard; all others were, once and in order.
            let discarded = rig.stats.read().outlet.discarded_sample_frames as usize;
            let cut = heard.iter().zip(&source).position(|(a, b)| a != b).unwrap_or(heard.len());
            assert!(discarded < 2 * 480);
            assert_eq!(heard[cut..], source[cut + discarded..][..heard.len() - cut]);
            assert!(heard.len() > 2 * RATE_HZ);
            assert_eq!(rig.stats.read().intake.gaps, 0, "capture is unaffected");
        });
    });
}

#[test]
fn an_outlet_alone_plays_and_an_intake_alone_captures() {
    let mut session = Box::new(Session::<480, 1, 8, 8, 8, 8, 4_800>::new());
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal(), Bypass, ()).unwrap();
    let map = ChannelMap::natural(1, 1).unwrap();
    halves.outlet.configure(outlet_config(rate(), map, 480)).unwrap();
    let mut track = halves.tracks.open().unwrap();
    let clock = VirtualClock::default();
    for turn in 0..1_000u64 {
        track.push(&[3; 480]).unwrap();
        halves.playback.poll();
        let mut out = [0i16; 480];
        halves.outlet.on_period(&mut out, played_at(turn * 480, rate(), 0));
        assert_eq!(out, [3; 480]);
        // The reference ring is drained even while nothing is captured.
        assert_eq!(halves.capture.poll(&clock, &mut |_: &Frame<480>| {}), 0);
    }
    assert_eq!(halves.stats.read().outlet.reference_overrun_frames, 0);
    assert_eq!(clock.now(), Instant::ORIGIN, "the core does not advance the clock");
}

/// The loudspeaker's driver hangs and continues. Frames stop waiting for the reference after 100 ms, and wait again once it
/// has returned: without render latency a frame's reference always arrives after the frame.
#[test]
fn an_interrupted_reference_is_used_again_after_it_returns() {
    for away_ticks in [5u64, 15, 50, 300] {
        let mut session = Box::new(Session::<480, 1, 64, 8, 64, 8, 48_000>::new());
        let mut halves =
            session.split::<NoopRawMutex, _, _>(terminal(), RecordingVoice::default(), ()).unwrap();
        let map = ChannelMap::natural(1, 1).unwrap();
        halves.intake.configure(intake_config(rate(), map, 480)).unwrap();
        halves.outlet.configure(outlet_config(rate(), map, 480)).unwrap();
        let mut track = halves.tracks.open().unwrap();
        let mut delivered = 0;
        let mut silent_before = 0;
        for tick in 0..1_000u64 {
            let position = tick * 480;
            let hangs = (400..400 + away_ticks).contains(&tick);
            if !hangs {
                track.push(&[1_000; 480]).unwrap();
                halves.playback.poll();
                halves.outlet.on_period(&mut [0i16; 480], played_at(position, rate(), 0));
            }
            halves.intake.on_period(&[500i16; 480], captured_at(position, 480, rate(), 0));
            let now = captured_at(position, 480, rate(), 0).called;
            delivered += halves.capture.poll(&|| now, &mut |_: &Frame<480>| {});
            assert!(delivered as u64 + 12 > tick, "{} frames wait at tick {tick}", tick - delivered as u64);
            if tick == 450 + away_ticks {
                silent_before = halves.stats.read().capture.reference_silence_frames;
            }
        }
        let silent = halves.stats.read().capture.reference_silence_frames - silent_before;
        assert_eq!(silent, 0, "no reference 0.5 s after an interruption of {away_ticks} x 10 ms");
    }
}

/// Half a second after the worker returns from an absence of any length, the canceller receives the reference.
#[test]
fn the_reference_returns_after_any_absence_of_the_worker() {
    let mut wrong = Vec::new();
    for away_ticks in [10u64, 50, 90, 150, 1_000, 10_000, 360_000] {
        let mut session = Box::new(Session::<480, 1, 64, 8, 128, 8, 48_000>::new());
        let mut halves =
            session.split::<NoopRawMutex, _, _>(terminal(), RecordingVoice::default(), ()).unwrap();
        let map = ChannelMap::natural(1, 1).unwrap();
        halves.intake.configure(intake_config(rate(), map, 480)).unwrap();
        halves.outlet.configure(outlet_config(rate(), map, 480)).unwrap();
        // Both directions have the same timing here, so that there is no later reference for a lead.
        halves.capture.set_reference_lead(Duration::ZERO);
        let mut silent_before = 0;
        let (begin, back) = (400, 400 + away_ticks);
        for tick in 0..back + 300 {
            let position = tick * 480;
            halves.outlet.on_period(&mut [0i16; 480], played_at(position, rate(), 0));
            halves.intake.on_period(&[500i16; 480], captured_at(position, 480, rate(), 0));
            if !(begin..back).contains(&tick) {
                let now = captured_at(position, 480, rate(), 0).called;
                halves.capture.poll(&|| now, &mut |_: &Frame<480>| {});
            }
            if tick == back + 50 {
                silent_before = halves.stats.read().capture.reference_silence_frames;
            }
        }
        let silent = halves.stats.read().capture.reference_silence_frames - silent_before;
        if silent > 0 {
            wrong.push(format!(
                "absent for {} ms: {silent} of 249 frames without a reference",
                away_ticks * 10
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Fault 8: a device that reopens at another rate is reported, so that the application can reset the canceller in a place
/// where that may allocate; after a reopen at the same rate the canceller stays converged.
#[test]
fn a_device_change_is_reported_only_for_another_rate() {
    with_large_stack(|| {
        let rate = SampleRate::new(48_000).unwrap();
        let mut session = Box::new(SimSession::new());
        let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
        let mut halves =
            session.split::<NoopRawMutex, _, _>(terminal, RecordingVoice::default(), ()).unwrap();
        let map = ChannelMap::natural(1, 1).unwrap();
        let mut reopened = |device_hz: u32| {
            let device = SampleRate::new(device_hz).unwrap();
            let frame = device.sample_frames();
            halves.intake.configure(intake_config(device, map, frame as u32)).unwrap();
            for k in 0..5 {
                let time = captured_at(k * frame as u64, frame, device, 0);
                halves.intake.on_period(&vec![1i16; frame], time);
                halves.capture.poll(&|| time.called, &mut |_: &Frame<CAP>| {});
            }
            halves.events.poll()
        };
        let changed = Some(SessionEvent::DeviceChanged { direction: Direction::Capture });
        assert_eq!([48_000, 48_000, 16_000, 16_000].map(&mut reopened), [None, None, changed, None]);
    });
}
