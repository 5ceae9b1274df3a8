//! Worker side: reads a signal between its samples on small processors, with 8 or 16 taps: a tenth or a fifth of
//! the work of full quality and a thirtieth or an eighth of its table.
//!
//! The clocks differ by parts per million, so the fraction hardly changes from one sample to the next. It is
//! taken for constant over [`BLOCK`] samples, which then share one row of weights. At 1000 ppm the error is
//! at most 0.008 of a sample.

use super::{FractionalReader, rows};

const PHASES: usize = 32;

/// Number of samples that share one row.
const BLOCK: usize = 16;

/// Fractional bits of a weight.
const SCALE: u32 = 14;

/// Weights in 1/2^[`SCALE`]. Those of a row sum to 1, and without their signs to less than 4, so 32 bits hold
/// any sum.
type IntegerRows<const TAPS: usize> = [[i16; TAPS]; PHASES + 1];

const fn integers<const TAPS: usize>(beta: f64) -> IntegerRows<TAPS> {
    let exact = rows::<TAPS, PHASES, { PHASES + 1 }>(beta);
    let mut rows = [[0; TAPS]; PHASES + 1];
    let mut phase = 0;
    while phase <= PHASES {
        let mut tap = 0;
        while tap < TAPS {
            let scaled = exact[phase][tap] * (1 << SCALE) as f32;
            rows[phase][tap] = if scaled < 0.0 { scaled - 0.5 } else { scaled + 0.5 } as i16;
            tap += 1;
        }
        phase += 1;
    }
    rows
}

/// A reader on integers, so that it also suits processors without floating point.
pub(crate) struct IntegerReader<const TAPS: usize>;

/// The reader for suppressors and meters. Keeps amplitude and phase with an error below -50 dB up to half of the
/// Nyquist frequency.
pub(crate) type QuickReader = IntegerReader<8>;

/// The reader for cancellers on small processors. Keeps amplitude and phase with an error below -50 dB up to three
/// quarters of the Nyquist frequency.
pub(crate) type MediumReader = IntegerReader<16>;

impl<const TAPS: usize> IntegerReader<TAPS> {
    /// Shape of the Kaiser window: wider for fewer taps.
    const BETA: f64 = if TAPS == 16 { 4.0 } else { 6.2 };
    const ROWS: &IntegerRows<TAPS> = &integers(Self::BETA);

    /// Returns the weights at a fraction of a sample, in 1/2^32, interpolated between two rows.
    #[inline]
    fn row(fraction_q32: u32) -> [i16; TAPS] {
        let scaled = u64::from(fraction_q32) * PHASES as u64;
        let phase = (scaled >> 32) as usize;
        let blend_q15 = (scaled as u32 >> 17) as i32;
        let mut row = [0; TAPS];
        if let Some([low, high]) = Self::ROWS.get(phase..phase + 2) {
            for ((weight, &low), &high) in row.iter_mut().zip(low).zip(high) {
                let apart = i32::from(high) - i32::from(low);
                *weight = (i32::from(low) + ((apart * blend_q15 + 0x4000) >> 15)) as i16;
            }
        }
        row
    }
}

impl<const TAPS: usize> FractionalReader for IntegerReader<TAPS> {
    type Sample = i16;

    // One more than half a kernel, because slow reading may put the middle of the first block before its
    // samples.
    const BEFORE: usize = TAPS / 2;
    const AROUND: usize = TAPS + 1;

    // Not inlined, because it is called from several places.
    #[inline(never)]
    fn read(window: &[i16], at_q32: u64, step_q32: u64, out: &mut [i16]) {
        let mut at = at_q32;
        let half = (BLOCK / 2) as u64;
        for block in out.chunks_mut(BLOCK) {
            let middle = at + half * step_q32;
            let first = ((middle >> 32) + 1).saturating_sub(half) as usize;
            blend(window.get(first..).unwrap_or(&[]), &Self::row(middle as u32), block);
            at += BLOCK as u64 * step_q32;
        }
    }
}

/// Writes samples, each the sum of the products of the row and the next samples of the window.
// Not inlined, so that the row stays in registers.
#[inline(never)]
fn blend<const TAPS: usize>(window: &[i16], row: &[i16; TAPS], out: &mut [i16]) {
    for (sample, taps) in out.iter_mut().zip(window.windows(TAPS)) {
        let mut sum = 1 << (SCALE - 1);
        for (&tap, &weight) in taps.iter().zip(row) {
            sum += i32::from(tap) * i32::from(weight);
        }
        *sample = (sum >> SCALE).clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a sine with a constant step and returns the signal-to-noise ratio in dB.
    fn snr_db<const TAPS: usize>(part: f64, step: f64) -> f64 {
        let omega = core::f64::consts::PI * part;
        let wave = |x: f64| 20_000.0 * (omega * x + 0.3).sin();
        let (mut signal, mut noise) = (0.0, 0.0);
        let mut x = 1_000.25;
        for _ in 0..250 {
            let base = x as usize;
            let window: [i16; 64 + 4 + 17] = core::array::from_fn(|k| {
                wave((base + k) as f64 - IntegerReader::<TAPS>::BEFORE as f64).round() as i16
            });
            let mut out = [0; 64];
            let q32 = 4_294_967_296.0;
            IntegerReader::<TAPS>::read(
                &window,
                ((x - base as f64) * q32) as u64,
                (step * q32) as u64,
                &mut out,
            );
            for (n, &read) in out.iter().enumerate() {
                let exact = wave(x + n as f64 * step);
                signal += exact.powi(2);
                noise += (exact - f64::from(read)).powi(2);
            }
            x += 64.0 * step;
        }
        10.0 * (signal / noise).log10()
    }

    #[test]
    fn quick_quality_reads_sines_at_any_speed() {
        for part in [0.02, 0.1, 0.25, 0.4, 0.5] {
            for ppm in [-300.0, -50.0, 0.0, 50.0, 300.0] {
                let snr = snr_db::<8>(part, 1.0 + ppm * 1e-6);
                assert!(snr > 50.0, "at {part} of the band, {ppm} ppm: {snr:.1} dB");
            }
        }
    }

    #[test]
    fn medium_quality_reads_sines_at_any_speed() {
        for part in [0.02, 0.1, 0.25, 0.5, 0.65, 0.75] {
            for ppm in [-300.0, -50.0, 0.0, 50.0, 300.0] {
                let snr = snr_db::<16>(part, 1.0 + ppm * 1e-6);
                assert!(snr > 45.0, "at {part} of the band, {ppm} ppm: {snr:.1} dB");
            }
        }
    }

    #[test]
    fn no_sum_of_full_scale_samples_overflows() {
        no_sum_overflows::<8>();
        no_sum_overflows::<16>();
    }

    fn no_sum_overflows<const TAPS: usize>() {
        for phase in 0..=PHASES {
            let fraction = (((phase as u64) << 32) / PHASES as u64).min(u64::from(u32::MAX)) as u32;
            let row = IntegerReader::<TAPS>::row(fraction);
            let most: i64 = row.iter().map(|&weight| i64::from(weight).abs() * 32_768).sum();
            assert!(most < i64::from(i32::MAX) - (1 << 13), "phase {phase}: {most}");
            let sum: i32 = row.iter().map(|&weight| i32::from(weight)).sum();
            assert!((sum - 16_384).abs() < 12, "phase {phase}: {sum}");
        }
    }

    #[test]
    fn slewing_costs_little_precision() {
        for step in [0.995, 1.005] {
            let snr = snr_db::<8>(0.1, step);
            assert!(snr > 35.0, "{snr:.1} dB");
        }
    }
}
