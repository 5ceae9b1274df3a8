//! How much echo is left, at each rate and channel count, and what a change of settings costs.
#![allow(missing_docs)]

mod support;

use handsfree_apm::{ApmConfig, ApmProcessor, EchoCancellation, GainControl, NoiseSuppression, RATES_HZ};
use handsfree_core::capture::VoiceProcessor;
use support::{EchoBench, Level, Noise, format, process};

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
        let heard = bench.run(500);
        println!("{rate_hz} Hz: {:.1} dB, {:?}", heard.reduction_db(), bench.apm.stats());
        assert!(heard.reduction_db() > 30.0, "{rate_hz} Hz: {:.1} dB", heard.reduction_db());
    }
}

#[test]
fn echo_falls_by_30_db_in_stereo() {
    for (near_channels, far_channels) in [(1, 2), (2, 1), (2, 2)] {
        let mut bench = bench(48_000, near_channels, far_channels, FULL_ONLY);
        bench.run(1_000);
        let heard = bench.run(300);
        println!("{near_channels} near, {far_channels} far: {:.1} dB", heard.reduction_db());
        assert!(
            heard.reduction_db() > 30.0,
            "{near_channels}/{far_channels}: {:.1} dB",
            heard.reduction_db()
        );
    }
}

#[test]
fn the_mobile_canceller_takes_echo_out_too() {
    let mobile = ApmConfig { echo_cancellation: EchoCancellation::Mobile, ..FULL_ONLY };
    let mut bench = bench(16_000, 1, 1, mobile);
    bench.run(1_000);
    let heard = bench.run(500);
    println!("mobile: {:.1} dB", heard.reduction_db());
    assert!(heard.reduction_db() > 15.0, "{:.1} dB", heard.reduction_db());
}

#[test]
fn without_it_echo_stays() {
    let off = ApmConfig { echo_cancellation: EchoCancellation::Off, ..FULL_ONLY };
    let mut bench = bench(48_000, 1, 1, off);
    assert!(bench.run(300).reduction_db().abs() < 3.0);
}

#[test]
fn the_figures_tell_of_the_echo() {
    let mut bench = bench(48_000, 1, 1, FULL_ONLY);
    bench.run(1_500);
    let stats = bench.apm.stats();
    println!("{stats:?}");
    let (Some(erl_db), Some(erle_db)) = (stats.erl_db, stats.erle_db) else { panic!("{stats:?}") };
    assert!((0.0..25.0).contains(&erl_db), "{stats:?}");
    assert!(erle_db > 10.0, "{stats:?}");
    // The room's echo begins 10 ms after it was played.
    assert!((0..=20).contains(&stats.delay_ms.unwrap()), "{stats:?}");
    assert!((0.0..=1.0).contains(&stats.residual_echo_likelihood.unwrap()), "{stats:?}");
}

#[test]
fn another_strength_keeps_what_the_canceller_learned() {
    let config = ApmConfig { noise_suppression: NoiseSuppression::Low, ..FULL_ONLY };
    let mut bench = bench(48_000, 1, 1, config);
    bench.run(1_000);
    let before = bench.run(100).reduction_db();
    bench.apm.set_config(ApmConfig { noise_suppression: NoiseSuppression::High, ..config }).unwrap();
    let after = bench.run(100).reduction_db();
    println!("before {before:.1} dB, first second after {after:.1} dB");
    assert!(after > 30.0 && after > before - 6.0, "before {before:.1} dB, after {after:.1} dB");
}

/// The library makes all parts anew then; its suppressor holds the echo down until the filters are back.
#[test]
fn a_part_switched_on_costs_a_new_convergence() {
    let mut bench = bench(48_000, 1, 1, FULL_ONLY);
    bench.run(1_000);
    bench.apm.set_config(ApmConfig { noise_suppression: NoiseSuppression::Moderate, ..FULL_ONLY }).unwrap();
    let seconds: Vec<f64> = (0..5).map(|_| bench.run(100).reduction_db()).collect();
    println!("by second after the switch: {seconds:.1?} dB");
    assert!(seconds[0] > 10.0, "{seconds:.1?}");
    assert!(seconds[4] > 30.0, "{seconds:.1?}");
}

#[test]
fn a_reset_forgets_and_learns_again() {
    let mut bench = bench(48_000, 1, 1, FULL_ONLY);
    bench.run(500);
    bench.apm.reset();
    bench.run(1_000);
    assert!(bench.run(100).reduction_db() > 30.0);
}

/// Steady noise through the processor with nothing played: dB in minus dB out after two seconds.
fn noise_reduction_db(level: NoiseSuppression) -> f64 {
    let of = format(48_000, 1);
    let config = ApmConfig { noise_suppression: level, high_pass: true, ..ApmConfig::BYPASS };
    let mut apm = ApmProcessor::new(of, of, config).unwrap();
    let mut noise = Noise::new(11);
    let (mut sent, mut left) = (Level::default(), Level::default());
    for frame in 0..600 {
        let mut near: Vec<i16> = (0..of.samples()).map(|_| (noise.uniform() * 800.0) as i16).collect();
        let before = near.clone();
        process(&mut apm, &vec![0; of.samples()], &mut near).unwrap();
        if frame >= 200 {
            sent.add(&before);
            left.add(&near);
        }
    }
    sent.db() - left.db()
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
fn gain_control_lifts_a_quiet_talker() {
    let of = format(48_000, 1);
    let quiet = |gain_control| {
        let config = ApmConfig { gain_control, ..ApmConfig::BYPASS };
        let mut apm = ApmProcessor::new(of, of, config).unwrap();
        let mut noise = Noise::new(13);
        let mut left = Level::default();
        for _ in 0..300 {
            let mut near: Vec<i16> = (0..of.samples()).map(|_| noise.burst(48_000, 300.0)).collect();
            process(&mut apm, &vec![0; of.samples()], &mut near).unwrap();
            left.add(&near);
        }
        left.db()
    };
    let lifted_db = quiet(GainControl::Adaptive) - quiet(GainControl::Off);
    println!("lifted by {lifted_db:.1} dB");
    assert!(lifted_db > 6.0, "{lifted_db:.1} dB");
}
