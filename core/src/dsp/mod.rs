//! Worker side: signal processing that several parts share.

pub(crate) mod fractional;
mod frame_converter;
mod kernel;
mod ramp;

pub use frame_converter::FrameConverter;
pub(crate) use ramp::Ramp;
