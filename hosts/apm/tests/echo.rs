//! Echo reduction at each rate and channel count, and the effect of a change of settings on it.
#![allow(missing_docs)]

mod support;

use handsfree_apm::{ApmConfig, ApmProcessor, EchoCancellation, GainControl, NoiseSuppression, RATES_HZ};
use handsfree_core::capture::VoiceProcessor;
use support::{BurstNoise, EchoBench, PowerMeter, format, process};

const FULL_ONLY: ApmConfig = ApmConfig {
    echo_cancellation: EchoCancellation::Full,
    noise_suppression: NoiseSuppression::Off,
    high_pass: true,
    gain_control: GainControl::Off,
};

fn bench(rate_hz: u32, near_channels: u32, far_channels: u32, config: ApmConfig) -> EchoBench {
    let (near, far) = (format(rate_hz, near_channels), format(rate_hz, far_channels));
    EchoBench::new(ApmProcessor::new(near, far, config).unwrap())
}

#[test]
fn echo_falls_by_30_db_at_every_rate() {
    for rate_hz in RATES_HZ {
        let mut bench = bench(rate_hz, 1, 1, FULL_ONLY);
        bench.run(1_000);
        let measured = bench.run(500);
        println!("{rate_hz} Hz: {:.1} dB, {:?}", measured.reduction_db(), bench.apm.stats());
        assert!(measured.reduction_db() > 30.0, "{rate_hz} Hz: {:.1} dB", measured.reduction_db());
    }
}

#[test]
fn echo_falls_by_30_db_in_stereo() {
    for (near_channels, far_channels) in [(1, 2), (2, 1), (2, 2)] {
        let mut bench = bench(48_000, near_channels, far_channels, FULL_ONLY);
        bench.run(1_000);
        let measured = bench.run(300);
        println!("{near_channels} near, {far_channels} far: {:.1} dB", measured.reduction_db());
        assert!(
            measured.reduction_db() > 30.0,
            "{near_channels}/{far_channels}: {:.1} dB",
            measured.reduction_db()
        );
    }
}

#[test]
fn the_mobile_canceller_reduces_echo_too() {
    let mobile = ApmConfig { echo_cancellation: EchoCancellation::Mobile, ..FULL_ONLY };
    let mut bench = bench(16_000, 1, 1, mobile);
    bench.run(1_000);
    let measured = bench.run(500);
    println!("mobile: {:.1} dB", measured.reduction_db());
    assert!(measured.reduction_db() > 15.0, "{:.1} dB", measured.reduction_db());
}

#[test]
fn the_gentle_canceller_reduces_echo_too() {
    for rate_hz in RATES_HZ {
        let gentle = ApmConfig { echo_cancellation: EchoCancellation::Gentle, ..FULL_ONLY };
        let mut bench = bench(rate_hz, 1, 1, gentle);
        bench.run(500);
        let measured = bench.run(500);
        assert!(measured.reduction_db() > 30.0, "{rate_hz} Hz: {:.1} dB", measured.reduction_db());
    }
}

#[test]
fn echo_stays_without_a_canceller() {
    let off = ApmConfig { echo_cancellation: EchoCancellation::Off, ..FULL_ONLY };
    let mut bench = bench(48_000, 1, 1, off);
    assert!(bench.run(300).reduction_db().abs() < 3.0);
}

#[test]
fn the_statistics_describe_the_echo() {
    let mut bench = bench(48_000, 1, 1, FULL_ONLY);
    bench.run(1_500);
    let stats = bench.apm.stats();
    println!("{stats:?}");
    let (Some(erl_db), Some(erle_db)) = (stats.erl_db, stats.erle_db) else { panic!("{stats:?}") };
    assert!((0.0..25.0).contains(&erl_db), "{stats:?}");
    assert!(erle_db > 10.0, "{stats:?}");
    // The echo path's delay is 10 ms.
    assert!((0..=20).contains(&stats.delay_ms.unwrap()), "{stats:?}");
    assert!((0.0..=1.0).contains(&stats.residual_echo_likelihood.unwrap()), "{stats:?}");
}

#[test]
fn a_change_of_strength_keeps_the_canceller_converged() {
    let config = ApmConfig { noise_suppression: NoiseSuppression::Low, ..FULL_ONLY };
    let mut bench = bench(48_000, 1, 1, config);
    bench.run(1_000);
    let before = bench.run(100).reduction_db();
    bench.apm.set_config(ApmConfig { noise_suppression: NoiseSuppression::High, ..config }).unwrap();
    let after = bench.run(100).reduction_db();
    println!("before {before:.1} dB, first second after {after:.1} dB");
    assert!(after > 30.0 && after > before - 6.0, "before {before:.1} dB, after {after:.1} dB");
}

/// The library restarts all parts then; its suppressor reduces the echo until the filters have converged again.
#[test]
fn switching_a_part_on_makes_the_canceller_converge_again() {
    let mut bench = bench(48_000, 1, 1, FULL_ONLY);
    bench.run(1_000);
    bench.apm.set_config(ApmConfig { noise_suppression: NoiseSuppression::Moderate, ..FULL_ONLY }).unwrap();
    let seconds: Vec<f64> = (0..5).map(|_| bench.run(100).reduction_db()).collect();
    println!("by second after the switch: {seconds:.1?} dB");
    assert!(seconds[0] > 10.0, "{seconds:.1?}");
    assert!(seconds[4] > 30.0, "{seconds:.1?}");
}

#[test]
fn the_canceller_converges_again_after_a_reset() {
    let mut bench = bench(48_000, 1, 1, FULL_ONLY);
    bench.run(500);
    bench.apm.reset();
    bench.run(1_000);
    assert!(bench.run(100).reduction_db() > 30.0);
}

/// Returns the reduction of steady noise in dB, measured after two seconds with a silent far end.
fn noise_reduction_db(level: NoiseSuppression) -> f64 {
    let of = format(48_000, 1);
    let config = ApmConfig { noise_suppression: level, high_pass: true, ..ApmConfig::BYPASS };
    let mut apm = ApmProcessor::new(of, of, config).unwrap();
    let mut noise = BurstNoise::new(11);
    let (mut input, mut output) = (PowerMeter::default(), PowerMeter::default());
    for frame in 0..600 {
        let mut near: Vec<i16> = (0..of.samples()).map(|_| (noise.uniform() * 800.0) as i16).collect();
        let before = near.clone();
        process(&mut apm, &vec![0; of.samples()], &mut near).unwrap();
        if frame >= 200 {
            input.add(&before);
            output.add(&near);
        }
    }
    input.db() - output.db()
}

#[test]
fn stronger_suppression_leaves_less_noise() {
    use NoiseSuppression::{High, Low, Moderate, Off, VeryHigh};
    let reductions_db = [Off, Low, Moderate, High, VeryHigh].map(noise_reduction_db);
    println!("{reductions_db:.1?} dB");
    assert!(reductions_db[0].abs() < 1.0, "{reductions_db:.1?}");
    assert!(
        reductions_db.is_sorted() && reductions_db[1] > 3.0 && reductions_db[4] > 12.0,
        "{reductions_db:.1?}"
    );
}

#[test]
fn gain_control_amplifies_a_quiet_talker() {
    let of = format(48_000, 1);
    let level_db = |gain_control| {
        let config = ApmConfig { gain_control, ..ApmConfig::BYPASS };
        let mut apm = ApmProcessor::new(of, of, config).unwrap();
        let mut noise = BurstNoise::new(13);
        let mut output = PowerMeter::default();
        for _ in 0..300 {
            let mut near: Vec<i16> = (0..of.samples()).map(|_| noise.burst(48_000, 300.0)).collect();
            process(&mut apm, &vec![0; of.samples()], &mut near).unwrap();
            output.add(&near);
        }
        output.db()
    };
    let gain_db = level_db(GainControl::Adaptive) - level_db(GainControl::Off);
    println!("amplified by {gain_db:.1} dB");
    assert!(gain_db > 6.0, "{gain_db:.1} dB");
}
