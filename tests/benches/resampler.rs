//! Benchmark: time to resample 10 ms of mono f32, compared with rubato's sinc resampler with the same number of taps and
//! with its FFT resampler.
//!
//! Run with `cargo bench -p handsfree-tests --bench resampler`; a filter such as `-- '44100 to 48000'` selects a part.

use std::hint::black_box;

use audioadapter_buffers::direct::InterleavedSlice;
use criterion::{Criterion, criterion_group, criterion_main};
use handsfree_core::dsp::{FrameConverter, Quality, Resampler, ResamplerConfig};
use handsfree_core::{Format, Frame, SampleRate};
use rubato::{
    Async, Fft, FixedAsync, FixedSync, SincInterpolationParameters, SincInterpolationType, WindowFunction,
};

/// Memory for the filter rows from 44.1 to 48 kHz at the highest quality, in samples.
const MEMORY: usize = Quality::VERY_HIGH.fast_memory(48_000, 44_100, 1);

/// For each of our qualities: a rubato window with at least the same rejection, and the cheapest interpolation and
/// oversampling that preserve it.
const PEERS: [(WindowFunction, SincInterpolationType, usize); 5] = [
    (WindowFunction::Hann, SincInterpolationType::Linear, 32),
    (WindowFunction::Blackman, SincInterpolationType::Cubic, 32),
    (WindowFunction::BlackmanHarris, SincInterpolationType::Cubic, 64),
    (WindowFunction::BlackmanHarris2, SincInterpolationType::Cubic, 128),
    (WindowFunction::BlackmanHarris2, SincInterpolationType::Cubic, 256),
];

fn ours(criterion: &mut Criterion, from_hz: u32, to_hz: u32, quality: &'static Quality, ppm: Option<f64>) {
    let mut resampler = Box::new(Resampler::<MEMORY>::new());
    let config = ResamplerConfig { from_hz, to_hz, channels: 1, quality, steerable: ppm.is_some() };
    resampler.configure(config).expect("a valid configuration");
    resampler.steer(ppm.unwrap_or(0.0));
    let steered = if ppm.is_some() { ", steered" } else { "" };
    let input = tone(from_hz);
    let mut output = vec![0.0; to_hz as usize / 50];
    criterion.bench_function(
        &format!("{from_hz} to {to_hz}: ours, {}{steered}", quality.name()),
        |bencher| {
            bencher.iter(|| resampler.push(black_box(&input), &mut output));
        },
    );
}

fn theirs(criterion: &mut Criterion, name: &str, from_hz: u32, mut resampler: impl rubato::Resampler<f32>) {
    let input = tone(from_hz);
    let frames = resampler.output_frames_max();
    let mut output = vec![0.0; frames];
    criterion.bench_function(name, |bencher| {
        bencher.iter(|| {
            let input = InterleavedSlice::new(black_box(&input), 1, input.len()).expect("one channel");
            let mut output = InterleavedSlice::new_mut(&mut output, 1, frames).expect("one channel");
            resampler.process_into_buffer(&input, &mut output, None).expect("10 ms")
        });
    });
}

fn tone(rate_hz: u32) -> Vec<f32> {
    (0..rate_hz / 100).map(|n| (n as f32 * 0.1).sin() * 0.5).collect()
}

fn resamplers(criterion: &mut Criterion) {
    for (from_hz, to_hz) in [(48_000, 16_000), (16_000, 48_000), (44_100, 48_000), (48_000, 44_100)] {
        let frames = from_hz as usize / 100;
        for (quality, (window, interpolation, oversampling)) in Quality::ALL.into_iter().zip(PEERS) {
            ours(criterion, from_hz, to_hz, quality, None);
            ours(criterion, from_hz, to_hz, quality, Some(100.0));
            let taps = quality.taps();
            let parameters = SincInterpolationParameters::new(taps, window)
                .interpolation(interpolation)
                .oversampling_factor(oversampling);
            let ratio = f64::from(to_hz) / f64::from(from_hz);
            let sinc = Async::new_sinc(ratio, 1.02, &parameters, frames, 1, FixedAsync::Input);
            let name = format!("{from_hz} to {to_hz}: rubato, {taps} taps");
            theirs(criterion, &name, from_hz, sinc.expect("a valid configuration"));
        }
        let fft = Fft::new(from_hz as usize, to_hz as usize, frames, 1, FixedSync::Input);
        let name = format!("{from_hz} to {to_hz}: rubato, FFT");
        theirs(criterion, &name, from_hz, fft.expect("a valid configuration"));
    }
}

/// Measures the converter of the pipelines, which turns 10 ms of 16-bit samples into 10 ms.
fn frame_converters(criterion: &mut Criterion) {
    for (from_hz, to_hz) in
        [(48_000, 16_000), (16_000, 48_000), (44_100, 48_000), (48_000, 44_100), (96_000, 8_000)]
    {
        let mut input = Frame::<960>::silence(Format::new(from_hz, 1).expect("a rate")).expect("10 ms");
        let mut output = input.clone();
        for (sample, tone) in input.samples_mut().iter_mut().zip(tone(from_hz)) {
            *sample = (tone * 32_768.0) as i16;
        }
        let to = SampleRate::new(to_hz).expect("a rate");
        let mut converter = FrameConverter::<960>::new();
        criterion.bench_function(&format!("{from_hz} to {to_hz}: frame converter"), |bencher| {
            bencher.iter(|| converter.convert(black_box(&input), to, &mut output));
        });
    }
}

criterion_group!(benches, resamplers, frame_converters);
criterion_main!(benches);
