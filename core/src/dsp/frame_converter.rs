//! Worker side: 10 ms at one rate in, 10 ms at another rate out.

use crate::dsp::resampler::Quality;
#[cfg(feature = "rate-conversion")]
use crate::format::Format;
use crate::format::SampleRate;
use crate::frame::Frame;
use crate::time::Duration;

#[cfg(feature = "rate-conversion")]
mod spans;
#[cfg(feature = "rate-conversion")]
use spans::{Position, Signal, gather, spread};

const KERNEL: &Quality = Quality::FRAMES;
const TAPS: usize = 64;
const HALF: usize = TAPS / 2;

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
    #[cfg(feature = "rate-conversion")]
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
        Self {
            #[cfg(feature = "rate-conversion")]
            before: Frame::EMPTY,
            to: None,
        }
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
    /// checks that it fits. Without the feature `rate-conversion` the output is the input, at its own rate;
    /// a session refuses devices of another rate then.
    pub fn convert<const A: usize, const B: usize>(
        &mut self,
        input: &Frame<CAP, A>,
        to: SampleRate,
        output: &mut Frame<CAP, B>,
    ) {
        if cfg!(feature = "rate-conversion") && input.format().rate() != to {
            return self.change_rate(input, to, output);
        }
        output.copy_samples(input);
        self.to = None;
    }

    #[cfg(not(feature = "rate-conversion"))]
    fn change_rate<const A: usize, const B: usize>(
        &mut self,
        _: &Frame<CAP, A>,
        _: SampleRate,
        _: &mut Frame<CAP, B>,
    ) {
    }

    #[cfg(feature = "rate-conversion")]
    fn change_rate<const A: usize, const B: usize>(
        &mut self,
        input: &Frame<CAP, A>,
        to: SampleRate,
        output: &mut Frame<CAP, B>,
    ) {
        let from = input.format();
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

#[cfg(test)]
mod tests;
