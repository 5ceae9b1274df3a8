//! Worker side: the rows of weights of a resampler, computed at compile time.
//!
//! The kernel is a Kaiser-windowed sinc, sampled at the fractions `-1/phases, 0, 1/phases ... 1 + 1/phases`
//! of a sample, with one row of `taps` weights for each. Rows are contiguous, so that a product with a row
//! reads memory in order. The rows beyond 0 and 1 serve the cubic interpolation between rows. After J. O.
//! Smith, "Digital Audio Resampling Home Page", with Kaiser's formulas for window and width.

use crate::dsp::special::{bessel_i0_of_quarter_square, sinc};

/// Length of the longest row.
const MAX_TAPS: usize = 256;

/// Parameters of a kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KernelShape {
    /// Number of weights in a row.
    pub(crate) taps: usize,
    /// Number of rows per sample.
    pub(crate) phases: usize,
    /// Rejection that the window is designed for.
    pub(crate) rejection_db: f64,
    /// Frequency at which the response is halved, as a share of the lower Nyquist frequency.
    pub(crate) cutoff: f64,
}

impl KernelShape {
    /// Returns the number of entries in the table of this shape.
    pub(crate) const fn len(self) -> usize {
        self.taps * (self.phases + 3)
    }

    /// Computes the table. `LEN` is [`len`](Self::len).
    pub(crate) const fn rows<const LEN: usize>(self) -> [f32; LEN] {
        assert!(LEN == self.len());
        let mut table = [0.0; LEN];
        // The kernel is even: a row read backwards is the row of the opposite fraction.
        let mut row = 0;
        while 2 * row <= self.phases + 2 {
            let fraction = (row as f64 - 1.0) / self.phases as f64;
            let mut weights = [0.0; MAX_TAPS];
            let mut sum = 0.0;
            let mut tap = 0;
            while tap < self.taps {
                weights[tap] = self.weight(tap, fraction);
                sum += weights[tap];
                tap += 1;
            }
            let mirrored = (self.phases + 2 - row) * self.taps;
            tap = 0;
            while tap < self.taps {
                // A row that does not sum to 1 would modulate the amplitude with the phase.
                let weight = (weights[tap] / sum) as f32;
                table[row * self.taps + tap] = weight;
                table[mirrored + self.taps - 1 - tap] = weight;
                tap += 1;
            }
            row += 1;
        }
        table
    }

    /// Returns a weight of the kernel without its constant factor.
    const fn weight(self, tap: usize, fraction: f64) -> f64 {
        let half = (self.taps / 2) as f64;
        let signed = tap as f64 - (half - 1.0) - fraction;
        let distance = if signed < 0.0 { -signed } else { signed };
        let edge = distance / half;
        if edge >= 1.0 {
            return 0.0;
        }
        let beta = 0.1102 * (self.rejection_db - 8.7);
        sinc(self.cutoff * distance) * bessel_i0_of_quarter_square(beta * beta / 4.0 * (1.0 - edge * edge))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrored_rows_belong_to_the_opposite_fraction() {
        const SHAPE: KernelShape = KernelShape { taps: 16, phases: 12, rejection_db: 60.0, cutoff: 0.8 };
        let table: [f32; SHAPE.len()] = SHAPE.rows();
        for row in 0..SHAPE.phases + 3 {
            let fraction = (row as f64 - 1.0) / SHAPE.phases as f64;
            let sum: f64 = (0..SHAPE.taps).map(|tap| SHAPE.weight(tap, fraction)).sum();
            for tap in 0..SHAPE.taps {
                let exact = SHAPE.weight(tap, fraction) / sum;
                assert!((f64::from(table[row * SHAPE.taps + tap]) - exact).abs() < 1e-7);
            }
        }
    }
}
