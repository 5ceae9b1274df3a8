//! Tests what a resampler promises: the figures of each quality, every sample exactly once, and no clicks.

use super::*;

mod figures;
mod streams;

fn configured<const MEMORY: usize>(config: ResamplerConfig) -> Box<Resampler<MEMORY>> {
    let mut resampler = Box::new(Resampler::new());
    resampler.configure(config).unwrap();
    resampler
}

fn mono(from_hz: u32, to_hz: u32, quality: &'static Quality) -> ResamplerConfig {
    ResamplerConfig { from_hz, to_hz, channels: 1, quality, steerable: false }
}

/// Converts all of `input` and flushes, in pushes and outputs of the lengths that `pieces` returns.
fn all_of<const MEMORY: usize, S: ResamplerSample>(
    resampler: &mut Resampler<MEMORY>,
    input: &[S],
    mut pieces: impl FnMut() -> (usize, usize),
) -> Vec<S> {
    let zero = S::narrow(0.0).0;
    let (mut converted, mut at) = (Vec::new(), 0);
    while at < input.len() {
        let (push, free) = pieces();
        let mut output = vec![zero; free];
        let progress = resampler.push(&input[at..input.len().min(at + push)], &mut output);
        at += progress.consumed;
        converted.extend_from_slice(&output[..progress.produced]);
    }
    loop {
        let mut output = vec![zero; pieces().1.max(8)];
        let produced = resampler.flush(&mut output);
        if produced == 0 {
            return converted;
        }
        converted.extend_from_slice(&output[..produced]);
    }
}
