//! Worker side: signal processing that several parts share.

pub(crate) mod fft;
pub(crate) mod fractional;
mod frame_converter;
pub(crate) mod products;
mod ramp;
pub(crate) mod real_fft;
mod resampler;
pub(crate) mod select;
mod sine;
pub(crate) mod special;

pub use frame_converter::FrameConverter;
pub(crate) use ramp::Ramp;
pub use resampler::{
    MAX_STEER_PPM, MIN_RESAMPLER_RATE_HZ, Progress, Quality, Resampler, ResamplerConfig, ResamplerSample,
};
pub use sine::{Sine, SineConfig};
