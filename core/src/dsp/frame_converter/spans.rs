//! Worker side: computes the samples of one channel at one rate from its samples at another.

use super::{HALF, KERNEL, TAPS};
use crate::dsp::products::{accumulate, dot};
use crate::dsp::resampler::ResamplerSample;
use crate::format::SampleRate;
use crate::limits::MAX_CHANNELS;

/// Number of output samples computed from one stretch of input that is converted to floats once.
const CHUNK: usize = 128;

/// One channel of the last two frames as one signal. Position 0 is the first sample of the newer frame.
pub(super) struct ChannelSignal<'a> {
    pub(super) before: &'a [i16],
    pub(super) now: &'a [i16],
    pub(super) channel: usize,
    pub(super) channels: usize,
}

impl<'a> ChannelSignal<'a> {
    /// Returns the samples from a position on, which must not lie before the older frame.
    fn from(&self, position: isize) -> impl Iterator<Item = f32> + use<'a> {
        let ago = position.min(0).unsigned_abs() * self.channels;
        let old = self.before.get(self.before.len().saturating_sub(ago)..).unwrap_or(&[]);
        let new = self.now.get(position.max(0) as usize * self.channels..).unwrap_or(&[]);
        let of_channel = |samples: &'a [i16]| samples.iter().skip(self.channel).step_by(self.channels.max(1));
        of_channel(old).chain(of_channel(new)).map(|&sample| f32::from(sample))
    }
}

/// A position among the samples of the lower rate, which advances with each sample of the higher rate.
pub(super) struct RatePosition {
    whole: isize,
    /// Fraction of a sample, in parts of `high`.
    part: usize,
    low: usize,
    high: usize,
    /// One part of `high` in 1/2^48, because a multiplication costs less than a division.
    part_q48: u64,
    /// Whether the kernel has a row for every fraction that occurs.
    exact: bool,
}

impl RatePosition {
    /// Returns the position reached from 0 in `steps` steps.
    pub(super) fn new(low: SampleRate, high: SampleRate, steps: isize) -> Self {
        let (low, high) = (low.sample_frames(), high.sample_frames().max(1));
        let exact = (low * KERNEL.phases()).is_multiple_of(high);
        let reached = steps * low as isize;
        let (whole, part) = (reached.div_euclid(high as isize), reached.rem_euclid(high as isize) as usize);
        Self { whole, part, low, high, part_q48: (1 << 48) / high as u64, exact }
    }

    /// Advances by a step. Returns whether that passed a sample.
    #[inline]
    fn advance(&mut self) -> bool {
        self.part += self.low;
        let passed = self.part >= self.high;
        if passed {
            self.part -= self.high;
            self.whole += 1;
        }
        passed
    }

    /// Returns the row of the kernel at this position.
    #[inline]
    fn row<'a>(&self, between: &'a mut [f32; TAPS]) -> &'a [f32] {
        if self.exact {
            return KERNEL.row(self.part * KERNEL.phases() / self.high.max(1));
        }
        KERNEL.interpolate(((self.part as u64 * self.part_q48) >> 16) as u32, between);
        between
    }
}

/// Converts to the higher rate: each output is a weighted sum of the inputs around `at`.
pub(super) fn gather(signal: &ChannelSignal<'_>, mut at: RatePosition, out: &mut [i16]) {
    let (mut line, mut between) = ([0.0; CHUNK + TAPS], [0.0; TAPS]);
    let channels = signal.channels.clamp(1, usize::from(MAX_CHANNELS));
    for chunk in out.chunks_mut(CHUNK * channels) {
        let first = at.whole;
        let samples = signal.from(first - KERNEL.centre() as isize);
        line.iter_mut().zip(samples).for_each(|(known, sample)| *known = sample);
        for sample in chunk.iter_mut().skip(signal.channel).step_by(channels) {
            let begin = (at.whole - first) as usize;
            let window = line.get(begin..begin + TAPS).unwrap_or(&[]);
            *sample = i16::narrow(dot(window, at.row(&mut between))).0;
            at.advance();
        }
    }
}

/// Converts to the lower rate: each input is added to the outputs around it, and an output is complete when
/// the next input no longer contributes to it.
pub(super) fn spread(signal: &ChannelSignal<'_>, to: SampleRate, from: SampleRate, out: &mut [i16]) {
    let mut out = out.iter_mut().skip(signal.channel).step_by(signal.channels.max(1));
    let (mut sums, mut between) = ([0.0; 2 * TAPS], [0.0; TAPS]);
    let scale = to.sample_frames() as f32 / from.sample_frames().max(1) as f32;
    // The first input that contributes to the first output.
    let begin = -((TAPS * from.sample_frames() / to.sample_frames().max(1)) as isize);
    let mut at = RatePosition::new(to, from, begin);
    let mut start = 0;
    for sample in signal.from(begin) {
        if let Some(sums) = sums.get_mut(start..start + TAPS) {
            accumulate(sums, false, at.row(&mut between), sample * scale);
        }
        // The first of the outputs that this input was added to, each late by the latency.
        let complete = at.whole - KERNEL.centre() as isize + HALF as isize;
        if !at.advance() {
            continue;
        }
        if complete >= 0 {
            let Some(output) = out.next() else { return };
            *output = i16::narrow(sums.get(start).copied().unwrap_or(0.0)).0;
        }
        start += 1;
        if start == TAPS {
            sums.copy_within(TAPS.., 0);
            sums.iter_mut().skip(TAPS).for_each(|sum| *sum = 0.0);
            start = 0;
        }
    }
}
