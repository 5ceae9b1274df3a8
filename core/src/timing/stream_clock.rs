//! Worker side: position against time for one stream, from jittery period times.

use crate::format::SampleRate;
use crate::time::{Duration, Instant};

/// Beyond this a time is an outlier, unless the jitter itself is larger.
const OUTLIER_NS: f32 = 4e6;
/// And beyond so many standard deviations.
const OUTLIER_SIGMAS: f32 = 6.0;
/// So many outliers in a row that agree among themselves are a jump of the device's latency.
const JUMP_AFTER: u32 = 6;
/// A time further than this from the prediction says nothing at all.
const ABSURD_NS: f32 = 60e9;
/// A clock's error that is expected before anything is known, in parts.
const PRIOR_RATE: f32 = 300e-6;
/// Timestamps are not believed to be better than this.
const LEAST_JITTER_NS: f32 = 5e3;
/// Jitter expected before anything is known. Rather too much than too little: too much costs the first
/// few times some of their weight, too little makes the clock sure of a start that was chance, and it
/// takes a minute to unlearn that.
const FIRST_JITTER_NS: f32 = 2e6;
/// Observations over which the jitter is averaged.
const JITTER_MEMORY: f32 = 128.0;
/// Observations after which they all weigh the same.
const JITTER_LEARNT: u32 = 2 * JITTER_MEMORY as u32 - 1;
/// How far a crystal's rate wanders, in parts per root second.
const RATE_WANDER: f32 = 0.005e-6;
/// Observations over which the mean residual is watched for a change of the rate.
const WATCH: f32 = 64.0;
/// The mean residual's standard deviation is the jitter's over the root of 2 WATCH; so many of it
/// are no chance.
const WATCH_SIGMAS: f32 = 7.0;
/// What the rate may have wandered by when the watch fires, in parts.
const RATE_DRIFT: f32 = 10e-6;
/// What it may have jumped by when the watch fires once more within [`WATCH_AGAIN`] observations.
const RATE_JUMP: f32 = 150e-6;
const WATCH_AGAIN: u32 = 300;

const Q32: f32 = 4_294_967_296.0;

const fn nominal_q32(rate: SampleRate) -> i64 {
    let hz = if rate.hz() == 0 { 1 } else { rate.hz() as i64 };
    // 10^9 x 2^32 is below 2^62.
    (1_000_000_000 << 32) / hz
}

/// Bits behind the point of a period in ns, by which a span is divided.
const DIVISION_BITS: u32 = 14;
/// The longest span that can be divided by a period: 6.5 days.
const LONGEST_SPAN_NS: i64 = i64::MAX >> DIVISION_BITS;

/// How many whole periods are in a span, and what is left of it in 1/2^32 ns: nearly, for what is left may be
/// negative or some periods long, but exactly in sum. A longer span than the longest is as long as that.
/// `None` without a period.
#[inline(never)]
pub(crate) fn whole_and_rest(span_ns: i64, period_q32: i64) -> Option<(i64, i64)> {
    let period = period_q32 >> (32 - DIVISION_BITS);
    if period <= 0 {
        return None;
    }
    let span_ns = span_ns.clamp(-LONGEST_SPAN_NS, LONGEST_SPAN_NS);
    let whole = (span_ns << DIVISION_BITS) / period;
    // What overflows on both sides is the same.
    Some((whole, (span_ns << 32).wrapping_sub(whole.wrapping_mul(period_q32))))
}

/// A place on a stream: whole sample frames and a part of one. On integers, so that it is as exact after
/// years as at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) index: i64,
    pub(crate) fraction_q32: u32,
}

impl Place {
    /// So much further on.
    pub(crate) const fn plus_q32(self, sample_frames_q32: i64) -> Self {
        let fraction = (self.fraction_q32 as i64) + (sample_frames_q32 & (u32::MAX as i64));
        let index = self.index.wrapping_add((sample_frames_q32 >> 32) + (fraction >> 32));
        Self { index, fraction_q32: fraction as u32 }
    }

    /// How far it is from another place, in sample frames.
    #[inline(never)]
    pub(crate) fn since(self, other: Self) -> f32 {
        let apart_q32 = i64::from(self.fraction_q32) - i64::from(other.fraction_q32);
        (self.index - other.index) as f32 + apart_q32 as f32 / Q32
    }

    /// The nearest whole sample frame.
    pub(crate) const fn nearest(self) -> i64 {
        self.index + (self.fraction_q32 >> 31) as i64
    }
}

/// What an observation meant to the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Observation {
    /// It was used.
    Taken,
    /// It disagreed with what is known and was not used.
    Ignored,
    /// The device's latency jumped: this time and some before it were later than predicted by so
    /// much. The clock goes on as before; the caller says with [`StreamClock::jump`] or by shifting
    /// its own positions what it makes of it.
    Jumped(Duration),
}

/// A stream's rate as estimated.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RateEstimate {
    /// How much faster than nominal, in ppm of the host's clock.
    pub ppm: f64,
    /// Standard deviation of `ppm`.
    pub uncertainty_ppm: f64,
}

/// Follows one stream's clock: a delay-locked loop (F. Adriaensen, "Using a DLL to filter time",
/// LAC 2005) whose two gains are not fixed but those of a Kalman filter for time and rate, so that
/// it starts fast, settles slowly and knows its own uncertainty.
///
/// Outliers are ignored, a run of agreeing ones is reported as a jump, a rate that changes (a
/// resampling sound server) is noticed by the mean residual and followed fast again. Frozen,
/// backward or wrapping timestamps never agree among themselves, so the last good model is held.
/// Costs some sixty single-precision operations an observation, and a few on 64 and 128-bit integers.
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
    /// In 1/2^32 of a nanosecond, as the time and the period are: integers cost a processor without
    /// doubles a tenth, and are the same everywhere.
    nominal_q32: i64,
    /// A place on the stream and its time, moved along with every observation.
    position: u64,
    time: Instant,
    /// Parts of a nanosecond that `time` does not hold, from 0 to below 2^32.
    time_rest_q32: i64,
    period_q32: i64,
    /// Covariance of time error (ns) and the period's, in parts of the nominal one. What is known only roughly is in single precision,
    /// which costs a processor without doubles a twentieth.
    p_tt: f32,
    p_ts: f32,
    p_ss: f32,
    jitter_ns2: f32,
    mean_residual_ns: f32,
    /// Observations since the watch fired last.
    since_watch: u32,
    taken: u32,
    outliers: u32,
    outlier_mean_ns: f32,
}

impl StreamClock {
    /// A clock that has seen nothing and runs at its nominal rate.
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
            mean_residual_ns: 0.0,
            since_watch: WATCH_AGAIN,
            taken: 0,
            outliers: 0,
            outlier_mean_ns: 0.0,
        }
    }

    /// Whether anything was observed.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        self.taken > 0
    }

    /// The rate, once two observations made one.
    #[must_use]
    pub fn rate(&self) -> Option<RateEstimate> {
        (self.taken > 1).then(|| RateEstimate {
            ppm: (self.nominal_q32 as f64 / self.period_q32 as f64 - 1.0) * 1e6,
            uncertainty_ppm: f64::from(libm::sqrtf(self.p_ss)) * 1e6,
        })
    }

    /// Standard deviation of the timestamps, as seen.
    #[must_use]
    pub fn jitter(&self) -> Duration {
        Duration::from_nanos(libm::sqrtf(self.jitter_ns2) as i64)
    }

    /// Variances in ns^2: of the time as it is known, and of one timestamp.
    pub(crate) const fn variances_ns2(&self) -> (f32, f32) {
        (self.p_tt, self.jitter_ns2)
    }

    /// Takes the time of the sample frame at `position`; positions must not run backwards.
    pub fn observe(&mut self, position: u64, time: Instant) -> Observation {
        if self.taken == 0 {
            self.start(position, time);
            return Observation::Taken;
        }
        let Some(ahead) = position.checked_sub(self.position) else { return Observation::Ignored };
        self.advance(ahead);
        let residual_ns = (time - self.time).as_nanos() as f32 - self.time_rest_q32 as f32 / Q32;
        if residual_ns.abs() > ABSURD_NS {
            return Observation::Ignored;
        }
        // Squares, for a root is dear on a small processor.
        let variance_ns2 = self.jitter_ns2 + self.p_tt;
        if residual_ns.abs() > OUTLIER_NS
            && residual_ns * residual_ns > OUTLIER_SIGMAS * OUTLIER_SIGMAS * variance_ns2
        {
            return self.outlier(residual_ns, variance_ns2);
        }
        self.outliers = 0;
        self.correct(residual_ns);
        self.watch(residual_ns);
        Observation::Taken
    }

    /// Makes a jump of the latency the stream's new time, keeping its rate.
    pub fn jump(&mut self, by: Duration) {
        self.time += by;
        self.p_tt += self.jitter_ns2;
        self.outliers = 0;
    }

    /// Says that the stream was restarted and its next time may be anywhere near: the rate is kept,
    /// the time is learned anew. Returns how much later than predicted `time` is.
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
        self.outliers = 0;
        Some(time - self.time)
    }

    /// When the sample frame at `position` is at the converter. Positions may lie on either side of
    /// the last one observed.
    #[must_use]
    #[inline(never)]
    pub fn time_of(&self, position: u64) -> Instant {
        let ahead = position.wrapping_sub(self.position) as i64;
        let half = 1 << 31;
        self.time + Duration::from_nanos(((self.span_q32(ahead) + half) >> 32) as i64)
    }

    /// Which position is at the converter at `time`, as sample frames before or after `origin`.
    #[must_use]
    pub fn position_at(&self, time: Instant, origin: u64) -> f64 {
        let ahead_ns = (time - self.time).as_nanos();
        if ahead_ns.unsigned_abs() > LONGEST_SPAN_NS.unsigned_abs() {
            let ahead = ahead_ns as f64 * f64::from(Q32) / self.period_q32 as f64;
            return self.position.wrapping_sub(origin) as i64 as f64 + ahead;
        }
        let place = self.place_at(time);
        place.index.wrapping_sub(origin as i64) as f64 + f64::from(place.fraction_q32) / f64::from(Q32)
    }

    /// The same, exact to some parts in 2^24 of a sample frame near the last position observed, wherever the
    /// stream has come to; a moment more than 6.5 days away from that is taken for one that is just so far.
    #[inline(never)]
    pub(crate) fn place_at(&self, time: Instant) -> Place {
        let (whole, rest_q32) =
            whole_and_rest((time - self.time).as_nanos(), self.period_q32).unwrap_or((0, 0));
        let rest = (rest_q32 - self.time_rest_q32) as f32 / self.period_q32 as f32;
        Place { index: (self.position as i64).wrapping_add(whole), fraction_q32: 0 }
            .plus_q32((rest * Q32) as i64)
    }

    /// In 1/2^32 ns.
    pub(crate) const fn period_q32(&self) -> i64 {
        self.period_q32
    }

    /// Variance of the rate, in squares of parts, once there is a rate.
    pub(crate) fn rate_variance(&self) -> Option<f32> {
        (self.taken > 1).then_some(self.p_ss)
    }

    /// How much longer its period is than another clock's of the same nominal rate, in parts.
    pub(crate) fn slower_than(&self, other: &Self) -> f32 {
        (self.period_q32 - other.period_q32) as f32 / other.period_q32 as f32
    }

    /// How far `ahead` sample frames from the last position are from the last time.
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
        self.p_tt += nominal_ns * (2.0 * self.p_ts + nominal_ns * self.p_ss);
        self.p_ts += nominal_ns * self.p_ss;
        self.p_ss += RATE_WANDER * RATE_WANDER * nominal_ns * 1e-9;
    }

    /// Moves the time by whole nanoseconds and keeps the rest, which is in the low bits.
    fn move_time(&mut self, nanos: i64, rest_q32: i64) {
        self.time += Duration::from_nanos(nanos);
        self.time_rest_q32 = rest_q32 & (Q32 as i64 - 1);
    }

    fn correct(&mut self, residual_ns: f32) {
        let spread = self.p_tt + self.jitter_ns2;
        let (time_gain, rate_gain) = (self.p_tt / spread, self.p_ts / spread);
        let later_q32 = (time_gain * residual_ns * Q32) as i64;
        let moved_q32 = self.time_rest_q32.saturating_add(later_q32);
        self.move_time(moved_q32 >> 32, moved_q32);
        self.period_q32 += (rate_gain * residual_ns * self.nominal_q32 as f32) as i64;
        // Single precision can make less than nothing of it.
        self.p_ss = (self.p_ss - rate_gain * self.p_ts).max(0.0);
        self.p_ts *= 1.0 - time_gain;
        self.p_tt *= 1.0 - time_gain;
        self.taken = self.taken.saturating_add(1);
        // The residual scatters by the jitter and by what was not yet known of the time.
        let seen = (residual_ns * residual_ns - self.p_tt).max(LEAST_JITTER_NS * LEAST_JITTER_NS);
        // Newer ones weigh more from the start, so that the first guess is soon forgotten.
        let part =
            if self.taken < JITTER_LEARNT { 2.0 / (self.taken as f32 + 1.0) } else { 1.0 / JITTER_MEMORY };
        self.jitter_ns2 += (seen - self.jitter_ns2) * part;
    }

    /// A rate that changed shows as a mean residual that is not zero.
    fn watch(&mut self, residual_ns: f32) {
        self.mean_residual_ns += (residual_ns - self.mean_residual_ns) / WATCH;
        let chance_ns2 = self.jitter_ns2 * (WATCH_SIGMAS * WATCH_SIGMAS / (2.0 * WATCH));
        if self.mean_residual_ns * self.mean_residual_ns > chance_ns2 {
            self.p_tt += self.jitter_ns2;
            let change = if self.since_watch < WATCH_AGAIN { RATE_JUMP } else { RATE_DRIFT };
            self.p_ss += change * change;
            self.mean_residual_ns = 0.0;
            self.since_watch = 0;
        }
        self.since_watch = self.since_watch.saturating_add(1);
    }

    #[cold]
    fn outlier(&mut self, residual_ns: f32, variance_ns2: f32) -> Observation {
        let agreement_ns2 = (OUTLIER_NS * OUTLIER_NS / 4.0).max(9.0 * variance_ns2);
        let apart_ns = residual_ns - self.outlier_mean_ns;
        if self.outliers == 0 || apart_ns * apart_ns > agreement_ns2 {
            self.outliers = 1;
            self.outlier_mean_ns = residual_ns;
            return Observation::Ignored;
        }
        self.outliers += 1;
        self.outlier_mean_ns += (residual_ns - self.outlier_mean_ns) / self.outliers as f32;
        if self.outliers < JUMP_AFTER {
            return Observation::Ignored;
        }
        self.outliers = 0;
        // Beyond 4 ms, where a single-precision number has hardly any parts to round.
        Observation::Jumped(Duration::from_nanos(self.outlier_mean_ns as i64))
    }
}

#[cfg(test)]
#[path = "stream_clock/tests.rs"]
mod tests;
