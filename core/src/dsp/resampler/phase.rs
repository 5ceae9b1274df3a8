//! Worker side: the position of a resampler between two samples, without drift.

/// Number of bits below a fraction: the resolution of steering.
const STEER_BITS: u32 = 40;

/// A position that advances by the ratio of two rates, exactly.
///
/// The position is a whole number of units, each `1 / (fractions * 2^40)` of a sample. Every unsteered step
/// is a whole number of fractions, so no error accumulates. A steered step is rounded by at most half a unit,
/// and the sum of steps is exact in units.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RatioPhase {
    position: u64,
    /// Current step.
    step: u64,
    /// Unsteered step.
    nominal: u64,
    /// One sample.
    one: u64,
    /// Number of low bits dropped for the division by `one`.
    shift: u32,
    /// Reciprocal of `one` without those bits, times 2^63.
    reciprocal: u64,
}

impl RatioPhase {
    pub(crate) const UNSET: Self = Self { position: 0, step: 0, nominal: 0, one: 0, shift: 0, reciprocal: 0 };

    /// Returns the position of the samples of the higher rate among those of the lower rate, which advances
    /// by at most a sample: outputs among inputs for conversion to a higher rate, inputs among outputs for
    /// conversion to a lower rate.
    pub(crate) const fn new(from_hz: u32, to_hz: u32) -> Self {
        let fractions = Self::fractions(from_hz, to_hz);
        let lower = if from_hz < to_hz { from_hz } else { to_hz };
        let higher = if from_hz < to_hz { to_hz } else { from_hz };
        let nominal = ((lower / (higher / fractions)) as u64) << STEER_BITS;
        let one = (fractions as u64) << STEER_BITS;
        // Shifted, `one` has 32 bits, so that its reciprocal keeps 32 bits.
        let shift = 32 - one.leading_zeros();
        Self { position: 0, step: nominal, nominal, one, shift, reciprocal: (1 << 63) / (one >> shift) }
    }

    /// Returns how many different fractions of a sample the ratio of two rates needs.
    pub(crate) const fn fractions(from_hz: u32, to_hz: u32) -> u32 {
        let (mut a, mut b) = (from_hz, to_hz);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        (if from_hz < to_hz { to_hz } else { from_hz }) / a
    }

    /// Changes the step to `factor` times the ratio of the rates. Keeps the position.
    pub(crate) fn steer(&mut self, factor: f64) {
        let change = libm::round(self.nominal as f64 * (factor - 1.0));
        self.step = self.nominal.saturating_add_signed(change as i64);
    }

    /// Advances by a step. Returns the number of whole samples passed.
    #[inline]
    pub(crate) fn advance(&mut self) -> usize {
        let mut whole = 0;
        self.position += self.step;
        while self.position >= self.one {
            self.position -= self.one;
            whole += 1;
        }
        whole
    }

    /// Returns the fraction of a sample in `1/fractions`, if it is a whole number of them.
    #[inline]
    pub(crate) fn exact(&self) -> Option<usize> {
        let between = self.position & ((1 << STEER_BITS) - 1);
        (between == 0).then_some((self.position >> STEER_BITS) as usize)
    }

    /// Returns the fraction of a sample in 1/2^32, rounded down.
    #[inline]
    pub(crate) fn fraction_q32(&self) -> u32 {
        (((self.position >> self.shift) * self.reciprocal) >> 31).min(u64::from(u32::MAX)) as u32
    }

    /// Returns the number of steps until the next whole sample is passed, at most `limit`.
    #[inline]
    pub(crate) fn steps_to_next(&self, limit: usize) -> usize {
        let mut position = self.position + self.step;
        let mut steps = 1;
        while position < self.one && steps < limit {
            position += self.step;
            steps += 1;
        }
        steps
    }

    /// Returns a position of the same ratio at a whole number of fractions.
    pub(crate) const fn at_fraction(self, fraction: usize) -> Self {
        Self { position: (fraction as u64) << STEER_BITS, ..self }
    }

    /// Returns whether the position is that of a sample.
    pub(crate) const fn is_whole(&self) -> bool {
        self.position == 0
    }

    /// Returns the current step as a factor of the unsteered one.
    pub(crate) fn factor(&self) -> f64 {
        self.step as f64 / self.nominal as f64
    }

    /// Returns the current step in samples.
    pub(crate) fn step(&self) -> f64 {
        self.step as f64 / self.one as f64
    }

    /// Returns the fraction of a sample.
    pub(crate) fn fraction(&self) -> f64 {
        self.position as f64 / self.one as f64
    }

    /// Returns to a whole sample and keeps the steering.
    pub(crate) fn rewind(&mut self) {
        self.position = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES_HZ: [u32; 10] =
        [4_000, 8_000, 11_025, 16_000, 22_050, 44_100, 47_999, 48_000, 96_000, 192_000];

    /// Advances by `steps` steps at once. Returns the number of whole samples passed.
    fn leap(phase: &mut RatioPhase, steps: u64) -> u64 {
        let reached = u128::from(phase.position) + u128::from(phase.step) * u128::from(steps);
        phase.position = (reached % u128::from(phase.one)) as u64;
        (reached / u128::from(phase.one)) as u64
    }

    #[test]
    fn many_steps_at_once_equal_single_steps() {
        for (from, to) in RATES_HZ.iter().flat_map(|&from| RATES_HZ.map(|to| (from, to))) {
            for ppm in [0.0, 731.3, -499.9] {
                let mut steps = RatioPhase::new(from, to);
                steps.steer(1.0 + ppm * 1e-6);
                let mut leaps = steps;
                let whole: usize = (0..10_007).map(|_| steps.advance()).sum();
                assert_eq!(whole as u64, leap(&mut leaps, 10_007));
                assert_eq!(steps.position, leaps.position);
            }
        }
    }

    #[test]
    fn the_position_does_not_drift_over_a_day() {
        for (from, to) in RATES_HZ.iter().flat_map(|&from| RATES_HZ.map(|to| (from, to))) {
            let mut phase = RatioPhase::new(from, to);
            let day = |rate: u32| u64::from(rate) * 86_400;
            // Single steps up to an arbitrary position, then all steps up to the end of 24 hours at once.
            let before: usize = (0..1_000_003).map(|_| phase.advance()).sum();
            let whole = before as u64 + leap(&mut phase, day(from.max(to)) - 1_000_003);
            assert_eq!(whole, day(from.min(to)), "{from} -> {to}");
            assert_eq!(phase.exact(), Some(0), "{from} -> {to}");
        }
    }

    #[test]
    fn a_steered_day_is_exact_to_a_hundredth_of_a_sample() {
        for (from, to) in [(44_100, 48_000), (48_000, 48_000), (16_000, 48_000), (48_000, 47_999)] {
            for ppm in [500.0, -500.0, 0.001, -37.123_456] {
                let mut phase = RatioPhase::new(from, to);
                phase.steer(1.0 + ppm * 1e-6);
                let steps = u64::from(to.max(from)) * 86_400;
                let whole = leap(&mut phase, steps) as f64 + phase.fraction();
                let exact = f64::from(from.min(to)) * 86_400.0 * (1.0 + ppm * 1e-6);
                assert!((whole - exact).abs() < 0.01, "{from} -> {to} at {ppm} ppm: {}", whole - exact);
            }
        }
    }

    #[test]
    fn fractions_have_32_bits() {
        for (from, to) in RATES_HZ.iter().flat_map(|&from| RATES_HZ.map(|to| (from, to))) {
            let mut phase = RatioPhase::new(from, to);
            phase.steer(1.000_123);
            for _ in 0..5_000 {
                let read = f64::from(phase.fraction_q32()) / 4_294_967_296.0;
                let error = phase.fraction() - read;
                assert!((-1e-12..2e-9).contains(&error), "{from} -> {to}: error {error}");
                phase.advance();
            }
        }
    }
}
