//! What a resampler promises: figures for each quality, every sample once, and no clicks.

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

/// The whole of `input` through `resampler` and its tail, in pushes and outputs of `pieces` samples.
fn all_of<const MEMORY: usize, S: ResamplerSample>(
    resampler: &mut Resampler<MEMORY>,
    input: &[S],
    mut pieces: impl FnMut() -> (usize, usize),
) -> Vec<S> {
    let zero = S::narrow(0.0).0;
    let (mut heard, mut at) = (Vec::new(), 0);
    while at < input.len() {
        let (push, room) = pieces();
        let mut output = vec![zero; room];
        let progress = resampler.push(&input[at..input.len().min(at + push)], &mut output);
        at += progress.consumed;
        heard.extend_from_slice(&output[..progress.produced]);
    }
    loop {
        let mut output = vec![zero; pieces().1.max(8)];
        let produced = resampler.flush(&mut output);
        if produced == 0 {
            return heard;
        }
        heard.extend_from_slice(&output[..produced]);
    }
}
