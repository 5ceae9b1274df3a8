//! Worker side: 10 ms at one rate in, 10 ms at another rate out.

use crate::dsp::products::{accumulate, dot};
use crate::dsp::resampler::{Quality, ResamplerSample};
use crate::format::{Format, SampleRate};
use crate::frame::Frame;
use crate::limits::MAX_CHANNELS;
use crate::time::Duration;

const KERNEL: &Quality = Quality::FRAMES;
const TAPS: usize = 64;
const HALF: usize = TAPS / 2;

/// Output samples gathered from one stretch of input that is converted to floats once.
const CHUNK: usize = 128;

const _: () = assert!(KERNEL.taps() == TAPS);

/// Converts frames between rates that have whole samples in 10 ms, with a fixed ratio.
///
/// Both rates fit 10 ms, so every frame in gives one frame out and no phase is carried; the only
/// state is the frame before. Equal rates are a bit-exact copy without latency. Otherwise the output
/// lags by 32 samples of the lower rate, rounded down to a whole number of samples of the output
/// ([`latency`](Self::latency)).
///
/// Up to 0.82 of the lower Nyquist frequency the signal-to-noise ratio is at least 85 dB, rounding to
/// 16 bits included. What lies beyond that frequency is rejected by 60 dB, from 1.01 of it on by 85 dB.
/// Costs 64 multiplications per channel and sample at the higher rate; five times as many where the
/// ratio meets fractions other than 24ths of a sample, such as between 44.1 and 48 kHz.
///
/// Computes as [`Resampler`](crate::dsp::Resampler) does, from the same kind of rows, without its
/// state: a frame of 16-bit samples holds all that is needed.
#[derive(Debug)]
pub struct FrameConverter<const CAP: usize> {
    before: Frame<CAP>,
    to: Option<SampleRate>,
}

impl<const CAP: usize> Default for FrameConverter<CAP> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const CAP: usize> FrameConverter<CAP> {
    /// A converter that has heard silence so far.
    #[must_use]
    pub const fn new() -> Self {
        Self { before: Frame::EMPTY, to: None }
    }

    /// How much later the converted signal comes out than it went in; a whole number of samples of
    /// the output.
    #[must_use]
    pub fn latency(from: SampleRate, to: SampleRate) -> Duration {
        Duration::of_sample_frames(Self::latency_sample_frames(from, to) as u64, to)
    }

    /// The same in sample frames of the output.
    ///
    /// ```
    /// use handsfree_core::SampleRate;
    /// use handsfree_core::dsp::FrameConverter;
    ///
    /// let [low, high] = [16_000, 48_000].map(|hz| SampleRate::new(hz).unwrap());
    /// assert_eq!(FrameConverter::<480>::latency_sample_frames(low, high), 96);
    /// assert_eq!(FrameConverter::<480>::latency_sample_frames(high, low), 32);
    /// assert_eq!(FrameConverter::<480>::latency_sample_frames(high, high), 0);
    /// ```
    #[must_use]
    pub fn latency_sample_frames(from: SampleRate, to: SampleRate) -> usize {
        if from == to {
            return 0;
        }
        HALF * to.sample_frames() / from.min(to).sample_frames().max(1)
    }

    /// Forgets the frame before.
    pub fn reset(&mut self) {
        self.to = None;
    }

    /// Converts a whole frame to `to`. Stamps are the caller's business. A change of format starts
    /// anew from silence. An output that does not fit `CAP` is cut; [`Session`](crate::Session)
    /// checks that it fits.
    pub fn convert<const A: usize, const B: usize>(
        &mut self,
        input: &Frame<CAP, A>,
        to: SampleRate,
        output: &mut Frame<CAP, B>,
    ) {
        let from = input.format();
        if from.rate() == to {
            output.copy_samples(input);
            self.to = None;
            return;
        }
        let Ok(format) = Format::with_rate(to, from.channels() as u32) else {
            return;
        };
        if self.to != Some(to) || self.before.format() != from {
            self.before.clear(from, from.sample_frames());
            self.to = Some(to);
        }
        output.begin(format);
        let channels = from.channels().max(1);
        let latency = Self::latency_sample_frames(from.rate(), to) as isize;
        let out = output.extend(format.sample_frames());
        for channel in 0..channels {
            let signal = Signal { before: self.before.samples(), now: input.samples(), channel, channels };
            if from.rate() < to {
                gather(&signal, Position::new(from.rate(), to, -latency), out);
            } else {
                spread(&signal, to, from.rate(), out);
            }
        }
        self.before.copy_samples(input);
    }
}

/// The last two frames of one channel as one signal; position 0 is the newer frame's first sample.
struct Signal<'a> {
    before: &'a [i16],
    now: &'a [i16],
    channel: usize,
    channels: usize,
}

impl<'a> Signal<'a> {
    /// The samples from a position on, which must not lie before the older frame.
    fn from(&self, position: isize) -> impl Iterator<Item = f32> + use<'a> {
        let ago = position.min(0).unsigned_abs() * self.channels;
        let old = self.before.get(self.before.len().saturating_sub(ago)..).unwrap_or(&[]);
        let new = self.now.get(position.max(0) as usize * self.channels..).unwrap_or(&[]);
        let of_channel = |samples: &'a [i16]| samples.iter().skip(self.channel).step_by(self.channels.max(1));
        of_channel(old).chain(of_channel(new)).map(|&sample| f32::from(sample))
    }
}

/// A position among the samples of the lower rate, which steps with each sample of the higher one.
struct Position {
    whole: isize,
    /// The fraction, in parts of `high`.
    part: usize,
    low: usize,
    high: usize,
    /// One part in 1/2^48, for a product costs less than a quotient.
    part_q48: u64,
    /// Every fraction is one of the kernel's.
    exact: bool,
}

impl Position {
    /// The position after `steps`, from 0.
    fn new(low: SampleRate, high: SampleRate, steps: isize) -> Self {
        let (low, high) = (low.sample_frames(), high.sample_frames().max(1));
        let exact = (low * KERNEL.phases()).is_multiple_of(high);
        let reached = steps * low as isize;
        let (whole, part) = (reached.div_euclid(high as isize), reached.rem_euclid(high as isize) as usize);
        Self { whole, part, low, high, part_q48: (1 << 48) / high as u64, exact }
    }

    /// Takes a step; returns whether it passed a sample.
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

    /// The kernel's row for where this is.
    #[inline]
    fn row<'a>(&self, between: &'a mut [f32; TAPS]) -> &'a [f32] {
        if self.exact {
            return KERNEL.row(self.part * KERNEL.phases() / self.high.max(1));
        }
        KERNEL.interpolate(((self.part as u64 * self.part_q48) >> 16) as u32, between);
        between
    }
}

/// Going up: each output is a weighted sum of the inputs around `at`.
fn gather(signal: &Signal<'_>, mut at: Position, out: &mut [i16]) {
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

/// Going down: each input is spread over the outputs around it, and what the next input does not
/// reach any more is an output.
fn spread(signal: &Signal<'_>, to: SampleRate, from: SampleRate, out: &mut [i16]) {
    let mut out = out.iter_mut().skip(signal.channel).step_by(signal.channels.max(1));
    let (mut sums, mut between) = ([0.0; 2 * TAPS], [0.0; TAPS]);
    let scale = to.sample_frames() as f32 / from.sample_frames().max(1) as f32;
    // The first input that the first output hears of.
    let begin = -((TAPS * from.sample_frames() / to.sample_frames().max(1)) as isize);
    let mut at = Position::new(to, from, begin);
    let mut start = 0;
    for sample in signal.from(begin) {
        if let Some(sums) = sums.get_mut(start..start + TAPS) {
            accumulate(sums, false, at.row(&mut between), sample * scale);
        }
        // The first of the outputs that this input was spread over, each late by the latency.
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

#[cfg(test)]
mod tests;
