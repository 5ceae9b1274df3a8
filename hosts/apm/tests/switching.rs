//! Settings that change from other threads while frames flow, and either side dropped first.
#![allow(missing_docs)]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use handsfree_apm::{
    ApmConfig, ApmControl, ApmError, ApmProcessor, EchoCancellation, GainControl, NoiseSuppression,
    SETTINGS_TIMEOUT,
};
use handsfree_core::capture::VoiceProcessor;
use support::{BurstNoise, EchoBench, format, process};

fn processor() -> ApmProcessor {
    ApmProcessor::new(format(48_000, 1), format(48_000, 2), ApmConfig::default()).unwrap()
}

fn configs() -> [ApmConfig; 6] {
    let base = ApmConfig::default();
    [
        ApmConfig { noise_suppression: NoiseSuppression::VeryHigh, ..base },
        ApmConfig { gain_control: GainControl::Adaptive, ..base },
        ApmConfig { echo_cancellation: EchoCancellation::Mobile, ..base },
        ApmConfig { echo_cancellation: EchoCancellation::Gentle, ..base },
        ApmConfig::BYPASS,
        base,
    ]
}

/// Processes frames as fast as possible, yielding after each, until `stop` is set. Returns the number of frames.
fn feed(apm: &mut ApmProcessor, stop: &AtomicBool) -> u64 {
    let mut noise = BurstNoise::new(17);
    let (mut far, mut near) = (vec![0; apm.far().samples()], vec![0; apm.near().samples()]);
    let mut frames = 0;
    while !stop.load(Ordering::Relaxed) {
        far.iter_mut().chain(&mut near).for_each(|sample| *sample = noise.burst(48_000, 9_000.0));
        process(apm, &far, &mut near).unwrap();
        frames += 1;
        thread::yield_now();
    }
    frames
}

#[test]
fn two_controls_switch_while_frames_flow() {
    let mut apm = processor();
    let stop = AtomicBool::new(false);
    let controls = [apm.control(), apm.control()];
    thread::scope(|scope| {
        let worker = scope.spawn(|| feed(&mut apm, &stop));
        let changers = controls.each_ref().map(|control| {
            scope.spawn(|| {
                for config in (0..4).flat_map(|_| configs()) {
                    control.set_config(config).unwrap();
                }
            })
        });
        for changer in changers {
            changer.join().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        let frames = worker.join().unwrap();
        println!("{frames} frames, {} passed during 48 changes", controls[0].passed_frames());
        assert!(controls[0].passed_frames() < frames);
    });
    assert_eq!(controls[1].config(), ApmConfig::default());
    assert_eq!(apm.passed_frames(), controls[1].passed_frames());
}

/// At the pace of a real stream, a change usually costs one to three frames.
#[test]
fn a_change_passes_few_frames() {
    let mut bench = EchoBench::new(
        ApmProcessor::new(format(48_000, 1), format(48_000, 1), ApmConfig::default()).unwrap(),
    );
    bench.run(500);
    let control = bench.apm.control();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                bench.run(1);
                thread::sleep(std::time::Duration::from_millis(10));
            }
        });
        let mut most = 0;
        for round in 0..10 {
            let before = control.passed_frames();
            control.set_config(configs()[round % configs().len()]).unwrap();
            most = most.max(control.passed_frames() - before);
        }
        stop.store(true, Ordering::Relaxed);
        println!("at most {most} frames passed for one change");
        // The bound allows for the scheduling delays of a loaded test machine.
        assert!(most <= 20, "{most} frames");
    });
}

#[test]
fn the_frames_after_a_change_use_the_new_settings() {
    let mut apm = processor();
    let control = apm.control();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            control.set_config(ApmConfig::BYPASS).unwrap();
            stop.store(true, Ordering::Relaxed);
        });
        feed(&mut apm, &stop);
    });
    let far = vec![0; apm.far().samples()];
    let input: Vec<i16> = (0..480).map(|i| (i * 31 % 2_000) as i16).collect();
    let mut output = input.clone();
    process(&mut apm, &far, &mut output).unwrap();
    assert_eq!(output, input, "bypass leaves samples unchanged");
}

#[test]
fn without_frames_a_control_times_out_with_an_error() {
    let mut apm = processor();
    let control = apm.control();
    let error = control.set_config(ApmConfig::BYPASS).unwrap_err();
    assert!(matches!(error, ApmError::NoFrame { waited } if waited >= SETTINGS_TIMEOUT), "{error}");
    assert_eq!(control.config(), ApmConfig::default());
    // The request is withdrawn: the next frame is processed, not passed.
    process(&mut apm, &[0; 960], &mut [0; 480]).unwrap();
    assert_eq!(apm.passed_frames(), 0);
}

#[test]
fn the_owner_changes_settings_at_once() {
    let mut apm = processor();
    let control = apm.control();
    for config in configs() {
        apm.set_config(config).unwrap();
        assert_eq!(control.config(), config);
        process(&mut apm, &[0; 960], &mut [0; 480]).unwrap();
    }
    assert_eq!(apm.passed_frames(), 0);
}

#[test]
fn a_control_may_outlive_its_processor() {
    let control = processor().control();
    assert_eq!(control.set_config(ApmConfig::BYPASS), Err(ApmError::Gone));
    assert_eq!(control.config(), ApmConfig::default());
}

#[test]
fn either_side_may_be_dropped_at_any_moment() {
    for round in 0..60 {
        let mut apm = processor();
        let control: ApmControl = apm.control();
        let worker = thread::spawn(move || {
            for _ in 0..round % 4 {
                process(&mut apm, &[0; 960], &mut [0; 480]).unwrap();
                thread::yield_now();
            }
        });
        let changer = thread::spawn(move || control.set_config(configs()[round % configs().len()]));
        worker.join().unwrap();
        match changer.join().unwrap() {
            Ok(()) | Err(ApmError::Gone) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn settings_change_while_only_capture_frames_flow() {
    use handsfree_core::{Duration, PcmMut};
    let mut apm = processor();
    let control = apm.control();
    thread::scope(|scope| {
        let changer = scope.spawn(|| control.set_config(ApmConfig::BYPASS));
        while !changer.is_finished() {
            let near = PcmMut { format: apm.near(), samples: &mut [0; 480] };
            apm.process_capture(near, Duration::ZERO).unwrap();
            thread::yield_now();
        }
        assert_eq!(changer.join().unwrap(), Ok(()));
    });
}
