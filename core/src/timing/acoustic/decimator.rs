//! Worker side: converts any rate down to about 8 kHz.

use crate::frame::PcmRef;
use crate::sample::nearest_16_bits;

/// Number of outputs that each input sample contributes to.
const SPAN: usize = 12;
/// Highest decimation factor, for 192 kHz.
const MAX_FACTOR: usize = 24;
/// Edge of the pass band, as a share of the low rate.
const CUTOFF: f32 = 0.43;

/// Coefficients of the filter, one row for each phase of the input. Both directions share them.
#[derive(Debug)]
pub(super) struct DecimatorTaps {
    rows: [[f32; SPAN]; MAX_FACTOR],
}

impl DecimatorTaps {
    pub(super) const fn new() -> Self {
        Self { rows: [[0.0; SPAN]; MAX_FACTOR] }
    }

    /// Computes a Hamming-windowed sinc for decimation by `factor`.
    pub(super) fn design(&mut self, factor: usize) {
        let len = factor * SPAN;
        let centre = (len - 1) as f32 / 2.0;
        for (phase, row) in self.rows.iter_mut().take(factor).enumerate() {
            for (output, tap) in row.iter_mut().enumerate() {
                let n = (output * factor + factor - 1 - phase) as f32;
                let x = core::f32::consts::PI * 2.0 * CUTOFF * (n - centre) / factor as f32;
                let sinc = if x.abs() < 1e-3 { 1.0 } else { libm::sinf(x) / x };
                let window = 0.54 + 0.46 * libm::cosf(core::f32::consts::PI * (n - centre) / (centre + 1.0));
                *tap = 2.0 * CUTOFF / factor as f32 * sinc * window;
            }
        }
    }
}

/// A transposed polyphase filter: each input sample is added into the outputs it contributes to, so that no
/// input has to be kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decimator {
    factor: usize,
    phase: usize,
    sums: [f32; SPAN],
}

impl Decimator {
    pub(super) const fn new(factor: usize) -> Self {
        Self { factor, phase: 0, sums: [0.0; SPAN] }
    }

    /// Takes a frame as the mean of its channels and passes each low-rate sample to `emit`.
    ///
    /// Costs 12 multiplications a sample frame.
    pub(super) fn run(&mut self, taps: &DecimatorTaps, pcm: PcmRef<'_>, mut emit: impl FnMut(i16)) {
        let channels = pcm.format.channels().max(1);
        if channels == 1 {
            return pcm.samples.iter().for_each(|&s| self.take(taps, f32::from(s), &mut emit));
        }
        let share = 1.0 / channels as f32;
        for frame in pcm.samples.chunks_exact(channels) {
            let sum: i32 = frame.iter().map(|&s| i32::from(s)).sum();
            self.take(taps, sum as f32 * share, &mut emit);
        }
    }

    #[inline]
    fn take(&mut self, taps: &DecimatorTaps, sample: f32, emit: &mut impl FnMut(i16)) {
        if let Some(row) = taps.rows.get(self.phase) {
            for (sum, &tap) in self.sums.iter_mut().zip(row) {
                *sum += tap * sample;
            }
        }
        self.phase += 1;
        if self.phase >= self.factor {
            self.phase = 0;
            let [first, rest @ ..] = self.sums;
            emit(nearest_16_bits(first));
            if let Some((last, others)) = self.sums.split_last_mut() {
                others.copy_from_slice(&rest);
                *last = 0.0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;

    #[test]
    fn the_band_in_use_passes_and_aliases_are_rejected() {
        for rate in [8_000u32, 16_000, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000] {
            let factor = crate::timing::acoustic::decimation(rate);
            let low_rate = f64::from(rate) / factor as f64;
            assert!((5_500.0..8_020.0).contains(&low_rate));
            let mut taps = DecimatorTaps::new();
            taps.design(factor);
            for (part, least_db, most_db) in [(0.05, -0.3, 0.3), (0.3, -1.5, 0.5), (0.65, -121.0, -35.0)] {
                let tone = part * low_rate;
                if tone * 2.0 > f64::from(rate) {
                    continue;
                }
                let mut decimator = Decimator::new(factor);
                let (mut power, mut count) = (0.0, 0);
                for frame in 0..20u32 {
                    let per_frame = rate / 100;
                    let samples: Vec<i16> = (0..per_frame)
                        .map(|i| {
                            let t = f64::from(frame * per_frame + i) / f64::from(rate);
                            (10_000.0 * (core::f64::consts::TAU * tone * t).sin()) as i16
                        })
                        .collect();
                    let pcm = PcmRef { format: Format::new(rate, 1).unwrap(), samples: &samples };
                    decimator.run(&taps, pcm, |s| {
                        if frame > 4 {
                            power += f64::from(s).powi(2);
                            count += 1;
                        }
                    });
                }
                let db = 10.0 * (power / f64::from(count) / 0.5e8).max(1e-12).log10();
                assert!((least_db..most_db).contains(&db), "{rate} Hz, {tone:.0} Hz: {db:.2} dB");
            }
        }
    }
}
