//! Worker side: how many frames the playback ring needs, from how punctual the worker is.

use crate::stats::StatsReader;

/// Number of frames for which the worker must have been punctual before the ring holds fewer: 10 s.
const FIRST_WAIT_FRAMES: u32 = 1_000;
/// Longest such time, after many underruns: 10 min.
const LONGEST_WAIT_FRAMES: u32 = 60_000;

/// Chooses how many frames the playback ring holds, for [`Pipeline::poll_adaptive`](super::Pipeline::poll_adaptive).
///
/// A stream starts with the frames that
/// [`OutletConfig::worker_slack_sample_frames`](super::OutletConfig::worker_slack_sample_frames) asks for. After 10 s without an
/// underrun the ring holds only as many as the interrupt took at most between two polls in that time, so that sound reaches the
/// loudspeaker earlier by the difference: with periods of 10 ms and 10 ms of slack, 10 ms earlier. After an underrun it holds as
/// many as at the start again, and the time without an underrun that the next try needs is twice as long, up to 10 min. A worker
/// that is late by more than a period once in a while therefore costs one hole of sound in 10 min.
///
/// ```
/// use handsfree_core::capture::Bypass;
/// use handsfree_core::playback::AdaptiveFill;
/// use handsfree_core::{SampleRate, Session, SessionFormat};
/// # use embassy_sync::blocking_mutex::raw::NoopRawMutex;
///
/// let mut session: Box<Session<160, 1, 8, 4, 8, 4, 16_000>> = Box::default();
/// let format = SessionFormat { rate: SampleRate::new(16_000)?, near_channels: 1, far_channels: 1 };
/// let mut halves = session.split::<NoopRawMutex, _, _>(format, Bypass, ())?;
/// let mut fill = AdaptiveFill::new(halves.stats);
/// assert_eq!(halves.playback.poll_adaptive(&mut fill, &mut ()), 0, "no stream runs");
/// # Ok::<(), handsfree_core::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct AdaptiveFill<'a> {
    stats: StatsReader<'a>,
    /// Number of frames that the running stream started with; 0 while no stream runs.
    target: usize,
    held: usize,
    /// Number of frames in the ring after the last poll, unless the interrupt took some since.
    expected: usize,
    /// Largest number of frames that the interrupt took between two polls since the choice was made.
    most_taken: usize,
    /// Number of frames that were made since the choice was made.
    frames: u32,
    wait: u32,
    underruns: u32,
}

impl<'a> AdaptiveFill<'a> {
    /// Returns the state for the session whose counters `stats` reads. Underruns are taken from there.
    #[must_use]
    pub const fn new(stats: StatsReader<'a>) -> Self {
        Self {
            stats,
            target: 0,
            held: 0,
            expected: 0,
            most_taken: 0,
            frames: 0,
            wait: FIRST_WAIT_FRAMES,
            underruns: 0,
        }
    }

    /// Returns the number of frames that the ring holds after each poll, 0 while no stream runs.
    #[must_use]
    pub const fn frames(&self) -> usize {
        self.held
    }

    pub(super) const fn most_frames(&self) -> usize {
        self.target
    }

    /// Forgets the stream. The next one starts with its target.
    pub(super) const fn stop(&mut self) {
        self.target = 0;
        self.held = 0;
    }

    /// Returns how many of `target` frames the ring is to hold, which has `fill` frames now.
    pub(super) fn choose(&mut self, fill: usize, target: usize) -> usize {
        let underruns = self.stats.counters.outlet.underruns.get();
        if target != self.target {
            (self.target, self.held, self.expected) = (target, target, fill);
            (self.wait, self.underruns) = (FIRST_WAIT_FRAMES, underruns);
            self.observe_again();
        }
        self.most_taken = self.most_taken.max(self.expected.saturating_sub(fill));
        if underruns != self.underruns {
            self.underruns = underruns;
            if self.held < target {
                self.held = target;
                self.wait = (self.wait * 2).min(LONGEST_WAIT_FRAMES);
            }
            self.observe_again();
        } else if self.frames >= self.wait {
            self.held = self.held.min(self.most_taken.max(1));
            self.observe_again();
        }
        self.expected = fill;
        self.held
    }

    /// Counts the frames that were made after the choice.
    pub(super) fn add(&mut self, made: usize) {
        self.expected += made;
        self.frames = self.frames.saturating_add(made as u32);
    }

    const fn observe_again(&mut self) {
        self.most_taken = 0;
        self.frames = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Counters;

    /// A ring between a worker and an interrupt that takes `frames_per_period` frames every 10 ms times that.
    struct Rig<'a> {
        counters: &'a Counters,
        fill: AdaptiveFill<'a>,
        ring: usize,
        frames_per_period: usize,
        target: usize,
    }

    impl<'a> Rig<'a> {
        fn new(counters: &'a Counters, frames_per_period: usize, target: usize) -> Self {
            let fill = AdaptiveFill::new(StatsReader { counters });
            Self { counters, fill, ring: 0, frames_per_period, target }
        }

        fn poll(&mut self) {
            let held = self.fill.choose(self.ring, self.target);
            assert!((1..=self.target).contains(&held), "{held} of {}", self.target);
            let made = held.saturating_sub(self.ring);
            self.ring += made;
            self.fill.add(made);
        }

        /// Runs the interrupts of this many seconds. The worker polls after each but those that `is_late` names.
        fn run(&mut self, seconds: usize, mut is_late: impl FnMut(usize) -> bool) {
            for period in 0..seconds * 100 / self.frames_per_period {
                if self.ring < self.frames_per_period {
                    self.counters.outlet.underruns.add(1);
                }
                self.ring = self.ring.saturating_sub(self.frames_per_period);
                if !is_late(period) {
                    self.poll();
                }
            }
        }

        fn underruns(&self) -> u32 {
            self.counters.outlet.underruns.get()
        }
    }

    #[test]
    fn a_punctual_worker_needs_one_period_after_ten_seconds() {
        for (frames_per_period, target) in [(1, 2), (1, 5), (2, 3), (10, 11)] {
            let counters = Counters::new();
            let mut rig = Rig::new(&counters, frames_per_period, target);
            rig.poll();
            rig.run(9, |_| false);
            assert_eq!(rig.fill.frames(), target);
            rig.run(60, |_| false);
            assert_eq!((rig.fill.frames(), rig.underruns()), (frames_per_period, 0));
        }
    }

    #[test]
    fn a_worker_that_misses_periods_regularly_keeps_the_frames_for_that() {
        let counters = Counters::new();
        let mut rig = Rig::new(&counters, 1, 4);
        rig.poll();
        // Two periods are missed in a row, so the next poll finds three frames taken.
        rig.run(60, |period| period % 700 < 2);
        assert_eq!((rig.fill.frames(), rig.underruns()), (3, 0));
    }

    #[test]
    fn after_an_underrun_the_target_holds_for_twice_as_long() {
        let counters = Counters::new();
        let mut rig = Rig::new(&counters, 1, 2);
        rig.poll();
        rig.run(15, |_| false);
        assert_eq!(rig.fill.frames(), 1);
        rig.run(1, |period| period == 50);
        assert_eq!((rig.fill.frames(), rig.underruns()), (2, 1));
        rig.run(18, |_| false);
        assert_eq!(rig.fill.frames(), 2, "the second try needs 20 s");
        rig.run(4, |_| false);
        assert_eq!((rig.fill.frames(), rig.underruns()), (1, 1));
    }

    #[test]
    fn a_worker_that_is_late_every_half_minute_loses_a_frame_in_ten_minutes() {
        let counters = Counters::new();
        let mut rig = Rig::new(&counters, 1, 2);
        rig.poll();
        let is_late = |period| period % 3_000 == 2_999;
        rig.run(1_200, is_late);
        let at_first = rig.underruns();
        rig.run(6_000, is_late);
        assert!((1..=8).contains(&at_first), "{at_first} underruns in the first 20 minutes");
        assert!(rig.underruns() - at_first <= 10, "{} in 100 minutes", rig.underruns() - at_first);
    }

    #[test]
    fn a_new_stream_starts_with_its_target() {
        let counters = Counters::new();
        let mut rig = Rig::new(&counters, 1, 2);
        rig.poll();
        rig.run(15, |_| false);
        rig.fill.stop();
        assert_eq!(rig.fill.frames(), 0);
        rig.poll();
        assert_eq!(rig.fill.frames(), 2);
        rig.target = 3;
        rig.poll();
        assert_eq!(rig.fill.frames(), 3);
    }
}
