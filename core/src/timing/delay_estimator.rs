//! Worker side: estimates how long a sample takes from the worker through the loudspeaker's and the
//! microphone's driver back to the worker, from the times that the devices report.

use crate::time::Duration;

/// Distance from the estimate beyond which a latency is an outlier.
const OUTLIER: Duration = Duration::from_millis(8);
/// Number of successive outliers that agree with each other and so are a jump.
const JUMP_AFTER: u16 = 12;
/// Averaging length of the settled estimate, in frames: it follows within about 0.6 s.
const SETTLED: u16 = 64;
/// Latency beyond which a report is meaningless: faulty drivers report 7e18 sample frames.
const ABSURD: Duration = Duration::from_millis(10_000);

/// Number of successive frames without a usable latency after which the estimate counts as held.
const HELD_AFTER: u16 = 20;
/// Number of frames between two entries of the history.
const HISTORY_STEP_FRAMES: u16 = 10;
/// Number of entries in the history: the last 6.4 s.
const HISTORY_LEN: usize = 64;

/// Source of a delay estimate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum DelaySource {
    /// The times that the devices report.
    #[default]
    Timestamps,
    /// The times that the devices report, corrected by the acoustic delay estimate.
    Acoustic,
    /// The last good times; the current ones are distrusted.
    Held,
}

/// Estimate of render plus capture latency.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DelayEstimate {
    /// Render plus capture latency, at least 0.
    pub delay: Duration,
    /// Source of the estimate.
    pub source: DelaySource,
    /// Confidence from 0, nothing is known, to 1.
    pub confidence: f32,
}

/// Estimates render latency plus capture latency, filtered against jitter and outliers.
///
/// Render latency is the time from the playback interrupt to the converter, capture latency the time from the
/// converter to the capture interrupt, each without the period itself. Both arrive in the stamps of the
/// frames. Each estimate starts with a running mean and settles to a slow exponential mean. Single outliers
/// are ignored; a run of outliers that agree is a jump and is taken over at once. The acoustic delay estimate
/// corrects the result.
///
/// The estimate is for display, logs and reports. The canceller does not need it, because
/// its reference is aligned already.
///
/// ```
/// use handsfree_core::timing::{DelayEstimator, DelaySource};
/// use handsfree_core::time::Duration;
///
/// let mut estimator = DelayEstimator::new();
/// for _ in 0..40 {
///     estimator.on_render(Duration::from_millis(40));
///     estimator.on_capture(Duration::from_millis(10));
/// }
/// estimator.on_render(Duration::from_millis(4_000));
/// let estimate = estimator.estimate();
/// assert_eq!(estimate.delay, Duration::from_millis(50));
/// assert_eq!((estimate.source, estimate.confidence), (DelaySource::Timestamps, 1.0));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DelayEstimator {
    render: LatencyFilter,
    capture: LatencyFilter,
    echo: Option<(Duration, f32)>,
    history_us: [i32; HISTORY_LEN],
    entries: usize,
    until_entry: u16,
}

impl Default for DelayEstimator {
    fn default() -> Self {
        Self::new()
    }
}

impl DelayEstimator {
    /// Returns an estimator without observations; its estimate is 0.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            render: LatencyFilter::new(),
            capture: LatencyFilter::new(),
            echo: None,
            history_us: [0; HISTORY_LEN],
            entries: 0,
            until_entry: 0,
        }
    }

    /// Takes the latency of a reference frame.
    pub fn on_render(&mut self, latency: Duration) {
        self.render.take(latency);
    }

    /// Takes the latency of a capture frame.
    pub fn on_capture(&mut self, latency: Duration) {
        self.capture.take(latency);
        self.until_entry = self.until_entry.saturating_sub(1);
        if self.until_entry == 0 {
            self.until_entry = HISTORY_STEP_FRAMES;
            let micros = i32::try_from(self.delay().as_micros()).unwrap_or(i32::MAX);
            if let Some(entry) = self.history_us.get_mut(self.entries % HISTORY_LEN) {
                *entry = micros;
            }
            self.entries = self.entries.wrapping_add(1);
        }
    }

    /// Takes the acoustic delay estimate: the echo comes later than the times predict by `later`, with a
    /// confidence from 0 to 1.
    pub fn on_echo(&mut self, later: Duration, confidence: f32) {
        self.echo = Some((later, confidence.clamp(0.0, 1.0)));
    }

    /// Returns the estimated render latency, by the times alone.
    #[must_use]
    pub fn render_latency(&self) -> Duration {
        self.render.estimate()
    }

    /// Returns the estimated capture latency, by the times alone.
    #[must_use]
    pub fn capture_latency(&self) -> Duration {
        self.capture.estimate()
    }

    /// Returns render plus capture latency, at least 0.
    #[must_use]
    pub fn delay(&self) -> Duration {
        let correction = self.echo.map_or(Duration::ZERO, |(later, _)| later);
        (self.render_latency() + self.capture_latency() + correction).max(Duration::ZERO)
    }

    /// Returns the delay with its source and confidence.
    #[must_use]
    pub fn estimate(&self) -> DelayEstimate {
        let by_times = self.render.confidence().min(self.capture.confidence());
        let held = self.render.is_held() || self.capture.is_held();
        let (source, confidence) = match self.echo {
            Some((_, acoustic)) => (DelaySource::Acoustic, acoustic),
            None if held => (DelaySource::Held, by_times),
            None => (DelaySource::Timestamps, by_times),
        };
        DelayEstimate { delay: self.delay(), source, confidence }
    }

    /// Returns the delay at every 100 ms of capture, oldest first, for at most the last 6.4 s. For display.
    pub fn history(&self) -> impl Iterator<Item = Duration> {
        let first = self.entries.saturating_sub(HISTORY_LEN);
        (first..self.entries).map(|entry| {
            let micros = self.history_us.get(entry % HISTORY_LEN).copied().unwrap_or(0);
            Duration::from_micros(i64::from(micros))
        })
    }

    /// Forgets the render latency. To be called when the playback device was replaced or restarted.
    pub fn reset_render(&mut self) {
        self.render = LatencyFilter::new();
        self.echo = None;
    }

    /// Forgets the capture latency. To be called when the capture device was replaced or restarted.
    pub fn reset_capture(&mut self) {
        self.capture = LatencyFilter::new();
        self.echo = None;
    }
}

/// Filters the latency of one direction.
#[derive(Clone, Copy, Debug, Default)]
struct LatencyFilter {
    /// Estimate in 1/256 ns. Fractions of a nanosecond do not matter, but the rounding of the mean would.
    estimate_q8: i64,
    /// Number of latencies used, up to [`SETTLED`].
    taken: u16,
    /// Mean of the current run of outliers.
    candidate_ns: i64,
    /// Length of the current run of outliers.
    outliers: u16,
    /// Number of successive latencies that were not used.
    unused: u16,
}

impl LatencyFilter {
    const fn new() -> Self {
        Self { estimate_q8: 0, taken: 0, candidate_ns: 0, outliers: 0, unused: 0 }
    }

    fn estimate(&self) -> Duration {
        Duration::from_nanos(self.estimate_q8 / 256)
    }

    fn is_held(&self) -> bool {
        self.unused >= HELD_AFTER
    }

    /// Returns the confidence: it grows with the latencies used and falls with those not used.
    fn confidence(&self) -> f32 {
        let known = f32::from(self.taken.min(HELD_AFTER)) / f32::from(HELD_AFTER);
        known * (1.0 - f32::from(self.unused.saturating_sub(1).min(HELD_AFTER)) / f32::from(HELD_AFTER))
    }

    #[inline(never)]
    fn take(&mut self, latency: Duration) {
        self.unused = self.unused.saturating_add(1);
        if latency.abs() > ABSURD {
            return;
        }
        if self.taken > 0 && (latency - self.estimate()).abs() > OUTLIER {
            self.outlier(latency);
            return;
        }
        self.outliers = 0;
        self.unused = 0;
        self.taken = (self.taken + 1).min(SETTLED);
        let error_q8 = latency.as_nanos() * 256 - self.estimate_q8;
        self.estimate_q8 += error_q8 / i64::from(self.taken.max(1));
    }

    fn outlier(&mut self, latency: Duration) {
        let agrees = (latency - Duration::from_nanos(self.candidate_ns)).abs() <= OUTLIER;
        if self.outliers == 0 || !agrees {
            self.candidate_ns = latency.as_nanos();
            self.outliers = 1;
            return;
        }
        self.outliers += 1;
        self.candidate_ns += (latency.as_nanos() - self.candidate_ns) / i64::from(self.outliers.max(1));
        if self.outliers >= JUMP_AFTER {
            self.estimate_q8 = self.candidate_ns * 256;
            self.taken = JUMP_AFTER;
            self.outliers = 0;
            self.unused = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns random jitter of at most `most_ns`. The failing assertion names the seed.
    fn jitter(seed: &mut u64, most_ns: i64) -> i64 {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((*seed >> 33) as i64).rem_euclid(2 * most_ns + 1) - most_ns
    }

    #[test]
    fn jitter_is_averaged_and_outliers_are_ignored() {
        for seed in 1..=20u64 {
            let mut state = seed;
            let mut filter = LatencyFilter::new();
            for i in 0..300 {
                let spike = if i % 17 == 3 { 300_000_000 } else { 0 };
                filter.take(Duration::from_nanos(50_000_000 + jitter(&mut state, 1_000_000) + spike));
            }
            let error_us = (filter.estimate() - Duration::from_millis(50)).as_micros();
            assert!(error_us.abs() < 300, "seed {seed}: {error_us} us");
        }
    }

    #[test]
    fn a_jump_is_taken_over_within_its_run() {
        let mut filter = LatencyFilter::new();
        for _ in 0..500 {
            filter.take(Duration::from_millis(50));
        }
        for _ in 0..JUMP_AFTER {
            filter.take(Duration::from_millis(200));
        }
        assert_eq!(filter.estimate(), Duration::from_millis(200));
    }

    #[test]
    fn absurd_latencies_are_ignored_and_no_delay_is_negative() {
        let mut estimator = DelayEstimator::new();
        estimator.on_render(Duration::from_millis(20));
        estimator.on_render(Duration::from_nanos(7_000_000_000_000_000_000));
        estimator.on_render(Duration::from_nanos(i64::MIN));
        assert_eq!(estimator.delay(), Duration::from_millis(20));
        let mut early = DelayEstimator::new();
        early.on_capture(Duration::from_millis(-5));
        assert_eq!(early.delay(), Duration::ZERO);
    }

    #[test]
    fn distrusted_times_hold_the_delay_with_less_confidence() {
        let mut estimator = DelayEstimator::new();
        for _ in 0..100 {
            estimator.on_render(Duration::from_millis(30));
            estimator.on_capture(Duration::from_millis(5));
        }
        assert_eq!(estimator.estimate().confidence, 1.0);
        for frame in 0..200 {
            // With a frozen timestamp the latency grows in every frame and never agrees with itself.
            estimator.on_render(Duration::from_millis(60 + 10 * frame));
            estimator.on_capture(Duration::from_millis(5));
        }
        let estimate = estimator.estimate();
        assert_eq!((estimate.delay, estimate.source), (Duration::from_millis(35), DelaySource::Held));
        assert!(estimate.confidence < 0.1, "{estimate:?}");
    }

    #[test]
    fn the_acoustic_correction_shows_in_delay_and_history() {
        let mut estimator = DelayEstimator::new();
        for frame in 0..1_000 {
            estimator.on_render(Duration::from_millis(30));
            if frame == 500 {
                estimator.on_echo(Duration::from_millis(-20), 0.8);
            }
            estimator.on_capture(Duration::from_millis(5));
        }
        let expected = DelayEstimate {
            delay: Duration::from_millis(15),
            source: DelaySource::Acoustic,
            confidence: 0.8,
        };
        assert_eq!(estimator.estimate(), expected);
        let history: Vec<_> = estimator.history().collect();
        assert_eq!(history.len(), 64);
        assert_eq!((history[0], history[63]), (Duration::from_millis(35), Duration::from_millis(15)));
    }
}
