//! Control side: `handsfree sim`, which runs a terminal in a simulated room and measures it.

use std::mem;

use clap::ValueEnum;
use handsfree::failure::Failure;
use handsfree::pcm::{from_i16, to_i16};
use handsfree_core::time::Duration;
use handsfree_core::{Format, SampleRate, Stats};
use handsfree_sim::board::BoardConfig;
use handsfree_sim::device::{DeviceConfig, Jitter};
use handsfree_sim::interpolate::resample_to;
use handsfree_sim::measure;
use handsfree_sim::report::{
    ComparedCanceller, EstimatePoint, FrameCounts, NearEndFigures, RingPoint, Signals, SimulationReport,
    Summary, TrueAndEstimated,
};
use handsfree_sim::scenario::{self, DriftStep, LatencyStep, Scenario, SimOutcome, TimeJump, TracePoint};

use crate::args::{NearArg, SimArgs, StepArg};
use crate::compare;
use crate::evaluate::{advanced, direct, processor_delay_samples};
use crate::scene::Scene;

/// Longest run, in seconds: the report needs all signals in memory.
const MAX_SECONDS: f64 = 3_600.0;
/// Range of clock errors, in ppm. Beyond crystals it includes devices that run at another rate than they report.
const PPM: std::ops::RangeInclusive<f64> = -200_000.0..=200_000.0;
/// Length of each window in the report's list of echo reductions, in seconds.
const WINDOW_S: f64 = 10.0;

/// Finished simulation with its report.
#[derive(Debug)]
pub struct SimulatedRun {
    /// Report with all signals.
    pub report: SimulationReport,
    /// Output of the reference, at the terminal's rate, aligned with the report's signals.
    pub oracle: Vec<f32>,
    /// Number of times the echo reference jumped to another position, the initial alignment included.
    pub reference_jumps: u32,
    /// Counters of the session at the end of the run.
    pub stats: Stats,
    /// Near-end figures of the reference, for which the voice processor was called directly with the true signals.
    pub oracle_near_end: NearEndFigures,
}

/// Checks the values of the switches, without any work.
///
/// # Errors
/// Returns an error that names the invalid value and what was expected.
pub fn check(args: &SimArgs) -> Result<(), Failure> {
    args.switches.check()?;
    board_config(args, SampleRate::new(args.rate)?).map(|_| ())
}

/// Runs the simulation that `args` describe. Calls `progress` with the completed share, from 0 to 1.
///
/// # Errors
/// Returns an error that names the invalid value and what was expected.
pub fn run(args: &SimArgs, progress: &mut dyn FnMut(f64)) -> Result<SimulatedRun, Failure> {
    let rate = SampleRate::new(args.rate)?;
    let scenario_board = board_config(args, rate)?;
    let capture_rate = scenario_board.capture.rate;
    let scene = Scene::build(args, rate, capture_rate)?;
    let format = Format::with_rate(rate, 1)?;
    let mut voice = args.switches.voice(format, format)?;
    let scenario = Scenario {
        rate,
        seconds: args.seconds,
        board: scenario_board,
        far: scene.far,
        latency_steps: latency_steps(args),
        drift_steps: drift_steps(args),
        time_jumps: time_jumps(args),
        two_clocks: args.two_clocks,
        acoustic_delay: !args.no_echo_search,
        record: true,
    };
    let mut outcome = scenario::run(&scenario, Box::new(scene.acoustics), voice.as_dyn(), progress)?;
    drop(scenario);

    let processing_delay =
        processor_delay_samples(&args.switches, rate)? + conversion_samples(&outcome, rate);
    // Each takes its signal, because all of them together are most of the memory of a run.
    let at_terminal = |signal: Vec<f32>| match capture_rate == rate {
        true => to_i16(&signal),
        false => to_i16(&resample_to(&signal, capture_rate.hz(), args.rate)),
    };
    let mut signals = AlignedSignals {
        far: at_terminal(mem::take(&mut outcome.recording.far)),
        mic: at_terminal(mem::take(&mut outcome.recording.mic)),
        near: at_terminal(scene.near),
        clean: advanced(&mem::take(&mut outcome.clean), processing_delay),
    };
    signals.resize_all(signals.clean.len());
    let mut oracle_voice = args.switches.voice(format, format)?;
    let oracle = direct(oracle_voice.as_dyn(), rate, &signals.far, &signals.mic)?;
    let oracle = from_i16(&advanced(&oracle, processor_delay_samples(&args.switches, rate)?));
    let near = from_i16(&mem::take(&mut signals.near));
    let oracle_near_end = measure::near_end(&near, &oracle, args.rate).into();
    let talker = if args.near == Some(NearArg::None) { Vec::new() } else { near };
    let signals = Signals {
        rate_hz: args.rate,
        far: from_i16(&mem::take(&mut signals.far)),
        mic: from_i16(&mem::take(&mut signals.mic)),
        near: talker,
        clean: from_i16(&mem::take(&mut signals.clean)),
    };

    let mut report = build_report(args, signals, &oracle, &outcome, processing_delay);
    report.notices = scene.notices;
    report.settings.push(("Voice processing".into(), voice.name().into()));
    let (reference_jumps, stats) = (outcome.reference_jumps, outcome.stats);
    Ok(SimulatedRun { report, oracle, reference_jumps, stats, oracle_near_end })
}

/// Repeats the run with each echo canceller.
pub fn compare(args: &SimArgs) -> Vec<ComparedCanceller> {
    compare::compare(args.switches, |switches| {
        let args = SimArgs { switches, ..args.clone() };
        run(&args, &mut |_| {}).map(|run| run.report.summary)
    })
}

/// Signals of a run, aligned in time, as 16-bit samples at the terminal's rate.
struct AlignedSignals {
    far: Vec<i16>,
    mic: Vec<i16>,
    near: Vec<i16>,
    clean: Vec<i16>,
}

impl AlignedSignals {
    /// Truncates all signals or extends them with silence to the given length.
    fn resize_all(&mut self, length: usize) {
        for signal in [&mut self.far, &mut self.mic, &mut self.near, &mut self.clean] {
            signal.resize(length, 0);
        }
    }
}

/// Returns the latency of the rate conversion, in samples at the terminal's rate.
fn conversion_samples(outcome: &SimOutcome, rate: SampleRate) -> usize {
    (outcome.conversion_latency.as_nanos() as f64 * f64::from(rate.hz()) / 1e9).round() as usize
}

/// Measures the signals and returns the report.
fn build_report(
    args: &SimArgs,
    signals: Signals,
    oracle: &[f32],
    outcome: &SimOutcome,
    processing_delay: usize,
) -> SimulationReport {
    let rate = args.rate;
    let Signals { far, mic, near, clean, .. } = &signals;
    let windows = |signal: &[f32]| measure::erle_windows(mic, signal, far, near, rate, WINDOW_S);
    let last = outcome.trace.last();
    let summary = Summary {
        seed: args.seed,
        seconds: args.seconds,
        rate_hz: rate,
        erle_db: Summary::erle_windows(&windows(clean), &windows(oracle)),
        delay_ms: TrueAndEstimated {
            truth: last.map(|point| point.true_delay_ms),
            estimated: last.map(|point| point.estimated_delay_ms),
        },
        drift_ppm: TrueAndEstimated {
            truth: last.map(|point| point.true_drift_ppm),
            estimated: outcome.drift_ppm,
        },
        near_end: measure::near_end(near, clean, rate).into(),
        processing_delay_samples: processing_delay as u64,
        frames: frame_counts(&outcome.stats, args),
        xruns: u64::from(outcome.stats.xruns()),
        realtime_factor: outcome.realtime_factor,
        comparison: Vec::new(),
    };
    SimulationReport {
        summary,
        subtitle: subtitle(args),
        command: command(args),
        version: env!("CARGO_PKG_VERSION").into(),
        settings: settings(args),
        notices: Vec::new(),
        erle_curve: measure::erle_per_second(mic, clean, far, near, rate),
        oracle_curve: measure::erle_per_second(mic, oracle, far, near, rate),
        signals,
        delay: estimate_curve(outcome, |point| (point.true_delay_ms, Some(point.estimated_delay_ms))),
        drift: estimate_curve(outcome, |point| (point.true_drift_ppm, point.estimated_drift_ppm)),
        rings: outcome
            .trace
            .iter()
            .map(|point| RingPoint {
                at_s: point.at_s,
                capture_ms: f64::from(point.fill[0]) * 10.0,
                playback_ms: f64::from(point.fill[1]) * 10.0,
                reference_ms: f64::from(point.fill[2]) * 10.0,
            })
            .collect(),
    }
}

/// Returns a curve of true and estimated values over time.
fn estimate_curve(
    outcome: &SimOutcome,
    value: impl Fn(&TracePoint) -> (f64, Option<f64>),
) -> Vec<EstimatePoint> {
    let to_estimate_point = |point: &TracePoint| {
        let (truth, estimated) = value(point);
        EstimatePoint { at_s: point.at_s, truth: Some(truth), estimated }
    };
    outcome.trace.iter().map(to_estimate_point).collect()
}

fn frame_counts(stats: &Stats, args: &SimArgs) -> FrameCounts {
    let capture_frame_length = u64::from(args.capture_rate.unwrap_or(args.rate) / 100);
    let playback_frame_length = u64::from(args.playback_rate.unwrap_or(args.rate) / 100);
    FrameCounts {
        captured: u64::from(stats.intake.frames) * capture_frame_length,
        played: u64::from(stats.outlet.frames) * playback_frame_length,
        lost: u64::from(stats.intake.overrun_frames) * capture_frame_length
            + u64::from(stats.intake.gap_sample_frames)
            + u64::from(stats.outlet.gap_sample_frames)
            + u64::from(stats.outlet.underrun_sample_frames),
    }
}

fn latency_steps(args: &SimArgs) -> Vec<LatencyStep> {
    let mut steps: Vec<LatencyStep> =
        args.latency_step.iter().map(|step| LatencyStep { at_s: step.at_s, by: millis(step.by) }).collect();
    steps.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    steps
}

fn drift_steps(args: &SimArgs) -> Vec<DriftStep> {
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

fn time_jumps(args: &SimArgs) -> Vec<TimeJump> {
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
fn board_config(args: &SimArgs, rate: SampleRate) -> Result<BoardConfig, Failure> {
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

fn subtitle(args: &SimArgs) -> String {
    let phases = match &args.near {
        Some(NearArg::None) => "far end alone",
        _ => "far end alone, then double talk, then near end alone",
    };
    format!("{} s in a simulated room at {} Hz: {phases}", args.seconds, args.rate)
}

/// Returns the settings of a run for the report, each with its name and its value with unit.
fn settings(args: &SimArgs) -> Vec<(String, String)> {
    let file = |path: &Option<std::path::PathBuf>, none: &str| {
        path.as_ref().map_or_else(|| none.to_owned(), |path| path.display().to_string())
    };
    let near = match &args.near {
        None => "shipped voice".to_owned(),
        Some(NearArg::None) => "no talker".to_owned(),
        Some(NearArg::File(path)) => path.display().to_string(),
    };
    let hz = |rate: Option<u32>| rate.unwrap_or(args.rate);
    let period = |period: Option<u32>, rate: u32| period.unwrap_or(rate / 100);
    let (capture, playback) = (hz(args.capture_rate), hz(args.playback_rate));
    let steps: Vec<String> =
        args.latency_step.iter().map(|step| format!("{:+} ms at {} s", step.by, step.at_s)).collect();
    let drift_steps: Vec<String> =
        args.drift_step.iter().map(|step| format!("{:+} ppm at {} s", step.by, step.at_s)).collect();
    let mut rows = vec![
        (
            "Far end",
            args.far_program.as_ref().map_or_else(|| file(&args.far, "shipped voice"), ToString::to_string),
        ),
        ("Near end", near),
        (
            "Room",
            match args.rt60_ms {
                Some(ms) => format!("reverberation time {ms} ms"),
                None => file(&args.rir, "living room, image-source method"),
            },
        ),
        ("Noise at the microphone", format!("{} dBFS", args.noise_dbfs)),
        ("Terminal", format!("{} Hz, mono", args.rate)),
        (
            "Microphone",
            format!(
                "{capture} Hz, period {} sample frames, {} ppm, latency {} ms",
                period(args.capture_period, capture),
                args.capture_ppm,
                args.capture_latency_ms
            ),
        ),
        (
            "Loudspeaker",
            format!(
                "{playback} Hz, period {} sample frames, {} ppm, latency {} ms",
                period(args.playback_period, playback),
                args.playback_ppm,
                args.render_latency_ms
            ),
        ),
        (
            "Timestamps",
            format!(
                "jitter of {} us, error of {} ms at the loudspeaker",
                args.timestamp_jitter_us, args.timestamp_bias_ms
            ),
        ),
        ("Seed", args.seed.to_string()),
    ];
    if !steps.is_empty() {
        rows.push(("Latency steps", steps.join(", ")));
    }
    if let Some(wander) = &args.wander {
        rows.push(("Clock wander", format!("{} ppm in {} s", wander.by, wander.at_s)));
    }
    if args.burst_periods > 1 {
        rows.push(("Bursts", format!("up to {} periods", args.burst_periods)));
    }
    if !args.time_jump.is_empty() {
        let jumps: Vec<String> =
            args.time_jump.iter().map(|jump| format!("{:+} s at {} s", jump.by, jump.at_s)).collect();
        rows.push(("Jumps of the host's clock", jumps.join(", ")));
    }
    if !drift_steps.is_empty() {
        rows.push(("Drift steps", drift_steps.join(", ")));
    }
    rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Returns the command line that repeats the run, for a POSIX shell.
pub(crate) fn command(args: &SimArgs) -> String {
    let mut words = vec!["handsfree".to_owned(), "sim".to_owned()];
    let mut push_switch = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            words.push(format!("--{name}"));
            words.push(quoted(&value));
        }
    };
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.display().to_string());
    push_switch("far", path(&args.far));
    push_switch("far-program", args.far_program.as_ref().map(ToString::to_string));
    push_switch("rt60-ms", args.rt60_ms.map(|ms| ms.to_string()));
    for talk in &args.talk {
        push_switch("talk", Some(format!("{}-{}", talk.from_s, talk.to_s)));
    }
    push_switch(
        "near",
        args.near.as_ref().map(|near| match near {
            NearArg::None => "none".to_owned(),
            NearArg::File(path) => path.display().to_string(),
        }),
    );
    push_switch("rir", path(&args.rir));
    if let Some(rate_hz) = args.raw.raw_rate {
        push_switch("raw-rate", Some(rate_hz.to_string()));
        push_switch("raw-channels", Some(args.raw.raw_channels.to_string()));
        let coding = args.raw.raw_format.to_possible_value();
        push_switch("raw-format", coding.map(|name| name.get_name().to_owned()));
    }
    push_switch("seconds", Some(args.seconds.to_string()));
    push_switch("rate", Some(args.rate.to_string()));
    push_switch("capture-rate", args.capture_rate.map(|n| n.to_string()));
    push_switch("playback-rate", args.playback_rate.map(|n| n.to_string()));
    push_switch("capture-period", args.capture_period.map(|n| n.to_string()));
    push_switch("playback-period", args.playback_period.map(|n| n.to_string()));
    push_switch("capture-ppm", Some(args.capture_ppm.to_string()));
    push_switch("playback-ppm", Some(args.playback_ppm.to_string()));
    push_switch("render-latency-ms", Some(args.render_latency_ms.to_string()));
    push_switch("capture-latency-ms", Some(args.capture_latency_ms.to_string()));
    for step in &args.latency_step {
        push_switch("latency-step", Some(format!("{}@{}", step.by, step.at_s)));
    }
    for step in &args.drift_step {
        push_switch("drift-step", Some(format!("{}@{}", step.by, step.at_s)));
    }
    for jump in &args.time_jump {
        push_switch("time-jump", Some(format!("{}@{}", jump.by, jump.at_s)));
    }
    push_switch("wander", args.wander.map(|wander| format!("{}@{}", wander.by, wander.at_s)));
    if args.burst_periods > 1 {
        push_switch("burst-periods", Some(args.burst_periods.to_string()));
    }
    push_switch("timestamp-jitter-us", Some(args.timestamp_jitter_us.to_string()));
    push_switch("timestamp-bias-ms", Some(args.timestamp_bias_ms.to_string()));
    push_switch("noise-dbfs", Some(args.noise_dbfs.to_string()));
    let switches = [
        (args.no_echo_search, "--no-echo-search"),
        (args.two_clocks, "--two-clocks"),
        (args.timestamp_jitter_normal, "--timestamp-jitter-normal"),
        (args.switches.no_aec, "--no-aec"),
        (args.switches.no_ns, "--no-ns"),
        (args.switches.no_agc, "--no-agc"),
        (args.switches.no_hpf, "--no-hpf"),
        (args.compare, "--compare"),
        (args.switches.gentle, "--gentle"),
        (args.switches.linear_output, "--linear-output"),
        (args.switches.no_comfort_noise, "--no-comfort-noise"),
    ];
    let noise = args.switches.noise_suppression.and_then(|strength| strength.to_possible_value());
    push_switch("noise-suppression", noise.map(|name| name.get_name().to_owned()));
    let canceller = args.switches.canceller.to_possible_value();
    push_switch("canceller", canceller.map(|name| name.get_name().to_owned()));
    push_switch("echo-over-talker", Some(args.switches.echo_over_talker.to_string()));
    push_switch("seed", Some(args.seed.to_string()));
    words.extend(switches.iter().filter(|(is_set, _)| *is_set).map(|(_, name)| (*name).to_owned()));
    words.join(" ")
}

/// Returns the word, quoted for a POSIX shell if necessary.
fn quoted(word: &str) -> String {
    let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+@:".contains(c));
    if plain && !word.is_empty() { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}
