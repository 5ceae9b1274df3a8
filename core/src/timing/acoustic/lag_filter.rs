//! Worker side: estimates the lag and its drift from measurements of the lag.

/// Standard deviation of the slope before the first measurement, in samples per sample.
const PRIOR_SLOPE: f64 = 500e-6;
/// Random walk of the slope, in samples per sample and root hop: how far the rate of a crystal wanders.
const SLOPE_WANDER: f64 = 0.01e-6;
/// Random walk of the lag, in samples per root hop: people who move change the echo path.
const LAG_WANDER: f64 = 0.0005;

/// A Kalman filter for the lag, in samples, and its slope, in samples per sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct LagFilter {
    pub(super) lag: f64,
    pub(super) slope: f64,
    p_ll: f64,
    p_ls: f64,
    p_ss: f64,
    /// Number of measurements taken.
    pub(super) taken: u32,
}

impl LagFilter {
    pub(super) const fn new(lag: f64) -> Self {
        Self { lag, slope: 0.0, p_ll: 1.0, p_ls: 0.0, p_ss: PRIOR_SLOPE * PRIOR_SLOPE, taken: 0 }
    }

    /// Predicts the lag for `samples` later.
    pub(super) fn advance(&mut self, samples: f64) {
        self.lag += self.slope * samples;
        self.p_ll += samples * (2.0 * self.p_ls + samples * self.p_ss) + LAG_WANDER * LAG_WANDER;
        self.p_ls += samples * self.p_ss;
        self.p_ss += SLOPE_WANDER * SLOPE_WANDER;
    }

    /// Returns the variance of the lag `age` samples ago.
    pub(super) fn spread(&self, age: f64) -> f64 {
        self.p_ll - age * (2.0 * self.p_ls - age * self.p_ss)
    }

    /// Takes a measurement with variance `noise`: the lag was larger than predicted by `late` samples, `age`
    /// samples ago.
    pub(super) fn correct(&mut self, late: f64, age: f64, noise: f64) {
        let (lag_cross, slope_cross) = (self.p_ll - age * self.p_ls, self.p_ls - age * self.p_ss);
        let spread = self.spread(age) + noise;
        let (lag_gain, slope_gain) = (lag_cross / spread, slope_cross / spread);
        self.lag += lag_gain * late;
        self.slope += slope_gain * late;
        self.p_ll -= lag_gain * lag_cross;
        self.p_ls -= lag_gain * slope_cross;
        self.p_ss -= slope_gain * slope_cross;
        self.taken = self.taken.saturating_add(1);
    }

    /// Widens the uncertainty of the lag by `samples` and leaves that of the slope.
    pub(super) fn doubt_lag(&mut self, samples: f64) {
        self.p_ll += samples * samples;
    }

    /// Widens the uncertainty of the slope by `slope`.
    pub(super) fn doubt_slope(&mut self, slope: f64) {
        self.p_ss += slope * slope;
    }

    pub(super) fn lag_sigma(&self) -> f64 {
        libm::sqrt(self.p_ll.max(0.0))
    }

    pub(super) fn slope_sigma(&self) -> f64 {
        libm::sqrt(self.p_ss.max(0.0))
    }
}
