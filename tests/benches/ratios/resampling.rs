//! The resampler compared with rubato's of as many taps, and the frame converter with rubato's that works in blocks.

use std::hint::black_box;

use audioadapter_buffers::direct::InterleavedSlice;
use handsfree_core::dsp::{FrameConverter, Quality, Resampler, ResamplerConfig};
use handsfree_core::{Format, Frame, SampleRate};
use rubato::{
    Async, Fft, FixedAsync, FixedSync, SincInterpolationParameters, SincInterpolationType, WindowFunction,
};

use crate::measure::{Comparison, Side, repeated};

const ROUND: usize = 100;
const MEMORY: usize = Quality::MEDIUM.fast_memory(48_000, 44_100, 1);

fn tone(hz: u32) -> Vec<f32> {
    (0..hz / 100).map(|n| (n as f32 * 0.1).sin() * 0.5).collect()
}

fn ours(from_hz: u32, to_hz: u32) -> Side {
    let mut resampler = Box::new(Resampler::<MEMORY>::new());
    let config = ResamplerConfig { from_hz, to_hz, channels: 1, quality: Quality::MEDIUM, steerable: false };
    resampler.configure(config).expect("a valid configuration");
    let (input, mut output) = (tone(from_hz), vec![0.0; to_hz as usize / 50]);
    repeated(ROUND, move || {
        resampler.push(black_box(&input), black_box(&mut output));
    })
}

/// Rejects at least as much as our quality of as many taps, with the cheapest interpolation that keeps that.
fn sinc(from_hz: u32, to_hz: u32) -> Side {
    let parameters = SincInterpolationParameters::new(Quality::MEDIUM.taps(), WindowFunction::BlackmanHarris)
        .interpolation(SincInterpolationType::Cubic)
        .oversampling_factor(64);
    let ratio = f64::from(to_hz) / f64::from(from_hz);
    let frames = from_hz as usize / 100;
    peer(
        from_hz,
        Async::new_sinc(ratio, 1.02, &parameters, frames, 1, FixedAsync::Input)
            .expect("a valid configuration"),
    )
}

fn blocks(from_hz: u32, to_hz: u32) -> Side {
    let frames = from_hz as usize / 100;
    peer(
        from_hz,
        Fft::new(from_hz as usize, to_hz as usize, frames, 1, FixedSync::Input)
            .expect("a valid configuration"),
    )
}

fn peer(from_hz: u32, mut resampler: impl rubato::Resampler<f32> + 'static) -> Side {
    let input = tone(from_hz);
    let frames = resampler.output_frames_max();
    let mut output = vec![0.0; frames];
    repeated(ROUND, move || {
        let input = InterleavedSlice::new(black_box(&input), 1, input.len()).expect("one channel");
        let mut output = InterleavedSlice::new_mut(&mut output, 1, frames).expect("one channel");
        resampler.process_into_buffer(&input, &mut output, None).expect("10 ms");
    })
}

fn frames(from_hz: u32, to_hz: u32) -> Side {
    let mut input = Frame::<960>::silence(Format::new(from_hz, 1).expect("a rate")).expect("10 ms");
    let mut output = input.clone();
    for (sample, tone) in input.samples_mut().iter_mut().zip(tone(from_hz)) {
        *sample = (tone * 32_768.0) as i16;
    }
    let to = SampleRate::new(to_hz).expect("a rate");
    let mut converter = FrameConverter::<960>::new();
    repeated(ROUND, move || converter.convert(black_box(&input), to, black_box(&mut output)))
}

pub(crate) fn comparisons() -> Vec<Comparison> {
    let mut comparisons = Vec::new();
    for (from_hz, to_hz) in
        [(44_100, 48_000), (48_000, 44_100), (48_000, 16_000), (16_000, 48_000), (24_000, 48_000)]
    {
        let rates = format!("{from_hz} to {to_hz} Hz");
        comparisons.push(Comparison::new(
            format!("resampler, medium, {rates}"),
            "rubato's sinc resampler of 96 taps",
            Some(1.0),
            move || ours(from_hz, to_hz),
            move || sinc(from_hz, to_hz),
        ));
        comparisons.push(Comparison::new(
            format!("frame converter, {rates}"),
            "rubato's FFT resampler, in blocks of 10 ms",
            None,
            move || frames(from_hz, to_hz),
            move || blocks(from_hz, to_hz),
        ));
    }
    comparisons
}
