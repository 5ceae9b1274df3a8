//! Samples between the simulated air (full scale at 1.0) and a simulated device's own format.

use handsfree_core::{DeviceSample, I24};

/// One period in each format, kept so that interrupts find memory ready.
#[derive(Debug, Default)]
pub(crate) struct DeviceBuffers {
    pub(crate) i16: Vec<i16>,
    pub(crate) i24: Vec<I24>,
    pub(crate) i32: Vec<i32>,
    pub(crate) f32: Vec<f32>,
}

/// A device format that the simulator can convert.
pub(crate) trait AirSample: DeviceSample {
    fn from_air(sample: f32) -> Self;
    fn to_air(self) -> f32;
}

impl AirSample for i16 {
    fn from_air(sample: f32) -> Self {
        (sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16
    }

    fn to_air(self) -> f32 {
        f32::from(self) / 32_768.0
    }
}

impl AirSample for I24 {
    fn from_air(sample: f32) -> Self {
        Self((f64::from(sample) * 8_388_608.0).round().clamp(-8_388_608.0, 8_388_607.0) as i32)
    }

    fn to_air(self) -> f32 {
        self.0 as f32 / 8_388_608.0
    }
}

impl AirSample for i32 {
    fn from_air(sample: f32) -> Self {
        // A float cast saturates.
        (f64::from(sample) * 2_147_483_648.0).round() as Self
    }

    fn to_air(self) -> f32 {
        self as f32 / 2_147_483_648.0
    }
}

impl AirSample for f32 {
    fn from_air(sample: f32) -> Self {
        sample
    }

    fn to_air(self) -> f32 {
        self
    }
}

/// Hands a microphone's period to `serve`, the same signal on all channels, `guard` told around it.
pub(crate) fn deliver<S: AirSample>(
    buffer: &mut Vec<S>,
    mic: &[f32],
    channels: usize,
    guard: fn(bool),
    serve: impl FnOnce(&[S]) -> u32,
) {
    buffer.clear();
    buffer.extend(mic.iter().flat_map(|&s| std::iter::repeat_n(S::from_air(s), channels)));
    guard(true);
    serve(buffer);
    guard(false);
}

/// Has `serve` fill a period and plays the mean of its channels, `guard` told around it.
pub(crate) fn collect<S: AirSample>(
    buffer: &mut Vec<S>,
    played: &mut [f32],
    channels: usize,
    guard: fn(bool),
    serve: impl FnOnce(&mut [S]) -> u32,
) {
    buffer.clear();
    buffer.resize(played.len() * channels, S::SILENCE);
    guard(true);
    serve(buffer);
    guard(false);
    mean(buffer, channels, played);
}

/// Plays the mean of a period's channels.
pub(crate) fn mean<S: AirSample>(period: &[S], channels: usize, played: &mut [f32]) {
    for (sample, frame) in played.iter_mut().zip(period.chunks_exact(channels)) {
        *sample = frame.iter().map(|&s| s.to_air()).sum::<f32>() / channels as f32;
    }
}
