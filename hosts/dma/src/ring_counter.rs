//! Interrupt side: counts the sample frames that a DMA has moved, beyond the ring's length.

use core::num::{NonZeroU32, NonZeroU64};

use handsfree_core::{Duration, Instant, SampleRate};

/// Least pause of a clock that time and places tell from none, in sample frames: both tell whole ones.
const LEAST_PAUSE: u64 = 2;
/// Longest time that is counted at once, in nanoseconds: an hour.
const LONGEST_NS: i64 = 3_600_000_000_000;

/// Position of a DMA in its stream.
///
/// The DMA tells its place in the ring only. How often it went round since the last look is the number that agrees best with
/// the time that has passed: right as long as the clocks differ by less than half a ring in that time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingCounter {
    rate: SampleRate,
    length: NonZeroU32,
    /// Place in the ring, in sample frames.
    index: u32,
    position: u64,
    /// Position from which on the ring surely holds what the stream had there, as far as it is not overwritten.
    intact_from: u64,
    time: Instant,
    /// Whether the clock stood still since the last look, for less than half a ring.
    has_paused: bool,
}

impl RingCounter {
    pub(crate) const fn new(rate: SampleRate, length: u32) -> Self {
        Self {
            rate,
            length: match NonZeroU32::new(length) {
                Some(length) => length,
                None => NonZeroU32::MIN,
            },
            index: 0,
            position: 0,
            intact_from: 0,
            time: Instant::ORIGIN,
            has_paused: false,
        }
    }

    /// Notes that the clock stands still for a moment before the next look.
    pub(crate) fn expect_pause(&mut self) {
        self.has_paused = true;
    }

    /// Takes the DMA's place in the ring as [`update`](Self::update) does, after a pause if one was expected: what is missing of whole
    /// rounds is its length. Lets the positions of the whole ring go on by it, and returns it.
    pub(crate) fn update_after_pause(&mut self, index: u32, now: Instant) -> u64 {
        let missing = self.passed(now).saturating_sub(self.ahead(index % self.length).into());
        let length = NonZeroU64::from(self.length);
        let paused = missing % length;
        let is_certain = (LEAST_PAUSE..=length.get().saturating_sub(LEAST_PAUSE)).contains(&paused);
        let paused = if core::mem::take(&mut self.has_paused) && is_certain { paused } else { 0 };
        self.position += paused;
        self.intact_from += paused;
        // The rounds are counted from when the clock ran again.
        self.time += Duration::of_sample_frames(paused, self.rate);
        self.update(index, now);
        paused
    }

    /// Begins anew at the begin of the ring. The position goes on by the time that has passed, as the converters do.
    pub(crate) fn restart(&mut self, now: Instant) {
        self.position += self.passed(now);
        self.intact_from = self.position;
        self.index = 0;
        self.time = now;
        self.has_paused = false;
    }

    /// Takes the DMA's place in the ring and returns the position that it has reached. Costs two 64-bit divisions.
    pub(crate) fn update(&mut self, index: u32, now: Instant) -> u64 {
        let index = index % self.length;
        let length = NonZeroU64::from(self.length);
        let ahead = self.ahead(index);
        let missing = self.passed(now).saturating_sub(u64::from(ahead));
        let rounds = (missing + length.get() / 2) / length;
        self.position += u64::from(ahead) + rounds * length.get();
        // Did the DMA go round, or did its clock stand still? In both cases it has moved at least this much.
        if rounds > 0 {
            self.intact_from = self.position - u64::from(ahead);
        }
        self.index = index;
        self.time = now;
        self.position
    }

    /// Returns the position that the DMA has surely reached when it is at this place: without the rounds that only time tells,
    /// because its clock may have stood still.
    pub(crate) fn least(&self, index: u32) -> u64 {
        self.position + u64::from(self.ahead(index % self.length))
    }

    /// Returns how far a place is ahead of the last one.
    fn ahead(&self, index: u32) -> u32 {
        (index + self.length.get() - self.index) % self.length
    }

    pub(crate) const fn position(&self) -> u64 {
        self.position
    }

    /// Returns the first position that the ring still holds.
    pub(crate) fn oldest(&self) -> u64 {
        self.intact_from.max(self.position.saturating_sub(self.length.get().into()))
    }

    /// Returns the place in the ring of a position at most a ring before or behind the DMA.
    pub(crate) fn index_of(&self, position: u64) -> u32 {
        let length = NonZeroU64::from(self.length);
        let offset = if position >= self.position {
            (position - self.position) % length
        } else {
            length.get() - 1 - (self.position - position - 1) % length
        };
        ((u64::from(self.index) + offset) % length) as u32
    }

    /// Returns the nearest whole number of sample frames in the time since the last look.
    fn passed(&self, now: Instant) -> u64 {
        let nanos = now.as_nanos().saturating_sub(self.time.as_nanos()).clamp(0, LONGEST_NS) as u64;
        (nanos * u64::from(self.rate.hz()) + 500_000_000) / 1_000_000_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn rounds_that_nobody_saw_are_counted_by_time() {
        let mut counter = RingCounter::new(SampleRate::new(16_000).unwrap(), 320);
        counter.restart(at(5));
        assert_eq!(counter.position(), 80, "the converters ran before");
        assert_eq!(counter.update(160, at(15)), 80 + 160);
        // 75 ms are 1,200 sample frames: three rounds and 240.
        assert_eq!(counter.update(80, at(90)), 80 + 1_360);
        assert_eq!(counter.oldest(), 80 + 1_360 - 240, "the rest may be older");
        // A clock that is 3 % slow: 970 of 1,000.
        assert_eq!(counter.update((80 + 970) % 320, at(153)), 80 + 2_330);
        assert_eq!(counter.index_of(80 + 2_330), (80 + 970) % 320);
        assert_eq!(counter.index_of(80 + 2_330 - 1), (80 + 969) % 320);
        assert_eq!(counter.index_of(80 + 2_330 + 319), (80 + 969) % 320);
        // A timer that runs backwards counts as no time.
        assert_eq!(counter.update((80 + 980) % 320, at(1)), 80 + 2_340);
    }

    #[test]
    fn a_pause_is_counted_by_time_if_it_was_expected() {
        let mut counter = RingCounter::new(SampleRate::new(16_000).unwrap(), 320);
        // 10 ms are 160 sample frames, of which the DMA moved 150.
        assert_eq!(counter.update_after_pause(150, at(10)), 0, "none was expected");
        assert_eq!(counter.position(), 150);
        counter.expect_pause();
        assert_eq!(counter.update_after_pause(300, at(20)), 10);
        assert_eq!((counter.position(), counter.index_of(310)), (310, 300));
        // 40 ms are 640 sample frames: a round, a pause of 200, and 120.
        counter.expect_pause();
        assert_eq!(counter.update_after_pause(100, at(60)), 200);
        assert_eq!((counter.position(), counter.index_of(950)), (950, 100));
        assert_eq!(counter.update_after_pause(260, at(70)), 0);
        assert_eq!(counter.position(), 1_110);
    }
}
