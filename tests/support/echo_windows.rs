//! Compares the echo reduction of a run with that of a reference run, window by window.

use clap::Parser;
use handsfree_cli::args::{Cli, Command, SimArgs};
use handsfree_cli::sim::{self, SimulatedRun};
use handsfree_sim::measure::{echo_only, erle_per_second, erle_windows, median};

/// Length of each window, in seconds.
pub const WINDOW_S: f64 = 10.0;
/// Fewest echo-only frames of 10 ms that a window must hold: below one second the ratio is that of a few words.
const FEWEST_FRAMES: usize = 100;
/// Lowest echo reduction of the reference, in dB, at which a window says anything about the alignment. Below
/// it the far end does not give the canceller enough to work with.
const LOWEST_ORACLE_DB: f64 = 6.0;

/// Signals of one run, aligned sample by sample, full scale at 1.0.
#[derive(Clone, Copy, Debug)]
pub struct EchoSignals<'s> {
    /// Sample rate in hertz.
    pub rate_hz: u32,
    /// What the loudspeaker played.
    pub far: &'s [f32],
    /// What the microphone captured.
    pub mic: &'s [f32],
    /// The talker's signal at the microphone; empty without a talker.
    pub near: &'s [f32],
    /// Output of the run.
    pub clean: &'s [f32],
    /// Output of the reference run: the same voice processor with a perfect reference.
    pub oracle: &'s [f32],
}

impl<'s> EchoSignals<'s> {
    /// Returns the signals of a simulated run.
    #[must_use]
    pub fn of_run(run: &'s SimulatedRun) -> Self {
        let signals = &run.report.signals;
        Self {
            rate_hz: signals.rate_hz,
            far: &signals.far,
            mic: &signals.mic,
            near: &signals.near,
            clean: &signals.clean,
            oracle: &run.oracle,
        }
    }
}

/// Runs `handsfree sim` with these switches, without a process of its own, and writes no file.
///
/// # Panics
/// Panics for switches that the command refuses.
#[must_use]
pub fn simulate(words: &str) -> (Box<SimArgs>, SimulatedRun) {
    let line = format!("handsfree sim --json --out unused {words}");
    let cli = Cli::try_parse_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{line}: {error}"));
    let Command::Sim(args) = cli.command else { panic!("not a simulation: {line}") };
    let run = sim::run(&args, &mut |_| {}).unwrap_or_else(|error| panic!("{line}: {error}"));
    (args, run)
}

/// Echo reduction in one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EchoWindow {
    /// Start of the window, in seconds.
    pub from_s: f64,
    /// Echo reduction of the run, in dB.
    pub db: f64,
    /// Echo reduction of the reference run, in dB.
    pub oracle_db: f64,
    /// Median of the echo reductions of the window's seconds, in dB. A short burst of residual does not move it.
    pub second_db: f64,
    /// Median of the echo reductions of the window's seconds in the reference run, in dB.
    pub oracle_second_db: f64,
}

impl EchoWindow {
    /// Returns by how many dB the run is below the reference.
    #[must_use]
    pub fn behind_db(&self) -> f64 {
        self.oracle_db - self.db
    }

    /// Returns by how many dB the run's median second is below the reference's.
    #[must_use]
    pub fn second_behind_db(&self) -> f64 {
        self.oracle_second_db - self.second_db
    }

    /// Lowers the window's reference figures to those of another reference run, where these are lower. Windows
    /// that start at other times are ignored.
    pub fn lower_oracle(&mut self, others: &[Self]) {
        for other in others.iter().filter(|other| other.from_s == self.from_s) {
            self.oracle_db = self.oracle_db.min(other.db);
            self.oracle_second_db = self.oracle_second_db.min(other.second_db);
        }
    }
}

impl EchoSignals<'_> {
    /// Returns the window that starts at `from_s`. Returns `None` if it is incomplete, holds less than 1 s of
    /// echo without the talker, or if the reference run removes less than 6 dB of echo in it.
    #[must_use]
    pub fn window(&self, from_s: f64) -> Option<EchoWindow> {
        let at = |seconds: f64| (seconds * f64::from(self.rate_hz)).round() as usize;
        let range = at(from_s)..at(from_s + WINDOW_S);
        let (far, mic) = (self.far.get(range.clone())?, self.mic.get(range.clone())?);
        let near = self.near.get(range.clone()).unwrap_or(&[]);
        if echo_only(far, near, self.rate_hz).into_iter().filter(|&counts| counts).count() < FEWEST_FRAMES {
            return None;
        }
        let reduction_db = |signal: &[f32]| {
            let windows =
                erle_windows(mic, signal.get(range.clone())?, far, near, self.rate_hz, 2.0 * WINDOW_S);
            windows.first()?.db
        };
        let second_db = |signal: &[f32]| {
            let seconds = erle_per_second(mic, signal.get(range.clone())?, far, near, self.rate_hz);
            median(seconds.iter().filter_map(|second| second.db))
        };
        let (db, oracle_db) = (reduction_db(self.clean)?, reduction_db(self.oracle)?);
        let (second_db, oracle_second_db) = (second_db(self.clean)?, second_db(self.oracle)?);
        (oracle_db >= LOWEST_ORACLE_DB).then_some(EchoWindow {
            from_s,
            db,
            oracle_db,
            second_db,
            oracle_second_db,
        })
    }

    /// Returns every measurable window from `from_s` on, one after another. Windows begin anew `grace_s` after
    /// each disturbance, and none contains a disturbance or its grace.
    #[must_use]
    pub fn settled_windows(&self, from_s: f64, disturbances_s: &[f64], grace_s: f64) -> Vec<EchoWindow> {
        let end_s = self.clean.len() as f64 / f64::from(self.rate_hz);
        let mut borders_s: Vec<f64> = disturbances_s.to_vec();
        borders_s.sort_by(f64::total_cmp);
        borders_s.push(end_s);
        let mut start_s = from_s;
        let mut windows = Vec::new();
        for border_s in borders_s {
            while start_s + WINDOW_S <= border_s + 1e-6 {
                windows.extend(self.window(start_s));
                start_s += WINDOW_S;
            }
            start_s = start_s.max(border_s + grace_s).max(from_s);
        }
        windows
    }
}
