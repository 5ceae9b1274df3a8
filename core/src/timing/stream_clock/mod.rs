//! Worker side: estimates the clock of one stream, position against time, from jittery period times.

use crate::format::SampleRate;
use crate::time::{Duration, Instant};

use self::lateness::Lateness;
use self::outliers::{LatencyJump, OutlierRun};
use self::position::{LONGEST_SPAN_NS, Q32};
use self::rate_change::{RATE_DRIFT, RATE_LEARNT};
use self::slow_error::SlowError;
use self::steady_growth::SteadyGrowth;

pub(crate) use self::position::{FractionalPosition, whole_and_rest};

mod lateness;
mod outliers;
mod position;
mod rate_change;
mod slow_error;
mod steady_growth;

/// Whether the times may be a sound server's, which delivers late and whose devices stall.
pub(crate) const SOUND_SERVER: bool = cfg!(feature = "sound-server");
/// Standard deviation of a clock's rate before the first observation, as a fraction of the nominal rate.
const PRIOR_RATE: f32 = 300e-6;
/// Difference of two times beyond which it counts no more for the scatter, in standard deviations.
const UNLIKELY_SIGMAS: f32 = 3.0;
/// Factor by which the scatter grows with each outlier that does not agree with the one before: the times may have
/// become less exact.
const DOUBT: f32 = 1.06;
/// Growth of the lateness within a run of outliers that is no chance, in standard deviations of one time.
const GROWTH_SIGMAS: f32 = 2.0;
/// Scatter up to which it grows by outliers, in nanoseconds. Frozen times disagree for as long as they are frozen.
const MOST_DOUBT_NS: f32 = 0.7e6;
/// Least jitter assumed of any timestamps, in nanoseconds.
const LEAST_JITTER_NS: f32 = 5e3;
/// Jitter assumed before the first observation, in nanoseconds. Rather too large than too small: too large
/// costs the first times some of their weight; too small makes the clock too certain of a random start, which
/// takes a minute to correct.
const FIRST_JITTER_NS: f32 = 2e6;
/// Averaging length of the jitter, in observations.
const JITTER_MEMORY: f32 = 128.0;
/// Number of observations after which all of them have the same weight in the jitter.
const JITTER_LEARNT: u32 = 2 * JITTER_MEMORY as u32 - 1;
/// Random walk of a crystal's rate, as a fraction of the rate per root second.
const RATE_WANDER: f32 = 0.005e-6;
const fn nominal_q32(rate: SampleRate) -> i64 {
    let hz = if rate.hz() == 0 { 1 } else { rate.hz() as i64 };
    // 10^9 x 2^32 is below 2^62.
    (1_000_000_000 << 32) / hz
}

/// What the clock did with an observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Observation {
    /// The observation was used.
    Taken,
    /// The observation is an outlier and was not used.
    Ignored,
    /// The latency of the device jumped: this time and some before it were later than predicted by the given
    /// duration. The clock continues as before. The caller either applies the jump with [`StreamClock::jump`]
    /// or shifts its own positions.
    Jumped(Duration),
}

/// The estimated rate of a stream.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RateEstimate {
    /// Deviation from the nominal rate against the host's clock, in ppm; positive if faster.
    pub ppm: f64,
    /// Standard deviation of `ppm`.
    pub uncertainty_ppm: f64,
}

/// Estimates the clock of one stream. A delay-locked loop (F. Adriaensen, "Using a DLL to filter time", LAC
/// 2005) with the gains of a Kalman filter for time and rate instead of fixed ones, so that it converges
/// quickly, then averages over a long time, and reports its own uncertainty.
///
/// Outliers are ignored, and a run of outliers that agree is reported as a jump. A change of the rate (by a
/// resampling sound server) shows in the mean residual and makes the clock converge quickly again. Frozen,
/// backward or wrapping timestamps never agree with each other, so the clock keeps its last good model. Costs
/// about sixty single-precision operations per observation, and a few on 64 and 128-bit integers.
///
/// ```
/// use handsfree_core::SampleRate;
/// use handsfree_core::time::{Duration, Instant};
/// use handsfree_core::timing::StreamClock;
///
/// // A clock that is 100 ppm fast delivers 480 sample frames in a little less than 10 ms.
/// let mut clock = StreamClock::new(SampleRate::new(48_000)?);
/// for k in 0..1_000u64 {
///     clock.observe(k * 480, Instant::from_nanos((k as f64 * 9_999_000.1) as i64));
/// }
/// let rate = clock.rate().unwrap();
/// assert!((rate.ppm - 100.0).abs() < 1.0, "{rate:?}");
/// # Ok::<(), handsfree_core::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct StreamClock {
    /// Nominal period in 1/2^32 ns. Times and periods are integers, which cost a processor without double
    /// precision a tenth and are the same on every processor.
    nominal_q32: i64,
    /// Position of the last observation.
    position: u64,
    /// Filtered time of `position`.
    time: Instant,
    /// Fraction of a nanosecond that `time` does not hold, in 1/2^32 ns, from 0 to below 2^32.
    time_rest_q32: i64,
    /// Estimated period in 1/2^32 ns.
    period_q32: i64,
    /// Variance of the time error, in ns^2. Variances are in single precision, which costs a processor
    /// without double precision a twentieth.
    p_tt: f32,
    /// Covariance of the time error, in ns, and the relative error of the period.
    p_ts: f32,
    /// Variance of the relative error of the period.
    p_ss: f32,
    jitter_ns2: f32,
    /// Variance of the timestamps from one to the next, in ns^2. It decides what an outlier is.
    scatter_ns2: f32,
    /// Residual of the last time, after the clock followed it.
    last_residual_ns: f32,
    mean_residual_ns: f32,
    /// Number of observations since the last change of the rate.
    since_rate_change: u32,
    /// Nominal time between the last two observations, in nanoseconds.
    interval_ns: f32,
    /// Number of observations used.
    taken: u32,
    outliers: OutlierRun,
    lateness: Lateness,
    slow_error: SlowError,
    steady_growth: SteadyGrowth,
}

impl StreamClock {
    /// Returns a clock without observations, which runs at its nominal rate.
    #[must_use]
    #[inline(never)]
    pub fn new(rate: SampleRate) -> Self {
        Self {
            nominal_q32: nominal_q32(rate),
            position: 0,
            time: Instant::ORIGIN,
            time_rest_q32: 0,
            period_q32: nominal_q32(rate),
            p_tt: 0.0,
            p_ts: 0.0,
            p_ss: PRIOR_RATE * PRIOR_RATE,
            jitter_ns2: FIRST_JITTER_NS * FIRST_JITTER_NS,
            scatter_ns2: FIRST_JITTER_NS * FIRST_JITTER_NS,
            last_residual_ns: 0.0,
            mean_residual_ns: 0.0,
            // A device may be at another rate from the start.
            since_rate_change: 0,
            interval_ns: 0.0,
            taken: 0,
            outliers: OutlierRun::default(),
            lateness: Lateness::UNKNOWN,
            slow_error: SlowError::UNKNOWN,
            steady_growth: SteadyGrowth::NONE,
        }
    }

    /// Returns whether anything was observed.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        self.taken > 0
    }

    /// Returns the rate, from the second observation on.
    #[must_use]
    pub fn rate(&self) -> Option<RateEstimate> {
        (self.taken > 1).then(|| RateEstimate {
            ppm: (self.nominal_q32 as f64 / self.period_q32 as f64 - 1.0) * 1e6,
            uncertainty_ppm: f64::from(libm::sqrtf(self.p_ss)) * 1e6,
        })
    }

    /// Returns the number of observations used.
    pub(crate) const fn taken(&self) -> u32 {
        self.taken
    }

    /// Returns the measured standard deviation of the timestamps.
    #[must_use]
    pub fn jitter(&self) -> Duration {
        Duration::from_nanos(libm::sqrtf(self.jitter_ns2) as i64)
    }

    /// Returns whether the last times differ from the clock and a few more of them will show a jump.
    pub(crate) const fn expects_jump(&self) -> bool {
        SOUND_SERVER && self.outliers.is_soon_decided()
    }

    /// Returns whether the rate changed lately, so that its error may be larger than its uncertainty.
    pub(crate) const fn learns_rate_again(&self) -> bool {
        // At the start, when the rate is learned for the first time, its uncertainty is that of any rate.
        let has_changed = self.since_rate_change + 1 < self.taken;
        has_changed && self.since_rate_change < RATE_LEARNT
    }

    /// Returns two variances in ns^2: that of the estimated time and that of one timestamp.
    pub(crate) const fn variances_ns2(&self) -> (f32, f32) {
        (self.p_tt, self.jitter_ns2)
    }

    /// Returns the variance of the timestamps from one to the next, in ns^2, without the first guess of it.
    pub(crate) fn seen_scatter_ns2(&self) -> f32 {
        // What is left of the guess after the weights in `correct`.
        let taken = self.taken.clamp(2, JITTER_LEARNT) as f32;
        let guess = 2.0 / (taken * (taken + 1.0));
        ((self.scatter_ns2 - guess * FIRST_JITTER_NS * FIRST_JITTER_NS) / (1.0 - guess)).max(0.0)
    }

    /// Takes the time of the sample frame at `position`. Positions must not run backwards.
    pub fn observe(&mut self, position: u64, time: Instant) -> Observation {
        if self.taken == 0 {
            self.start(position, time);
            return Observation::Taken;
        }
        let Some(ahead) = position.checked_sub(self.position) else { return Observation::Ignored };
        self.advance(ahead);
        let whole_ns = (time - self.time).as_nanos();
        let residual_ns = whole_ns as f32 - self.time_rest_q32 as f32 / Q32;
        if OutlierRun::is_outlier(residual_ns, self.scatter_ns2 + self.p_tt) {
            return self.outlier(whole_ns);
        }
        self.outliers.end(self.taken);
        self.steady_growth.end();
        let weight = if SOUND_SERVER { self.lateness.weight(residual_ns, self.p_tt) } else { 1.0 };
        self.correct(residual_ns, weight);
        self.check_rate(residual_ns * weight);
        Observation::Taken
    }

    /// Applies a jump of the latency to the time of the stream and keeps its rate.
    #[inline(never)]
    pub fn jump(&mut self, by: Duration) {
        self.time += by;
        self.p_tt += self.jitter_ns2;
        self.forget_outliers();
    }

    /// Returns whether the last times are as late as after a jump by `by`.
    pub(crate) fn shows_jump(&self, by: Duration) -> bool {
        SOUND_SERVER && self.outliers.agree_with(by.as_nanos())
    }

    /// Moves the time with the host's clock, which leaves the stream's error as it was.
    pub(crate) fn move_with_host(&mut self, by: Duration) {
        self.time += by;
        self.forget_outliers();
    }

    /// Restarts the stream at `position`: keeps the rate and learns the time anew. Returns how much later
    /// than predicted `time` is.
    #[cold]
    #[inline(never)]
    pub fn restart(&mut self, position: u64, time: Instant) -> Option<Duration> {
        if self.taken == 0 {
            return None;
        }
        let ahead = position.checked_sub(self.position)?;
        self.advance(ahead);
        self.p_tt = self.jitter_ns2;
        self.p_ts = 0.0;
        self.mean_residual_ns = 0.0;
        self.forget_outliers();
        Some(time - self.time)
    }

    /// Returns the time at which the sample frame at `position` is at the converter. The position may lie on
    /// either side of the last one observed.
    #[must_use]
    #[inline(never)]
    pub fn time_of(&self, position: u64) -> Instant {
        let ahead = position.wrapping_sub(self.position) as i64;
        let half = 1 << 31;
        self.time + Duration::from_nanos(((self.span_q32(ahead) + half) >> 32) as i64)
    }

    /// Returns the position that is at the converter at `time`, in sample frames before or after `origin`.
    #[must_use]
    pub fn position_at(&self, time: Instant, origin: u64) -> f64 {
        let ahead_ns = (time - self.time).as_nanos();
        if ahead_ns.unsigned_abs() > LONGEST_SPAN_NS.unsigned_abs() {
            let ahead = ahead_ns as f64 * f64::from(Q32) / self.period_q32 as f64;
            return self.position.wrapping_sub(origin) as i64 as f64 + ahead;
        }
        let position = self.fractional_position_at(time);
        position.index.wrapping_sub(origin as i64) as f64 + f64::from(position.fraction_q32) / f64::from(Q32)
    }

    /// Returns the position that is at the converter at `time`. Near the last position observed it is exact
    /// to a few parts in 2^24 of a sample frame, however long the stream is. A time more than 6.5 days from
    /// the last observation is cut to that distance.
    #[inline(never)]
    pub(crate) fn fractional_position_at(&self, time: Instant) -> FractionalPosition {
        let (whole, rest_q32) =
            whole_and_rest((time - self.time).as_nanos(), self.period_q32).unwrap_or((0, 0));
        let rest = (rest_q32 - self.time_rest_q32) as f32 / self.period_q32 as f32;
        FractionalPosition { index: (self.position as i64).wrapping_add(whole), fraction_q32: 0 }
            .plus_q32((rest * Q32) as i64)
    }

    /// Returns the period in 1/2^32 ns.
    pub(crate) const fn period_q32(&self) -> i64 {
        self.period_q32
    }

    /// Returns the variance of the relative rate, from the second observation on.
    pub(crate) fn rate_variance(&self) -> Option<f32> {
        (self.taken > 1).then_some(self.p_ss)
    }

    /// Returns how much longer the period is than that of another clock of the same nominal rate, as a
    /// fraction.
    pub(crate) fn slower_than(&self, other: &Self) -> f32 {
        (self.period_q32 - other.period_q32) as f32 / other.period_q32 as f32
    }

    /// Returns the time of `ahead` sample frames after the last position, from the whole nanosecond of the
    /// last time on, in 1/2^32 ns.
    fn span_q32(&self, ahead: i64) -> i128 {
        i128::from(ahead) * i128::from(self.period_q32) + i128::from(self.time_rest_q32)
    }

    fn start(&mut self, position: u64, time: Instant) {
        self.position = position;
        self.time = time;
        self.time_rest_q32 = 0;
        self.p_tt = self.jitter_ns2;
        self.taken = 1;
    }

    /// Predicts time, rate and their covariance `ahead` sample frames on.
    #[inline(never)]
    fn advance(&mut self, ahead: u64) {
        let span_q32 = self.span_q32(ahead as i64);
        self.move_time((span_q32 >> 32) as i64, span_q32 as i64);
        self.position += ahead;
        let nominal_ns = ahead as i64 as f32 * (self.nominal_q32 as f32 / Q32);
        self.interval_ns = nominal_ns;
        self.p_tt += nominal_ns * (2.0 * self.p_ts + nominal_ns * self.p_ss);
        self.p_ts += nominal_ns * self.p_ss;
        self.p_ss += RATE_WANDER * RATE_WANDER * nominal_ns * 1e-9;
    }

    /// Moves the time by whole nanoseconds and keeps the fraction, which is in the low bits of `rest_q32`.
    fn move_time(&mut self, nanos: i64, rest_q32: i64) {
        self.time += Duration::from_nanos(nanos);
        self.time_rest_q32 = rest_q32 & (Q32 as i64 - 1);
    }

    /// Corrects time and rate by a residual whose weight is above 0 and at most 1.
    fn correct(&mut self, residual_ns: f32, weight: f32) {
        let spread = self.p_tt + (self.jitter_ns2 + self.slow_error.of_one_time_ns2()) / weight;
        let (time_gain, rate_gain) = (self.p_tt / spread, self.p_ts / spread);
        let later_q32 = (time_gain * residual_ns * Q32) as i64;
        let moved_q32 = self.time_rest_q32.saturating_add(later_q32);
        self.move_time(moved_q32 >> 32, moved_q32);
        self.period_q32 += (rate_gain * residual_ns * self.nominal_q32 as f32) as i64;
        // Rounding in single precision can make it negative.
        self.p_ss = (self.p_ss - rate_gain * self.p_ts).max(0.0);
        self.p_ts *= 1.0 - time_gain;
        self.p_tt *= 1.0 - time_gain;
        self.taken = self.taken.saturating_add(1);
        // The variance of the residual is that of the jitter plus that of the estimated time.
        let seen = (residual_ns * residual_ns * weight - self.p_tt).max(LEAST_JITTER_NS * LEAST_JITTER_NS);
        // Two successive times differ by the scatter of both. A stall of the device makes one difference large and
        // a wrong rate none, so that neither hides behind the scatter.
        let step_ns = residual_ns - self.last_residual_ns;
        self.last_residual_ns = residual_ns * (1.0 - time_gain);
        let step_ns2 = (0.5 * step_ns * step_ns).min(UNLIKELY_SIGMAS * UNLIKELY_SIGMAS * self.scatter_ns2);
        // Newer observations weigh more from the start, so that the first guess is soon forgotten.
        let part =
            if self.taken < JITTER_LEARNT { 2.0 / (self.taken as f32 + 1.0) } else { 1.0 / JITTER_MEMORY };
        self.jitter_ns2 += (seen - self.jitter_ns2) * part;
        if SOUND_SERVER {
            self.lateness.learn(residual_ns, self.p_tt, part);
        }
        self.scatter_ns2 += (step_ns2.max(LEAST_JITTER_NS * LEAST_JITTER_NS) - self.scatter_ns2) * part;
    }

    fn forget_outliers(&mut self) {
        self.outliers.forget();
        self.steady_growth.end();
    }

    /// Moves the clock to the present time, `residual_ns` later, and makes its rate so uncertain that the next times decide it.
    /// The period is too short by the fraction `slower`.
    #[cold]
    fn learn_anew(&mut self, residual_ns: i64, slower: f32) -> Observation {
        self.time += Duration::from_nanos(residual_ns);
        self.p_tt = self.jitter_ns2;
        self.p_ts = 0.0;
        self.p_ss += slower * slower;
        self.mean_residual_ns = 0.0;
        self.since_rate_change = 0;
        self.forget_outliers();
        Observation::Taken
    }

    #[cold]
    fn outlier(&mut self, residual_ns: i64) -> Observation {
        if let Some(growth) = self.steady_growth.take(residual_ns, self.interval_ns) {
            return self.learn_anew(residual_ns, growth);
        }
        let Some(jump) = self.outliers.take(residual_ns, self.scatter_ns2 + self.p_tt) else {
            if SOUND_SERVER && self.outliers.disagrees() && self.scatter_ns2 < MOST_DOUBT_NS * MOST_DOUBT_NS {
                self.scatter_ns2 *= DOUBT;
            }
            return Observation::Ignored;
        };
        let LatencyJump { late_ns, growth_ns, agreeing, outliers } = jump;
        // Outliers are not among the counted observations.
        let observations = self.since_rate_change.wrapping_add(outliers);
        // A wrong rate makes the outliers themselves ever later; after a jump they stay.
        let least_ns = late_ns as f32 / observations as f32 * (agreeing as f32 / 4.0);
        let is_wrong_rate = growth_ns * least_ns > least_ns * least_ns
            && (!SOUND_SERVER || growth_ns * growth_ns > GROWTH_SIGMAS * GROWTH_SIGMAS * self.scatter_ns2);
        if is_wrong_rate {
            self.doubt_rate(late_ns as f32, observations, RATE_DRIFT);
            if SOUND_SERVER {
                // The last outlier is later than their mean.
                self.p_tt += growth_ns * growth_ns;
            }
        }
        if SOUND_SERVER {
            // That of the mean of the outliers.
            self.p_tt += self.jitter_ns2 / agreeing as f32;
        }
        Observation::Jumped(Duration::from_nanos(late_ns))
    }
}

#[cfg(test)]
mod tests;
