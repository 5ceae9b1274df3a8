//! Worker side: what was played lately, by index on the loudspeaker's own clock.

/// The last stretch of a signal in a ring of fixed memory; what is not known is silence.
#[derive(Debug)]
pub(crate) struct History<'a> {
    samples: &'a mut [i16],
    channels: usize,
    capacity: i64,
    /// Index behind the newest sample frame.
    end: i64,
}

impl<'a> History<'a> {
    pub(crate) fn new(samples: &'a mut [i16], channels: usize) -> Self {
        samples.fill(0);
        let channels = channels.max(1);
        let capacity = (samples.len() / channels) as i64;
        Self { samples, channels, capacity, end: 0 }
    }

    pub(crate) const fn end(&self) -> i64 {
        self.end
    }

    /// Forgets everything and goes on at `end`.
    pub(crate) fn clear(&mut self, end: i64) {
        self.samples.fill(0);
        self.end = end;
    }

    /// Adds interleaved samples at the end.
    pub(crate) fn write(&mut self, samples: &[i16]) {
        for frame in samples.chunks_exact(self.channels) {
            let end = self.end;
            self.place(end).copy_from_slice(frame);
            self.end += 1;
        }
    }

    /// Moves what was written from index `from` on by `by` sample frames: later, with silence in the
    /// gap, or earlier, over what was there. Costs a copy of what is moved.
    pub(crate) fn shift(&mut self, from: i64, by: i64) {
        let from = from.clamp(self.oldest(), self.end);
        if by.abs() >= self.capacity {
            return self.clear(self.end + by);
        }
        if by > 0 {
            for index in (from..self.end).rev() {
                self.copy(index, index + by);
            }
            for index in from..(from + by).min(self.end + by) {
                self.place(index).fill(0);
            }
        } else {
            for index in from..self.end {
                self.copy(index, index + by);
            }
        }
        self.end += by;
    }

    /// Copies sample frames from index `from` on.
    pub(crate) fn copy_to(&self, from: i64, out: &mut [i16]) {
        for (offset, frame) in out.chunks_exact_mut(self.channels).enumerate() {
            match self.known(from + offset as i64) {
                Some(samples) => frame.copy_from_slice(samples),
                None => frame.fill(0),
            }
        }
    }

    /// Copies one channel from index `from` on, for arithmetic.
    pub(crate) fn load(&self, from: i64, channel: usize, out: &mut [f32]) {
        let start = self.start_of(from) + channel;
        let inside = from >= self.oldest() && from + out.len() as i64 <= self.end;
        let straight = self.samples.get(start..).unwrap_or(&[]);
        if inside && straight.len() > (out.len().max(1) - 1) * self.channels {
            for (to, &sample) in out.iter_mut().zip(straight.iter().step_by(self.channels)) {
                *to = f32::from(sample);
            }
            return;
        }
        for (offset, to) in out.iter_mut().enumerate() {
            let samples = self.known(from + offset as i64).unwrap_or(&[]);
            *to = samples.get(channel).copied().map_or(0.0, f32::from);
        }
    }

    fn oldest(&self) -> i64 {
        self.end - self.capacity
    }

    fn known(&self, index: i64) -> Option<&[i16]> {
        if index < self.oldest() || index >= self.end {
            return None;
        }
        let start = self.start_of(index);
        self.samples.get(start..start + self.channels)
    }

    fn start_of(&self, index: i64) -> usize {
        index.rem_euclid(self.capacity.max(1)) as usize * self.channels
    }

    fn place(&mut self, index: i64) -> &mut [i16] {
        let start = self.start_of(index);
        let end = start + self.channels;
        self.samples.get_mut(start..end).unwrap_or(&mut [])
    }

    fn copy(&mut self, from: i64, to: i64) {
        let (from, to) = (self.start_of(from), self.start_of(to));
        if from + self.channels <= self.samples.len() && to + self.channels <= self.samples.len() {
            self.samples.copy_within(from..from + self.channels, to);
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
    fn it_keeps_the_last_stretch_and_calls_the_rest_silence() {
        let mut memory = [7; 8];
        let mut history = History::new(&mut memory, 1);
        history.write(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(read(&history, 0, 12), [0, 0, 3, 4, 5, 6, 7, 8, 9, 10, 0, 0]);
        assert_eq!(read(&history, -3, 2), [0, 0]);
    }

    #[test]
    fn a_longer_latency_leaves_a_gap_and_a_shorter_one_overwrites() {
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
    fn channels_stay_apart_across_the_ring_s_end() {
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
