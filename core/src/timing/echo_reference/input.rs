//! Worker side: takes the frames played into the history, and their times to the clock.

use super::{EchoReference, ReferenceMemory};
use crate::dsp::FrameConverter;
use crate::frame::{Frame, copy};
use crate::time::{Duration, Instant};
use crate::timing::stream_clock::{Observation, SOUND_SERVER};

/// Longest jump of the times that moves samples within the history. A longer one is a change of the host's
/// clock, such as a computer that slept, and not of the device's latency.
const LONGEST_SHIFT: Duration = Duration::from_millis(10_000);

impl<const CAP: usize> EchoReference<'_, CAP> {
    /// Takes a reference frame. Losses before it become silence, up to one second; longer ones show as a jump
    /// of its times. A jump that is noticed has to be [taken](Self::take_undecided_jump) and applied.
    pub(crate) fn push<const SLOTS: usize>(&mut self, frame: &Frame<CAP, SLOTS>) {
        let format = frame.format();
        if self.memory.block.format() != format {
            self.memory.block.begin(format);
            self.memory.converter.reset();
            self.conversion = FrameConverter::<CAP>::latency_sample_frames(format.rate(), self.rate) as i64;
            self.fresh = true;
        }
        if frame.stamp.fresh && self.memory.block.sample_frames() > 0 {
            // The incomplete block belongs to the previous timeline.
            self.memory.block.extend_silence(usize::MAX);
            self.finish_block();
        }
        // Losses of more than a second begin a new timeline.
        self.fresh |= frame.stamp.fresh || frame.stamp.lost > format.rate_hz();
        let mut silent = (frame.stamp.lost as usize).min(format.rate_hz() as usize);
        while silent > 0 {
            if self.memory.block.sample_frames() == 0 {
                self.block_time = None;
            }
            silent -= self.memory.block.extend_silence(silent).max(1).min(silent);
            self.finish_block();
        }
        // The common case needs no copy.
        let whole = frame.sample_frames() == format.sample_frames() && self.memory.block.sample_frames() == 0;
        if whole && format.rate() == self.rate {
            let begin = self.history.end();
            self.history.write(frame.samples());
            self.learn(begin, frame.stamp.time);
            return;
        }
        let channels = format.channels().max(1);
        let mut rest = frame.samples();
        while !rest.is_empty() {
            if self.memory.block.sample_frames() == 0 {
                let into = (frame.samples().len() - rest.len()) / channels;
                self.block_time =
                    Some(frame.stamp.time + Duration::of_sample_frames(into as u64, format.rate()));
            }
            let free = self.memory.block.extend(rest.len() / channels);
            let taken = copy(rest, free).max(1);
            rest = rest.get(taken..).unwrap_or(&[]);
            self.finish_block();
        }
    }

    /// Moves a whole block into the history and passes its time to the clock.
    #[inline(never)]
    fn finish_block(&mut self) {
        let ReferenceMemory { block, converted, converter } = &mut *self.memory;
        if block.missing() > 0 {
            return;
        }
        let begin = self.history.end();
        if block.format().rate() == self.rate {
            self.history.write(block.samples());
        } else {
            converter.convert(block, self.rate, converted);
            self.history.write(converted.samples());
        }
        block.begin(block.format());
        if let Some(time) = self.block_time.take() {
            self.learn(begin, time);
        }
    }

    /// Passes the time of the samples from index `begin` on to the clock.
    #[inline(never)]
    fn learn(&mut self, begin: i64, time: Instant) {
        if core::mem::take(&mut self.fresh) && self.clock.is_running() {
            self.forget_motion();
            let late = self.clock.restart(begin as u64, time).unwrap_or(Duration::ZERO);
            let shifted = self.shift(begin, late);
            self.clock.observe((begin + shifted) as u64, time);
            self.uncertainty.on_jump(begin + shifted, &self.clock);
            return;
        }
        match self.clock.observe(begin as u64, time) {
            Observation::Taken => self.suspect_from = self.history.end(),
            Observation::Ignored => {}
            Observation::Jumped(by) if SOUND_SERVER => self.undecided_jump.fill(Some(by)),
            Observation::Jumped(by) => self.jump(by),
        }
    }

    /// Returns a jump of the times that was noticed in the last frame. It is either the device's or the host clock's.
    pub(crate) fn take_undecided_jump(&mut self) -> Option<Duration> {
        self.undecided_jump.first_mut()?.take()
    }

    /// Applies a jump of the device's latency.
    pub(crate) fn jump(&mut self, by: Duration) {
        let shifted = self.shift(self.suspect_from, by);
        self.uncertainty.on_jump(self.suspect_from + shifted, &self.clock);
        self.suspect_from = self.history.end();
    }

    /// Applies a jump of the host's clock.
    pub(crate) fn move_with_host(&mut self, by: Duration) {
        self.clock.move_with_host(by);
        self.uncertainty.forget_jump();
        self.suspect_from = self.history.end();
    }

    /// Moves the samples from index `from` on later by `by`, rounded to whole sample frames. Returns that
    /// number. A jump that is too long moves the clock's time instead.
    #[cold]
    #[inline(never)]
    fn shift(&mut self, from: i64, by: Duration) -> i64 {
        let whole = by.nearest_sample_frames(self.rate);
        // The clock's positions cannot be negative.
        if by.abs() > LONGEST_SHIFT || self.history.end() + whole < 0 {
            self.clock.jump(by);
            // Its clock was another one.
            self.uncertainty.forget_jump();
            return 0;
        }
        self.history.shift(from, whole);
        whole
    }
}
