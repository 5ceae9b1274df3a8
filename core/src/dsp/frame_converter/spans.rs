//! Worker side: computes the samples of one channel at one rate from its samples at another.
//!
//! The same few fractions of a sample repeat, so that each row of the kernel is computed once for 480 output samples of a
//! channel, and used for all samples at its fraction.

use super::{HALF, KERNEL, TAPS};
use crate::dsp::products::{accumulate, dot};
use crate::format::SampleRate;
use crate::limits::MAX_CHANNELS;
use crate::sample::nearest_16_bits_in_loop;

/// Number of output samples computed together: 10 ms at 48 kHz.
const CHUNK: usize = 480;
/// Length of a line of samples or sums around a chunk.
const LINE: usize = CHUNK + 2 * TAPS;
/// Number of sums computed together, in vectors.
const TOGETHER: usize = 16;

/// One channel of the last two frames as one signal. Position 0 is the first sample of the newer frame.
pub(super) struct ChannelSignal<'a> {
    pub(super) before: &'a [i16],
    pub(super) now: &'a [i16],
    pub(super) channel: usize,
    pub(super) channels: usize,
}

impl<'a> ChannelSignal<'a> {
    /// Returns every `step`-th sample from a position on, which must not lie before the older frame.
    fn from(&self, position: isize, step: usize) -> impl Iterator<Item = f32> + use<'a> {
        let ago = position.min(0).unsigned_abs();
        let skipped = (step - ago % step) % step;
        let new_from = if ago > 0 { skipped } else { position as usize };
        let channels = self.channels.max(1);
        let old = self.before.get(self.before.len().saturating_sub(ago * channels)..).unwrap_or(&[]);
        let new = self.now.get(new_from * channels..).unwrap_or(&[]);
        let of_channel =
            |samples: &'a [i16]| samples.iter().skip(self.channel).step_by(step.saturating_mul(channels));
        of_channel(old).chain(of_channel(new)).map(|&sample| f32::from(sample))
    }

    /// Fills a line with the samples from a position on, which must not lie before the older frame.
    fn fill(&self, line: &mut [f32], position: isize) {
        if self.channels != 1 {
            let samples = self.from(position, 1);
            return line.iter_mut().zip(samples).for_each(|(known, sample)| *known = sample);
        }
        // A single channel is read in two plain loops, which compile to vector instructions.
        let ago = position.min(0).unsigned_abs().min(self.before.len()).min(line.len());
        let old = self.before.get(self.before.len() - ago..).unwrap_or(&[]);
        let new = self.now.get(position.max(0) as usize..).unwrap_or(&[]);
        let (first, second) = line.split_at_mut_checked(ago).unwrap_or((&mut [], &mut []));
        first.iter_mut().zip(old).for_each(|(known, &sample)| *known = f32::from(sample));
        second.iter_mut().zip(new).for_each(|(known, &sample)| *known = f32::from(sample));
    }
}

/// Writes one channel of interleaved samples.
fn write(out: &mut [i16], channel: usize, channels: usize, values: &[f32]) {
    if channels == 1 {
        return out.iter_mut().zip(values).for_each(|(out, &value)| *out = nearest_16_bits_in_loop(value));
    }
    let out = out.iter_mut().skip(channel).step_by(channels);
    out.zip(values).for_each(|(out, &value)| *out = nearest_16_bits_in_loop(value));
}

/// The positions of the higher rate's samples among those of the lower rate.
pub(super) struct RateRatio {
    /// Samples of the lower rate in the time after which fractions repeat.
    low: usize,
    /// Samples of the higher rate in that time, which is the number of fractions.
    high: usize,
    /// One part of `high` in 1/2^32.
    part_q32: u64,
}

impl RateRatio {
    pub(super) fn new(low: SampleRate, high: SampleRate) -> Self {
        let (mut common, mut rest) = (high.sample_frames().max(1), low.sample_frames());
        while rest > 0 {
            (common, rest) = (rest, common % rest);
        }
        let [low, high] = [low, high].map(|rate| (rate.sample_frames() / common).max(1));
        Self { low, high, part_q32: (1 << 32) / high as u64 }
    }

    /// Returns the position of a sample: the last sample of the lower rate at or before it, and the parts of `high` in between.
    fn position(&self, sample: isize) -> (isize, usize) {
        let reached = sample * self.low as isize;
        (reached.div_euclid(self.high as isize), reached.rem_euclid(self.high as isize) as usize)
    }

    /// Returns the first sample of the higher rate that is not before a sample of the lower one.
    fn first_at(&self, low_sample: isize) -> isize {
        -(-low_sample * self.high as isize).div_euclid(self.low as isize)
    }

    /// Returns the row of the kernel at a fraction in parts of `high`.
    fn row<'a>(&self, part: usize, between: &'a mut [f32; TAPS]) -> &'a [f32] {
        if KERNEL.phases().is_multiple_of(self.high) {
            return KERNEL.row(part * (KERNEL.phases() / self.high.max(1)));
        }
        KERNEL.interpolate((part as u64 * self.part_q32) as u32, between);
        between
    }
}

/// Converts to the higher rate: each output is a weighted sum of the inputs around its position, `latency` samples before
/// it.
pub(super) fn gather(signal: &ChannelSignal<'_>, ratio: &RateRatio, latency: usize, out: &mut [i16]) {
    let (mut line, mut between) = ([0.0; LINE], [0.0; TAPS]);
    let channels = signal.channels.clamp(1, usize::from(MAX_CHANNELS));
    let mut begin = -(latency as isize);
    for chunk in out.chunks_mut(CHUNK * channels) {
        let (first, _) = ratio.position(begin);
        signal.fill(&mut line, first - KERNEL.centre() as isize);
        let sample_frames = chunk.len() / channels;
        let mut sums = [0.0; CHUNK];
        for at in 0..sample_frames.min(ratio.high) {
            let (whole, part) = ratio.position(begin + at as isize);
            let row = ratio.row(part, &mut between);
            let line = line.get((whole - first) as usize..).unwrap_or(&[]);
            let sums = sums.iter_mut().take(sample_frames).skip(at).step_by(ratio.high);
            if ratio.low == 1 {
                add_filtered(line, row.iter(), sums);
            } else {
                let windows = line.windows(TAPS).step_by(ratio.low);
                sums.zip(windows).for_each(|(sum, window)| *sum = dot(window, row));
            }
        }
        write(chunk, signal.channel, channels, &sums);
        begin += sample_frames as isize;
    }
}

/// Converts to the lower rate: each input is added to the outputs around it.
pub(super) fn spread(signal: &ChannelSignal<'_>, ratio: &RateRatio, out: &mut [i16]) {
    let (mut line, mut between) = ([0.0; LINE], [0.0; TAPS]);
    let channels = signal.channels.clamp(1, usize::from(MAX_CHANNELS));
    let scale = ratio.low as f32 / ratio.high.max(1) as f32;
    let mut begin = 0;
    for chunk in out.chunks_mut(CHUNK * channels) {
        let sample_frames = chunk.len() / channels;
        // An input is added to the outputs from its position, later by the latency, on.
        let late = HALF as isize - KERNEL.centre() as isize;
        // The sums begin with those of the first input that contributes to the chunk.
        let first = begin - TAPS as isize + 1;
        let inputs = ratio.first_at(first - late)..ratio.first_at(begin + sample_frames as isize - late);
        let mut sums = [0.0; LINE];
        for input in inputs.clone().take(ratio.high) {
            let (whole, part) = ratio.position(input);
            let row = ratio.row(part, &mut between);
            let to = (whole + late - first) as usize;
            let count = (inputs.end - input) as usize;
            let samples = signal.from(input, ratio.high).take(count.div_ceil(ratio.high.max(1)));
            if ratio.low == 1 {
                line.fill(0.0);
                line.iter_mut().skip(to).zip(samples).for_each(|(known, sample)| *known = sample * scale);
                add_filtered(&line, row.iter().rev(), sums.iter_mut().skip(TAPS - 1).take(sample_frames));
            } else {
                for (sample, to) in samples.zip((to..).step_by(ratio.low)) {
                    if let Some(sums) = sums.get_mut(to..to + TAPS) {
                        accumulate(sums, false, row, sample * scale);
                    }
                }
            }
        }
        write(chunk, signal.channel, channels, sums.get(TAPS - 1..).unwrap_or(&[]));
        begin += sample_frames as isize;
    }
}

/// Adds the sum of products of the weights with each window of the signal to the sums, one window for each. The signal must go
/// on for 15 samples after the last window.
fn add_filtered<'a, 's>(
    signal: &[f32],
    weights: impl Iterator<Item = &'a f32> + Clone,
    mut sums: impl ExactSizeIterator<Item = &'s mut f32>,
) {
    for begin in (0..sums.len()).step_by(TOGETHER) {
        let windows = signal.get(begin..).unwrap_or(&[]).windows(TOGETHER);
        let mut products = [0.0; TOGETHER];
        for (window, weight) in windows.zip(weights.clone()) {
            for lane in 0..TOGETHER {
                products[lane] += window[lane] * weight;
            }
        }
        products.into_iter().zip(&mut sums).for_each(|(product, sum)| *sum += product);
    }
}
