//! Worker side: how long a sample takes from the worker's hand through loudspeaker driver and
//! microphone driver back, as far as the devices' times tell.

use crate::time::Duration;

/// A latency further than this from the estimate is an outlier.
const OUTLIER: Duration = Duration::from_millis(8);
/// So many outliers in a row that agree among themselves are a jump, not outliers.
const JUMP_AFTER: u16 = 12;
/// The settled estimate follows with one part in so many, that is within some 0.6 s.
const SETTLED: u16 = 64;
/// What a device cannot mean: see faults of drivers that report 7e18 sample frames.
const ABSURD: Duration = Duration::from_millis(10_000);

/// Render latency plus capture latency, filtered against jitter and outliers.
///
/// Render latency is the time from the playback interrupt to the converter, capture latency from
/// the converter to the capture interrupt, each excluding the period itself; both arrive in the
/// frames' stamps. Each starts with a running mean and settles to a slow exponential mean; single
/// outliers are ignored, a run of agreeing ones is a jump and is taken over at once.
///
/// ```
/// use handsfree_core::timing::DelayEstimator;
/// use handsfree_core::time::Duration;
///
/// let mut estimator = DelayEstimator::new();
/// for _ in 0..10 {
///     estimator.on_render(Duration::from_millis(40));
///     estimator.on_capture(Duration::from_millis(10));
/// }
/// estimator.on_render(Duration::from_millis(4_000));
/// assert_eq!(estimator.delay(), Duration::from_millis(50));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct DelayEstimator {
    render: LatencyFilter,
    capture: LatencyFilter,
}

impl DelayEstimator {
    /// An estimator that has seen nothing and says 0.
    #[must_use]
    pub const fn new() -> Self {
        Self { render: LatencyFilter::new(), capture: LatencyFilter::new() }
    }

    /// Takes the latency of a reference frame.
    pub fn on_render(&mut self, latency: Duration) {
        self.render.take(latency);
    }

    /// Takes the latency of a capture frame.
    pub fn on_capture(&mut self, latency: Duration) {
        self.capture.take(latency);
    }

    /// Estimated render latency.
    #[must_use]
    pub fn render_latency(&self) -> Duration {
        self.render.estimate()
    }

    /// Estimated capture latency.
    #[must_use]
    pub fn capture_latency(&self) -> Duration {
        self.capture.estimate()
    }

    /// Render plus capture latency, at least 0.
    #[must_use]
    pub fn delay(&self) -> Duration {
        (self.render_latency() + self.capture_latency()).max(Duration::ZERO)
    }

    /// Forgets the playback side, whose device was replaced.
    pub fn reset_render(&mut self) {
        self.render = LatencyFilter::new();
    }

    /// Forgets the capture side, whose device was replaced.
    pub fn reset_capture(&mut self) {
        self.capture = LatencyFilter::new();
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct LatencyFilter {
    /// Sub-nanoseconds do not matter, but the mean's rounding would: 1/256 ns.
    estimate_q8: i64,
    taken: u16,
    /// The mean of the present run of outliers, and its length.
    candidate_ns: i64,
    outliers: u16,
}

impl LatencyFilter {
    const fn new() -> Self {
        Self { estimate_q8: 0, taken: 0, candidate_ns: 0, outliers: 0 }
    }

    fn estimate(&self) -> Duration {
        Duration::from_nanos(self.estimate_q8 / 256)
    }

    fn take(&mut self, latency: Duration) {
        if latency.abs() > ABSURD {
            return;
        }
        if self.taken > 0 && (latency - self.estimate()).abs() > OUTLIER {
            self.outlier(latency);
            return;
        }
        self.outliers = 0;
        self.taken = (self.taken + 1).min(SETTLED);
        let error_q8 = latency.as_nanos() * 256 - self.estimate_q8;
        self.estimate_q8 += error_q8 / i64::from(self.taken);
    }

    fn outlier(&mut self, latency: Duration) {
        let agrees = (latency - Duration::from_nanos(self.candidate_ns)).abs() <= OUTLIER;
        if self.outliers == 0 || !agrees {
            self.candidate_ns = latency.as_nanos();
            self.outliers = 1;
            return;
        }
        self.outliers += 1;
        self.candidate_ns += (latency.as_nanos() - self.candidate_ns) / i64::from(self.outliers);
        if self.outliers >= JUMP_AFTER {
            self.estimate_q8 = self.candidate_ns * 256;
            self.taken = JUMP_AFTER;
            self.outliers = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small generator for jitter; the seed is in the failing assertion.
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
    fn absurd_latencies_are_refused_and_the_delay_is_never_negative() {
        let mut estimator = DelayEstimator::new();
        estimator.on_render(Duration::from_millis(20));
        estimator.on_render(Duration::from_nanos(7_000_000_000_000_000_000));
        estimator.on_render(Duration::from_nanos(i64::MIN));
        assert_eq!(estimator.delay(), Duration::from_millis(20));
        let mut early = DelayEstimator::new();
        early.on_capture(Duration::from_millis(-5));
        assert_eq!(early.delay(), Duration::ZERO);
    }
}
