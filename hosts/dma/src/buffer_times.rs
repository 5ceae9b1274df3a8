//! Any side: positions and times for drivers that return whole buffers and do not show the DMA's counter.

use handsfree_core::{Duration, Instant, PeriodTime, SampleRate};

/// Positions and times for a driver that returns whole buffers, such as embassy's ring buffers, Zephyr's `i2s_read` and
/// `i2s_write`, or the channels of ESP-IDF. One for each direction.
///
/// The times are those of the calls, so they are late by as much as the task was; the session's clocks filter that, to
/// the scatter that remains. A task of a high priority that does nothing else keeps it small.
///
/// ```
/// use handsfree_core::{Duration, Instant, SampleRate};
/// use handsfree_dma::BufferTimes;
///
/// let mut times = BufferTimes::new(SampleRate::new(16_000)?, Duration::from_millis(1));
/// // 160 sample frames were captured, and returned at 20 ms: the first one was at the converter 11 ms before.
/// let time = times.captured(160, Instant::from_nanos(20_000_000));
/// assert_eq!((time.position, time.converter), (0, Instant::from_nanos(9_000_000)));
/// assert_eq!(times.captured(160, Instant::from_nanos(30_000_000)).position, 160);
/// # Ok::<(), handsfree_core::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BufferTimes {
    rate: SampleRate,
    latency: Duration,
    position: u64,
    /// When the sample after the last buffer would be at the converter, if none was lost; `None` before the first buffer.
    expected: Option<Instant>,
    has_gap: bool,
}

impl BufferTimes {
    /// Returns the times of a stream. `latency` is the time between the converter and the driver's memory: the interface's FIFO
    /// and the codec's filters; 0 or more.
    #[must_use]
    pub const fn new(rate: SampleRate, latency: Duration) -> Self {
        Self { rate, latency, position: 0, expected: None, has_gap: false }
    }

    /// Returns position and time of a buffer of `sample_frames` that the driver has just returned, full. `now` is the time of
    /// the return.
    pub fn captured(&mut self, sample_frames: usize, now: Instant) -> PeriodTime {
        let length = Duration::of_sample_frames(sample_frames as u64, self.rate);
        self.next(sample_frames, now, now - length - self.latency)
    }

    /// Returns position and time of a buffer of `sample_frames` that is filled now and then given to the driver, which plays
    /// `queued` sample frames before it: what it still holds.
    pub fn played(&mut self, sample_frames: usize, queued: usize, now: Instant) -> PeriodTime {
        let wait = Duration::of_sample_frames(queued as u64, self.rate);
        self.next(sample_frames, now, now + wait + self.latency)
    }

    /// Notes that the driver lost samples before the next buffer, or played silence in their place. The next buffer's position
    /// goes on by the time that has passed at the converter, so that the session counts the gap.
    pub fn note_gap(&mut self) {
        self.has_gap = true;
    }

    fn next(&mut self, sample_frames: usize, called: Instant, converter: Instant) -> PeriodTime {
        if core::mem::take(&mut self.has_gap)
            && let Some(expected) = self.expected
        {
            let nanos = u64::try_from((converter - expected).as_nanos()).unwrap_or(0);
            self.position += (nanos.saturating_mul(u64::from(self.rate.hz())) + 500_000_000) / 1_000_000_000;
        }
        let position = self.position;
        self.position += sample_frames as u64;
        self.expected = Some(converter + Duration::of_sample_frames(sample_frames as u64, self.rate));
        PeriodTime { position, converter, called }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_follow_each_other_and_a_gap_is_as_long_as_the_converter_waited() {
        let rate = SampleRate::new(16_000).unwrap();
        let at = |millis: i64| Instant::from_nanos(millis * 1_000_000);
        let mut times = BufferTimes::new(rate, Duration::ZERO);
        times.note_gap();
        let first = times.played(160, 320, at(100));
        assert_eq!((first.position, first.converter, first.called), (0, at(120), at(100)));
        assert_eq!(times.played(160, 320, at(110)).position, 160);
        // The second buffer ended at 140 ms. The third is at the converter at 151 ms: 176 sample frames were silent.
        times.note_gap();
        assert_eq!(times.played(160, 0, at(151)).position, 320 + 176);
        assert_eq!(times.played(160, 160, at(151)).position, 320 + 176 + 160);

        let mut times = BufferTimes::new(rate, Duration::from_millis(1));
        assert_eq!(times.captured(160, at(10)).position, 0);
        // Two buffers were lost.
        times.note_gap();
        assert_eq!(times.captured(160, at(40)).position, 480);
        // A gap that the times do not show is none.
        times.note_gap();
        assert_eq!(times.captured(160, at(48)).position, 640);
    }
}
