//! Worker or application side: conversion to a lower rate, where each input is added to the outputs around it.
//!
//! A row of the kernel holds the contributions of one input to `taps` outputs, so the kernel has the width
//! that the lower rate requires at any ratio. Inputs between two outputs are collected first, so that each
//! sum takes `taps` roundings at any ratio.

use super::{Progress, Quality, Resampler, ResamplerSample};
use crate::dsp::products::{accumulate, add, add_sum};

/// Largest number of inputs that are added at once. At higher ratios they are collected one by one.
const MAX_TOGETHER: usize = 4;

impl<const MEMORY: usize> Resampler<MEMORY> {
    pub(super) fn push_down<S: ResamplerSample>(
        &mut self,
        quality: &'static Quality,
        input: &[S],
        output: &mut [S],
    ) -> Progress {
        let mut progress = Progress::default();
        loop {
            progress.produced += self.write_complete(quality, &mut output[progress.produced..]);
            let rest = &input[progress.consumed..];
            if self.complete > 0 || rest.is_empty() {
                return progress;
            }
            progress.consumed += self.spread(quality, rest);
        }
    }

    pub(super) fn flush_down<S: ResamplerSample>(
        &mut self,
        quality: &'static Quality,
        output: &mut [S],
    ) -> usize {
        if self.tail.is_none() {
            // The inputs collected belong to sums after those that still wait for space in the output.
            self.add_collected(quality);
            self.complete += quality.centre() + usize::from(!self.phase.is_whole());
            self.tail = Some(0);
        }
        self.write_complete(quality, output)
    }

    /// Adds the inputs collected between two outputs to the sums.
    fn add_collected(&mut self, quality: &Quality) {
        if !core::mem::take(&mut self.collected) {
            return;
        }
        let (channels, taps) = (self.channels, quality.taps());
        let (sums, rest) = self.memory.split_at_mut(2 * channels * taps);
        for (sums, partial) in sums.chunks_exact_mut(2 * taps).zip(rest.chunks_exact(taps)) {
            add(&mut sums[self.start..self.start + taps], partial);
        }
    }

    /// Writes complete sums to the output. None remains unless the output is full.
    fn write_complete<S: ResamplerSample>(&mut self, quality: &Quality, output: &mut [S]) -> usize {
        let (channels, taps) = (self.channels, quality.taps());
        let mut frames = output.chunks_exact_mut(channels);
        let mut produced = 0;
        while self.complete > 0 {
            if self.early > 0 {
                self.early -= 1;
            } else {
                let Some(frame) = frames.next() else { break };
                for (sample, sums) in frame.iter_mut().zip(self.memory.chunks_exact(2 * taps)) {
                    let (narrow, clipped) = S::narrow(sums[self.start]);
                    *sample = narrow;
                    self.clipped = self.clipped.saturating_add(u32::from(clipped));
                }
                produced += channels;
            }
            self.complete -= 1;
            self.start += 1;
            if self.start == taps {
                for sums in self.memory.chunks_exact_mut(2 * taps).take(channels) {
                    sums.copy_within(taps.., 0);
                    sums[taps..].fill(0.0);
                }
                self.start = 0;
            }
        }
        produced
    }

    /// Adds the inputs up to the next output, or one input. Returns the number of samples added, all channels.
    fn spread<S: ResamplerSample>(&mut self, quality: &'static Quality, input: &[S]) -> usize {
        let channels = self.channels;
        let steps = if self.collected { 1 } else { self.phase.steps_to_next(MAX_TOGETHER + 1) };
        let taken = steps * channels <= input.len()
            && match steps {
                1 => self.spread_together::<1, S>(quality, input),
                2 => self.spread_together::<2, S>(quality, input),
                3 => self.spread_together::<3, S>(quality, input),
                MAX_TOGETHER => self.spread_together::<MAX_TOGETHER, S>(quality, input),
                _ => false,
            };
        if taken {
            return steps * channels;
        }
        self.spread_one(quality, input);
        channels
    }

    /// Adds all inputs between two outputs at once, which avoids storing intermediate sums. Returns false
    /// where the rows are not at hand. The result has the same bits as adding one after the other.
    #[inline]
    fn spread_together<const STEPS: usize, S: ResamplerSample>(
        &mut self,
        quality: &'static Quality,
        input: &[S],
    ) -> bool {
        let (channels, taps) = (self.channels, quality.taps());
        if self.collected {
            return false;
        }
        let (sums, rest) = self.memory.split_at_mut(2 * channels * taps);
        let prepared = &rest[(channels + 1) * taps..];
        let mut rows: [&[f32]; STEPS] = [&[]; STEPS];
        let mut phase = self.phase;
        let mut complete = 0;
        for row in &mut rows {
            let Some(exact) = self.rows.exact(phase.exact(), quality, prepared) else { return false };
            *row = exact;
            complete = phase.advance();
        }
        let scale = phase.step() as f32;
        for (channel, sums) in sums.chunks_exact_mut(2 * taps).enumerate() {
            let scales = core::array::from_fn(|step| input[step * channels + channel].widen() * scale);
            add_sum(&mut sums[self.start..self.start + taps], rows, scales);
        }
        (self.phase, self.complete) = (phase, complete);
        true
    }

    fn spread_one<S: ResamplerSample>(&mut self, quality: &'static Quality, input: &[S]) {
        let (channels, taps) = (self.channels, quality.taps());
        let scale = self.phase.step() as f32;
        let (partials, rest) = self.memory[2 * channels * taps..].split_at_mut(channels * taps);
        let (between, prepared) = rest.split_at_mut(taps);
        let row = self.rows.at(&self.phase, quality, between, prepared);
        for (partial, sample) in partials.chunks_exact_mut(taps).zip(input) {
            accumulate(partial, !self.collected, row, sample.widen() * scale);
        }
        self.collected = true;
        self.complete = self.phase.advance();
        if self.complete > 0 {
            self.add_collected(quality);
        }
    }
}
