//! A running session does not allocate, neither in Rust nor in C++ code, neither in the interrupt halves nor in the
//! workers' polls. The calls of malloc itself are counted, so that no allocation is missed.
//!
//! Frees are counted separately: 4 s after its start, AEC3's comfort noise frees the two blocks of its start-up estimate
//! (see allocation_apm.rs).
#![allow(missing_docs)]

#[allow(dead_code, reason = "shared with tests that use more of it")]
#[path = "../support/malloc_counter.rs"]
mod malloc_counter;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree::catch_panic::CatchPanic;
use handsfree::shared_step::SharedStep;
use handsfree_apm::{ApmConfig, ApmProcessor, EchoCancellation, GainControl, NoiseSuppression};
use handsfree_core::audio_io::{AudioIo, Direction, Directions, StreamHalves, StreamRequest};
use handsfree_core::capture::{
    BreakerState, Bypass, Chain, Credentials, FrameProcessor, GainSetting, GainStep, Guarded, LevelMeter,
    Levels, ProcessError, StepHealth, StepSwitch,
};
use handsfree_core::dsp::Quality;
use handsfree_core::journal::Journal;
use handsfree_core::playback::{Limiter, SourceConfig};
use handsfree_core::tee::{TapFilter, Tee, TeeSink};
use handsfree_core::{Duration, Format, Frame, Gain, Instant, PcmMut, SampleRate, SessionFormat, Stats};
use handsfree_sim::board::{SimulatedBoard, Step};
use handsfree_sim::device::{DeviceConfig, DeviceSampleFormat, Jitter};
use handsfree_sim::scenario::{CAP, SLOTS, SimSession, request};
use handsfree_tests::{DelayedEcho, far_speech, plain_board, to_pcm, with_large_stack};
use malloc_counter::{Calls, stretches, taken, watch, watched};

const EVERYTHING: ApmConfig = ApmConfig {
    echo_cancellation: EchoCancellation::Full,
    noise_suppression: NoiseSuppression::High,
    high_pass: true,
    gain_control: GainControl::Adaptive,
};

fn rate(hz: u32) -> SampleRate {
    SampleRate::new(hz).unwrap()
}

fn side(hz: u32, periods: &[u32], channels: u32, format: DeviceSampleFormat) -> DeviceConfig {
    let mut side = DeviceConfig::new(rate(hz), 1);
    side.periods = periods.to_vec();
    side.device_channels = channels;
    side.format = format;
    side.jitter = Jitter::Normal { micros: 100.0 };
    side.latency = Duration::from_millis(20);
    side
}

/// An incident during the call.
enum CallIncident {
    Latency(i64),
    Stall(i64),
    LoseCapture(u32),
    Unplug(Direction),
    Replug(Direction, DeviceConfig),
    Limiter(Limiter),
}

fn incidents() -> Vec<(f64, CallIncident)> {
    use CallIncident::{Latency, Limiter as Limit, LoseCapture, Replug, Stall, Unplug};
    use DeviceSampleFormat::{F32, I16, I24, I32};
    use Direction::{Capture, Playback};
    vec![
        (30.0, Latency(150)),
        (60.0, Latency(-40)),
        (90.0, Latency(-60)),
        (100.0, Stall(200)),
        (110.0, LoseCapture(777)),
        (120.0, Limit(Limiter::Soft)),
        (150.0, Unplug(Playback)),
        (153.0, Replug(Playback, side(44_100, &[441, 0, 1_024], 2, F32))),
        (200.0, Unplug(Capture)),
        (202.0, Replug(Capture, side(16_000, &[97, 160, 1], 2, I32))),
        (250.0, Unplug(Capture)),
        (250.1, Unplug(Playback)),
        (251.0, Replug(Playback, side(48_000, &[480], 1, I24))),
        (252.0, Replug(Capture, side(48_000, &[24], 4, F32))),
        (300.0, Stall(900)),
        (350.0, Limit(Limiter::Off)),
        (360.0, Unplug(Capture)),
        (361.0, Replug(Capture, side(96_000, &[960, 2_048], 1, I16))),
        (400.0, Latency(600)),
        (450.0, Latency(-600)),
    ]
}

/// All checks are in one test because the counters belong to one thread.
#[test]
fn a_call_of_ten_minutes_allocates_nothing() {
    with_large_stack(|| {
        check_counters();
        let (calls, stats, watched) = call(600.0);
        println!("{calls:?} in {watched} watched stretches; {stats:?}");
        assert_eq!(calls.allocations, 0);
        assert!(calls.frees <= 2, "{calls:?}");
        assert!(watched > 150_000, "only {watched} interrupts and polls were counted");
        assert!(stats.capture.frames > 58_000, "{stats:?}");
        assert!(stats.intake.gaps > 0 && stats.outlet.underruns > 0, "{stats:?}");
        assert_eq!(stats.capture.voice_errors + stats.capture.voice_slow_frames, 0, "{stats:?}");
    });
}

fn check_counters() {
    taken();
    watched(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(taken(), Calls { allocations: 1, frees: 1 }, "Rust's calls are counted");
    let format = Format::new(48_000, 1).unwrap();
    let apm = watched(|| ApmProcessor::new(format, format, EVERYTHING).unwrap());
    let made = taken();
    assert!(made.allocations > 1_000, "C++ calls are not counted: {made:?}");
    drop(apm);
    assert_eq!(taken(), Calls::default(), "calls outside of the watched stretch are not counted");

    // On the board the interrupt halves are watched too: an allocation between them is not counted, one in a poll is.
    let config = plain_board(rate(48_000), 1);
    let mut session = Box::new(SimSession::new());
    let terminal = SessionFormat { rate: rate(48_000), near_channels: 1, far_channels: 1 };
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap();
    let mut board =
        SimulatedBoard::new(config.clone(), Box::new(DelayedEcho::new(1, 1.0, Vec::new()))).unwrap();
    // Counts in each interrupt half, as `watched` does in each poll.
    board.set_guard(watch);
    let stream_halves = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
    board.start(&request(&config), stream_halves).unwrap();
    let clock = board.clock();
    let mut heard = 0;
    while heard < 100 {
        std::hint::black_box(vec![0u8; 100]);
        if board.step() == Step::Worker {
            watched(|| {
                halves.capture.poll(&clock, &mut |frame: &Frame<CAP>| {
                    heard += 1;
                    std::hint::black_box(frame.samples().to_vec());
                })
            });
        }
    }
    let seen = taken();
    assert_eq!((seen.allocations, seen.frees), (heard, heard), "each allocation in a sink is counted");
}

/// Fails often enough to be retried three times and then disabled.
struct FailsPeriodically(u32);

impl FrameProcessor for FailsPeriodically {
    fn process(&mut self, frame: PcmMut<'_>) -> Result<(), ProcessError> {
        self.0 += 1;
        if !self.0.is_multiple_of(10_000) {
            return Ok(());
        }
        frame.samples.fill(0);
        Err(ProcessError::Backend { code: 1 })
    }
}

/// Runs a call with a chain of three frame processors: a gain that is switched and changed, a step that fails, and a
/// level meter.
fn call(seconds: f64) -> (Calls, Stats, u64) {
    let mut config = plain_board(rate(48_000), 9);
    config.capture = side(48_000, &[480, 441, 512], 2, DeviceSampleFormat::I24);
    config.playback = side(48_000, &[1_024, 7], 1, DeviceSampleFormat::F32);
    config.playback.ppm = 150.0;
    let format = Format::new(48_000, 1).unwrap();
    let voice = ApmProcessor::new(format, format, EVERYTHING).unwrap();
    let (setting, levels) = (GainSetting::new(Gain::UNITY), Levels::new());
    let (health, failing) = (StepHealth::new(), StepHealth::new());
    let shared = SharedStep::new(CatchPanic::new(GainStep::new(&setting)));
    let control = shared.control();
    let mut gain = Guarded::<_, _, CAP>::new(shared, || Instant::ORIGIN, &health);
    let mut fails = Guarded::<_, _, CAP>::new(FailsPeriodically(0), || Instant::ORIGIN, &failing);
    let mut meter = LevelMeter::new(&levels);
    let switches = [StepSwitch::new(true), StepSwitch::new(true)];
    let mut steps: [&mut (dyn FrameProcessor + Send); 3] = [&mut gain, &mut fails, &mut meter];
    let chain = Chain::new(&mut steps, &switches).unwrap();
    let mut journals = [const { Journal::<8_192>::new() }; 3].map(Box::new);
    let mut session = Box::new(SimSession::new());
    let terminal = SessionFormat { rate: rate(48_000), near_channels: 1, far_channels: 1 };
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal, voice, chain).unwrap();
    let [mut intake_journal, mut outlet_journal, mut capture_journal] = journals.each_mut().map(|journal| {
        let (writer, reader) = journal.split();
        (Some(writer), reader)
    });
    halves.intake.write_journal(intake_journal.0.take().unwrap());
    halves.outlet.write_journal(outlet_journal.0.take().unwrap());
    halves.capture.write_journal(capture_journal.0.take().unwrap());
    let mut lines = 0u64;
    let talker = far_speech(rate(48_000), 30.0);
    let mut board =
        SimulatedBoard::new(config.clone(), Box::new(DelayedEcho::new(700, 0.3, talker))).unwrap();
    board.set_guard(watch);
    let both = request(&config);
    let stream_halves = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
    board.start(&both, stream_halves).unwrap();

    let voice_clip = to_pcm(&far_speech(rate(48_000), 20.0));
    let bytes: Vec<u8> = voice_clip.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let (mut spoken, mut chimes, mut events, mut tapped) = (0usize, 0u32, 0u32, 0u32);
    let mut first = halves.tracks.open().unwrap();
    let mut second = None;
    // Speech synthesis at another rate, which is paused, interrupted and queried for its played position.
    let source = SourceConfig { rate_hz: 22_050, channels: 1, quality: Quality::MEDIUM, matching: None };
    let mut synthesis =
        halves.tracks.open_source::<{ Quality::MEDIUM.fast_memory(22_050, 48_000, 1) }>(source).unwrap();
    let mut sink = TeeSink::<CAP, 8>::new();
    let (writer, mut reader) = sink.split();
    let mut tee = Tee::<CAP, 1>::new();
    let (mut tee, mut feed) = tee.split();
    tee.add(writer, TapFilter::All).map_err(|refused| refused.error).unwrap();
    let clock = board.clock();
    let mut incidents = incidents().into_iter().peekable();
    let mut heard = 0u64;
    taken();
    stretches();
    loop {
        let now_s = board.now().as_nanos() as f64 / 1e9;
        if now_s >= seconds {
            break;
        }
        for (_, reader) in [&mut intake_journal, &mut outlet_journal, &mut capture_journal] {
            lines += std::iter::from_fn(|| reader.pop()).count() as u64;
        }
        while let Some((_, incident)) = incidents.next_if(|(at_s, _)| *at_s <= now_s) {
            apply_incident(&mut board, &mut halves.playback, &both, incident);
        }
        match board.step() {
            Step::Worker => {}
            // With both devices unplugged the workers continue, and time advances.
            Step::Idle => clock.advance(Duration::from_millis(10)),
            _ => continue,
        }
        // The application plays one voice continuously, and chimes that are opened and closed.
        watched(|| {
            loop {
                let rest = &voice_clip[spoken % voice_clip.len()..];
                let taken = first.push(rest).unwrap();
                spoken += taken;
                if taken < rest.len() {
                    break;
                }
            }
            if (now_s / 0.7) as u32 > chimes {
                chimes += 1;
                switches[0].set(chimes % 5 > 0);
                setting.set(Gain::linear((chimes % 3) as f32 * 0.7).unwrap());
                control.on_credentials(&Credentials { url: "", token: "another" }).unwrap();
                second = match second.take() {
                    None => halves.tracks.open().ok(),
                    // Half of them are played to their end, half are dropped.
                    Some(track) if chimes % 4 < 2 => handsfree_core::playback::Track::finish(track).err(),
                    Some(_) => None,
                };
            }
            synthesis.push_bytes(&bytes[..900]).unwrap();
            match chimes % 7 {
                1 => synthesis.pause(),
                3 => synthesis.interrupt(),
                5 => drop(synthesis.mark_synthesis_complete()),
                _ => synthesis.resume(),
            }
            synthesis.enable_input(true);
            let now = board.now();
            std::hint::black_box((synthesis.played_position(now), synthesis.is_speaking(now)));
            events += u32::from(synthesis.poll_event(now).is_some());
            tapped += u32::from(std::iter::from_fn(|| reader.pop()).count() > 0);
            if let Some(track) = &mut second {
                track.push(&voice_clip[..960]).unwrap();
                let _ = track.set_gain(Gain::UNITY, Duration::from_millis(5));
            }
            while halves.events.poll().is_some() {}
        });
        watched(|| halves.playback.poll_tapped(&mut feed));
        halves.tracks.dispatch();
        watched(|| {
            halves.capture.poll(&clock, &mut |frame: &Frame<CAP>| heard += u64::from(frame.stamp.lost) + 1);
            std::hint::black_box(halves.capture.voice_stats());
        });
        while board.poll_event().is_some() {}
    }
    assert!(incidents.next().is_none() && heard > 0 && chimes > 800);
    assert!(events > 100 && tapped > 10_000, "{events} events, {tapped} deliveries to the tee's sink");
    let calls = taken();
    assert!(lines > 1_000_000, "{lines} lines of the journals");
    assert_eq!(
        intake_journal.1.lost_records() + outlet_journal.1.lost_records() + capture_journal.1.lost_records(),
        0
    );
    assert_eq!(levels.read().frames, halves.stats.read().capture.frames);
    assert_eq!((failing.read().state, failing.read().errors), (BreakerState::Disabled, 4));
    assert!(health.read().frames > 40_000 && health.read().errors == 0, "{:?}", health.read());
    (calls, halves.stats.read(), stretches())
}

fn apply_incident(
    board: &mut SimulatedBoard<'_, CAP, SLOTS>,
    playback: &mut handsfree_core::playback::Pipeline<'_, CAP, SLOTS>,
    both: &StreamRequest<'static>,
    incident: CallIncident,
) {
    match incident {
        CallIncident::Latency(ms) => board.step_render_latency(Duration::from_millis(ms)),
        CallIncident::Stall(ms) => board.stall_worker(Duration::from_millis(ms)),
        CallIncident::LoseCapture(sample_frames) => board.lose_capture(sample_frames),
        CallIncident::Limiter(limiter) => playback.set_limiter(limiter),
        CallIncident::Unplug(direction) => board.unplug(direction),
        CallIncident::Replug(direction, side) => {
            let (directions, request) = match direction {
                Direction::Capture => (Directions::Capture, StreamRequest { playback: None, ..*both }),
                Direction::Playback => (Directions::Playback, StreamRequest { capture: None, ..*both }),
            };
            board.replace_device(direction, side).unwrap();
            let stream_halves = board.stop(directions);
            board.start(&request, stream_halves).unwrap();
        }
    }
}
