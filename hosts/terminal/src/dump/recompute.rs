//! Control side: measures what today's code makes of a recorded run.

use std::fmt;

use handsfree_core::{Duration, Frame};
use serde::Serialize;

use super::replay::Replayed;

/// Length of each window, in seconds.
const WINDOW_S: usize = 10;
/// Frames of 10 ms in a window.
const WINDOW_FRAMES: usize = WINDOW_S * 100;
/// Start of the windows that [`Recomputed`] summarises, in seconds: the canceller has converged by then.
const SETTLED_S: usize = 20;
/// Level of the microphone above which a frame counts as echo, in dB of full scale.
const ECHO_DBFS: f64 = -60.0;
/// Frames for which the echo counts after the last loud frame: the delay of the voice processor is shorter.
const HANG_OVER_FRAMES: usize = 5;
/// Power of the noise of rounding to 16 bits, the lower bound of each residual.
const ROUNDING_POWER: f64 = 1.0 / (12.0 * 32_768.0 * 32_768.0);

/// Powers of the frames of one round of the worker, full scale at 1.0.
pub(crate) struct RoundPowers<'r> {
    pub(crate) microphone: &'r [f64],
    pub(crate) cleaned: &'r [f64],
}

/// What the worker believes after a round.
#[derive(Clone, Copy)]
pub(crate) struct ReferenceState {
    pub(crate) jumps: u32,
    pub(crate) delay: Duration,
    pub(crate) drift_ppm: Option<f64>,
}

/// Function that is called after every round.
pub(crate) type Watch<'w> = &'w mut dyn FnMut(RoundPowers<'_>, ReferenceState);

/// Returns the mean power of a frame's samples, full scale at 1.0.
pub(crate) fn frame_power<const CAP: usize, const SLOTS: usize>(frame: &Frame<CAP, SLOTS>) -> f64 {
    let energy: f64 = frame.samples().iter().map(|&sample| (f64::from(sample) / 32_768.0).powi(2)).sum();
    energy / frame.samples().len().max(1) as f64
}

/// Figures of 10 s of a recomputed run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RecomputedWindow {
    /// Start of the window, in seconds.
    pub from_s: f64,
    /// Level of the microphone above the cleaned signal while the microphone is louder than -60 dBFS, in dB.
    /// It is the echo reduction while the near end is silent. `None` while the microphone is below that
    /// level.
    pub reduction_db: Option<f64>,
    /// Delay from playing to capturing at the window's end, as the terminal estimates it, in milliseconds.
    pub delay_ms: f64,
    /// Drift at the window's end, as the terminal estimates it, in ppm; `None` before the first estimate.
    pub drift_ppm: Option<f64>,
    /// Number of jumps of the echo reference since the start, the initial alignment included.
    pub jumps: u32,
}

/// What today's code makes of a recorded run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recomputed {
    /// Figures of every 10 s. The last window may be shorter.
    pub windows: Vec<RecomputedWindow>,
    /// Times of the jumps of the echo reference, in seconds; at most the first 100.
    pub jumps_at_s: Vec<f64>,
    /// Number of jumps of the echo reference, the initial alignment included.
    pub jumps: u32,
    /// Median of the reduction in the complete windows from 20 s on, in dB; `None` without such a window.
    pub median_db: Option<f64>,
    /// Lowest reduction in the complete windows from 20 s on, in dB; `None` without such a window.
    pub worst_db: Option<f64>,
    /// Reason why the dump ends before the run; `None` if the dump is complete.
    pub incomplete: Option<String>,
}

impl fmt::Display for Recomputed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"));
        if let Some(why) = &self.incomplete {
            writeln!(f, "the recording is incomplete: {why}")?;
        }
        for window in &self.windows {
            writeln!(
                f,
                "{:4.0} s: {:>5} dB, delay {:6.1} ms, drift {:>7} ppm, {} jumps",
                window.from_s,
                value(window.reduction_db),
                window.delay_ms,
                value(window.drift_ppm),
                window.jumps
            )?;
        }
        let shown: Vec<String> = self.jumps_at_s.iter().take(10).map(|at_s| format!("{at_s:.2}")).collect();
        let more = if self.jumps as usize > shown.len() { " ..." } else { "" };
        write!(
            f,
            "from {SETTLED_S} s on: median {} dB, worst {} dB; {} jumps of the echo reference at {} s{more}",
            value(self.median_db),
            value(self.worst_db),
            self.jumps,
            shown.join(", ")
        )
    }
}

/// Figures that are collected round by round.
#[derive(Default)]
pub(crate) struct Measured {
    microphone: Vec<f64>,
    cleaned: Vec<f64>,
    /// State at the end of each window.
    states: Vec<ReferenceState>,
    last: Option<ReferenceState>,
    jumps_at_s: Vec<f64>,
}

impl Measured {
    pub(crate) fn round(&mut self, powers: RoundPowers<'_>, state: ReferenceState) {
        self.microphone.extend_from_slice(powers.microphone);
        self.cleaned.extend_from_slice(powers.cleaned);
        let jumped = state.jumps.saturating_sub(self.last.map_or(0, |last| last.jumps));
        for _ in 0..jumped {
            if self.jumps_at_s.len() < 100 {
                self.jumps_at_s.push(self.cleaned.len() as f64 / 100.0);
            }
        }
        self.last = Some(state);
        if self.cleaned.len() / WINDOW_FRAMES > self.states.len() {
            self.states.push(state);
        }
    }

    pub(crate) fn finish(mut self, replayed: Replayed) -> Recomputed {
        self.states.extend(self.last);
        let loud = 10f64.powf(ECHO_DBFS / 10.0);
        let mut quiet_frames = HANG_OVER_FRAMES;
        let mut sums = vec![(0.0, 0.0); self.cleaned.len().div_ceil(WINDOW_FRAMES)];
        for (index, (&heard, &left)) in self.microphone.iter().zip(&self.cleaned).enumerate() {
            quiet_frames = if heard > loud { 0 } else { quiet_frames + 1 };
            if quiet_frames < HANG_OVER_FRAMES
                && let Some(sum) = sums.get_mut(index / WINDOW_FRAMES)
            {
                *sum = (sum.0 + heard, sum.1 + left.max(ROUNDING_POWER));
            }
        }
        let windows: Vec<RecomputedWindow> = sums
            .iter()
            .zip(&self.states)
            .enumerate()
            .map(|(index, (&(heard, left), state))| RecomputedWindow {
                from_s: (index * WINDOW_S) as f64,
                reduction_db: (heard > 0.0).then(|| 10.0 * (heard / left).log10()),
                delay_ms: state.delay.as_millis_f64(),
                drift_ppm: state.drift_ppm,
                jumps: state.jumps,
            })
            .collect();
        let complete = self.cleaned.len() / WINDOW_FRAMES;
        let settled = windows.iter().take(complete).skip(SETTLED_S / WINDOW_S);
        let mut reductions: Vec<f64> = settled.filter_map(|window| window.reduction_db).collect();
        reductions.sort_by(f64::total_cmp);
        let middle = reductions.len() / 2;
        let median_db = match reductions.get(middle) {
            Some(&upper) if reductions.len().is_multiple_of(2) => {
                Some((reductions[middle - 1] + upper) / 2.0)
            }
            other => other.copied(),
        };
        Recomputed {
            windows,
            jumps_at_s: self.jumps_at_s,
            jumps: self.last.map_or(0, |state| state.jumps),
            median_db,
            worst_db: reductions.first().copied(),
            incomplete: replayed.incomplete,
        }
    }
}
