//! `handsfree sim`: runs a terminal in a simulated room and measures it.

use handsfree::failure::Failure;
use handsfree::pcm::{from_i16, to_i16};
use handsfree_core::time::Duration;
use handsfree_core::{Format, SampleRate, Stats};
use handsfree_sim::board::BoardConfig;
use handsfree_sim::device::{DeviceConfig, Jitter};
use handsfree_sim::interpolate::resample_to;
use handsfree_sim::measure;
use handsfree_sim::report::{
    EstimatePoint, FrameCounts, NearEndFigures, RingPoint, Signals, SimulationReport, Summary,
    TrueAndEstimated,
};
use handsfree_sim::scenario::{self, DriftStep, LatencyStep, Scenario, SimOutcome, TracePoint};

use crate::args::{NearArg, SimArgs, StepArg};
use crate::evaluate::{advanced, direct, processor_delay_samples};
use crate::scene::Scene;

/// Longest run, in seconds; all of it is kept in memory for the report.
const MAX_SECONDS: f64 = 3_600.0;
/// Length of the windows of the ERLE list, in seconds.
const WINDOW_S: f64 = 10.0;

/// Simulated run with its report.
#[derive(Debug)]
pub struct Run {
    /// Report with its signals.
    pub report: SimulationReport,
    /// Near-end figures when the same frames go directly to the voice processor.
    pub oracle_near_end: NearEndFigures,
}

/// Runs the simulation that `args` describe. Calls `progress` with the completed share, from 0 to 1.
///
/// # Errors
/// Names the invalid value and what was expected.
pub fn run(args: &SimArgs, progress: &mut dyn FnMut(f64)) -> Result<Run, Failure> {
    let rate = SampleRate::new(args.rate)?;
    let scenario_board = board(args, rate)?;
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
        acoustic_delay: !args.no_echo_search,
        record: true,
    };
    let outcome = scenario::run(&scenario, Box::new(scene.air), voice.as_dyn(), progress)?;

    let processing_delay =
        processor_delay_samples(&args.switches, rate)? + conversion_samples(&outcome, rate);
    let at_terminal = |signal: &[f32]| to_i16(&resample_to(signal, capture_rate.hz(), args.rate));
    let mut signals = Aligned {
        far: at_terminal(&outcome.recording.far),
        mic: at_terminal(&outcome.recording.mic),
        near: at_terminal(&scene.near),
        clean: advanced(&outcome.clean, processing_delay),
    };
    signals.same_length(outcome.clean.len());
    let mut oracle_voice = args.switches.voice(format, format)?;
    let oracle = direct(oracle_voice.as_dyn(), rate, &signals.far, &signals.mic)?;
    let oracle = advanced(&oracle, processor_delay_samples(&args.switches, rate)?);

    let mut report = figures(args, &signals, &oracle, &outcome, processing_delay);
    report.notices = scene.notices;
    report.settings.push(("Voice processing".into(), voice.name().into()));
    let near = from_i16(&signals.near);
    let oracle_near_end = measure::near_end(&near, &from_i16(&oracle), args.rate).into();
    Ok(Run { report, oracle_near_end })
}

/// The four signals, 16 bits at the terminal's rate.
struct Aligned {
    far: Vec<i16>,
    mic: Vec<i16>,
    near: Vec<i16>,
    clean: Vec<i16>,
}

impl Aligned {
    fn same_length(&mut self, length: usize) {
        for signal in [&mut self.far, &mut self.mic, &mut self.near, &mut self.clean] {
            signal.resize(length, 0);
        }
    }
}

fn conversion_samples(outcome: &SimOutcome, rate: SampleRate) -> usize {
    (outcome.conversion_latency.as_nanos() as f64 * f64::from(rate.hz()) / 1e9).round() as usize
}

fn figures(
    args: &SimArgs,
    signals: &Aligned,
    oracle: &[i16],
    outcome: &SimOutcome,
    processing_delay: usize,
) -> SimulationReport {
    let rate = args.rate;
    let (far, mic, near, clean) =
        (from_i16(&signals.far), from_i16(&signals.mic), from_i16(&signals.near), from_i16(&signals.clean));
    let oracle = from_i16(oracle);
    let talker: &[f32] = if args.near == Some(NearArg::None) { &[] } else { &near };
    let windows = |signal: &[f32]| measure::erle_windows(&mic, signal, &far, talker, rate, WINDOW_S);
    let last = outcome.trace.last();
    let summary = Summary {
        seed: args.seed,
        seconds: args.seconds,
        rate_hz: rate,
        erle_db: Summary::erle_windows(&windows(&clean), &windows(&oracle)),
        delay_ms: TrueAndEstimated {
            truth: last.map(|point| point.true_delay_ms),
            estimated: last.map(|point| point.estimated_delay_ms),
        },
        drift_ppm: TrueAndEstimated {
            truth: last.map(|point| point.true_drift_ppm),
            estimated: outcome.drift_ppm,
        },
        near_end: measure::near_end(talker, &clean, rate).into(),
        processing_delay_samples: processing_delay as u64,
        frames: frame_counts(&outcome.stats, args),
        xruns: u64::from(outcome.stats.xruns()),
        realtime_factor: outcome.realtime_factor,
    };
    SimulationReport {
        summary,
        subtitle: subtitle(args),
        command: command(args),
        version: env!("CARGO_PKG_VERSION").into(),
        settings: settings(args),
        notices: Vec::new(),
        erle_curve: measure::erle_per_second(&mic, &clean, &far, talker, rate),
        oracle_curve: measure::erle_per_second(&mic, &oracle, &far, talker, rate),
        signals: Signals { rate_hz: rate, near: talker.to_vec(), mic, clean, far },
        delay: compared(outcome, |point| (point.true_delay_ms, Some(point.estimated_delay_ms))),
        drift: compared(outcome, |point| (point.true_drift_ppm, point.estimated_drift_ppm)),
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

fn compared(outcome: &SimOutcome, value: impl Fn(&TracePoint) -> (f64, Option<f64>)) -> Vec<EstimatePoint> {
    let compared = |point: &TracePoint| {
        let (truth, estimated) = value(point);
        EstimatePoint { at_s: point.at_s, truth: Some(truth), estimated }
    };
    outcome.trace.iter().map(compared).collect()
}

fn frame_counts(stats: &Stats, args: &SimArgs) -> FrameCounts {
    let capture_frame = u64::from(args.capture_rate.unwrap_or(args.rate) / 100);
    let playback_frame = u64::from(args.playback_rate.unwrap_or(args.rate) / 100);
    FrameCounts {
        captured: u64::from(stats.intake.frames) * capture_frame,
        played: u64::from(stats.outlet.frames) * playback_frame,
        lost: u64::from(stats.intake.overrun_frames) * capture_frame
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
    steps.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    steps
}

fn millis(ms: f64) -> Duration {
    Duration::from_nanos((ms * 1e6).round() as i64)
}

/// Returns a number if it lies in the range, and otherwise an error that names it.
fn within(name: &str, value: f64, range: std::ops::RangeInclusive<f64>) -> Result<f64, Failure> {
    if range.contains(&value) {
        return Ok(value);
    }
    Err(Failure::usage(format!("{name} {value}: expected {} to {}", range.start(), range.end())))
}

fn board(args: &SimArgs, rate: SampleRate) -> Result<BoardConfig, Failure> {
    within("--seconds", args.seconds, 1.0..=MAX_SECONDS)?;
    within("--noise-dbfs", args.noise_dbfs, -200.0..=0.0)?;
    within("--timestamp-jitter-us", args.timestamp_jitter_us, 0.0..=1e6)?;
    within("--timestamp-bias-ms", args.timestamp_bias_ms, -10_000.0..=10_000.0)?;
    for step in &args.latency_step {
        within("--latency-step by", step.by, -10_000.0..=10_000.0)?;
        within("--latency-step at", step.at_s, 0.0..=args.seconds)?;
    }
    for step in &args.drift_step {
        within("--drift-step by", step.by, -20_000.0..=20_000.0)?;
        within("--drift-step at", step.at_s, 0.0..=args.seconds)?;
    }
    let side = |rate_hz: Option<u32>, period: Option<u32>, ppm: f64, latency_ms: f64, names: [&str; 2]| {
        let rate = rate_hz.map_or(Ok(rate), SampleRate::new)?;
        let mut side = DeviceConfig::new(rate, period.unwrap_or(rate.sample_frames() as u32));
        side.ppm = within(names[0], ppm, -20_000.0..=20_000.0)?;
        side.latency = millis(within(names[1], latency_ms, 0.0..=10_000.0)?);
        let micros = args.timestamp_jitter_us;
        side.jitter = match args.timestamp_jitter_normal {
            true => Jitter::Normal { micros },
            false => Jitter::Uniform { micros },
        };
        Ok::<DeviceConfig, Failure>(side)
    };
    let capture = side(
        args.capture_rate,
        args.capture_period,
        args.capture_ppm,
        args.capture_latency_ms,
        ["--capture-ppm", "--capture-latency-ms"],
    )?;
    let mut playback = side(
        args.playback_rate,
        args.playback_period,
        args.playback_ppm,
        args.render_latency_ms,
        ["--playback-ppm", "--render-latency-ms"],
    )?;
    // Sound that leaves the loudspeaker later than its timestamps say has timestamps that are too early.
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
    let who = match &args.near {
        Some(NearArg::None) => "far end alone",
        _ => "far end alone, then double talk, then near end alone",
    };
    format!("{} s in a simulated room at {} Hz: {who}", args.seconds, args.rate)
}

/// Returns each switch as a name and a value with its unit.
fn settings(args: &SimArgs) -> Vec<(String, String)> {
    let file = |path: &Option<std::path::PathBuf>, none: &str| {
        path.as_ref().map_or_else(|| none.to_owned(), |path| path.display().to_string())
    };
    let near = match &args.near {
        None => "shipped voice".to_owned(),
        Some(NearArg::None) => "nobody".to_owned(),
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
        ("Far end", file(&args.far, "shipped voice")),
        ("Near end", near),
        ("Room", file(&args.rir, "living room, image-source method")),
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
                "scatter by {} us, loudspeaker's wrong by {} ms",
                args.timestamp_jitter_us, args.timestamp_bias_ms
            ),
        ),
        ("Seed", args.seed.to_string()),
    ];
    if !steps.is_empty() {
        rows.push(("Latency steps", steps.join(", ")));
    }
    if !drift_steps.is_empty() {
        rows.push(("Drift steps", drift_steps.join(", ")));
    }
    rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Returns the command that repeats the run: the switches that differ from the defaults, and the seed.
fn command(args: &SimArgs) -> String {
    let mut words = vec!["handsfree".to_owned(), "sim".to_owned()];
    let mut say = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            words.push(format!("--{name}"));
            words.push(quoted(&value));
        }
    };
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.display().to_string());
    say("far", path(&args.far));
    say(
        "near",
        args.near.as_ref().map(|near| match near {
            NearArg::None => "none".to_owned(),
            NearArg::File(path) => path.display().to_string(),
        }),
    );
    say("rir", path(&args.rir));
    say("seconds", Some(args.seconds.to_string()));
    say("rate", Some(args.rate.to_string()));
    say("capture-rate", args.capture_rate.map(|n| n.to_string()));
    say("playback-rate", args.playback_rate.map(|n| n.to_string()));
    say("capture-period", args.capture_period.map(|n| n.to_string()));
    say("playback-period", args.playback_period.map(|n| n.to_string()));
    say("capture-ppm", Some(args.capture_ppm.to_string()));
    say("playback-ppm", Some(args.playback_ppm.to_string()));
    say("render-latency-ms", Some(args.render_latency_ms.to_string()));
    say("capture-latency-ms", Some(args.capture_latency_ms.to_string()));
    for step in &args.latency_step {
        say("latency-step", Some(format!("{}@{}", step.by, step.at_s)));
    }
    for step in &args.drift_step {
        say("drift-step", Some(format!("{}@{}", step.by, step.at_s)));
    }
    say("timestamp-jitter-us", Some(args.timestamp_jitter_us.to_string()));
    say("timestamp-bias-ms", Some(args.timestamp_bias_ms.to_string()));
    say("noise-dbfs", Some(args.noise_dbfs.to_string()));
    let switches = [
        (args.no_echo_search, "--no-echo-search"),
        (args.timestamp_jitter_normal, "--timestamp-jitter-normal"),
        (args.switches.no_aec, "--no-aec"),
        (args.switches.no_ns, "--no-ns"),
        (args.switches.no_agc, "--no-agc"),
        (args.switches.no_hpf, "--no-hpf"),
    ];
    say("seed", Some(args.seed.to_string()));
    words.extend(switches.iter().filter(|(off, _)| *off).map(|(_, name)| (*name).to_owned()));
    words.join(" ")
}

fn quoted(word: &str) -> String {
    let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+@:".contains(c));
    if plain && !word.is_empty() { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}
