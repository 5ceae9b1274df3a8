//! Processing time of 10 ms of audio, that is of one reverse frame and one capture frame, and of changes of
//! settings.
#![allow(missing_docs)]

#[path = "../tests/support/mod.rs"]
mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use handsfree_apm::{ApmConfig, ApmProcessor, EchoCancellation, GainControl, NoiseSuppression};
use support::{BurstNoise, format, process};

fn frames(criterion: &mut Criterion) {
    let echo_only = ApmConfig { noise_suppression: NoiseSuppression::Off, ..ApmConfig::default() };
    let everything = ApmConfig { gain_control: GainControl::Adaptive, ..ApmConfig::default() };
    let mobile = ApmConfig { echo_cancellation: EchoCancellation::Mobile, ..everything };
    for (name, rate_hz, channels, config) in [
        ("48 kHz mono, bypass", 48_000, 1, ApmConfig::BYPASS),
        ("48 kHz mono, full echo cancellation", 48_000, 1, echo_only),
        ("48 kHz mono, default", 48_000, 1, ApmConfig::default()),
        ("48 kHz mono, everything", 48_000, 1, everything),
        ("48 kHz stereo, everything", 48_000, 2, everything),
        ("16 kHz mono, everything", 16_000, 1, everything),
        ("16 kHz mono, mobile and everything", 16_000, 1, mobile),
    ] {
        let of = format(rate_hz, channels);
        let mut apm = ApmProcessor::new(of, of, config).unwrap();
        let mut noise = BurstNoise::new(3);
        let played: Vec<Vec<i16>> =
            (0..200).map(|_| (0..of.samples()).map(|_| noise.burst(rate_hz, 9_000.0)).collect()).collect();
        let mut near = vec![0; of.samples()];
        let mut round = 0;
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                round = (round + 1) % played.len();
                let earlier = &played[(round + played.len() - 2) % played.len()];
                near.iter_mut().zip(earlier).for_each(|(near, far)| *near = far / 4);
                process(&mut apm, &played[round], &mut near).unwrap();
            });
        });
    }
}

fn setting_up(criterion: &mut Criterion) {
    let of = format(48_000, 1);
    criterion.bench_function("construction, 48 kHz mono", |bencher| {
        bencher.iter(|| ApmProcessor::new(of, of, ApmConfig::default()).unwrap());
    });
    let mut apm = ApmProcessor::new(of, of, ApmConfig::default()).unwrap();
    let mut strong = false;
    criterion.bench_function("change of strength", |bencher| {
        bencher.iter(|| {
            strong = !strong;
            let level = if strong { NoiseSuppression::High } else { NoiseSuppression::Low };
            apm.set_config(ApmConfig { noise_suppression: level, ..ApmConfig::default() }).unwrap();
        });
    });
    criterion.bench_function("a part switched on or off", |bencher| {
        bencher.iter(|| {
            strong = !strong;
            let gain = if strong { GainControl::Adaptive } else { GainControl::Off };
            apm.set_config(ApmConfig { gain_control: gain, ..ApmConfig::default() }).unwrap();
        });
    });
}

criterion_group!(benches, frames, setting_up);
criterion_main!(benches);
