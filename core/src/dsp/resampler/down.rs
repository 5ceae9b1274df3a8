//! Worker or application side: each input sample spread over the outputs around it.
//!
//! With the rows of the other direction, read as what one input adds to `taps` outputs, the kernel
//! is as wide as the lower rate asks, whatever the ratio. What falls between two outputs is collected
//! first: each sum then takes `taps` roundings at any ratio.

use super::{Progress, Quality, Resampler, ResamplerSample};
use crate::dsp::products::{accumulate, add, add_sum};

/// Inputs that are spread at once; at higher ratios they are collected one by one.
const MOST_TOGETHER: usize = 4;

impl<const MEMORY: usize> Resampler<MEMORY> {
    pub(super) fn push_down<S: ResamplerSample>(
        &mut self,
        quality: &'static Quality,
        input: &[S],
        output: &mut [S],
    ) -> Progress {
        let mut progress = Progress::default();
        loop {
            progress.produced += self.give(quality, &mut output[progress.produced..]);
            let rest = &input[progress.consumed..];
            if self.due > 0 || rest.is_empty() {
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
            // What was collected lies ahead of sums that may still wait for room.
            self.settle(quality);
            self.due += quality.centre() + usize::from(!self.phase.is_whole());
            self.tail = Some(0);
        }
        self.give(quality, output)
    }

    /// Adds what was collected between two outputs to the sums.
    fn settle(&mut self, quality: &Quality) {
        if !core::mem::take(&mut self.collected) {
            return;
        }
        let (channels, taps) = (self.channels, quality.taps());
        let (sums, rest) = self.memory.split_at_mut(2 * channels * taps);
        for (sums, partial) in sums.chunks_exact_mut(2 * taps).zip(rest.chunks_exact(taps)) {
            add(&mut sums[self.start..self.start + taps], partial);
        }
    }

    /// Writes sums that are complete; none is left due unless the output is full.
    fn give<S: ResamplerSample>(&mut self, quality: &Quality, output: &mut [S]) -> usize {
        let (channels, taps) = (self.channels, quality.taps());
        let mut frames = output.chunks_exact_mut(channels);
        let mut produced = 0;
        while self.due > 0 {
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
            self.due -= 1;
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

    /// Spreads the inputs up to the next output, or one; returns how many samples that was.
    fn spread<S: ResamplerSample>(&mut self, quality: &'static Quality, input: &[S]) -> usize {
        let channels = self.channels;
        let steps = if self.collected { 1 } else { self.phase.steps_to_next(MOST_TOGETHER + 1) };
        let taken = steps * channels <= input.len()
            && match steps {
                1 => self.spread_together::<1, S>(quality, input),
                2 => self.spread_together::<2, S>(quality, input),
                3 => self.spread_together::<3, S>(quality, input),
                MOST_TOGETHER => self.spread_together::<MOST_TOGETHER, S>(quality, input),
                _ => false,
            };
        if taken {
            return steps * channels;
        }
        self.spread_one(quality, input);
        channels
    }

    /// Spreads all inputs between two outputs at once, which spares memory the sums between them;
    /// `false` where their rows are not at hand. The same bits as one after the other.
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
        let mut due = 0;
        for row in &mut rows {
            let Some(exact) = self.rows.exact(phase.exact(), quality, prepared) else { return false };
            *row = exact;
            due = phase.advance();
        }
        let scale = phase.step() as f32;
        for (channel, sums) in sums.chunks_exact_mut(2 * taps).enumerate() {
            let scales = core::array::from_fn(|step| input[step * channels + channel].widen() * scale);
            add_sum(&mut sums[self.start..self.start + taps], rows, scales);
        }
        (self.phase, self.due) = (phase, due);
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
        self.due = self.phase.advance();
        if self.due > 0 {
            self.settle(quality);
        }
    }
}
