//! Control side: correlation of a short block with a long stretch by FFT, and the peaks of the result.

use std::sync::Arc;

use handsfree_sim::fft::{self, Complex32, ComplexToReal, RealToComplex};

/// Share of the stretch's mean power that a quiet part of it is credited with, so that no peak comes from dividing by nothing.
const QUIET_POWER: f64 = 0.1;
/// Value that 90 % of the magnitudes of a normally distributed number with standard deviation 1 do not exceed. A median would
/// take the pauses of the far end for the spread of the correlation.
const TENTH_OF_NORMAL: f32 = 1.644_9;

/// Height below which a value is no peak, in standard deviations: chance reaches it all the time.
const LEAST_Z: f64 = 2.5;
/// Height from which a value may always be a peak.
const HIGH_CORRELATION: f64 = 0.5;

/// Peak of a correlation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Peak {
    /// Position of the block's first sample in the stretch, in samples, interpolated.
    pub at: f64,
    /// Magnitude of the normalised correlation, 0 to 1.
    pub correlation: f64,
    /// Magnitude in standard deviations of the whole correlation.
    pub z: f64,
}

/// Correlator for blocks and stretches up to a fixed length. Its working memory is reused.
pub(super) struct Correlator {
    size: usize,
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
    time: Vec<f32>,
    block: Vec<Complex32>,
    stretch: Vec<Complex32>,
    magnitudes: Vec<f32>,
    chance: f64,
}

impl std::fmt::Debug for Correlator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Correlator").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Correlator {
    /// Makes a correlator for stretches of up to `longest` samples. `chance` is the smallest standard deviation of the correlation
    /// that can be: 1 / sqrt(2 * bandwidth * duration) for white signals.
    pub(super) fn new(longest: usize, chance: f64) -> Self {
        let size = smooth_size(longest.max(16));
        let (forward, inverse) = (fft::forward(size), fft::inverse(size));
        Self {
            size,
            time: forward.make_input_vec(),
            block: forward.make_output_vec(),
            stretch: forward.make_output_vec(),
            magnitudes: Vec::new(),
            chance,
            forward,
            inverse,
        }
    }

    /// Returns up to `count` peaks of the correlation of `block` with `stretch`, strongest first, at least `apart` samples from
    /// each other. The block may lie at 0 ..= stretch.len() - block.len().
    pub(super) fn peaks(&mut self, block: &[f32], stretch: &[f32], count: usize, apart: usize) -> Vec<Peak> {
        assert!(
            stretch.len() <= self.size,
            "a stretch of {} samples: expected at most {}",
            stretch.len(),
            self.size
        );
        let energy = |signal: &[f32]| signal.iter().map(|&x| f64::from(x * x)).sum::<f64>();
        let (block_energy, mean_power) = (energy(block), energy(stretch) / stretch.len().max(1) as f64);
        if block.len() > stretch.len() || block.is_empty() || block_energy <= 0.0 || mean_power <= 0.0 {
            return Vec::new();
        }
        self.transform_block(block);
        self.time.fill(0.0);
        self.time[..stretch.len()].copy_from_slice(stretch);
        self.forward.process(&mut self.time, &mut self.stretch).expect("the buffers have the plan's lengths");
        for (to, from) in self.stretch.iter_mut().zip(&self.block) {
            *to *= from.conj();
        }
        // The inverse transform rejects imaginary parts in these bins, which could only come from rounding.
        self.stretch[0].im = 0.0;
        if let Some(last) = self.stretch.last_mut() {
            last.im = 0.0;
        }
        self.inverse.process(&mut self.stretch, &mut self.time).expect("the buffers have the plan's lengths");
        let places = stretch.len() - block.len() + 1;
        let floor = mean_power * QUIET_POWER * block.len() as f64;
        let mut local = energy(&stretch[..block.len()]);
        for at in 0..places {
            let scale = 1.0 / (block_energy * local.max(floor)).sqrt() / self.size as f64;
            self.time[at] *= scale as f32;
            if let (Some(&out), Some(&next)) = (stretch.get(at), stretch.get(at + block.len())) {
                local += f64::from(next * next) - f64::from(out * out);
            }
        }
        self.strongest(places, count, apart)
    }

    fn transform_block(&mut self, block: &[f32]) {
        self.time.fill(0.0);
        self.time[..block.len()].copy_from_slice(block);
        self.forward.process(&mut self.time, &mut self.block).expect("the buffers have the plan's lengths");
    }

    /// Returns the strongest peaks among the first `places` values.
    fn strongest(&mut self, places: usize, count: usize, apart: usize) -> Vec<Peak> {
        let values = &self.time[..places];
        self.magnitudes.clear();
        // Every third value is enough for a quantile.
        self.magnitudes.extend(values.iter().step_by(3).map(|x| x.abs()));
        let tenth = self.magnitudes.len() * 9 / 10;
        let (_, magnitude, _) = self.magnitudes.select_nth_unstable_by(tenth, f32::total_cmp);
        let deviation = f64::from(*magnitude / TENTH_OF_NORMAL).max(self.chance);
        // The correlation of a tone has a large deviation and is high at many places.
        let least = (LEAST_Z * deviation).min(HIGH_CORRELATION) as f32;
        let mut found: Vec<usize> = Vec::new();
        for (at, value) in values.iter().enumerate() {
            if value.abs() <= least {
                continue;
            }
            let before = at.checked_sub(1).map_or(0.0, |at| values[at].abs());
            let after = values.get(at + 1).map_or(0.0, |x| x.abs());
            if value.abs() >= before && value.abs() > after {
                found.push(at);
            }
        }
        // Most peaks are too weak to matter, which the strongest ones show without sorting the others.
        let considered = found.len().min(8 * count);
        if considered > 0 && considered < found.len() {
            found
                .select_nth_unstable_by(considered - 1, |&a, &b| values[b].abs().total_cmp(&values[a].abs()));
            found.truncate(considered);
        }
        found.sort_by(|&a, &b| values[b].abs().total_cmp(&values[a].abs()));
        let mut chosen: Vec<usize> = Vec::new();
        for at in found {
            if chosen.len() == count {
                break;
            }
            if chosen.iter().all(|&other| at.abs_diff(other) >= apart) {
                chosen.push(at);
            }
        }
        chosen
            .into_iter()
            .map(|at| {
                let (shift, height) = vertex(values, at);
                Peak { at: at as f64 + shift, correlation: height, z: height / deviation }
            })
            .collect()
    }
}

/// Returns the position of the vertex of the parabola through a peak and its neighbours, relative to the peak, and its height.
fn vertex(values: &[f32], at: usize) -> (f64, f64) {
    let value = |index: Option<usize>| index.and_then(|index| values.get(index)).map(|&x| f64::from(x).abs());
    let height = f64::from(values[at]).abs();
    let (Some(before), Some(after)) = (value(at.checked_sub(1)), value(Some(at + 1))) else {
        return (0.0, height);
    };
    let bend = before - 2.0 * height + after;
    if bend >= 0.0 {
        return (0.0, height);
    }
    let shift = (0.5 * (before - after) / bend).clamp(-0.5, 0.5);
    (shift, height - 0.25 * (before - after) * shift)
}

/// Returns the smallest even number of at least `length` whose only prime factors are 2, 3 and 5, for a fast FFT.
fn smooth_size(length: usize) -> usize {
    let is_smooth = |size: usize| {
        let mut rest = size;
        for factor in [2, 3, 5] {
            while rest.is_multiple_of(factor) {
                rest /= factor;
            }
        }
        rest == 1
    };
    (length.div_ceil(2)..).map(|half| 2 * half).find(|&size| is_smooth(size)).unwrap_or(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use handsfree_sim::noise::Rng;

    #[test]
    fn a_block_is_found_where_it_was_taken_from() {
        let seed = 4;
        let mut rng = Rng::new(seed);
        let stretch: Vec<f32> = (0..5_000).map(|_| rng.gaussian() as f32).collect();
        let mut correlator = Correlator::new(stretch.len(), 0.03);
        for at in [0, 17, 2_400, 4_500] {
            // An inverted echo is found as well.
            let block: Vec<f32> = stretch[at..at + 500].iter().map(|x| -0.1 * x).collect();
            let peaks = correlator.peaks(&block, &stretch, 3, 5);
            assert!((peaks[0].at - at as f64).abs() < 0.5, "seed {seed}, {at}: {peaks:?}");
            assert!(peaks[0].correlation > 0.9 && peaks[0].z > 15.0, "seed {seed}, {at}: {peaks:?}");
        }
    }

    #[test]
    fn silence_has_no_peaks() {
        let mut correlator = Correlator::new(100, 0.03);
        assert!(correlator.peaks(&[0.0; 10], &[1.0; 100], 3, 1).is_empty());
        assert!(correlator.peaks(&[1.0; 10], &[0.0; 100], 3, 1).is_empty());
        assert!(correlator.peaks(&[1.0; 101], &[1.0; 100], 3, 1).is_empty());
    }

    #[test]
    fn sizes_have_small_factors_only() {
        assert_eq!([16, 17, 99_999, 100_001].map(smooth_size), [16, 18, 100_000, 101_250]);
    }
}
