//! Application side: configuration, samples and results of a resampler.

use super::quality::Quality;
use crate::sample::nearest_16_bits;

/// Configuration of a [`Resampler`](crate::dsp::Resampler).
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ResamplerConfig {
    /// Sample rate of the input, any whole number from 4,000 to 192,000 Hz.
    pub from_hz: u32,
    /// Sample rate of the output, any whole number from 4,000 to 192,000 Hz.
    pub to_hz: u32,
    /// Number of interleaved channels, 1 to 8.
    pub channels: u32,
    /// Precision and cost of the conversion.
    pub quality: &'static Quality,
    /// Whether [`Resampler::steer`](crate::dsp::Resampler::steer) will be used. If not, equal rates give a
    /// copy without latency.
    pub steerable: bool,
}

/// Result of one call of [`Resampler::push`](crate::dsp::Resampler::push).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Progress {
    /// Number of input samples taken, all channels.
    pub consumed: usize,
    /// Number of output samples written, all channels.
    pub produced: usize,
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for i16 {}
    impl Sealed for f32 {}
}

/// A sample type that a [`Resampler`](crate::dsp::Resampler) converts: `i16` or `f32`.
///
/// `f32` may have any scale and is never clipped. `i16` is rounded to nearest and saturates.
pub trait ResamplerSample: Copy + sealed::Sealed {
    /// Returns the value of the sample, on its own scale.
    fn widen(self) -> f32;
    /// Returns the sample nearest to a value, and whether the value was out of range.
    fn narrow(value: f32) -> (Self, bool);
}

impl ResamplerSample for f32 {
    #[inline]
    fn widen(self) -> f32 {
        self
    }

    #[inline]
    fn narrow(value: f32) -> (Self, bool) {
        (value, false)
    }
}

impl ResamplerSample for i16 {
    #[inline]
    fn widen(self) -> f32 {
        f32::from(self)
    }

    #[inline]
    fn narrow(value: f32) -> (Self, bool) {
        let clipped = value >= f32::from(i16::MAX) + 0.5 || value <= f32::from(i16::MIN) - 0.5;
        (nearest_16_bits(value), clipped)
    }
}
