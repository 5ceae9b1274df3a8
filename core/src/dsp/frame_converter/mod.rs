//! Worker side: converts frames of 10 ms from one rate to another.

use crate::dsp::resampler::Quality;
#[cfg(feature = "rate-conversion")]
use crate::format::Format;
use crate::format::SampleRate;
use crate::frame::Frame;
use crate::time::Duration;

#[cfg(feature = "rate-conversion")]
mod spans;
#[cfg(feature = "rate-conversion")]
use spans::{ChannelSignal, RateRatio, gather, spread};

const KERNEL: &Quality = Quality::FRAMES;
const TAPS: usize = 64;
const HALF: usize = TAPS / 2;

const _: () = assert!(KERNEL.taps() == TAPS);

/// Converts frames between rates that have whole samples in 10 ms, with a fixed ratio.
///
/// Both rates have whole samples in 10 ms, so every input frame gives one output frame and no phase is
/// carried over; the only state is the frame before. Equal rates give a bit-exact copy without latency.
/// Otherwise the output is later by 32 samples of the lower rate, rounded down to a whole number of output
/// samples ([`latency`](Self::latency)).
///
/// Up to 0.82 of the lower Nyquist frequency the signal-to-noise ratio is at least 85 dB, rounding to 16 bits
/// included. Frequencies beyond the lower Nyquist frequency are rejected by 60 dB, and from 1.01 times that
/// frequency on by 85 dB. Costs 64 multiplications per channel and sample at the higher rate. Where the ratio needs fractions
/// other than 24ths of a sample, it costs 256 more for each channel and each fraction that occurs in 480 output samples: twice as
/// many in all between 44.1 and 48 kHz, five times from 44.1 to 192 kHz. Takes 5.5 KB of stack.
///
/// Uses the same kind of kernel rows as [`Resampler`](crate::dsp::Resampler), without its state: a frame of
/// 16-bit samples holds everything needed.
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
    /// Returns a converter whose frame before is silence.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            #[cfg(feature = "rate-conversion")]
            before: Frame::EMPTY,
            to: None,
        }
    }

    /// Returns how much later the converted signal comes out than it went in, a whole number of output samples.
    #[must_use]
    pub fn latency(from: SampleRate, to: SampleRate) -> Duration {
        Duration::of_sample_frames(Self::latency_sample_frames(from, to) as u64, to)
    }

    /// Returns how much later the converted signal comes out than it went in, in sample frames of the output.
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

    /// Converts a whole frame to the rate `to`. The caller sets the stamp of the output. After a change of
    /// format the frame before is silence. An output that does not fit `CAP` is cut;
    /// [`Session`](crate::Session) checks that it fits. Without the feature `rate-conversion` the output is a
    /// copy of the input at its own rate, and a session refuses devices of another rate.
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
        let latency = Self::latency_sample_frames(from.rate(), to);
        let out = output.extend(format.sample_frames());
        for channel in 0..channels {
            let signal =
                ChannelSignal { before: self.before.samples(), now: input.samples(), channel, channels };
            if from.rate() < to {
                gather(&signal, &RateRatio::new(from.rate(), to), latency, out);
            } else {
                spread(&signal, &RateRatio::new(to, from.rate()), out);
            }
        }
        self.before.copy_samples(input);
    }
}

// Almost every test converts between two rates.
#[cfg(all(test, feature = "rate-conversion"))]
mod tests;
