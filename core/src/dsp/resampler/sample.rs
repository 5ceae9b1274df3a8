//! Application side: what goes into a resampler and what comes out.

use super::quality::Quality;

/// What a [`Resampler`](crate::dsp::Resampler) is to do.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ResamplerConfig {
    /// Rate of what is pushed, 4,000 to 192,000 Hz, any whole number.
    pub from_hz: u32,
    /// Rate of what comes out, the same range.
    pub to_hz: u32,
    /// Interleaved channels, 1 to 8.
    pub channels: u32,
    /// How faithful, at what cost.
    pub quality: &'static Quality,
    /// Whether [`Resampler::steer`](crate::dsp::Resampler::steer) will be used. If not, equal rates are
    /// a copy without latency.
    pub steerable: bool,
}

/// What one call of [`Resampler::push`](crate::dsp::Resampler::push) came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Progress {
    /// Samples of the input taken, all channels.
    pub consumed: usize,
    /// Samples of the output written, all channels.
    pub produced: usize,
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for i16 {}
    impl Sealed for f32 {}
}

/// A sample that a [`Resampler`](crate::dsp::Resampler) takes and gives: `i16` or `f32`.
///
/// `f32` passes at any scale and is never clipped; `i16` is rounded to nearest and saturates.
pub trait ResamplerSample: Copy + sealed::Sealed {
    /// Its value, on its own scale.
    fn widen(self) -> f32;
    /// The nearest sample to a value, and whether it did not fit.
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
        let rounded = (if value < 0.0 { value - 0.5 } else { value + 0.5 }) as i32;
        let fitting = rounded.clamp(i32::from(i16::MIN), i32::from(i16::MAX));
        (fitting as i16, fitting != rounded)
    }
}
