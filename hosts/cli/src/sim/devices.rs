//! Control side: the simulated devices, and what happens to them during a run.

use handsfree::failure::Failure;
use handsfree_core::SampleRate;
use handsfree_core::time::Duration;
use handsfree_sim::board::BoardConfig;
use handsfree_sim::device::{DeviceConfig, Jitter};
use handsfree_sim::scenario::{DriftStep, LatencyStep, TimeJump};

use crate::args::{SimArgs, StepArg};

/// Longest run, in seconds: the report needs all signals in memory.
const MAX_SECONDS: f64 = 3_600.0;
/// Range of clock errors, in ppm. Beyond crystals it includes devices that run at another rate than they report.
const PPM: std::ops::RangeInclusive<f64> = -200_000.0..=200_000.0;

pub(super) fn latency_steps(args: &SimArgs) -> Vec<LatencyStep> {
    let mut steps: Vec<LatencyStep> =
        args.latency_step.iter().map(|step| LatencyStep { at_s: step.at_s, by: millis(step.by) }).collect();
    steps.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    steps
}

pub(super) fn drift_steps(args: &SimArgs) -> Vec<DriftStep> {
    let step = |step: &StepArg| DriftStep { at_s: step.at_s, by_ppm: step.by };
    let mut steps: Vec<DriftStep> = args.drift_step.iter().map(step).collect();
    if let Some(wander) = &args.wander {
        let ppm = |second: u32| wander.by * (std::f64::consts::TAU * f64::from(second) / wander.at_s).sin();
        let seconds = 1..args.seconds as u32;
        steps.extend(
            seconds
                .map(|second| DriftStep { at_s: f64::from(second), by_ppm: ppm(second) - ppm(second - 1) }),
        );
    }
    steps.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    steps
}

pub(super) fn time_jumps(args: &SimArgs) -> Vec<TimeJump> {
    let jump = |step: &StepArg| TimeJump { at_s: step.at_s, by: millis(step.by * 1e3) };
    let mut jumps: Vec<TimeJump> = args.time_jump.iter().map(jump).collect();
    jumps.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    jumps
}

fn millis(ms: f64) -> Duration {
    Duration::from_nanos((ms * 1e6).round() as i64)
}

/// Returns the value if it lies in the range, and otherwise an error with the name, the value and the range.
fn within(name: &str, value: f64, range: std::ops::RangeInclusive<f64>) -> Result<f64, Failure> {
    if range.contains(&value) {
        return Ok(value);
    }
    Err(Failure::usage(format!("{name} {value}: expected {} to {}", range.start(), range.end())))
}

/// Returns the configuration of the simulated devices, or an error that names an invalid switch.
pub(super) fn board_config(args: &SimArgs, rate: SampleRate) -> Result<BoardConfig, Failure> {
    within("--seconds", args.seconds, 1.0..=MAX_SECONDS)?;
    within("--noise-dbfs", args.noise_dbfs, -200.0..=0.0)?;
    within("--timestamp-jitter-us", args.timestamp_jitter_us, 0.0..=1e6)?;
    within("--timestamp-bias-ms", args.timestamp_bias_ms, -10_000.0..=10_000.0)?;
    for step in &args.latency_step {
        within("--latency-step by", step.by, -10_000.0..=10_000.0)?;
        within("--latency-step at", step.at_s, 0.0..=args.seconds)?;
    }
    for step in &args.drift_step {
        within("--drift-step by", step.by, PPM)?;
        within("--drift-step at", step.at_s, 0.0..=args.seconds)?;
    }
    for jump in &args.time_jump {
        within("--time-jump by", jump.by, -1e6..=1e6)?;
        within("--time-jump at", jump.at_s, 0.0..=args.seconds)?;
    }
    if let Some(wander) = &args.wander {
        within("--wander by", wander.by, PPM)?;
        within("--wander period", wander.at_s, 4.0..=MAX_SECONDS)?;
    }
    if let Some(rt60_ms) = args.rt60_ms {
        within("--rt60-ms", rt60_ms, 50.0..=2_000.0)?;
    }
    within("--burst-periods", f64::from(args.burst_periods), 1.0..=16.0)?;
    let device = |rate_hz: Option<u32>, period: Option<u32>, ppm: f64, latency_ms: f64, names: [&str; 2]| {
        let rate = rate_hz.map_or(Ok(rate), SampleRate::new)?;
        let mut config = DeviceConfig::new(rate, period.unwrap_or(rate.sample_frames() as u32));
        config.ppm = within(names[0], ppm, PPM)?;
        config.latency = millis(within(names[1], latency_ms, 0.0..=10_000.0)?);
        config.burst_periods = args.burst_periods;
        let micros = args.timestamp_jitter_us;
        config.jitter = match args.timestamp_jitter_normal {
            true => Jitter::Normal { micros },
            false => Jitter::Uniform { micros },
        };
        Ok::<DeviceConfig, Failure>(config)
    };
    let capture = device(
        args.capture_rate,
        args.capture_period,
        args.capture_ppm,
        args.capture_latency_ms,
        ["--capture-ppm", "--capture-latency-ms"],
    )?;
    let mut playback = device(
        args.playback_rate,
        args.playback_period,
        args.playback_ppm,
        args.render_latency_ms,
        ["--playback-ppm", "--render-latency-ms"],
    )?;
    // The loudspeaker plays on only while its device holds samples.
    let held = playback.latency_sample_frames() / i64::from(playback.longest_period().max(1));
    playback.burst_periods = playback.burst_periods.min(u32::try_from(held).unwrap_or(0).max(1));
    // When sound leaves later than its timestamp, the timestamp is too early: hence the minus.
    playback.bias = millis(-args.timestamp_bias_ms);
    Ok(BoardConfig {
        capture,
        playback,
        worker_delay: Duration::from_micros(200),
        worker_spread: Duration::from_micros(800),
        seed: args.seed,
    })
}
