//! Worker side: notices a device whose rate differs so much from the stated one that its times leave the clock as outliers
//! which do not agree with each other.

use super::SOUND_SERVER;

/// Slowest and fastest growth, as a fraction of the time between two observations: rates from a half to twice the stated
/// one. Times that are frozen grow by -1.
const SLOWEST: f32 = -0.5;
const FASTEST: f32 = 1.0;
/// Smallest growth. Outliers that grow less agree with each other, and are a jump.
const LEAST: f32 = 0.05;
/// Number of successive outliers that grow steadily: a second at periods of 10 ms. A device that catches up with what it
/// held back does so in less.
const STEADY_AFTER: u32 = 100;

/// The outliers since the last time that was used, as far as they are on a line.
#[derive(Clone, Copy, Debug)]
struct Run {
    first_ns: i64,
    /// Time from the first outlier to the last one by position, in nanoseconds.
    span_ns: f32,
    /// Growth from the first outlier to the last one, as a fraction of that time.
    growth: f32,
    /// Number of outliers in the run.
    outliers: u32,
}

/// Detects outliers that grow steadily. Without a sound server it holds nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct SteadyGrowth([Run; SOUND_SERVER as usize]);

impl SteadyGrowth {
    pub(super) const NONE: Self =
        Self([Run { first_ns: 0, span_ns: 0.0, growth: 0.0, outliers: 0 }; SOUND_SERVER as usize]);

    /// Ends the run, because a time was used or the clock was moved.
    pub(super) fn end(&mut self) {
        if let Some(run) = self.0.first_mut() {
            run.outliers = 0;
        }
    }

    /// Takes an outlier, `interval_ns` after the last observation. Returns by what fraction the period is too short once
    /// enough outliers have grown steadily.
    pub(super) fn take(&mut self, residual_ns: i64, interval_ns: f32) -> Option<f32> {
        let run = self.0.first_mut()?;
        let span_ns = run.span_ns + interval_ns;
        let grown_ns = residual_ns.wrapping_sub(run.first_ns) as f32;
        // The second outlier decides the growth, and the others must not leave it by more than one interval.
        let is_on_line = run.outliers == 1 || (grown_ns - run.growth * span_ns).abs() < interval_ns;
        if run.outliers == 0 || !is_on_line || span_ns <= 0.0 {
            *run = Run { first_ns: residual_ns, span_ns: 0.0, growth: 0.0, outliers: 1 };
            return None;
        }
        *run = Run { span_ns, growth: grown_ns / span_ns, outliers: run.outliers.saturating_add(1), ..*run };
        let is_steady = run.outliers >= STEADY_AFTER
            && (SLOWEST..=FASTEST).contains(&run.growth)
            && run.growth.abs() >= LEAST;
        is_steady.then_some(run.growth)
    }
}
