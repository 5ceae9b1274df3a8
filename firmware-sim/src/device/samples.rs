//! Conversion between acoustic samples (full scale at 1.0) and the sample formats of simulated devices.

use handsfree_core::{DeviceSample, I24};

/// Buffers for one period in each format, allocated outside the interrupts.
#[derive(Debug, Default)]
pub(crate) struct DeviceBuffers {
    pub(crate) i16: Vec<i16>,
    pub(crate) i24: Vec<I24>,
    pub(crate) i32: Vec<i32>,
    pub(crate) f32: Vec<f32>,
}

/// Sample type of a device, convertible to and from an acoustic sample (full scale at 1.0).
pub(crate) trait AcousticSample: DeviceSample {
    fn from_acoustic(sample: f32) -> Self;
    fn to_acoustic(self) -> f32;
}

impl AcousticSample for i16 {
    fn from_acoustic(sample: f32) -> Self {
        (sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16
    }

    fn to_acoustic(self) -> f32 {
        f32::from(self) / 32_768.0
    }
}

impl AcousticSample for I24 {
    fn from_acoustic(sample: f32) -> Self {
        Self((f64::from(sample) * 8_388_608.0).round().clamp(-8_388_608.0, 8_388_607.0) as i32)
    }

    fn to_acoustic(self) -> f32 {
        self.0 as f32 / 8_388_608.0
    }
}

impl AcousticSample for i32 {
    fn from_acoustic(sample: f32) -> Self {
        // The cast saturates.
        (f64::from(sample) * 2_147_483_648.0).round() as Self
    }

    fn to_acoustic(self) -> f32 {
        self as f32 / 2_147_483_648.0
    }
}

impl AcousticSample for f32 {
    fn from_acoustic(sample: f32) -> Self {
        sample
    }

    fn to_acoustic(self) -> f32 {
        self
    }
}

/// Passes a microphone period to `serve`, with the same signal on all channels. Calls `guard(true)` before
/// `serve` and `guard(false)` after it.
pub(crate) fn serve_capture<S: AcousticSample>(
    buffer: &mut Vec<S>,
    mic: &[f32],
    channels: usize,
    guard: fn(bool),
    serve: impl FnOnce(&[S]) -> u32,
) {
    buffer.clear();
    buffer.extend(mic.iter().flat_map(|&s| std::iter::repeat_n(S::from_acoustic(s), channels)));
    guard(true);
    serve(buffer);
    guard(false);
}

/// Lets `serve` fill a period and stores the mean of its channels in `played`. Calls `guard(true)` before
/// `serve` and `guard(false)` after it.
pub(crate) fn serve_playback<S: AcousticSample>(
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
    average_channels(buffer, channels, played);
}

/// Stores the mean of a period's channels in `played`.
pub(crate) fn average_channels<S: AcousticSample>(period: &[S], channels: usize, played: &mut [f32]) {
    for (sample, frame) in played.iter_mut().zip(period.chunks_exact(channels)) {
        *sample = frame.iter().map(|&s| s.to_acoustic()).sum::<f32>() / channels as f32;
    }
}
