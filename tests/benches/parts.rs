//! Benchmark: time of each part per 10 ms at 48 kHz mono, with the time of WebRTC's audio processing for comparison.
//!
//! Absolute times depend on the machine; compare them with the 10 ms of a frame and with each other.
#![allow(missing_docs)]

use std::cell::{Cell, RefCell};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree::catch_panic::CatchPanic;
use handsfree::shared_step::SharedStep;
use handsfree_apm::{ApmConfig, ApmProcessor, GainControl, NoiseSuppression};
use handsfree_core::capture::{
    Bypass, FrameProcessor, GainSetting, GainStep, Guarded, LevelMeter, Levels, StepHealth, VoiceProcessor,
};
use handsfree_core::{
    ChannelMap, DeviceSample, Duration, Format, Frame, Gain, I24, Instant, PcmMut, PcmRef, SampleRate,
    Session, SessionFormat,
};
use handsfree_tests::{captured_at, far_speech, intake_config, outlet_config, played_at, to_pcm};

const RATE_HZ: u32 = 48_000;
const FRAME: usize = 480;

type BenchSession<const SLOTS: usize> = Session<480, SLOTS, 8, 8, 16, 8, 48_000>;

fn rate() -> SampleRate {
    SampleRate::new(RATE_HZ).unwrap()
}

fn terminal() -> SessionFormat {
    SessionFormat { rate: rate(), near_channels: 1, far_channels: 1 }
}

fn intake<S: DeviceSample>(criterion: &mut Criterion, name: &str, channels: u32) {
    let mut session = Box::new(BenchSession::<1>::new());
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal(), Bypass, ()).unwrap();
    let map = ChannelMap::natural(channels, 1).unwrap();
    halves.intake.configure(intake_config(rate(), map, FRAME as u32)).unwrap();
    let period = vec![S::from_pcm(1_234); FRAME * channels as usize];
    let position = Cell::new(0);
    criterion.bench_function(&format!("intake, {name}"), |bencher| {
        bencher.iter_batched(
            || {
                halves
                    .capture
                    .poll(&|| captured_at(position.get(), 0, rate(), 0).called, &mut |_: &Frame<480>| {})
            },
            |_| {
                halves.intake.on_period(&period, captured_at(position.get(), FRAME, rate(), 0));
                position.set(position.get() + FRAME as u64);
            },
            BatchSize::PerIteration,
        );
    });
}

fn outlet<S: DeviceSample>(criterion: &mut Criterion, name: &str, channels: u32) {
    let mut session = Box::new(BenchSession::<1>::new());
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal(), Bypass, ()).unwrap();
    let map = ChannelMap::natural(1, channels).unwrap();
    halves.outlet.configure(outlet_config(rate(), map, FRAME as u32)).unwrap();
    let mut track = halves.tracks.open().unwrap();
    let mut out = vec![S::SILENCE; FRAME * channels as usize];
    let position = Cell::new(0);
    criterion.bench_function(&format!("outlet, {name}"), |bencher| {
        bencher.iter_batched(
            || {
                track.push(&[1_234; FRAME]).unwrap();
                halves.playback.poll();
                halves
                    .capture
                    .poll(&|| captured_at(position.get(), 0, rate(), 0).called, &mut |_: &Frame<480>| {});
            },
            |()| {
                halves.outlet.on_period(&mut out, played_at(position.get(), rate(), 0));
                position.set(position.get() + FRAME as u64);
            },
            BatchSize::PerIteration,
        );
    });
}

fn interrupts(criterion: &mut Criterion) {
    intake::<i16>(criterion, "i16", 1);
    intake::<I24>(criterion, "24 in 32", 1);
    intake::<i32>(criterion, "i32", 1);
    intake::<f32>(criterion, "f32", 1);
    intake::<f32>(criterion, "f32, mean of 8 channels", 8);
    outlet::<i16>(criterion, "i16", 1);
    outlet::<f32>(criterion, "f32", 1);
    outlet::<f32>(criterion, "f32, spread to 8 channels", 8);
}

fn mixer<const SLOTS: usize>(criterion: &mut Criterion, name: &str, gain: Gain) {
    let mut session = Box::new(BenchSession::<SLOTS>::new());
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal(), Bypass, ()).unwrap();
    let map = ChannelMap::natural(1, 1).unwrap();
    halves.outlet.configure(outlet_config(rate(), map, FRAME as u32)).unwrap();
    let mut tracks: Vec<_> = (0..SLOTS).map(|_| halves.tracks.open().unwrap()).collect();
    for track in &mut tracks {
        track.set_gain(gain, Duration::ZERO).unwrap();
    }
    let mut out = [0i16; FRAME];
    let mut position = 0;
    criterion.bench_function(&format!("mixer and playback pipeline, {SLOTS} sources {name}"), |bencher| {
        bencher.iter_batched(
            || {
                for track in &mut tracks {
                    track.push(&[123; FRAME]).unwrap();
                }
                halves.outlet.on_period(&mut out, played_at(position, rate(), 0));
                halves.capture.poll(&|| captured_at(position, 0, rate(), 0).called, &mut |_: &Frame<480>| {});
                position += FRAME as u64;
            },
            |()| assert_eq!(halves.playback.poll(), 1),
            BatchSize::PerIteration,
        );
    });
}

fn mixing(criterion: &mut Criterion) {
    mixer::<1>(criterion, "at unity", Gain::UNITY);
    mixer::<8>(criterion, "at unity", Gain::UNITY);
    mixer::<8>(criterion, "with gain", Gain::linear(0.3).unwrap());
    mixer::<64>(criterion, "at unity", Gain::UNITY);
    mixer::<64>(criterion, "with gain", Gain::linear(0.3).unwrap());
}

/// Measures the capture pipeline with a voice processor.
fn pipeline<V: VoiceProcessor>(criterion: &mut Criterion, name: &str, device_hz: u32, domain: u32, voice: V) {
    let device = SampleRate::new(device_hz).unwrap();
    let length = device.sample_frames();
    let mut session = Box::new(Session::<480, 1, 8, 8, 16, 8, 48_000>::new());
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal(), voice, ()).unwrap();
    let map = ChannelMap::natural(1, 1).unwrap();
    let mut config = intake_config(device, map, length as u32);
    config.clock_domain = domain;
    halves.intake.configure(config).unwrap();
    halves.outlet.configure(outlet_config(device, map, length as u32)).unwrap();
    let mut track = halves.tracks.open().unwrap();
    let far = to_pcm(&far_speech(rate(), 10.0));
    let (mut fed, mut position) = (0, 0);
    let mut out = vec![0i16; length];
    criterion.bench_function(&format!("capture pipeline, {name}"), |bencher| {
        bencher.iter_batched(
            || {
                fed += track.push(&far[fed % (far.len() - FRAME)..][..FRAME]).unwrap();
                halves.playback.poll();
                halves.outlet.on_period(&mut out, played_at(position, device, 0));
                out.iter_mut().for_each(|s| *s /= 4);
                halves.intake.on_period(&out, captured_at(position, length, device, 0));
                position += length as u64;
                captured_at(position, 0, device, 0).called
            },
            |now| halves.capture.poll(&|| now, &mut |_: &Frame<480>| {}),
            BatchSize::PerIteration,
        );
    });
}

fn apm(config: ApmConfig) -> ApmProcessor {
    let format = Format::new(RATE_HZ, 1).unwrap();
    ApmProcessor::new(format, format, config).unwrap()
}

fn canceller_only() -> ApmConfig {
    ApmConfig { noise_suppression: NoiseSuppression::Off, ..ApmConfig::default() }
}

fn everything() -> ApmConfig {
    ApmConfig { gain_control: GainControl::Adaptive, ..ApmConfig::default() }
}

fn pipelines(criterion: &mut Criterion) {
    pipeline(criterion, "no voice processor, one clock", 48_000, 1, Bypass);
    pipeline(criterion, "no voice processor, two clocks", 48_000, 2, Bypass);
    pipeline(criterion, "no voice processor, device at 16 kHz", 16_000, 1, Bypass);
    pipeline(criterion, "no voice processor, device at 44.1 kHz", 44_100, 1, Bypass);
    pipeline(criterion, "echo canceller and high-pass", 48_000, 1, apm(canceller_only()));
    pipeline(criterion, "everything on", 48_000, 1, apm(everything()));
}

/// Measures the same two calls of the voice processor without a pipeline.
fn direct(criterion: &mut Criterion) {
    let format = Format::new(RATE_HZ, 1).unwrap();
    let far = to_pcm(&far_speech(rate(), 10.0));
    for (name, config) in
        [("echo canceller and high-pass", canceller_only()), ("everything on", everything())]
    {
        let mut apm = apm(config);
        let mut at = 0;
        let near = RefCell::new([0i16; FRAME]);
        criterion.bench_function(&format!("APM called directly, {name}"), |bencher| {
            bencher.iter_batched(
                || {
                    at = (at + FRAME) % (far.len() - FRAME);
                    near.borrow_mut().iter_mut().zip(&far[at..]).for_each(|(near, far)| *near = far / 4);
                    at
                },
                |at| {
                    let samples = &far[at..at + FRAME];
                    apm.process_reverse(PcmRef { format, samples }).unwrap();
                    apm.process_capture(PcmMut { format, samples: &mut *near.borrow_mut() }, Duration::ZERO)
                        .unwrap();
                },
                BatchSize::PerIteration,
            );
        });
    }
}

fn step(criterion: &mut Criterion, name: &str, mut step: impl FrameProcessor) {
    let format = Format::new(RATE_HZ, 1).unwrap();
    let speech = to_pcm(&far_speech(rate(), 1.0));
    let mut frame = [0; FRAME];
    criterion.bench_function(&format!("step, {name}"), |bencher| {
        bencher.iter(|| {
            frame.copy_from_slice(&speech[FRAME..2 * FRAME]);
            step.process(PcmMut { format, samples: &mut frame })
        });
    });
}

/// Measures steps of the chain. Each time includes the copy of a frame; a guard's time includes two readings of the host's
/// clock.
fn steps(criterion: &mut Criterion) {
    let (setting, levels) = (GainSetting::new(Gain::linear(0.7).unwrap()), Levels::new());
    step(criterion, "nothing", Passes);
    step(criterion, "gain", GainStep::new(&setting));
    step(criterion, "level meter", LevelMeter::new(&levels));
    let health = StepHealth::new();
    let began = std::time::Instant::now();
    let clock = || Instant::from_nanos(began.elapsed().as_nanos() as i64);
    step(criterion, "guarded nothing", Guarded::<_, _, FRAME>::new(Passes, clock, &health));
    let shared = SharedStep::new(CatchPanic::new(Passes));
    step(criterion, "guarded, shared, panics caught", Guarded::<_, _, FRAME>::new(shared, clock, &health));
}

struct Passes;

impl FrameProcessor for Passes {
    fn process(&mut self, _frame: PcmMut<'_>) -> Result<(), handsfree_core::capture::ProcessError> {
        Ok(())
    }
}

criterion_group!(benches, interrupts, mixing, pipelines, steps, direct);
criterion_main!(benches);
