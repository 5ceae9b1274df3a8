//! Worker side: the same for small processors, a tenth of the work and of the table.
//!
//! The clocks differ by parts per million, so the fraction hardly moves from one sample to the next:
//! it is taken for constant over [`TOGETHER`] samples, which then have one row of weights. At 1000 ppm
//! that is off by 0.008 of a sample at most.

use super::{Between, narrow, rows};

const TAPS: usize = 16;
const CENTRE: usize = TAPS / 2 - 1;
const PHASES: usize = 32;
const BETA: f64 = 5.0;

/// Samples that have one row.
const TOGETHER: usize = 16;

static ROWS: [[f32; TAPS]; PHASES + 1] = rows::<TAPS, PHASES, { PHASES + 1 }>(BETA);

/// Keeps amplitude and phase within -50 dB up to half of the Nyquist frequency.
pub(crate) struct Quick;

impl Between for Quick {
    // One more, for reading slowly may put the middle of the first samples before them.
    const BEFORE: usize = CENTRE + 1;
    const AROUND: usize = TAPS + 1;

    fn read<'o>(window: &[f32], at_q32: u64, step_q32: u64, mut out: impl Iterator<Item = &'o mut i16>) {
        let mut at = at_q32;
        let half = (TOGETHER / 2) as u64;
        loop {
            let middle = at + half * step_q32;
            let row = row(middle as u32);
            let first = ((middle >> 32) + 1).saturating_sub(half) as usize;
            let windows = window.get(first..).unwrap_or(&[]).windows(TAPS);
            for taps in windows.take(TOGETHER) {
                let Some(sample) = out.next() else { return };
                *sample = narrow(taps.first_chunk().map_or(0.0, |taps| dot(taps, &row)));
            }
            // A window that ends leaves nothing to be read.
            if window.len() < first + TAPS + TOGETHER {
                return;
            }
            at += TOGETHER as u64 * step_q32;
        }
    }
}

/// The weights at a fraction of a sample in 1/2^32, between two rows.
#[inline]
fn row(fraction_q32: u32) -> [f32; TAPS] {
    let scaled = u64::from(fraction_q32) * PHASES as u64;
    let phase = (scaled >> 32) as usize;
    let blend = (scaled as u32) as f32 * (1.0 / 4_294_967_296.0);
    let mut row = [0.0; TAPS];
    if let Some([low, high]) = ROWS.get(phase..phase + 2) {
        for ((weight, low), high) in row.iter_mut().zip(low).zip(high) {
            *weight = low + (high - low) * blend;
        }
    }
    row
}

/// The sum of the products, in an order that is the same everywhere.
#[inline]
fn dot(taps: &[f32; TAPS], row: &[f32; TAPS]) -> f32 {
    let mut sums = [0.0; 4];
    for (taps, row) in taps.as_chunks::<4>().0.iter().zip(row.as_chunks::<4>().0) {
        for ((sum, tap), weight) in sums.iter_mut().zip(taps).zip(row) {
            *sum += tap * weight;
        }
    }
    (sums[0] + sums[2]) + (sums[1] + sums[3])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a sine at a step for a second and gives the signal-to-noise ratio in dB.
    fn snr_db(part: f64, step: f64) -> f64 {
        let omega = core::f64::consts::PI * part;
        let wave = |x: f64| 20_000.0 * (omega * x + 0.3).sin();
        let (mut signal, mut noise) = (0.0, 0.0);
        let mut x = 1_000.25;
        for _ in 0..250 {
            let base = x as usize;
            let window: [f32; 64 + 4 + 17] =
                core::array::from_fn(|k| wave((base + k) as f64 - Quick::BEFORE as f64).round() as f32);
            let mut out = [0; 64];
            let q32 = 4_294_967_296.0;
            Quick::read(&window, ((x - base as f64) * q32) as u64, (step * q32) as u64, out.iter_mut());
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
    fn sines_are_read_between_their_samples_at_either_speed() {
        for part in [0.02, 0.1, 0.25, 0.4, 0.5] {
            for ppm in [-300.0, -50.0, 0.0, 50.0, 300.0] {
                let snr = snr_db(part, 1.0 + ppm * 1e-6);
                assert!(snr > 50.0, "at {part} of the band, {ppm} ppm: {snr:.1} dB");
            }
        }
    }

    #[test]
    fn a_step_that_is_slewed_is_off_by_little() {
        for step in [0.995, 1.005] {
            let snr = snr_db(0.1, step);
            assert!(snr > 35.0, "{snr:.1} dB");
        }
    }
}
