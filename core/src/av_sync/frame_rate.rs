//! Application side: measures how many frames a second are really delivered.

use heapless::Deque;

use crate::time::{Duration, Instant};

/// Shortest time over which the rate is measured, so that single intervals average out.
const WINDOW: Duration = Duration::from_millis(1_000);
/// Number of periods over which slow video is measured, so that there are intervals to count.
const WINDOW_PERIODS: i64 = 4;
/// Number of deliveries kept; above this many frames a second the window is shorter.
const MAX_DELIVERIES: usize = 64;

/// Times of the last deliveries.
#[derive(Clone, Debug)]
pub(super) struct FrameRate {
    deliveries: Deque<Instant, MAX_DELIVERIES>,
}

impl FrameRate {
    pub(super) const fn new() -> Self {
        Self { deliveries: Deque::new() }
    }

    pub(super) fn record_delivery(&mut self, now: Instant) {
        if self.deliveries.is_full() {
            self.deliveries.pop_front();
        }
        // There is space now.
        let _ = self.deliveries.push_back(now);
    }

    pub(super) fn clear(&mut self) {
        self.deliveries.clear();
    }

    /// Returns the number of intervals between the deliveries within the window, divided by the time they took.
    /// The unfinished interval counts once it is longer than two of the others, so that the rate falls when
    /// frames stop coming.
    pub(super) fn fps(&self, now: Instant, period: Duration) -> f64 {
        let periods = Duration::from_nanos(period.as_nanos().saturating_mul(WINDOW_PERIODS));
        let from = now - periods.max(WINDOW);
        let mut within = self.deliveries.iter().filter(|&&at| at >= from);
        let Some(&first) = within.next() else { return 0.0 };
        let (intervals, last) = within.fold((0i64, first), |(count, _), &at| (count + 1, at));
        if intervals == 0 {
            return 0.0;
        }
        let (closed_ns, open_ns) = ((last - first).as_nanos(), (now - last).as_nanos());
        let span_ns = if open_ns > 2 * closed_ns / intervals { closed_ns + open_ns } else { closed_ns };
        if span_ns <= 0 { 0.0 } else { intervals as f64 * 1e9 / span_ns as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(millis: i64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    #[test]
    fn frame_rate_is_the_number_of_intervals_over_time() {
        let mut rate = FrameRate::new();
        let period = Duration::from_millis(40);
        assert_eq!(rate.fps(after(0), period), 0.0);
        for k in 0..100 {
            rate.record_delivery(after(k * 40));
        }
        for late in [0, 20, 40, 79] {
            assert_eq!(rate.fps(after(99 * 40 + late), period), 25.0);
        }
    }

    #[test]
    fn frame_rate_falls_when_frames_stop_and_ends_at_0() {
        let mut rate = FrameRate::new();
        let period = Duration::from_millis(40);
        for k in 0..=25 {
            rate.record_delivery(after(k * 40));
        }
        let falling: Vec<f64> =
            [0, 200, 400, 800, 1_001].map(|late| rate.fps(after(1_000 + late), period)).into();
        assert!(falling.is_sorted_by(|before, after| before > after), "{falling:?}");
        assert_eq!(falling.last(), Some(&0.0));
    }

    #[test]
    fn slow_and_fast_video_are_measured_too() {
        for (millifps, bound) in [(500, 1e-6), (1_000_000, 1e-6)] {
            let mut rate = FrameRate::new();
            let period = Duration::from_nanos(1_000_000_000_000 / millifps);
            let mut now = Instant::ORIGIN;
            for _ in 0..200 {
                now += period;
                rate.record_delivery(now);
            }
            let fps = rate.fps(now, period);
            assert!((fps - millifps as f64 / 1_000.0).abs() < bound, "{fps}");
        }
    }
}
