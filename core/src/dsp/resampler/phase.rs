//! Worker side: where a resampler is between two samples, without drift.

/// Steering resolves `2^-STEER_BITS` of a fraction.
const STEER_BITS: u32 = 40;

/// A position that advances by the ratio of two rates, exactly.
///
/// It is a whole number of `1 / (fractions * 2^40)` of a sample. Every unsteered step is a whole
/// number of fractions, so no error ever gathers; a steered step is off by at most half a unit, and
/// what it sums to is exact in units.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Phase {
    position: u64,
    step: u64,
    nominal: u64,
    one: u64,
    shift: u32,
    reciprocal: u64,
}

impl Phase {
    pub(crate) const UNSET: Self = Self { position: 0, step: 0, nominal: 0, one: 0, shift: 0, reciprocal: 0 };

    /// The position of samples of one rate among those of the other, the lower one stepping by less
    /// than a sample: inputs among outputs when going down, else outputs among inputs.
    pub(crate) const fn new(from_hz: u32, to_hz: u32) -> Self {
        let fractions = Self::fractions(from_hz, to_hz);
        let lower = if from_hz < to_hz { from_hz } else { to_hz };
        let higher = if from_hz < to_hz { to_hz } else { from_hz };
        let nominal = ((lower / (higher / fractions)) as u64) << STEER_BITS;
        let one = (fractions as u64) << STEER_BITS;
        // `one` above the shift has 32 bits, so that its reciprocal keeps 32.
        let shift = 32 - one.leading_zeros();
        Self { position: 0, step: nominal, nominal, one, shift, reciprocal: (1 << 63) / (one >> shift) }
    }

    /// How many fractions of a sample the ratio of two rates meets.
    pub(crate) const fn fractions(from_hz: u32, to_hz: u32) -> u32 {
        let (mut a, mut b) = (from_hz, to_hz);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        (if from_hz < to_hz { to_hz } else { from_hz }) / a
    }

    /// Steps by `factor` of the rates' ratio from now on; the position stays.
    pub(crate) fn steer(&mut self, factor: f64) {
        let change = libm::round(self.nominal as f64 * (factor - 1.0));
        self.step = self.nominal.saturating_add_signed(change as i64);
    }

    /// Takes a step; returns how many whole samples it passed.
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

    /// The fraction of a sample in `1/fractions`, if it is a whole number of them.
    #[inline]
    pub(crate) fn exact(&self) -> Option<usize> {
        let between = self.position & ((1 << STEER_BITS) - 1);
        (between == 0).then_some((self.position >> STEER_BITS) as usize)
    }

    /// The fraction of a sample in 1/2^32, rounded down.
    #[inline]
    pub(crate) fn fraction_q32(&self) -> u32 {
        (((self.position >> self.shift) * self.reciprocal) >> 31).min(u64::from(u32::MAX)) as u32
    }

    /// Steps until the next whole sample is passed, at most `limit`.
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

    /// The same ratio at a whole number of fractions.
    pub(crate) const fn at_fraction(self, fraction: usize) -> Self {
        Self { position: (fraction as u64) << STEER_BITS, ..self }
    }

    /// Whether the position is that of a sample.
    pub(crate) const fn is_whole(&self) -> bool {
        self.position == 0
    }

    /// What steering makes of the rates' ratio.
    pub(crate) fn factor(&self) -> f64 {
        self.step as f64 / self.nominal as f64
    }

    /// How far a step goes now, in samples.
    pub(crate) fn step(&self) -> f64 {
        self.step as f64 / self.one as f64
    }

    /// The fraction of a sample.
    pub(crate) fn fraction(&self) -> f64 {
        self.position as f64 / self.one as f64
    }

    /// Back to a whole sample, steering kept.
    pub(crate) fn rewind(&mut self) {
        self.position = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES_HZ: [u32; 10] =
        [4_000, 8_000, 11_025, 16_000, 22_050, 44_100, 47_999, 48_000, 96_000, 192_000];

    /// As if `advance` had been called `steps` times, without the time it takes.
    fn leap(phase: &mut Phase, steps: u64) -> u64 {
        let reached = u128::from(phase.position) + u128::from(phase.step) * u128::from(steps);
        phase.position = (reached % u128::from(phase.one)) as u64;
        (reached / u128::from(phase.one)) as u64
    }

    #[test]
    fn leaping_is_stepping() {
        for (from, to) in RATES_HZ.iter().flat_map(|&from| RATES_HZ.map(|to| (from, to))) {
            for ppm in [0.0, 731.3, -499.9] {
                let mut steps = Phase::new(from, to);
                steps.steer(1.0 + ppm * 1e-6);
                let mut leaps = steps;
                let whole: usize = (0..10_007).map(|_| steps.advance()).sum();
                assert_eq!(whole as u64, leap(&mut leaps, 10_007));
                assert_eq!(steps.position, leaps.position);
            }
        }
    }

    #[test]
    fn a_day_does_not_drift() {
        for (from, to) in RATES_HZ.iter().flat_map(|&from| RATES_HZ.map(|to| (from, to))) {
            let mut phase = Phase::new(from, to);
            let day = |rate: u32| u64::from(rate) * 86_400;
            // A step at a time up to an odd moment, then to the end of 24 hours.
            let before: usize = (0..1_000_003).map(|_| phase.advance()).sum();
            let whole = before as u64 + leap(&mut phase, day(from.max(to)) - 1_000_003);
            assert_eq!(whole, day(from.min(to)), "{from} -> {to}");
            assert_eq!(phase.exact(), Some(0), "{from} -> {to}");
        }
    }

    #[test]
    fn a_steered_day_ends_within_a_hundredth_of_a_sample() {
        for (from, to) in [(44_100, 48_000), (48_000, 48_000), (16_000, 48_000), (48_000, 47_999)] {
            for ppm in [500.0, -500.0, 0.001, -37.123_456] {
                let mut phase = Phase::new(from, to);
                phase.steer(1.0 + ppm * 1e-6);
                let steps = u64::from(to.max(from)) * 86_400;
                let whole = leap(&mut phase, steps) as f64 + phase.fraction();
                let exact = f64::from(from.min(to)) * 86_400.0 * (1.0 + ppm * 1e-6);
                assert!((whole - exact).abs() < 0.01, "{from} -> {to} at {ppm} ppm: {}", whole - exact);
            }
        }
    }

    #[test]
    fn fractions_are_read_to_32_bits() {
        for (from, to) in RATES_HZ.iter().flat_map(|&from| RATES_HZ.map(|to| (from, to))) {
            let mut phase = Phase::new(from, to);
            phase.steer(1.000_123);
            for _ in 0..5_000 {
                let read = f64::from(phase.fraction_q32()) / 4_294_967_296.0;
                let error = phase.fraction() - read;
                assert!((-1e-12..2e-9).contains(&error), "{from} -> {to}: off by {error}");
                phase.advance();
            }
        }
    }
}
