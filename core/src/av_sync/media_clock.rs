//! Application side: estimates which media time of the audio is at the converter now, from occasional reports.

use crate::time::{Duration, Instant};

/// Expected standard deviation of a report, in nanoseconds: an application reads a position and then the clock.
const JITTER_NS: f64 = 2e6;
/// Largest distance of a report from the prediction that counts as scatter, in nanoseconds.
const SCATTER_NS: f64 = 20e6;
/// Distance beyond which one report is a jump, in nanoseconds; between the two limits a second report has to
/// agree.
const JUMP_NS: f64 = 100e6;
/// Expected rate error of the audio's clock before anything is known, as a fraction.
const PRIOR_RATE_ERROR: f64 = 500e-6;
/// Largest rate error of a clock, as a fraction; a larger one shows as jumps.
const MAX_RATE_ERROR: f64 = 0.01;
/// Random walk of the rate, as a fraction per root second.
const RATE_WANDER: f64 = 1e-6;
/// Random walk of the media time, in nanoseconds per root second, which covers short gaps that are not
/// reported.
const TIME_WANDER_NS: f64 = 0.2e6;
/// Largest media time, 126 years; times beyond are clamped, so that no sum overflows.
const MAX_MEDIA_TIME: Duration = Duration::from_millis(4_000_000_000_000);
/// Longest wait, 11 days, that has a time yet: beyond it a product would be off by more than a nanosecond.
const MAX_WAIT_NS: f64 = 1e15;
/// Time without a report after which the audio is assumed to stand.
pub(super) const MAX_EXTRAPOLATION: Duration = Duration::from_millis(2_000);

/// How media time moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MediaMotion {
    /// Nothing was reported yet.
    Unknown,
    /// Nothing was reported and no report is expected: media time starts with the first frame.
    FreeToStart,
    /// Media time runs with the host's clock, and no report is expected.
    Free,
    /// Media time follows the reports.
    Reported,
    /// The reports repeat this media time.
    Stands(Duration),
    /// The application paused the audio and will resume it; `free` tells whether it ran without reports before.
    Paused { media: Duration, free: bool },
}

/// Media time as a line over host time. A Kalman filter for time and rate estimates it, like
/// `timing::StreamClock`, but for reports with milliseconds of scatter of a time that may stand still, jump or
/// run backwards.
#[derive(Clone, Copy, Debug)]
pub(super) struct MediaClock {
    motion: MediaMotion,
    /// Media time of the line at `at`.
    media: Duration,
    at: Instant,
    /// Rate of the line against the host's clock, minus 1.
    rate_error: f64,
    /// Covariance of media time (ns) and rate.
    p_mm: f64,
    p_mr: f64,
    p_rr: f64,
    last: Option<(Duration, Instant)>,
    /// Distance of the last report from the line, in nanoseconds, if it was not accepted.
    suspect_ns: Option<f64>,
    jumps: u64,
}

impl MediaClock {
    pub(super) const fn new() -> Self {
        Self {
            motion: MediaMotion::Unknown,
            media: Duration::ZERO,
            at: Instant::ORIGIN,
            rate_error: 0.0,
            p_mm: 0.0,
            p_mr: 0.0,
            p_rr: PRIOR_RATE_ERROR * PRIOR_RATE_ERROR,
            last: None,
            suspect_ns: None,
            jumps: 0,
        }
    }

    /// Returns the media time of the last report.
    pub(super) fn last_report(&self) -> Option<Duration> {
        self.last.map(|(media, _)| media)
    }

    /// Returns how many reports of moving audio were far enough off that the line was restarted.
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
        let media = media.clamp(-MAX_MEDIA_TIME, MAX_MEDIA_TIME);
        let repeated = self.last.is_some_and(|(same, before)| media == same && at > before);
        self.last = Some((media, at));
        match self.motion {
            MediaMotion::Paused { .. } => self.motion = MediaMotion::Paused { media, free: false },
            _ if repeated => self.motion = MediaMotion::Stands(media),
            MediaMotion::Unknown | MediaMotion::FreeToStart => self.begin(media, at, MediaMotion::Reported),
            MediaMotion::Reported => self.observe(media, at, false),
            MediaMotion::Stands(_) | MediaMotion::Free => {
                self.motion = MediaMotion::Reported;
                self.observe(media, at, true);
            }
        }
    }

    pub(super) fn pause(&mut self, at: Instant) {
        if matches!(self.motion, MediaMotion::Paused { .. }) {
            return;
        }
        if let Some(media) = self.media_at(at) {
            self.motion = MediaMotion::Paused { media, free: self.motion == MediaMotion::Free };
        }
    }

    pub(super) fn resume(&mut self, at: Instant) {
        if let MediaMotion::Paused { media, free } = self.motion {
            self.begin(media, at, if free { MediaMotion::Free } else { MediaMotion::Reported });
            if !free {
                self.last = Some((media, at));
            }
        }
    }

    pub(super) fn run_free(&mut self, now: Instant) {
        match self.media_at(now) {
            Some(media) => self.begin(media, now, MediaMotion::Free),
            None => self.motion = MediaMotion::FreeToStart,
        }
    }

    /// Starts a clock that runs free and has no media time yet, at `media`.
    pub(super) fn begin_free(&mut self, media: Duration, now: Instant) {
        if self.motion == MediaMotion::FreeToStart {
            self.begin(media, now, MediaMotion::Free);
        }
    }

    pub(super) fn is_free_to_start(&self) -> bool {
        self.motion == MediaMotion::FreeToStart
    }

    pub(super) fn media_at(&self, now: Instant) -> Option<Duration> {
        match self.motion {
            MediaMotion::Unknown | MediaMotion::FreeToStart => None,
            MediaMotion::Stands(media) | MediaMotion::Paused { media, .. } => Some(media),
            MediaMotion::Free => Some(self.extrapolate(now)),
            MediaMotion::Reported => Some(self.extrapolate(now.min(self.horizon()))),
        }
    }

    /// Returns the first time at which [`Self::media_at`] is `media` or later, as far as is known now. Never
    /// too early by rounding.
    pub(super) fn instant_of(&self, media: Duration) -> Option<Instant> {
        let span_ns = (media - self.media).as_nanos() as f64 / (1.0 + self.rate_error);
        if span_ns > MAX_WAIT_NS {
            return None;
        }
        let at = self.at + Duration::from_nanos(libm::ceil(span_ns) as i64) + Duration::from_nanos(1);
        match self.motion {
            MediaMotion::Free => Some(at),
            MediaMotion::Reported if at <= self.horizon() => Some(at),
            _ => None,
        }
    }

    fn horizon(&self) -> Instant {
        self.last.map_or(self.at, |(_, at)| at) + MAX_EXTRAPOLATION
    }

    fn extrapolate(&self, now: Instant) -> Duration {
        let span_ns = (now - self.at).as_nanos();
        let gained_ns = libm::floor(span_ns as f64 * self.rate_error) as i64;
        self.media + Duration::from_nanos(span_ns) + Duration::from_nanos(gained_ns)
    }

    /// Starts a new line through a point and keeps the rate.
    fn begin(&mut self, media: Duration, at: Instant, motion: MediaMotion) {
        self.motion = motion;
        self.media = media;
        self.at = at;
        self.p_mm = JITTER_NS * JITTER_NS;
        self.p_mr = 0.0;
        self.suspect_ns = None;
    }

    /// Takes a report. `moved` means that the line is known to be invalid, so any report off the line starts a
    /// new one.
    fn observe(&mut self, media: Duration, at: Instant, moved: bool) {
        self.advance(at);
        let residual_ns = (media - self.media).as_nanos() as f64;
        if residual_ns.abs() <= SCATTER_NS {
            self.suspect_ns = None;
            self.correct(residual_ns);
            return;
        }
        let agrees = self.suspect_ns.is_some_and(|before| (residual_ns - before).abs() <= SCATTER_NS);
        if moved || agrees || residual_ns.abs() > JUMP_NS {
            self.begin(media, at, MediaMotion::Reported);
            self.jumps += u64::from(!moved);
        } else {
            self.suspect_ns = Some(residual_ns);
        }
    }

    fn advance(&mut self, at: Instant) {
        self.media = self.extrapolate(at);
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
        self.rate_error = (self.rate_error + rate_gain * residual_ns).clamp(-MAX_RATE_ERROR, MAX_RATE_ERROR);
        self.p_rr -= rate_gain * self.p_mr;
        self.p_mr *= 1.0 - time_gain;
        self.p_mm *= 1.0 - time_gain;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct ReportScatter(u64);

    impl ReportScatter {
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
            let mut noise = ReportScatter(seed);
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
    fn the_instant_of_a_media_time_is_0_to_2_ns_late() {
        let mut noise = ReportScatter(3);
        for _ in 0..10_000 {
            let mut clock = MediaClock::new();
            clock.begin(
                nanos(noise.uniform() * 1e15),
                Instant::from_nanos((noise.uniform() * 1e15) as i64),
                MediaMotion::Free,
            );
            clock.rate_error = noise.uniform() * 1e-3;
            let media = clock.media + nanos(noise.uniform() * 1e12);
            let at = clock.instant_of(media).unwrap();
            assert!(clock.media_at(at).unwrap() >= media);
            assert!(clock.media_at(at - Duration::from_nanos(3)).unwrap() < media);
        }
    }

    #[test]
    fn one_outlier_is_ignored_two_that_agree_or_a_seek_are_a_jump() {
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
    fn a_position_read_more_often_than_it_moves_keeps_its_clock() {
        let mut clock = MediaClock::new();
        for k in 0..2_000i32 {
            clock.report(Duration::from_millis(i64::from(k / 4 * 10)), millis(f64::from(k) * 2.5));
            assert!(error_ms(&clock, f64::from(k) * 2.5, millis(f64::from(k) * 2.5)).abs() < 10.0);
        }
        assert!(clock.rate_ppm().abs() < 100.0, "{}", clock.rate_ppm());
        assert_eq!(clock.jumps(), 0);
    }

    #[test]
    fn without_reports_media_time_runs_for_2_s_then_stands() {
        let mut clock = MediaClock::new();
        clock.report(Duration::ZERO, millis(0.0));
        assert_eq!(clock.media_at(millis(1_999.0)), Some(Duration::from_millis(1_999)));
        assert_eq!(clock.media_at(millis(60_000.0)), Some(MAX_EXTRAPOLATION));
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
