//! The chain of frame processors behind the voice processor: order, switches, faults (fault 17), gain and level meter.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use handsfree::catch_panic::CatchPanic;
use handsfree::shared_step::SharedStep;
use handsfree_core::audio_io::Direction;
use handsfree_core::capture::{
    BreakerState, Chain, FrameProcessor, GainSetting, GainStep, Guarded, LEVEL_FLOOR_DBFS, LevelMeter,
    Levels, ProcessError, StepHealth, StepSwitch,
};
use handsfree_core::{ChannelMap, Duration, Format, Frame, Gain, PcmMut, SampleRate, SessionEvent};
use handsfree_sim::noise::Rng;
use handsfree_tests::capture_rig::{
    CAP, GuardedStep, LENGTH, ScriptedOutcome, ScriptedStep, TestClock, scripted_sample, tripped, with_rig,
};
use handsfree_tests::{captured_at, for_seeds, intake_config, one_in, pick};

type DynStep<'a> = &'a mut (dyn FrameProcessor + Send);

const LIMIT_US: i64 = 20_000;

/// Fault 17 for frame processors, for every kind of fault.
#[test]
fn a_failing_step_is_disabled_after_three_retries() {
    for outcome in [
        ScriptedOutcome::Error,
        ScriptedOutcome::Panic,
        ScriptedOutcome::Slow(LIMIT_US + 1),
        ScriptedOutcome::Slow(500_000),
    ] {
        let clock = TestClock::default();
        let script: Vec<ScriptedOutcome> =
            (0..4).flat_map(|_| [ScriptedOutcome::Success, ScriptedOutcome::Success, outcome]).collect();
        let step = ScriptedStep::new(&clock, script);
        let log = step.log();
        let health = StepHealth::new();
        let mut guarded = GuardedStep::new(CatchPanic::new(step), clock.clone(), &health);
        let mut nothing = ();
        let mut steps: [DynStep<'_>; 2] = [&mut nothing, &mut guarded];
        with_rig(Chain::new(&mut steps, &[]).unwrap(), &clock, |rig| {
            for fault in 1..=4 {
                assert!(!rig.passes() && !rig.passes(), "{outcome:?}: processed before fault {fault}");
                assert_eq!(
                    log(),
                    if fault == 1 { vec![] } else { vec!["reset"] },
                    "{outcome:?}: not reset before the retry"
                );
                assert!(rig.passes(), "{outcome:?}: the frame of fault {fault} is changed");
                assert_eq!(rig.processor_errors(), u32::from(fault));
                if fault < 4 {
                    assert_eq!(rig.events(), [tripped(1, fault)], "{outcome:?}");
                    assert_eq!(health.read().state, BreakerState::Backoff { frames: 100 });
                    (0..100).for_each(|frame| {
                        assert!(rig.passes(), "{outcome:?}: frame {frame} of the backoff is changed")
                    });
                    assert_eq!(health.read().state, BreakerState::Backoff { frames: 0 });
                }
            }
            assert_eq!(rig.events(), [SessionEvent::ProcessorDisabled { step: 1 }], "{outcome:?}");
            (0..1_000).for_each(|_| assert!(rig.passes(), "{outcome:?}: called while disabled"));
            assert_eq!(rig.events(), []);
            let seen = health.read();
            let (errors, slow) = if matches!(outcome, ScriptedOutcome::Slow(_)) { (0, 4) } else { (4, 0) };
            assert_eq!((seen.errors, seen.slow_frames, seen.bypassed_frames), (errors, slow, 1_300));
            assert_eq!((seen.state, seen.frames), (BreakerState::Disabled, 8), "{outcome:?}");
            if let ScriptedOutcome::Slow(us) = outcome {
                assert_eq!(i64::from(seen.longest_us), us);
            }

            health.reset_breaker();
            assert!(!rig.passes(), "{outcome:?}: not called after the breaker was reset");
            assert_eq!(log(), ["reset"], "{outcome:?}");
            assert_eq!(health.read().state, BreakerState::Active);
        });
    }
}

#[test]
fn a_step_that_takes_exactly_its_limit_is_not_too_slow() {
    let clock = TestClock::default();
    for (limit_ms, us) in [(None, LIMIT_US), (Some(3), 3_000), (Some(50), 50_000)] {
        let health = StepHealth::new();
        let mut guarded = GuardedStep::new(
            ScriptedStep::new(&clock, [ScriptedOutcome::Slow(us); 300]),
            clock.clone(),
            &health,
        );
        if let Some(ms) = limit_ms {
            guarded = guarded.with_limit(Duration::from_millis(ms));
        }
        with_rig(&mut guarded, &clock, |rig| {
            (0..300).for_each(|_| assert!(!rig.passes()));
            assert_eq!(rig.events(), []);
        });
        assert_eq!((health.read().frames, health.read().slow_frames), (300, 0));
    }
}

#[test]
fn step_faults_are_forgotten_after_ten_minutes_without_one() {
    let clock = TestClock::default();
    let script = (0..6).flat_map(|_| {
        std::iter::once(ScriptedOutcome::Error).chain(std::iter::repeat_n(ScriptedOutcome::Success, 60_000))
    });
    let health = StepHealth::new();
    let mut guarded = GuardedStep::new(ScriptedStep::new(&clock, script), clock.clone(), &health);
    with_rig(&mut guarded, &clock, |rig| {
        for _ in 0..6 {
            assert!(rig.passes());
            assert_eq!(
                rig.events(),
                [tripped(0, 1)],
                "the fault count is forgotten; a step without a chain is step 0"
            );
            (0..60_100).for_each(|_| drop(rig.next_frame()));
        }
        assert_eq!(health.read().state, BreakerState::Active);
    });
}

#[test]
fn a_frame_longer_than_the_guards_capacity_is_not_processed() {
    let clock = TestClock::default();
    let health = StepHealth::new();
    let mut small =
        Guarded::<_, _, { LENGTH - 1 }>::new(ScriptedStep::new(&clock, []), clock.clone(), &health);
    with_rig(&mut small, &clock, |rig| {
        assert!(rig.passes());
        assert_eq!(rig.events(), [tripped(0, 1)]);
        assert_eq!(health.read().errors, 1);
    });
    let error = ProcessError::TooLong { capacity: LENGTH - 1, found: LENGTH };
    assert_eq!(error.to_string(), "a frame of 160 samples: expected at most the guard's capacity of 159");
}

/// Faults in a nested chain are reported with the nested chain's index in the outer chain.
#[test]
fn faults_inside_a_nested_chain_are_reported() {
    let clock = TestClock::default();
    let (health_a, health_b, health_c) = (StepHealth::new(), StepHealth::new(), StepHealth::new());
    let fails = || ScriptedStep::new(&clock, [ScriptedOutcome::Success, ScriptedOutcome::Error]);
    let mut a = GuardedStep::new(fails(), clock.clone(), &health_a);
    let mut b = GuardedStep::new(fails(), clock.clone(), &health_b);
    let mut c = GuardedStep::new(fails(), clock.clone(), &health_c);
    let mut inner_steps: [DynStep<'_>; 2] = [&mut a, &mut b];
    let mut inner = Chain::new(&mut inner_steps, &[]).unwrap();
    let mut outer: [DynStep<'_>; 2] = [&mut c, &mut inner];
    with_rig(Chain::new(&mut outer, &[]).unwrap(), &clock, |rig| {
        assert!(!rig.passes());
        assert_eq!(rig.events(), []);
        assert!(rig.passes());
        assert_eq!(rig.events(), [tripped(0, 1), tripped(1, 1), tripped(1, 1)]);
        assert_eq!(rig.processor_errors(), 1, "one frame");
    });
}

/// A simple model of a guarded step.
struct StepModel {
    outcomes: VecDeque<ScriptedOutcome>,
    factor: i16,
    calls: i16,
    stale: bool,
    ran: bool,
    rest: u32,
    faults: u8,
}

impl StepModel {
    /// Processes a frame and returns the number of the fault, if there was one.
    fn run(&mut self, on: bool, samples: &mut [i16]) -> Option<u8> {
        let ran = std::mem::replace(&mut self.ran, on);
        self.stale |= on && !ran;
        if !on || self.faults > 3 {
            return None;
        }
        if self.rest > 0 {
            self.rest -= 1;
            return None;
        }
        self.calls = if std::mem::take(&mut self.stale) { 1 } else { self.calls + 1 };
        match self.outcomes.pop_front().unwrap_or(ScriptedOutcome::Success) {
            ScriptedOutcome::Success => {}
            ScriptedOutcome::Slow(us) if us <= LIMIT_US => {}
            _ => {
                self.faults += 1;
                self.rest = 100;
                self.stale = true;
                return Some(self.faults);
            }
        }
        samples.iter_mut().for_each(|sample| *sample = scripted_sample(*sample, self.factor, self.calls));
        None
    }
}

fn any_script(rng: &mut Rng) -> Vec<ScriptedOutcome> {
    let rarity = pick(rng, &[3, 40, 300, 100_000]);
    let mut outcome = || match one_in(rng, rarity) {
        false => ScriptedOutcome::Success,
        true => pick(
            rng,
            &[
                ScriptedOutcome::Error,
                ScriptedOutcome::Panic,
                ScriptedOutcome::Slow(LIMIT_US),
                ScriptedOutcome::Slow(LIMIT_US + 1),
            ],
        ),
    };
    (0..1_500).map(|_| outcome()).collect()
}

#[test]
fn any_chain_equals_its_steps_applied_in_order() {
    let (tripped_steps, disabled_steps, off_frames) =
        (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    for_seeds(30, |rng| {
        let clock = TestClock::default();
        let count = rng.range(1, 7) as usize;
        let health: Vec<StepHealth> = (0..count).map(|_| StepHealth::new()).collect();
        let switches: Vec<StepSwitch> = (0..count).map(|_| StepSwitch::new(!one_in(rng, 4))).collect();
        let (mut models, mut guards) = (Vec::new(), Vec::new());
        for health in &health {
            let (script, factor) = (any_script(rng), 2 * rng.range(0, 99) as i16 + 1);
            let mut step = ScriptedStep::new(&clock, script.clone());
            step.factor = factor;
            guards.push(GuardedStep::new(CatchPanic::new(step), clock.clone(), health));
            let outcomes = script.into();
            models.push(StepModel {
                outcomes,
                factor,
                calls: 0,
                stale: false,
                ran: true,
                rest: 0,
                faults: 0,
            });
        }
        let mut steps: Vec<DynStep<'_>> = guards.iter_mut().map(|guard| guard as DynStep<'_>).collect();
        with_rig(Chain::new(&mut steps, &switches).unwrap(), &clock, |rig| {
            let mut failed_frames = 0;
            for frame in 0..1_500 {
                for switch in &switches {
                    if one_in(rng, 60) {
                        switch.set(!switch.is_on());
                    }
                }
                let (mut expected, heard) = rig.next_frame();
                let mut expected_events = Vec::new();
                for (step, (model, switch)) in (0..).zip(models.iter_mut().zip(&switches)) {
                    off_frames.fetch_add(u32::from(!switch.is_on()), Ordering::Relaxed);
                    match model.run(switch.is_on(), &mut expected) {
                        Some(4) => expected_events.push(SessionEvent::ProcessorDisabled { step }),
                        Some(fault) => expected_events.push(tripped(step, fault)),
                        None => {}
                    }
                }
                failed_frames += u32::from(!expected_events.is_empty());
                assert!(heard == expected, "frame {frame}");
                assert_eq!(rig.events(), expected_events, "frame {frame}");
            }
            assert_eq!(rig.processor_errors(), failed_frames);
        });
        for (model, health) in models.iter().zip(&health) {
            let seen = health.read();
            assert_eq!(seen.errors + seen.slow_frames, u32::from(model.faults));
            assert_eq!(seen.state == BreakerState::Disabled, model.faults > 3);
            tripped_steps.fetch_add(u32::from(model.faults > 0), Ordering::Relaxed);
            disabled_steps.fetch_add(u32::from(model.faults > 3), Ordering::Relaxed);
        }
    });
    println!(
        "{tripped_steps:?} steps tripped, {disabled_steps:?} disabled, {off_frames:?} frames of a step that was off"
    );
    if std::env::var_os("HANDSFREE_SEED").is_none() {
        assert!(disabled_steps.into_inner() >= 10 && off_frames.into_inner() > 1_000);
    }
}

#[test]
fn another_thread_may_flip_switches_while_the_worker_runs() {
    let clock = TestClock::default();
    let switches = [StepSwitch::new(true)];
    let mut step = ScriptedStep::new(&clock, []);
    let mut steps: [DynStep<'_>; 1] = [&mut step];
    let done = AtomicBool::new(false);
    with_rig(Chain::new(&mut steps, &switches).unwrap(), &clock, |rig| {
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    switches[0].set(!switches[0].is_on());
                    thread::yield_now();
                }
            });
            let (mut on_frames, mut off_frames, mut calls) = (0, 0, 0);
            while on_frames < 500 || off_frames < 500 {
                let (period, heard) = rig.next_frame();
                if heard == period {
                    off_frames += 1;
                    calls = 0;
                } else {
                    on_frames += 1;
                    calls += 1;
                    let whole: Vec<i16> = period.iter().map(|&s| scripted_sample(s, 3, calls)).collect();
                    assert_eq!(
                        heard, whole,
                        "a frame is processed completely, after a reset if the step was off"
                    );
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        switches[0].set(false);
        assert!(rig.passes());
        switches[0].set(true);
        assert!(!rig.passes());
    });
}

#[test]
fn a_change_of_device_resets_every_step() {
    let clock = TestClock::default();
    let health = StepHealth::new();
    let (plain, off, inner) =
        (ScriptedStep::new(&clock, []), ScriptedStep::new(&clock, []), ScriptedStep::new(&clock, []));
    let logs = [plain.log(), off.log(), inner.log()];
    let (mut plain, mut off) = (plain, off);
    let mut guarded = GuardedStep::new(CatchPanic::new(SharedStep::new(inner)), clock.clone(), &health);
    let switches = [StepSwitch::new(true), StepSwitch::new(false)];
    let mut steps: [DynStep<'_>; 3] = [&mut plain, &mut off, &mut guarded];
    with_rig(Chain::new(&mut steps, &switches).unwrap(), &clock, |rig| {
        (0..3).for_each(|_| assert!(!rig.passes()));
        assert!(logs.iter().all(|log| log().is_empty()));
        let other = SampleRate::new(48_000).unwrap();
        rig.intake.configure(intake_config(other, ChannelMap::natural(1, 1).unwrap(), 480)).unwrap();
        rig.intake.on_period(&[9i16; 480], captured_at(rig.position, 480, other, 0));
        rig.capture.poll(&clock, &mut |_: &Frame<CAP>| {});
        assert_eq!(rig.events(), [SessionEvent::DeviceChanged { direction: Direction::Capture }]);
        assert!(logs.iter().all(|log| log() == ["reset"]));
    });
}

#[test]
fn a_constant_gain_is_exact_and_a_changing_one_stays_in_range() {
    let clock = TestClock::default();
    for_seeds(20, |rng| {
        let linear = |rng: &mut Rng| {
            let any = rng.uniform() as f32;
            pick(rng, &[0.0, 0.5, 1.0, 1.0, 1.5, 4.0, 64.0, any])
        };
        let mut now = Gain::linear(linear(rng)).unwrap();
        let setting = GainSetting::new(now);
        with_rig(GainStep::new(&setting), &clock, |rig| {
            for _ in 0..200 {
                let clipped_before = setting.clipped_samples();
                let wanted = if one_in(rng, 3) { Gain::linear(linear(rng)).unwrap() } else { now };
                setting.set(wanted);
                let (period, heard) = rig.next_frame();
                let scaled =
                    |sample: i16, gain: Gain| (f64::from(sample) * f64::from(gain.factor()) + 0.5).floor();
                let whole = |exact: f64| exact.clamp(-32_768.0, 32_767.0) as i16;
                if wanted == now {
                    let exact: Vec<f64> = period.iter().map(|&sample| scaled(sample, now)).collect();
                    assert_eq!(heard, exact.iter().map(|&s| whole(s)).collect::<Vec<_>>());
                    let clipped =
                        exact.iter().filter(|&&s| !(-32_768.0..=32_767.0).contains(&s)).count() as u32;
                    assert_eq!(setting.clipped_samples() - clipped_before, clipped);
                    if now == Gain::UNITY {
                        assert_eq!(heard, period, "unity gain changes samples");
                    }
                } else {
                    for (&sample, &out) in period.iter().zip(&heard) {
                        let (a, b) = (whole(scaled(sample, now)), whole(scaled(sample, wanted)));
                        assert!((a.min(b)..=a.max(b)).contains(&out), "{sample} to {out}, from {a} to {b}");
                    }
                    now = wanted;
                }
            }
        });
    });
}

#[test]
fn a_meter_is_accurate_to_a_tenth_of_a_decibel() {
    for rate_hz in [8_000u32, 16_000, 48_000] {
        for frequency_hz in [100.0, 997.0, 3_000.0] {
            for peak_dbfs in [-0.1, -20.0, -60.0] {
                let levels = Levels::new();
                let mut meter = LevelMeter::new(&levels);
                let format = Format::new(rate_hz, 1).unwrap();
                let amplitude = 32_768.0 * 10f64.powf(peak_dbfs / 20.0);
                let sine = |n: usize| {
                    let phase = n as f64 * frequency_hz / f64::from(rate_hz) * std::f64::consts::TAU;
                    (phase.sin() * amplitude).round() as i16
                };
                let length = format.sample_frames();
                for frame in 0..200 {
                    let mut samples: Vec<i16> = (frame * length..(frame + 1) * length).map(sine).collect();
                    let before = samples.clone();
                    meter.process(PcmMut { format, samples: &mut samples }).unwrap();
                    assert_eq!(samples, before);
                }
                let read = levels.read();
                let case = format!("{rate_hz} Hz, {frequency_hz} Hz at {peak_dbfs} dBFS: {read:?}");
                assert!((f64::from(read.peak_dbfs) - peak_dbfs).abs() < 0.1, "{case}");
                assert!((f64::from(read.held_peak_dbfs) - peak_dbfs).abs() < 0.1, "{case}");
                assert!((f64::from(read.rms_dbfs) - (peak_dbfs - 3.0103)).abs() < 0.1, "{case}");
                assert_eq!(read.frames, 200);
            }
        }
    }
}

/// A meter measures the output of the gain before it. A meter that is switched off keeps its reading, and starts from
/// silence when it is switched on.
#[test]
fn a_meter_measures_the_output_of_earlier_steps() {
    let clock = TestClock::default();
    let (setting, levels) = (GainSetting::new(Gain::linear(0.1).unwrap()), Levels::new());
    let (mut gain, mut meter) = (GainStep::new(&setting), LevelMeter::new(&levels));
    let switches = [StepSwitch::new(true), StepSwitch::new(true)];
    let mut steps: [DynStep<'_>; 2] = [&mut gain, &mut meter];
    with_rig(Chain::new(&mut steps, &switches).unwrap(), &clock, |rig| {
        (0..200).for_each(|_| drop(rig.run(&[10_000; LENGTH])));
        let quiet = levels.read();
        assert!((quiet.rms_dbfs - -30.31).abs() < 0.01, "{quiet:?}");
        switches[1].set(false);
        setting.set(Gain::UNITY);
        (0..200).for_each(|_| drop(rig.run(&[10_000; LENGTH])));
        assert_eq!(levels.read(), quiet);
        switches[1].set(true);
        rig.run(&[0; LENGTH]);
        assert_eq!(levels.read().peak_dbfs, LEVEL_FLOOR_DBFS, "an old level is still shown");
    });
}
