//! Application side: which media time of the audio is at the converter now, from reports that come now and then.

use crate::time::{Duration, Instant};

/// Scatter of reports that is expected: an application reads a position and then the clock.
const JITTER_NS: f64 = 2e6;
/// A report further than this from the prediction is no scatter.
const SCATTER_NS: f64 = 20e6;
/// Further than this it is believed at once; in between a second one has to agree.
const CERTAIN_NS: f64 = 100e6;
/// A clock's error that is expected before anything is known, in parts.
const PRIOR_RATE: f64 = 500e-6;
/// A rate further from the host's than this is no clock's; what remains shows as jumps.
const LARGEST_RATE: f64 = 0.01;
/// How far the rate wanders, in parts per root second.
const RATE_WANDER: f64 = 1e-6;
/// Short gaps that nobody reports move the media time by so much per root second.
const TIME_WANDER_NS: f64 = 0.2e6;
/// Media times beyond 126 years are taken for that, so that no sum reaches the end of its type.
const FAR: Duration = Duration::from_millis(4_000_000_000_000);
/// What is further ahead (11 days) has no moment yet: a product would be off by more than a nanosecond.
const LONGEST_WAIT_NS: f64 = 1e15;
/// Without a report for so long the audio is taken to stand.
pub(super) const LONGEST_EXTRAPOLATION: Duration = Duration::from_millis(2_000);

/// How media time moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Motion {
    /// Nothing was reported yet.
    Unknown,
    /// Nothing was reported and nothing will be: waits for the first frame to start at.
    FreeToStart,
    /// With the host's clock, no reports expected.
    Free,
    /// As the reports say.
    Reported,
    /// The reports repeat this.
    Stands(Duration),
    /// The application said so, and says when it goes on; then it runs free where it did before.
    Paused { media: Duration, free: bool },
}

/// Media time as a line over host time: a Kalman filter for time and rate, like `timing::StreamClock`, but made for
/// reports with milliseconds of scatter, of a time that may stand still, jump or run backwards.
#[derive(Clone, Copy, Debug)]
pub(super) struct MediaClock {
    motion: Motion,
    /// The line goes through `media` at `at`.
    media: Duration,
    at: Instant,
    /// How much faster than the host's clock, in parts.
    rate_error: f64,
    /// Covariance of media time (ns) and rate.
    p_mm: f64,
    p_mr: f64,
    p_rr: f64,
    last: Option<(Duration, Instant)>,
    /// What the last report differed by when it was not believed.
    doubted_ns: Option<f64>,
    jumps: u64,
}

impl MediaClock {
    pub(super) const fn new() -> Self {
        Self {
            motion: Motion::Unknown,
            media: Duration::ZERO,
            at: Instant::ORIGIN,
            rate_error: 0.0,
            p_mm: 0.0,
            p_mr: 0.0,
            p_rr: PRIOR_RATE * PRIOR_RATE,
            last: None,
            doubted_ns: None,
            jumps: 0,
        }
    }

    /// The media time of the last report.
    pub(super) fn last_report(&self) -> Option<Duration> {
        self.last.map(|(media, _)| media)
    }

    /// Times that a report of moving audio was so far off that the line was begun anew.
    pub(super) const fn jumps(&self) -> u64 {
        self.jumps
    }

    pub(super) const fn rate_ppm(&self) -> f64 {
        self.rate_error * 1e6
    }

    pub(super) fn report(&mut self, media: Duration, at: Instant) {
        if self.last.is_some_and(|(_, before)| at < before) {
            return;
        }
        let media = media.clamp(-FAR, FAR);
        let repeated = self.last.is_some_and(|(same, before)| media == same && at > before);
        self.last = Some((media, at));
        match self.motion {
            Motion::Paused { .. } => self.motion = Motion::Paused { media, free: false },
            _ if repeated => self.motion = Motion::Stands(media),
            Motion::Unknown | Motion::FreeToStart => self.begin(media, at, Motion::Reported),
            Motion::Reported => self.observe(media, at, false),
            Motion::Stands(_) | Motion::Free => {
                self.motion = Motion::Reported;
                self.observe(media, at, true);
            }
        }
    }

    pub(super) fn pause(&mut self, at: Instant) {
        if matches!(self.motion, Motion::Paused { .. }) {
            return;
        }
        if let Some(media) = self.media_at(at) {
            self.motion = Motion::Paused { media, free: self.motion == Motion::Free };
        }
    }

    pub(super) fn resume(&mut self, at: Instant) {
        if let Motion::Paused { media, free } = self.motion {
            self.begin(media, at, if free { Motion::Free } else { Motion::Reported });
            if !free {
                self.last = Some((media, at));
            }
        }
    }

    pub(super) fn run_free(&mut self, now: Instant) {
        match self.media_at(now) {
            Some(media) => self.begin(media, now, Motion::Free),
            None => self.motion = Motion::FreeToStart,
        }
    }

    /// A clock that runs free and has not begun begins with `media`.
    pub(super) fn begin_free(&mut self, media: Duration, now: Instant) {
        if self.motion == Motion::FreeToStart {
            self.begin(media, now, Motion::Free);
        }
    }

    pub(super) fn is_free_to_start(&self) -> bool {
        self.motion == Motion::FreeToStart
    }

    pub(super) fn media_at(&self, now: Instant) -> Option<Duration> {
        match self.motion {
            Motion::Unknown | Motion::FreeToStart => None,
            Motion::Stands(media) | Motion::Paused { media, .. } => Some(media),
            Motion::Free => Some(self.line(now)),
            Motion::Reported => Some(self.line(now.min(self.horizon()))),
        }
    }

    /// The first moment at which [`Self::media_at`] is `media` or later, as far as is known now. Never too early
    /// by rounding.
    pub(super) fn instant_of(&self, media: Duration) -> Option<Instant> {
        let span_ns = (media - self.media).as_nanos() as f64 / (1.0 + self.rate_error);
        if span_ns > LONGEST_WAIT_NS {
            return None;
        }
        let at = self.at + Duration::from_nanos(libm::ceil(span_ns) as i64) + Duration::from_nanos(1);
        match self.motion {
            Motion::Free => Some(at),
            Motion::Reported if at <= self.horizon() => Some(at),
            _ => None,
        }
    }

    fn horizon(&self) -> Instant {
        self.last.map_or(self.at, |(_, at)| at) + LONGEST_EXTRAPOLATION
    }

    fn line(&self, now: Instant) -> Duration {
        let span_ns = (now - self.at).as_nanos();
        let gained_ns = libm::floor(span_ns as f64 * self.rate_error) as i64;
        self.media + Duration::from_nanos(span_ns) + Duration::from_nanos(gained_ns)
    }

    /// A new line through a point, its rate kept.
    fn begin(&mut self, media: Duration, at: Instant, motion: Motion) {
        self.motion = motion;
        self.media = media;
        self.at = at;
        self.p_mm = JITTER_NS * JITTER_NS;
        self.p_mr = 0.0;
        self.doubted_ns = None;
    }

    /// `moved` says that the line is known to be no good: any report off it begins it anew.
    fn observe(&mut self, media: Duration, at: Instant, moved: bool) {
        self.advance(at);
        let residual_ns = (media - self.media).as_nanos() as f64;
        if residual_ns.abs() <= SCATTER_NS {
            self.doubted_ns = None;
            self.correct(residual_ns);
            return;
        }
        let agrees = self.doubted_ns.is_some_and(|before| (residual_ns - before).abs() <= SCATTER_NS);
        if moved || agrees || residual_ns.abs() > CERTAIN_NS {
            self.begin(media, at, Motion::Reported);
            self.jumps += u64::from(!moved);
        } else {
            self.doubted_ns = Some(residual_ns);
        }
    }

    fn advance(&mut self, at: Instant) {
        self.media = self.line(at);
        let span_ns = f64::max((at - self.at).as_nanos() as f64, 0.0);
        self.at = at;
        self.p_mm += span_ns * (2.0 * self.p_mr + span_ns * self.p_rr)
            + TIME_WANDER_NS * TIME_WANDER_NS * span_ns * 1e-9;
        self.p_mr += span_ns * self.p_rr;
        self.p_rr += RATE_WANDER * RATE_WANDER * span_ns * 1e-9;
    }

    fn correct(&mut self, residual_ns: f64) {
        let spread = self.p_mm + JITTER_NS * JITTER_NS;
        let (time_gain, rate_gain) = (self.p_mm / spread, self.p_mr / spread);
        self.media = self.media + Duration::from_nanos((time_gain * residual_ns) as i64);
        self.rate_error = (self.rate_error + rate_gain * residual_ns).clamp(-LARGEST_RATE, LARGEST_RATE);
        self.p_rr -= rate_gain * self.p_mr;
        self.p_mr *= 1.0 - time_gain;
        self.p_mm *= 1.0 - time_gain;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Noise(u64);

    impl Noise {
        fn uniform(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 11) as f64 / (1u64 << 53) as f64 * 2.0 - 1.0
        }
    }

    fn nanos(ns: f64) -> Duration {
        Duration::from_nanos(ns as i64)
    }

    fn millis(ms: f64) -> Instant {
        Instant::ORIGIN + nanos(ms * 1e6)
    }

    fn error_ms(clock: &MediaClock, media_ms: f64, now: Instant) -> f64 {
        clock.media_at(now).unwrap().as_millis_f64() - media_ms
    }

    #[test]
    fn time_and_rate_are_found_through_scatter_at_any_interval() {
        for seed in 1..=30 {
            let mut noise = Noise(seed);
            let rate = 1.0 + noise.uniform() * 1_000e-6;
            for (interval_ms, scatter_ms, seconds) in [(10.0, 5.0, 60), (100.0, 5.0, 60), (1_000.0, 5.0, 300)]
            {
                let mut clock = MediaClock::new();
                let mut worst_ms = 0.0f64;
                let reports = (f64::from(seconds) * 1e3 / interval_ms) as usize;
                for k in 0..reports {
                    let at_ms = 7.0 + k as f64 * interval_ms;
                    let media_ms = at_ms * rate + noise.uniform() * scatter_ms;
                    clock.report(nanos(media_ms * 1e6), millis(at_ms));
                    if k >= reports / 2 {
                        let now_ms = at_ms + interval_ms * 0.99;
                        worst_ms = worst_ms.max(error_ms(&clock, now_ms * rate, millis(now_ms)).abs());
                    }
                }
                let bound_ms = if interval_ms > 500.0 { 3.0 } else { 2.0 };
                assert!(worst_ms < bound_ms, "seed {seed}, every {interval_ms} ms: {worst_ms} ms");
                let off_ppm = clock.rate_ppm() - (rate - 1.0) * 1e6;
                assert!(off_ppm.abs() < 150.0, "seed {seed}, every {interval_ms} ms: {off_ppm} ppm off");
                assert_eq!(clock.jumps(), 0);
            }
        }
    }

    #[test]
    fn the_moment_of_a_media_time_is_never_too_early_and_at_most_2_ns_late() {
        let mut noise = Noise(3);
        for _ in 0..10_000 {
            let mut clock = MediaClock::new();
            clock.begin(
                nanos(noise.uniform() * 1e15),
                Instant::from_nanos((noise.uniform() * 1e15) as i64),
                Motion::Free,
            );
            clock.rate_error = noise.uniform() * 1e-3;
            let media = clock.media + nanos(noise.uniform() * 1e12);
            let at = clock.instant_of(media).unwrap();
            assert!(clock.media_at(at).unwrap() >= media);
            assert!(clock.media_at(at - Duration::from_nanos(3)).unwrap() < media);
        }
    }

    #[test]
    fn one_wrong_report_is_doubted_two_that_agree_are_believed_a_seek_at_once() {
        let mut clock = MediaClock::new();
        let mut report = |at_ms: f64, off_ms: f64| {
            clock.report(nanos((at_ms + off_ms) * 1e6), millis(at_ms));
            error_ms(&clock, at_ms, millis(at_ms))
        };
        for k in 0..100 {
            report(f64::from(k) * 10.0, 0.0);
        }
        assert!(report(1_000.0, -60.0).abs() < 0.01);
        assert!(report(1_010.0, 0.0).abs() < 0.01);
        assert!(report(1_020.0, -60.0).abs() < 0.01);
        assert!((report(1_030.0, -61.0) + 61.0).abs() < 0.01);
        assert!((report(1_040.0, 5_000.0) - 5_000.0).abs() < 0.01);
        assert_eq!(clock.jumps(), 2);
    }

    #[test]
    fn a_position_that_is_read_more_often_than_it_moves_does_not_lose_the_line() {
        let mut clock = MediaClock::new();
        for k in 0..2_000i32 {
            clock.report(Duration::from_millis(i64::from(k / 4 * 10)), millis(f64::from(k) * 2.5));
            assert!(error_ms(&clock, f64::from(k) * 2.5, millis(f64::from(k) * 2.5)).abs() < 10.0);
        }
        assert!(clock.rate_ppm().abs() < 100.0, "{}", clock.rate_ppm());
        assert_eq!(clock.jumps(), 0);
    }

    #[test]
    fn without_reports_media_time_runs_on_for_2_s_and_then_stands() {
        let mut clock = MediaClock::new();
        clock.report(Duration::ZERO, millis(0.0));
        assert_eq!(clock.media_at(millis(1_999.0)), Some(Duration::from_millis(1_999)));
        assert_eq!(clock.media_at(millis(60_000.0)), Some(LONGEST_EXTRAPOLATION));
        assert!(clock.instant_of(Duration::from_millis(1_999)).is_some());
        assert_eq!(clock.instant_of(Duration::from_millis(2_001)), None);
        clock.run_free(millis(60_000.0));
        assert_eq!(clock.media_at(millis(90_000.0)), Some(Duration::from_millis(32_000)));
    }

    #[test]
    fn media_time_at_another_speed_stays_within_the_scatter() {
        for speed in [0.5, 1.5] {
            let mut clock = MediaClock::new();
            for k in 0..3_000 {
                let at_ms = f64::from(k) * 10.0;
                clock.report(nanos(at_ms * speed * 1e6), millis(at_ms));
                let error_ms = error_ms(&clock, at_ms * speed, millis(at_ms));
                assert!(error_ms.abs() < 45.0, "{error_ms} at {at_ms}");
            }
        }
    }
}
