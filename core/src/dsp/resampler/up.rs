//! Worker or application side: conversion to a higher rate, where each output is a weighted sum of the inputs
//! around it.

use super::{Progress, Quality, Resampler, ResamplerSample};
use crate::dsp::products::dot;

impl<const MEMORY: usize> Resampler<MEMORY> {
    pub(super) fn push_up<S: ResamplerSample>(
        &mut self,
        quality: &'static Quality,
        input: &[S],
        output: &mut [S],
    ) -> Progress {
        let (channels, capacity) = (self.channels, 2 * quality.taps());
        let mut progress = Progress::default();
        loop {
            let end = self.end;
            progress.produced += self.gather(quality, end, &mut output[progress.produced..]);
            let rest = &input[progress.consumed..];
            if self.start + quality.taps() <= self.end || rest.is_empty() {
                return progress;
            }
            self.free_space(quality);
            let taken = (rest.len() / channels).min(capacity - self.end);
            let histories = self.memory.chunks_exact_mut(capacity).take(channels);
            for (channel, history) in histories.enumerate() {
                let samples = rest.iter().skip(channel).step_by(channels);
                for (known, sample) in history[self.end..self.end + taken].iter_mut().zip(samples) {
                    *known = sample.widen();
                }
            }
            self.end += taken;
            progress.consumed += taken * channels;
        }
    }

    pub(super) fn flush_up<S: ResamplerSample>(
        &mut self,
        quality: &'static Quality,
        output: &mut [S],
    ) -> usize {
        let (channels, capacity) = (self.channels, 2 * quality.taps());
        let mut last = self.tail.unwrap_or(self.end);
        let mut produced = 0;
        loop {
            self.tail = Some(last);
            produced += self.gather(quality, last, &mut output[produced..]);
            let done = self.start + quality.centre() >= last;
            if done || self.start + quality.taps() <= self.end {
                return produced;
            }
            last -= self.free_space(quality);
            for history in self.memory.chunks_exact_mut(capacity).take(channels) {
                history[self.end..].fill(0.0);
            }
            self.end = capacity;
        }
    }

    /// Drops samples that no output needs any more, if the histories are full. Returns the number of sample
    /// frames dropped.
    fn free_space(&mut self, quality: &Quality) -> usize {
        let capacity = 2 * quality.taps();
        if self.end < capacity {
            return 0;
        }
        // A step may be a little longer than a sample and pass the end.
        let dropped = self.start.min(self.end);
        for history in self.memory.chunks_exact_mut(capacity).take(self.channels) {
            history.copy_within(dropped.., 0);
        }
        self.start -= dropped;
        self.end -= dropped;
        dropped
    }

    /// Writes the outputs with a complete window and a position before `last` in the histories.
    fn gather<S: ResamplerSample>(
        &mut self,
        quality: &'static Quality,
        last: usize,
        output: &mut [S],
    ) -> usize {
        let (channels, taps) = (self.channels, quality.taps());
        let capacity = 2 * taps;
        let (histories, rest) = self.memory.split_at_mut(channels * capacity);
        let (between, prepared) = rest.split_at_mut(taps);
        let mut produced = 0;
        for frame in output.chunks_exact_mut(channels) {
            if self.start + taps > self.end || self.start + quality.centre() >= last {
                break;
            }
            let row = self.rows.at(&self.phase, quality, between, prepared);
            for (sample, history) in frame.iter_mut().zip(histories.chunks_exact(capacity)) {
                let (narrow, clipped) = S::narrow(dot(&history[self.start..self.start + taps], row));
                *sample = narrow;
                self.clipped = self.clipped.saturating_add(u32::from(clipped));
            }
            self.start += self.phase.advance();
            produced += channels;
        }
        produced
    }
}
