//! Worker side: keeps the samples played last, indexed by the loudspeaker's own clock.

use crate::frame::copy;

/// The last stretch of a signal in a ring of fixed memory. Samples outside of it read as silence.
#[derive(Debug)]
pub(crate) struct History<'a> {
    samples: &'a mut [i16],
    channels: usize,
    /// Number of sample frames in the ring.
    capacity: i64,
    /// Index after the newest sample frame.
    end: i64,
    /// Offset of `end` in the ring, in sample frames. Kept so that no index has to be divided, which costs a
    /// small processor as much as a row of samples.
    end_offset: i32,
}

/// A number type that a history is read as.
pub(crate) trait HistorySample: Copy + Default + From<i16> {
    /// Converts as many samples as both slices have.
    fn copy(from: &[i16], to: &mut [Self]) {
        to.iter_mut().zip(from).for_each(|(to, &sample)| *to = Self::from(sample));
    }
}

impl HistorySample for f32 {}

impl HistorySample for i16 {
    fn copy(from: &[i16], to: &mut [Self]) {
        copy(from, to);
    }
}

impl<'a> History<'a> {
    pub(crate) fn new(samples: &'a mut [i16], channels: usize) -> Self {
        samples.fill(0);
        let channels = channels.max(1);
        let capacity = (samples.len() / channels).min(i32::MAX as usize / 4) as i64;
        Self { samples, channels, capacity, end: 0, end_offset: 0 }
    }

    /// Returns the number of sample frames that are kept.
    pub(crate) const fn capacity(&self) -> i64 {
        self.capacity
    }

    pub(crate) const fn end(&self) -> i64 {
        self.end
    }

    /// Appends interleaved samples.
    pub(crate) fn write(&mut self, samples: &[i16]) {
        let mut start = self.start_of(self.end);
        self.advance((samples.len() / self.channels.max(1)) as i64);
        let mut rest = samples;
        while !rest.is_empty() {
            let taken = copy(rest, self.ring_mut().get_mut(start..).unwrap_or(&mut []));
            if taken == 0 {
                break;
            }
            rest = rest.get(taken..).unwrap_or(&[]);
            start = 0;
        }
    }

    /// Moves the samples from index `from` on by `by` sample frames: later, with silence in the gap, or
    /// earlier, over the samples before. Costs a copy of the samples moved.
    #[cold]
    #[inline(never)]
    pub(crate) fn shift(&mut self, from: i64, by: i64) {
        let from = from.clamp(self.oldest().min(self.end), self.end);
        if by.saturating_abs() >= self.capacity {
            self.samples.fill(0);
            self.end += by;
            return;
        }
        // One sample at a time, because source and target may overlap and wrap.
        for step in 0..self.end - from {
            let index = if by > 0 { self.end - 1 - step } else { from + step };
            for channel in 0..self.channels {
                let sample = self.sample(index, channel).map_or(0, |sample| *sample);
                self.put(index + by, channel, sample);
            }
        }
        for index in from..(from + by).min(self.end + by) {
            for channel in 0..self.channels {
                self.put(index, channel, 0);
            }
        }
        self.advance(by);
    }

    /// Copies sample frames from index `from` on.
    pub(crate) fn copy_to(&self, from: i64, out: &mut [i16]) {
        let channels = self.channels.max(1);
        let (unknown, first, second) = self.known(from, out.len() / channels);
        out.fill(0);
        let out = out.get_mut(unknown * channels..).unwrap_or(&mut []);
        let (now, later) = out.split_at_mut_checked(first.len()).unwrap_or((&mut [], &mut []));
        copy(first, now);
        copy(second, later);
    }

    /// Converts one channel from index `from` on.
    #[inline(never)]
    pub(crate) fn load<T: HistorySample>(&self, from: i64, channel: usize, out: &mut [T]) {
        let (unknown, first, second) = self.known(from, out.len());
        out.fill(T::default());
        let out = out.get_mut(unknown..).unwrap_or(&mut []);
        let straight = first.len() / self.channels.max(1);
        let (now, later) = out.split_at_mut_checked(straight).unwrap_or((&mut [], &mut []));
        self.load_channel(first, channel, now);
        self.load_channel(second, channel, later);
    }

    #[inline(never)]
    fn load_channel<T: HistorySample>(&self, from: &[i16], channel: usize, to: &mut [T]) {
        if self.channels == 1 {
            return T::copy(from, to);
        }
        let mut at = channel;
        for to in to {
            *to = T::from(from.get(at).copied().unwrap_or(0));
            at += self.channels;
        }
    }

    /// Returns the known part of `count` sample frames from index `from` on: the number of unknown ones
    /// before it, and its samples in two slices.
    #[inline(never)]
    fn known(&self, from: i64, count: usize) -> (usize, &[i16], &[i16]) {
        let begin = from.max(self.oldest());
        let end = from.saturating_add(count as i64).min(self.end);
        let Ok(known) = usize::try_from(end - begin) else { return (count, &[], &[]) };
        let len = known * self.channels;
        let straight = self.ring().get(self.start_of(begin)..).unwrap_or(&[]);
        let first = straight.get(..len).unwrap_or(straight);
        let second = self.ring().get(..len.saturating_sub(first.len())).unwrap_or(&[]);
        ((begin - from) as usize, first, second)
    }

    fn oldest(&self) -> i64 {
        self.end - self.capacity
    }

    /// Returns the memory without an incomplete sample frame at its end.
    fn ring(&self) -> &[i16] {
        self.samples.get(..self.capacity as usize * self.channels).unwrap_or(&[])
    }

    fn ring_mut(&mut self) -> &mut [i16] {
        self.samples.get_mut(..self.capacity as usize * self.channels).unwrap_or(&mut [])
    }

    fn advance(&mut self, by: i64) {
        self.end_offset = self.offset_of(self.end + by);
        self.end += by;
    }

    /// Returns the ring offset of an index at most three capacities from the end.
    #[inline(never)]
    fn offset_of(&self, index: i64) -> i32 {
        let offset = self.end_offset.wrapping_add((index - self.end) as i32);
        offset.checked_rem_euclid(self.capacity as i32).unwrap_or(0)
    }

    fn start_of(&self, index: i64) -> usize {
        self.offset_of(index) as usize * self.channels
    }

    #[inline(never)]
    fn sample(&mut self, index: i64, channel: usize) -> Option<&mut i16> {
        let start = self.start_of(index);
        self.samples.get_mut(start + channel)
    }

    fn put(&mut self, index: i64, channel: usize, sample: i16) {
        if let Some(stored) = self.sample(index, channel) {
            *stored = sample;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(history: &History<'_>, from: i64, count: usize) -> Vec<i16> {
        let mut out = vec![99; count];
        history.copy_to(from, &mut out);
        out
    }

    #[test]
    fn keeps_the_last_stretch_and_reads_the_rest_as_silence() {
        let mut memory = [7; 8];
        let mut history = History::new(&mut memory, 1);
        history.write(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(read(&history, 0, 12), [0, 0, 3, 4, 5, 6, 7, 8, 9, 10, 0, 0]);
        assert_eq!(read(&history, -3, 2), [0, 0]);
    }

    #[test]
    fn shifts_later_with_a_gap_and_earlier_by_overwriting() {
        let mut memory = [0; 8];
        let mut history = History::new(&mut memory, 1);
        history.write(&[1, 2, 3, 4, 5, 6]);
        history.shift(4, 2);
        assert_eq!(read(&history, 0, 8), [1, 2, 3, 4, 0, 0, 5, 6]);
        history.shift(6, -4);
        assert_eq!(history.end(), 4);
        assert_eq!(read(&history, 0, 5), [1, 2, 5, 6, 0]);
        history.shift(4, 100);
        assert_eq!((history.end(), read(&history, 96, 8)), (104, vec![0; 8]));
    }

    #[test]
    fn channels_stay_apart_across_the_end_of_the_ring() {
        let mut memory = [0; 400];
        let mut history = History::new(&mut memory, 2);
        history.write(&core::array::from_fn::<i16, 600, _>(|i| if i % 2 == 0 { 1_000 } else { -500 }));
        for from in [105, 150, 199, 280] {
            let mut out = [0.0; 20];
            history.load(from, 0, &mut out);
            assert_eq!(out, [1_000.0; 20]);
            history.load(from, 1, &mut out);
            assert_eq!(out, [-500.0; 20]);
        }
        let mut out = [7.0; 4];
        history.load(298, 1, &mut out);
        assert_eq!(out, [-500.0, -500.0, 0.0, 0.0]);
    }
}
