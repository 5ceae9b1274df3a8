//! Worker side: lag and its slope from measurements of the lag.

/// Slope that is expected before anything is known, in parts.
const PRIOR: f64 = 500e-6;
/// How far a rate wanders, in parts per root hop.
const WANDER: f64 = 0.01e-6;
/// A path wanders too (somebody moves), in samples per root hop.
const MOVE: f64 = 0.0005;

/// A Kalman filter for the lag in samples and its slope in samples a sample.
#[derive(Clone, Copy, Debug)]
pub(in crate::timing) struct Drift {
    pub(in crate::timing) lag: f64,
    pub(in crate::timing) slope: f64,
    p_ll: f64,
    p_ls: f64,
    p_ss: f64,
    pub(in crate::timing) taken: u32,
}

impl Drift {
    pub(in crate::timing) const fn new(lag: f64) -> Self {
        Self { lag, slope: 0.0, p_ll: 1.0, p_ls: 0.0, p_ss: PRIOR * PRIOR, taken: 0 }
    }

    /// Predicts the lag `samples` later.
    pub(in crate::timing) fn advance(&mut self, samples: f64) {
        self.lag += self.slope * samples;
        self.p_ll += samples * (2.0 * self.p_ls + samples * self.p_ss) + MOVE * MOVE;
        self.p_ls += samples * self.p_ss;
        self.p_ss += WANDER * WANDER;
    }

    /// Variance of the lag `age` samples ago.
    pub(in crate::timing) fn spread(&self, age: f64) -> f64 {
        self.p_ll - age * (2.0 * self.p_ls - age * self.p_ss)
    }

    /// Corrects by the lag having been `late` more than predicted, `age` samples ago, with the
    /// measurement's variance `noise`.
    pub(in crate::timing) fn correct(&mut self, late: f64, age: f64, noise: f64) {
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

    /// Lets the lag be elsewhere by about `samples`, without a doubt about the slope.
    pub(in crate::timing) fn doubt_lag(&mut self, samples: f64) {
        self.p_ll += samples * samples;
    }

    /// Lets the slope be other than believed by about `slope`.
    pub(in crate::timing) fn doubt_slope(&mut self, slope: f64) {
        self.p_ss += slope * slope;
    }

    pub(in crate::timing) fn lag_sigma(&self) -> f64 {
        libm::sqrt(self.p_ll.max(0.0))
    }

    pub(in crate::timing) fn slope_sigma(&self) -> f64 {
        libm::sqrt(self.p_ss.max(0.0))
    }
}
