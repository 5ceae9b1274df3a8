//! Faults that a whole terminal must survive: playback that stops and resumes (16), a voice processor that fails or is
//! slow (17), a worker that stalls (20). The other numbers of faults.md are tested where their concern is.
#![allow(missing_docs)]

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_apm::{ApmConfig, ApmProcessor, NoiseSuppression};
use handsfree_core::audio_io::{AudioIo, Direction, Directions, Event, StreamHalves, StreamRequest};
use handsfree_core::capture::{Bypass, ProcessError, VoiceProcessor, VoiceState, VoiceStats};
use handsfree_core::{
    ChannelMap, Clock, Duration, Format, Frame, Instant, PcmMut, PcmRef, SampleRate, Session, SessionEvent,
    SessionFormat,
};
use handsfree_sim::acoustics::{RoomAcoustics, Wire};
use handsfree_sim::board::{Board, BoardConfig, Step, VirtualClock};
use handsfree_sim::noise::{Colour, Noise, Rng};
use handsfree_sim::room::{Loudspeaker, Room, Source};
use handsfree_sim::scenario::{CAP, SLOTS, SimSession, request};
use handsfree_tests::{
    Recorder, captured_at, far_speech, intake_config, level_db, outlet_config, plain_board, played_at,
    sample_at, to_pcm, with_room,
};

const RATE_HZ: usize = 48_000;

fn rate() -> SampleRate {
    SampleRate::new(RATE_HZ as u32).unwrap()
}

fn terminal() -> SessionFormat {
    SessionFormat { rate: rate(), near_channels: 1, far_channels: 1 }
}

/// What a person in the next room hears and plays over a whole run on the board.
struct Call<'a, 'p, V> {
    board: Board<'a, CAP, SLOTS>,
    capture: handsfree_core::capture::Pipeline<'a, CAP, SLOTS, V>,
    playback: handsfree_core::playback::Pipeline<'a, CAP, SLOTS>,
    track: handsfree_core::playback::Track<'p, 'a, NoopRawMutex, CAP, SLOTS>,
    stats: handsfree_core::StatsReader<'a>,
    far: Vec<i16>,
    fed: usize,
    /// Cleaned samples, each at its position; what was lost is silent.
    clean: Vec<i16>,
    /// Most frames that one playback poll made.
    largest_burst: usize,
    /// Time, frames in the playback and capture ring when the worker came, and the estimated delay.
    trace: Vec<(f64, u32, u32, Duration)>,
}

impl<V: VoiceProcessor> Call<'_, '_, V> {
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

fn with_call<V: VoiceProcessor>(
    config: BoardConfig,
    air: Box<dyn handsfree_sim::acoustics::Acoustics>,
    voice: V,
    far: Vec<i16>,
    test: impl FnOnce(&mut Call<'_, '_, V>, &StreamRequest<'static>),
) {
    let mut session = Box::new(SimSession::new());
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal(), voice, ()).unwrap();
    let mut board = Board::new(config.clone(), air).unwrap();
    board.record();
    let request = request(&config);
    board.start(&request, StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) }).unwrap();
    let mut track = halves.tracks.open().unwrap();
    let fed = track.push(&far).unwrap();
    halves.playback.poll();
    let mut call = Call {
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
    test(&mut call, &request);
}

fn echo_canceller_only() -> ApmProcessor {
    let format = Format::new(RATE_HZ as u32, 1).unwrap();
    let config = ApmConfig { noise_suppression: NoiseSuppression::Off, ..ApmConfig::default() };
    ApmProcessor::new(format, format, config).unwrap()
}

fn living_room() -> RoomAcoustics {
    let mut response =
        Room::default().impulse_response(Source::Loudspeaker, RATE_HZ as u32, RATE_HZ * 3 / 10).unwrap();
    response.iter_mut().for_each(|tap| *tap *= 3.0);
    let noise = Noise::new(Rng::new(1), Colour::Pink, -90.0);
    RoomAcoustics::new(Loudspeaker::new(0.0).unwrap(), &response, Vec::new(), noise)
}

/// Far-end speech that repeats every four seconds, so that stretches of four seconds can be held against each other.
const LOOP_S: usize = 4;

fn looped_speech(seconds: usize) -> Vec<i16> {
    let piece = to_pcm(&far_speech(rate(), LOOP_S as f64));
    piece.iter().copied().cycle().take(seconds * RATE_HZ).collect()
}

/// Fault 16. Nothing played is no reason to forget the room.
#[test]
fn playback_that_stops_and_resumes_finds_the_canceller_as_it_was() {
    with_room(|| {
        let mut config = plain_board(rate(), 3);
        config.playback.latency = Duration::from_millis(40);
        config.capture.latency = Duration::from_millis(10);
        let far = looped_speech(60);
        with_call(config, Box::new(living_room()), echo_canceller_only(), far, |call, request| {
            call.run_until(32.0);
            let before = call.stats.read();
            let outlet = call.board.stop(Directions::Playback);
            assert!(outlet.outlet.is_some() && outlet.intake.is_none());
            call.run_until(35.0);
            let stopped = call.stats.read();
            let silent = stopped.capture.reference_silence_frames - before.capture.reference_silence_frames;
            // Three seconds are 300 frames; the first few may still hear what was played before.
            assert!((285..=301).contains(&silent), "{silent} frames of silence");
            assert_eq!(stopped.intake.overrun_frames, 0);
            let again = StreamRequest { capture: None, ..*request };
            call.board.start(&again, outlet).unwrap();
            call.run_until(45.0);
            let mic = to_pcm(&call.board.take_recording().unwrap().mic);
            let erle = |from_s: usize| {
                let span = from_s * RATE_HZ..(from_s + LOOP_S) * RATE_HZ;
                level_db(&mic[span.clone()]) - level_db(&call.clean[span])
            };
            let (before_db, after_db) = (erle(28), erle(37));
            let from_zero_db = erle(0);
            let first = (35 * RATE_HZ..37 * RATE_HZ, level_db(&mic[35 * RATE_HZ..37 * RATE_HZ]));
            let first_db = first.1 - level_db(&call.clean[first.0]);
            println!(
                "ERLE {before_db:.1} dB before, {first_db:.1} dB in the 2 s after, {after_db:.1} dB from then on; {from_zero_db:.1} dB in the first 4 s of all"
            );
            assert!(before_db > 30.0, "{before_db:.1} dB");
            assert!(after_db > before_db - 3.0, "{before_db:.1} dB before, {after_db:.1} dB after");
            assert!(first_db > from_zero_db - 3.0, "as if from zero: {first_db:.1} dB, {from_zero_db:.1} dB");
            assert_eq!(call.capture.voice_state(), VoiceState::Active);
        });
    });
}

/// What a faulty voice processor does to the capture frames whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Fine,
    Fails,
    FailsReverse,
    Slow(i64),
}

/// Changes every sample, and then fails, or takes its time.
struct Moody {
    mood: Mood,
    clock: VirtualClock,
    calls: u32,
    reverse_calls: u32,
}

impl VoiceProcessor for Moody {
    fn process_reverse(&mut self, _far: PcmRef<'_>) -> Result<(), ProcessError> {
        self.reverse_calls += 1;
        if self.mood == Mood::FailsReverse { Err(ProcessError::Backend { code: -2 }) } else { Ok(()) }
    }

    fn process_capture(&mut self, near: PcmMut<'_>, _delay: Duration) -> Result<(), ProcessError> {
        self.calls += 1;
        near.samples.iter_mut().for_each(|s| *s = !*s);
        match self.mood {
            Mood::Fails => Err(ProcessError::Backend { code: -1 }),
            Mood::Slow(ms) => {
                self.clock.advance(Duration::from_millis(ms));
                Ok(())
            }
            Mood::Fine | Mood::FailsReverse => Ok(()),
        }
    }

    fn stats(&self) -> VoiceStats {
        VoiceStats::default()
    }

    fn reset(&mut self) {}
}

/// One captured frame after the other through a moody processor; tells whether each was processed.
fn with_moody(test: impl FnOnce(&mut dyn FnMut(Mood) -> bool, &mut dyn FnMut() -> Observed)) {
    use std::cell::RefCell;
    let clock = VirtualClock::default();
    let mut session = Box::new(Session::<480, 1, 4, 4, 4, 4, 480>::new());
    let voice = Moody { mood: Mood::Fine, clock: clock.clone(), calls: 0, reverse_calls: 0 };
    let halves = session.split::<NoopRawMutex, _, _>(terminal(), voice, ()).unwrap();
    let (mut intake, capture, events, stats) =
        (halves.intake, RefCell::new(halves.capture), RefCell::new(halves.events), halves.stats);
    let map = ChannelMap::natural(1, 1).unwrap();
    intake.configure(intake_config(rate(), map, 480)).unwrap();
    let mut position = 0u64;
    let mut step = |mood: Mood| {
        let period: Vec<i16> = (position..position + 480).map(|at| sample_at(at, 0)).collect();
        intake.on_period(&period, captured_at(position, 480, rate(), 0));
        position += 480;
        let mut capture = capture.borrow_mut();
        capture.voice_mut().mood = mood;
        let mut processed = None;
        capture.poll(&clock, &mut |frame: &Frame<480>| {
            let inverted: Vec<i16> = period.iter().map(|&s| !s).collect();
            if frame.samples() == inverted {
                processed = Some(true);
            } else {
                assert_eq!(frame.samples(), period, "an unprocessed frame passes bit by bit");
                processed = Some(false);
            }
        });
        processed.expect("one frame in, one frame out, whatever happens")
    };
    let mut observe = || {
        let mut events = events.borrow_mut();
        let capture = stats.read().capture;
        Observed {
            events: std::iter::from_fn(|| events.poll()).collect(),
            errors: capture.voice_errors,
            slow: capture.voice_slow_frames,
            bypassed: capture.voice_bypassed_frames,
            frames: capture.frames,
        }
    };
    test(&mut step, &mut observe);
}

#[derive(Debug)]
struct Observed {
    events: Vec<SessionEvent>,
    errors: u32,
    slow: u32,
    bypassed: u32,
    frames: u32,
}

fn tripped(fault: u8) -> SessionEvent {
    SessionEvent::VoiceTripped { fault }
}

/// Fault 17, for errors and for 50 ms: one fault, a second of rest, three more chances, then never again.
#[test]
fn a_voice_processor_that_keeps_failing_is_tried_three_times_more_and_then_given_up() {
    for mood in [Mood::Fails, Mood::Slow(50), Mood::Slow(21)] {
        with_moody(|step, observe| {
            (0..5).for_each(|_| assert!(step(Mood::Fine)));
            for fault in 1..=4 {
                assert!(!step(mood), "{mood:?}, fault {fault}");
                if fault < 4 {
                    assert_eq!(observe().events, [tripped(fault)]);
                    (0..100)
                        .for_each(|frame| assert!(!step(Mood::Fine), "{mood:?}, {frame} of a second's rest"));
                    assert!(step(Mood::Fine), "{mood:?}: armed again after fault {fault}");
                }
            }
            assert_eq!(observe().events, [SessionEvent::VoiceDisabled]);
            (0..1_000).for_each(|_| assert!(!step(Mood::Fine), "{mood:?}: given up"));
            let seen = observe();
            assert_eq!(seen.events, []);
            let (errors, slow) = if mood == Mood::Fails { (4, 0) } else { (0, 4) };
            assert_eq!((seen.errors, seen.slow, seen.bypassed), (errors, slow, 1_300), "{mood:?}");
            assert_eq!(seen.frames, 5 + 4 + 300 + 3 + 1_000, "every frame went to the sink");
        });
    }
}

#[test]
fn a_frame_that_takes_two_frames_time_is_not_too_slow() {
    with_moody(|step, observe| {
        (0..200).for_each(|_| assert!(step(Mood::Slow(20))));
        let seen = observe();
        assert_eq!((seen.slow, seen.bypassed, seen.events.len()), (0, 0, 0));
    });
}

/// Every silent reference frame fails here, for nothing plays.
#[test]
fn a_reverse_stream_that_fails_counts_like_a_capture_frame_that_does() {
    with_moody(|step, observe| {
        assert!(step(Mood::Fine));
        assert!(!step(Mood::FailsReverse), "without its reference the frame is not processed");
        let seen = observe();
        assert_eq!(seen.events, [tripped(1)]);
        assert_eq!((seen.errors, seen.bypassed), (1, 1));
        (0..99).for_each(|_| assert!(!step(Mood::Fine)));
        assert!(step(Mood::Fine));
    });
}

#[test]
fn faults_are_forgiven_after_ten_good_minutes_and_rearming_is_a_fresh_start() {
    with_moody(|step, observe| {
        for _ in 0..6 {
            assert!(!step(Mood::Fails));
            assert_eq!(observe().events, [tripped(1)], "each is the first again");
            (0..100).for_each(|_| assert!(!step(Mood::Fine)));
            (0..60_000).for_each(|_| assert!(step(Mood::Fine)));
        }
    });
}

#[test]
fn a_given_up_voice_processor_can_be_armed_again() {
    let clock = VirtualClock::default();
    let mut session = Box::new(Session::<480, 1, 4, 4, 4, 4, 480>::new());
    let voice = Moody { mood: Mood::Fails, clock: clock.clone(), calls: 0, reverse_calls: 0 };
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal(), voice, ()).unwrap();
    halves.intake.configure(intake_config(rate(), ChannelMap::natural(1, 1).unwrap(), 480)).unwrap();
    let mut position = 0;
    while halves.capture.voice_state() != VoiceState::Disabled {
        halves.intake.on_period(&[5i16; 480], captured_at(position, 480, rate(), 0));
        position += 480;
        halves.capture.poll(&clock, &mut |_: &Frame<480>| {});
    }
    assert_eq!(halves.capture.voice_mut().calls, 4, "tried once and three times more");
    halves.capture.voice_mut().mood = Mood::Fine;
    halves.capture.reset_breaker();
    halves.intake.on_period(&[5i16; 480], captured_at(position, 480, rate(), 0));
    let mut heard = Vec::new();
    halves.capture.poll(&clock, &mut |frame: &Frame<480>| heard.extend_from_slice(frame.samples()));
    assert_eq!(heard, [!5; 480]);
}

/// Fault 20. A stall costs its own length of silence and nothing afterwards.
#[test]
fn a_worker_that_stalls_for_200_ms_costs_silence_and_nothing_afterwards() {
    with_room(|| {
        for (capture_period, playback_period) in [(480, 480), (441, 1_024), (160, 240)] {
            let mut config = plain_board(rate(), 5);
            config.capture.periods = vec![capture_period];
            config.playback.periods = vec![playback_period];
            config.playback.latency = Duration::from_millis(30);
            config.capture.latency = Duration::from_millis(10);
            let source: Vec<i16> = (0..8 * RATE_HZ as u64).map(|at| sample_at(at, 0)).collect();
            with_call(config, Box::new(Wire), Bypass, source.clone(), |call, _| {
                call.run_until(3.0);
                let before = call.stats.read();
                let normal: Vec<_> = call.trace.iter().filter(|point| point.0 > 1.0).copied().collect();
                let highest =
                    normal.iter().map(|point| (point.1, point.2)).reduce(|a, b| (a.0.max(b.0), a.1.max(b.1)));
                let (playback_fill, capture_fill) = highest.unwrap();
                let delay = normal.last().unwrap().3;
                let burst = call.largest_burst;
                assert_eq!(before.xruns(), 0);

                call.board.stall_worker(Duration::from_millis(200));
                call.run_until(7.0);
                let after = call.stats.read();
                assert_eq!(after.outlet.underruns, 1, "one run of silence");
                let silent = after.outlet.underrun_sample_frames as usize;
                assert!(silent > RATE_HZ * 12 / 100 && silent < RATE_HZ * 22 / 100, "{silent} sample frames");
                assert_eq!((after.intake.overrun_frames, after.intake.gaps, after.outlet.gaps), (0, 0, 0));
                assert!(call.largest_burst <= burst.max(1) + 1, "{} frames at once", call.largest_burst);
                for point in call.trace.iter().filter(|point| point.0 > 4.2) {
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
                // Over the wire: all that was played, once and in order, with one run of silence in it.
                let first = call.clean.iter().position(|&s| s != 0).unwrap();
                let heard: Vec<i16> = call.clean.iter().copied().filter(|&s| s != 0).collect();
                assert_eq!(heard, source[..heard.len()]);
                let zeros = call.clean[first..].iter().filter(|&&s| s == 0).count();
                assert_eq!(zeros, silent);
                assert!(heard.len() > 6 * RATE_HZ);
            });
        }
    });
}

/// The board's part of faults 1 and 8: a device that goes is told once, its half comes back, another device continues.
#[test]
fn an_unplugged_loudspeaker_is_told_once_and_another_continues() {
    with_room(|| {
        let config = plain_board(rate(), 7);
        let source: Vec<i16> = (0..4 * RATE_HZ as u64).map(|at| sample_at(at, 0)).collect();
        with_call(config.clone(), Box::new(Wire), Bypass, source.clone(), |call, request| {
            call.run_until(1.0);
            call.board.unplug(Direction::Playback);
            assert_eq!(call.board.poll_event(), Some(Event::DeviceLost { direction: Direction::Playback }));
            assert_eq!(call.board.poll_event(), None);
            call.run_until(1.5);
            assert_eq!(call.board.poll_event(), None, "said once");
            let stream_halves = call.board.stop(Directions::Playback);
            assert!(stream_halves.outlet.is_some(), "the half comes back");
            let mut other = config.playback.clone();
            other.periods = vec![333];
            other.device_channels = 2;
            call.board.replace_device(Direction::Playback, other).unwrap();
            let again = StreamRequest { capture: None, ..*request };
            call.board.start(&again, stream_halves).unwrap();
            call.run_until(3.0);
            let heard: Vec<i16> = call.clean.iter().copied().filter(|&s| s != 0).collect();
            // Where the cable was cut, part of one frame and what the device held of a period were never heard; everything else was, once and in order.
            let discarded = call.stats.read().outlet.discarded_sample_frames as usize;
            let cut = heard.iter().zip(&source).position(|(a, b)| a != b).unwrap_or(heard.len());
            assert!(discarded < 2 * 480);
            assert_eq!(heard[cut..], source[cut + discarded..][..heard.len() - cut]);
            assert!(heard.len() > 2 * RATE_HZ);
            assert_eq!(call.stats.read().intake.gaps, 0, "capture never noticed");
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
        // The reference ring is drained also while nothing is captured.
        assert_eq!(halves.capture.poll(&clock, &mut |_: &Frame<480>| {}), 0);
    }
    assert_eq!(halves.stats.read().outlet.reference_overrun_frames, 0);
    assert_eq!(clock.now(), Instant::ORIGIN, "nothing in the core lets time pass");
}

/// The loudspeaker's driver hangs for 150 ms and goes on. Frames stop waiting for the reference after 100 ms, and wait
/// for it again when it is back: with no render latency a frame's reference always arrives after the frame.
#[test]
fn a_reference_that_was_away_is_heard_again_when_it_is_back() {
    for away_ticks in [5u64, 15, 50, 300] {
        let mut session = Box::new(Session::<480, 1, 64, 8, 64, 8, 48_000>::new());
        let mut halves = session.split::<NoopRawMutex, _, _>(terminal(), Recorder::default(), ()).unwrap();
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
        assert_eq!(silent, 0, "away for {away_ticks} x 10 ms, then silent from 0.5 s after on");
    }
}

/// However long the worker was away, half a second after it is back the canceller hears what is played.
#[test]
fn the_reference_is_back_after_any_absence_of_the_worker() {
    let mut wrong = Vec::new();
    for away_ticks in [10u64, 50, 90, 150, 1_000, 10_000, 360_000] {
        let mut session = Box::new(Session::<480, 1, 64, 8, 128, 8, 48_000>::new());
        let mut halves = session.split::<NoopRawMutex, _, _>(terminal(), Recorder::default(), ()).unwrap();
        let map = ChannelMap::natural(1, 1).unwrap();
        halves.intake.configure(intake_config(rate(), map, 480)).unwrap();
        halves.outlet.configure(outlet_config(rate(), map, 480)).unwrap();
        // Both directions on one tick: there is no later reference to run ahead with.
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
            wrong
                .push(format!("away for {} ms: {silent} of 249 frames without a reference", away_ticks * 10));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Fault 8: after a reopen with another rate the application is told, so that it resets the canceller where that may
/// allocate; after one with the same rate the canceller keeps what it learned.
#[test]
fn a_device_of_another_rate_is_told_and_the_same_one_is_not() {
    with_room(|| {
        let rate = SampleRate::new(48_000).unwrap();
        let mut session = Box::new(SimSession::new());
        let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
        let mut halves = session.split::<NoopRawMutex, _, _>(terminal, Recorder::default(), ()).unwrap();
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
