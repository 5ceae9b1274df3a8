//! Control side: `handsfree sim`, which runs a terminal in a simulated room and measures it.

use std::mem;

use handsfree::failure::Failure;
use handsfree::pcm::{from_i16, to_i16};
use handsfree_core::{Format, SampleRate, Stats};
use handsfree_sim::interpolate::resample_to;
use handsfree_sim::measure;
use handsfree_sim::report::{
    ComparedCanceller, EstimatePoint, FrameCounts, NearEndFigures, RingPoint, Signals, SimulationReport,
    Summary, TrueAndEstimated,
};
use handsfree_sim::scenario::{self, Scenario, SimOutcome, TracePoint};

use self::description::{settings, subtitle};
use self::devices::{board_config, drift_steps, latency_steps, time_jumps};
use crate::args::{NearArg, SimArgs};
use crate::compare;
use crate::evaluate::{advanced, direct, processor_delay_samples};
use crate::scene::Scene;

pub(crate) use self::description::command;

mod description;
mod devices;

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
