//! Convolution of a stream with a long impulse response, such as a room's, without latency.
//!
//! The first [`PARTITION`] taps are a plain sum of products, which has no latency. The rest is uniformly
//! partitioned overlap-save in the frequency domain (Stockham 1966; partitioning as in Gardner 1995,
//! "Efficient convolution without input-output delay"). The transform of a block needs the whole block, so
//! its result comes one block late; the head covers exactly the taps that are needed before.

use std::sync::Arc;

use crate::fft::{self, Complex32, ComplexToReal, RealToComplex};

/// Length of a partition in samples. 256 balances the cost of head and tail for responses of 0.1 to 0.5 s at
/// 48 kHz.
pub const PARTITION: usize = 256;

const BINS: usize = PARTITION + 1;
/// Number of bins, padded to whole vector registers. The padding stays zero.
const PADDED_BINS: usize = BINS.next_multiple_of(8);
const LANES: usize = 8;

/// Spectrum with separate real and imaginary parts. Compilers vectorise this layout; interleaved complex
/// numbers would need shuffles.
#[derive(Clone)]
struct Spectrum {
    re: [f32; PADDED_BINS],
    im: [f32; PADDED_BINS],
}

impl Spectrum {
    const ZERO: Self = Self { re: [0.0; PADDED_BINS], im: [0.0; PADDED_BINS] };

    fn store(&mut self, bins: &[Complex32]) {
        for (i, bin) in bins.iter().enumerate() {
            self.re[i] = bin.re;
            self.im[i] = bin.im;
        }
    }

    fn add_product(&mut self, a: &Self, b: &Self) {
        for i in 0..PADDED_BINS {
            self.re[i] += a.re[i] * b.re[i] - a.im[i] * b.im[i];
            self.im[i] += a.re[i] * b.im[i] + a.im[i] * b.re[i];
        }
    }
}

/// Finite impulse response filter of any length, for blocks of any length.
///
/// Output sample `n` is the sum of `response[k] * input[n - k]`, in f32 with an error below -125 dB of the
/// signal. The output does not depend on how the input is cut into blocks, to the last bit. Nothing is
/// allocated after construction.
///
/// Cost: up to 256 multiplications per sample for the head and, per block of 256 samples, two transforms of
/// length 512 and one complex product per bin and partition.
pub struct Convolver {
    head_reversed: Vec<f32>,
    partitions: Vec<Spectrum>,
    /// Ring of the spectra of past input blocks; `newest` is the index of the last one written.
    past: Vec<Spectrum>,
    newest: usize,
    /// Last two blocks of input: the older one complete, the newer one filled up to `filled`.
    input: [f32; 2 * PARTITION],
    filled: usize,
    /// Contribution of all partitions to the block that is being filled.
    tail: [f32; PARTITION],
    sum: Spectrum,
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
    time: Vec<f32>,
    bins: Vec<Complex32>,
    scratch: Vec<Complex32>,
}

impl Convolver {
    /// Makes a convolver with this impulse response. An empty response gives silence.
    pub fn new(response: &[f32]) -> Self {
        let forward = fft::forward(2 * PARTITION);
        let inverse = fft::inverse(2 * PARTITION);
        let mut time = forward.make_input_vec();
        let mut bins = forward.make_output_vec();
        let mut scratch =
            vec![Complex32::default(); forward.get_scratch_len().max(inverse.get_scratch_len())];

        let head_length = match response.len() {
            short @ (0 | 1) => short,
            long => long.next_multiple_of(2 * LANES).min(PARTITION),
        };
        let mut head_reversed = vec![0.0; head_length];
        for (to, &tap) in head_reversed.iter_mut().rev().zip(response) {
            *to = tap;
        }
        let partitions: Vec<Spectrum> = response
            .get(PARTITION..)
            .unwrap_or_default()
            .chunks(PARTITION)
            .map(|taps| {
                time.fill(0.0);
                // The transform pair is not normalised; scaling the response here saves scaling each block.
                for (to, &tap) in time.iter_mut().zip(taps) {
                    *to = tap / (2 * PARTITION) as f32;
                }
                transform(&*forward, &mut time, &mut bins, &mut scratch);
                let mut spectrum = Spectrum::ZERO;
                spectrum.store(&bins);
                spectrum
            })
            .collect();
        Self {
            head_reversed,
            past: vec![Spectrum::ZERO; partitions.len()],
            partitions,
            newest: 0,
            input: [0.0; 2 * PARTITION],
            filled: 0,
            tail: [0.0; PARTITION],
            sum: Spectrum::ZERO,
            forward,
            inverse,
            time,
            bins,
            scratch,
        }
    }

    /// Filters a block of any length, 0 included. `output` must be as long as `input`.
    ///
    /// # Panics
    /// Panics if the lengths differ.
    pub fn process(&mut self, input: &[f32], output: &mut [f32]) {
        assert_eq!(input.len(), output.len(), "convolver: the output must be as long as the input");
        if self.head_reversed.len() <= 1 {
            // A response of one tap is only a gain.
            let gain = self.head_reversed.first().copied().unwrap_or(0.0);
            for (out, sample) in output.iter_mut().zip(input) {
                *out = gain * sample;
            }
            return;
        }
        let mut done = 0;
        while done < input.len() {
            let count = (PARTITION - self.filled).min(input.len() - done);
            let start = PARTITION + self.filled;
            self.input[start..start + count].copy_from_slice(&input[done..done + count]);
            for (i, out) in output[done..done + count].iter_mut().enumerate() {
                // The head ends with the input sample of the same index as the output sample.
                let end = start + i + 1;
                let window = &self.input[end - self.head_reversed.len()..end];
                *out = dot(&self.head_reversed, window) + self.tail[self.filled + i];
            }
            self.filled += count;
            done += count;
            if self.filled == PARTITION {
                self.finish_block();
            }
        }
    }

    /// Clears all past input.
    pub fn reset(&mut self) {
        self.past.fill(Spectrum::ZERO);
        self.input.fill(0.0);
        self.tail.fill(0.0);
        self.filled = 0;
    }

    fn finish_block(&mut self) {
        if !self.partitions.is_empty() {
            self.newest = (self.newest + 1) % self.past.len();
            self.time.copy_from_slice(&self.input);
            transform(&*self.forward, &mut self.time, &mut self.bins, &mut self.scratch);
            self.past[self.newest].store(&self.bins);

            self.sum = Spectrum::ZERO;
            let (recent, older) = self.past.split_at(self.newest + 1);
            let newest_first = recent.iter().rev().chain(older.iter().rev());
            for (partition, past) in self.partitions.iter().zip(newest_first) {
                self.sum.add_product(partition, past);
            }
            for (i, bin) in self.bins.iter_mut().enumerate() {
                *bin = Complex32::new(self.sum.re[i], self.sum.im[i]);
            }
            // The inverse transform rejects imaginary parts in the first and last bins. They are products of
            // real numbers, so only rounding could leave one.
            self.bins[0].im = 0.0;
            self.bins[BINS - 1].im = 0.0;
            self.inverse
                .process_with_scratch(&mut self.bins, &mut self.time, &mut self.scratch)
                .expect("the buffers have the plan's lengths");
            // The first half is wrapped around by the circular convolution; overlap-save discards it.
            self.tail.copy_from_slice(&self.time[PARTITION..]);
        }
        self.input.copy_within(PARTITION.., 0);
        self.filled = 0;
    }
}

impl std::fmt::Debug for Convolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Convolver").field("partitions", &self.partitions.len()).finish_non_exhaustive()
    }
}

fn transform(
    plan: &dyn RealToComplex<f32>,
    time: &mut [f32],
    bins: &mut [Complex32],
    scratch: &mut [Complex32],
) {
    plan.process_with_scratch(time, bins, scratch).expect("the buffers have the plan's lengths");
}

/// Returns the sum of products of two equally long slices. Sixteen partial sums allow vectorisation; a single
/// sum would fix the order of the additions.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 2 * LANES];
    let (a_whole, a_rest) = a.as_chunks::<{ 2 * LANES }>();
    let (b_whole, b_rest) = b.as_chunks::<{ 2 * LANES }>();
    for (x, y) in a_whole.iter().zip(b_whole) {
        for lane in 0..2 * LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Rng;

    fn random(rng: &mut Rng, length: usize) -> Vec<f32> {
        (0..length).map(|_| (rng.uniform() * 2.0 - 1.0) as f32).collect()
    }

    fn direct(response: &[f32], input: &[f32]) -> Vec<f64> {
        (0..input.len())
            .map(|n| {
                (0..response.len().min(n + 1)).map(|k| f64::from(response[k]) * f64::from(input[n - k])).sum()
            })
            .collect()
    }

    fn in_blocks(response: &[f32], input: &[f32], mut length: impl FnMut() -> usize) -> Vec<f32> {
        let mut convolver = Convolver::new(response);
        let mut output = vec![f32::NAN; input.len()];
        let mut done = 0;
        while done < input.len() {
            let count = length().min(input.len() - done);
            convolver.process(&input[done..done + count], &mut output[done..done + count]);
            done += count;
        }
        output
    }

    #[test]
    fn equals_the_direct_sum_for_any_response_and_block() {
        let seed = 20_260_101;
        println!("seed {seed}");
        let mut rng = Rng::new(seed);
        for taps in [0, 1, 2, 255, 256, 257, 511, 512, 513, 1500, 3001] {
            let response = random(&mut rng, taps);
            let input = random(&mut rng, 4000);
            let expected = direct(&response, &input);
            let output = in_blocks(&response, &input, || rng.range(0, 700) as usize);
            let power: f64 = expected.iter().map(|x| x * x).sum();
            let error: f64 = expected.iter().zip(&output).map(|(a, &b)| (a - f64::from(b)).powi(2)).sum();
            if taps == 0 {
                assert!(output.iter().all(|&x| x == 0.0));
            } else {
                let error_db = 10.0 * (error / power).log10();
                assert!(error_db < -125.0, "{taps} taps: error {error_db:.1} dB");
            }
        }
    }

    #[test]
    fn block_lengths_do_not_change_a_bit() {
        let seed = 5;
        println!("seed {seed}");
        let mut rng = Rng::new(seed);
        let response = random(&mut rng, 1200);
        let input = random(&mut rng, 5000);
        let whole = in_blocks(&response, &input, || 5000);
        for block in [1, 7, 256, 480, 1023] {
            assert_eq!(in_blocks(&response, &input, || block), whole, "blocks of {block}");
        }
    }

    #[test]
    fn a_single_tap_is_exact_and_adds_no_delay() {
        let mut rng = Rng::new(11);
        let input = random(&mut rng, 1000);
        assert_eq!(in_blocks(&[1.0], &input, || 480), input);
    }

    #[test]
    fn reset_clears_past_input() {
        let mut rng = Rng::new(12);
        let response = random(&mut rng, 900);
        let input = random(&mut rng, 2000);
        let mut convolver = Convolver::new(&response);
        let mut first = vec![0.0; 2000];
        convolver.process(&input, &mut first);
        convolver.reset();
        let mut second = vec![0.0; 2000];
        convolver.process(&input, &mut second);
        assert_eq!(first, second);
    }
}
