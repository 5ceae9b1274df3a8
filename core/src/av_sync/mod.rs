//! Application side: delivers video frames when the audio that belongs to them leaves the loudspeaker.
//!
//! The audio is the master. The application reports now and then which media time of the audio is at the
//! converter ([`AvSynchronizer::audio_at`]; a track's played position divided by its rate is such a time), and
//! video frames carry the media time at which they belong. Between the reports media time runs on at the
//! measured rate of the audio's clock. While the audio pauses or starves, video stands still; when the audio
//! jumps, video jumps too.

mod config;
mod frame_rate;
mod media_clock;
#[cfg(test)]
mod tests;

use heapless::Deque;

use crate::error::ConfigError;
use crate::time::{Duration, Instant};
use frame_rate::FrameRate;
use media_clock::MediaClock;

pub use config::{AvSyncConfig, AvSyncStats, PushError, WhenLate};

#[derive(Clone, Debug)]
struct QueuedVideo<V> {
    frame: V,
    timestamp: Option<Duration>,
}

/// The frames of the queue that are due.
struct DueFrames {
    /// Index from the front of the last pushed frame that is due.
    newest: usize,
    newest_at: Duration,
    front_at: Duration,
    front_is_timed: bool,
}

/// Delivers video frames when they are due by the audio's clock.
///
/// `V` is any payload: an index, a handle, a boxed picture. `QUEUE` is the capacity for queued frames. A frame
/// is due when media time has reached its timestamp. A frame without a timestamp is due one period of
/// `video_fps` after the frame before it, and at once if there is none. Frames leave in the order they were
/// pushed, none before it is due, each once: delivered, or passed to the `discard` argument of the call that
/// drops it (`drop` for a payload that frees itself). A frame that is due makes those before it late, also
/// where timestamps run backwards.
///
/// Video that is behind by more than the tolerance restarts. A frame without a timestamp claims nothing about
/// the audio: it is delivered, and the pacing continues from it. Frames with timestamps keep them: frames that
/// a later one replaced are discarded, with [`WhenLate::Deliver`] too, and the newest due frame is delivered.
///
/// There is no timer here and nothing to await. The caller sleeps until [`next_due`](Self::next_due), or until
/// the next report where that is `None`, and polls. No call blocks. A poll looks at each queued frame once; a
/// report costs about thirty double-precision operations.
///
/// ```
/// use handsfree_core::av_sync::{AvSyncConfig, AvSynchronizer};
/// use handsfree_core::time::{Duration, Instant};
/// use handsfree_core::SampleRate;
///
/// // Audio at 48 kHz on a device that is 500 ppm slow, played from 80 ms on; video at 25 frames a second.
/// let rate = SampleRate::new(48_000)?;
/// let device_hz = 48_000.0 * (1.0 - 500e-6);
/// let mut synchronizer = AvSynchronizer::<u32, 4>::new(AvSyncConfig::new(25.0))?;
/// let (mut next, mut shown) = (0u32, Vec::new());
/// for now_ms in 80..10_080 {
///     let now = Instant::from_nanos(now_ms * 1_000_000);
///     if now_ms % 20 == 0 {
///         let played = ((now_ms - 80) as f64 * device_hz / 1_000.0) as u64;
///         synchronizer.audio_at(Duration::of_sample_frames(played, rate), now);
///     }
///     while synchronizer.push(next, Some(Duration::from_millis(i64::from(next) * 40))).is_ok() {
///         next += 1;
///     }
///     if let Some(frame) = synchronizer.poll(now, drop) {
///         shown.push((frame, now_ms));
///     }
/// }
/// assert_eq!(shown[..3], [(0, 80), (1, 121), (2, 161)]);
/// // 249 frame periods later by a clock that is 500 ppm slow.
/// assert_eq!(shown[249], (249, 80 + 9_965));
/// assert!((synchronizer.actual_fps(Instant::from_nanos(10_080_000_000)) - 25.0).abs() < 0.05);
/// # Ok::<(), handsfree_core::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct AvSynchronizer<V, const QUEUE: usize> {
    queue: Deque<QueuedVideo<V>, QUEUE>,
    queue_frames: usize,
    period: Duration,
    tolerance: Duration,
    when_late: WhenLate,
    clock: MediaClock,
    /// Media time of the last delivered frame, from which frames without a timestamp are paced.
    pace: Option<Duration>,
    last_video: Option<Duration>,
    is_behind: bool,
    is_closed: bool,
    frame_rate: FrameRate,
    stats: AvSyncStats,
}

impl<V, const QUEUE: usize> AvSynchronizer<V, QUEUE> {
    /// Returns a synchronizer without an audio clock. Video waits for the first report or for
    /// [`run_without_audio`](Self::run_without_audio).
    ///
    /// # Errors
    /// Returns [`ConfigError::VideoRate`], [`ConfigError::VideoQueue`] or [`ConfigError::VideoTolerance`],
    /// which name the value.
    pub fn new(config: AvSyncConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            period: config.period()?,
            tolerance: config.tolerance()?,
            queue_frames: config.queue_frames(QUEUE)?,
            when_late: config.when_late,
            queue: Deque::new(),
            clock: MediaClock::new(),
            pace: None,
            last_video: None,
            is_behind: false,
            is_closed: false,
            frame_rate: FrameRate::new(),
            stats: AvSyncStats::default(),
        })
    }

    /// Queues a frame that belongs to the audio at media time `timestamp`. Without a timestamp it follows the
    /// frame before it by one period.
    ///
    /// # Errors
    /// Returns the frame when the queue is full or the synchronizer is closed.
    pub fn push(&mut self, frame: V, timestamp: Option<Duration>) -> Result<(), PushError<V>> {
        if self.is_closed {
            return Err(PushError::Closed(frame));
        }
        if self.queue.len() >= self.queue_frames {
            return Err(PushError::Full(frame));
        }
        match self.queue.push_back(QueuedVideo { frame, timestamp }) {
            Ok(()) => self.stats.pushed += 1,
            Err(queued) => return Err(PushError::Full(queued.frame)),
        }
        Ok(())
    }

    /// Reports that the audio of media time `media` is, was or will be at the converter at `at`.
    ///
    /// Reports may come every few milliseconds or every second, with some milliseconds of scatter. A report up
    /// to 20 ms from the prediction is averaged. Up to 100 ms it takes a second report that agrees; a larger
    /// distance is a jump at once. A report that repeats the media time of the one before means that the audio
    /// stands; one older than the one before is ignored. After 2 s without a report the audio is assumed to
    /// stand.
    pub fn audio_at(&mut self, media: Duration, at: Instant) {
        self.clock.report(media, at);
    }

    /// Reports that the audio stands still from `at` on until [`audio_resumed`](Self::audio_resumed), sooner
    /// than reports of media time can. Reports in between correct where it stands. Has no effect before the
    /// first report.
    pub fn audio_paused(&mut self, at: Instant) {
        self.clock.pause(at);
    }

    /// Reports that the audio resumes at `at` from where it was paused. Has no effect if it was not paused.
    pub fn audio_resumed(&mut self, at: Instant) {
        self.clock.resume(at);
    }

    /// Reports that there is no audio, or none any more. Media time runs on from where it is, at the last
    /// measured rate or else the host's. If there is no media time yet, it starts with the first frame that is
    /// polled for. The next report takes over again.
    pub fn run_without_audio(&mut self, now: Instant) {
        self.clock.run_free(now);
    }

    /// Returns the frame that is due, if one is. Frames that it replaces go to `discard`, in order.
    pub fn poll(&mut self, now: Instant, mut discard: impl FnMut(V)) -> Option<V> {
        if let (true, Some(front)) = (self.clock.is_free_to_start(), self.queue.front()) {
            self.clock.begin_free(front.timestamp.unwrap_or(Duration::ZERO), now);
        }
        let media = self.clock.media_at(now)?;
        let due = self.due(media)?;
        let restart = media - due.front_at > self.tolerance;
        if restart && !self.is_behind {
            self.stats.restarts += 1;
        }
        self.is_behind = restart && due.front_is_timed;
        let (index, at) = match (restart, due.front_is_timed, self.when_late) {
            (true, false, _) => (0, media),
            (false, _, WhenLate::Deliver) => (0, due.front_at),
            _ => (due.newest, due.newest_at),
        };
        for _ in 0..index {
            self.discard_front(&mut discard);
        }
        let delivered = self.queue.pop_front()?;
        self.pace = Some(at);
        self.last_video = Some(at);
        self.stats.delivered += 1;
        self.frame_rate.record_delivery(now);
        Some(delivered.frame)
    }

    /// Returns when [`poll`](Self::poll) has a frame next, as far as is known now: `now` if it has one already,
    /// `None` if the queue is empty, the audio stands, or its next report has to come first. A report can move
    /// the time either way.
    #[must_use]
    pub fn next_due(&self, now: Instant) -> Option<Instant> {
        let Some(media) = self.clock.media_at(now) else {
            return (self.clock.is_free_to_start() && !self.queue.is_empty()).then_some(now);
        };
        let first = self.due_times(media).min()?;
        if first <= media { Some(now) } else { self.clock.instant_of(first).map(|at| at.max(now)) }
    }

    /// Returns whether every pushed frame was delivered or discarded.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.queue.is_empty()
    }

    /// Returns when the last pushed frame will have been shown for its period: `now` or earlier if that is over
    /// or no frame was ever shown, `None` if the audio stands or has not come far enough to tell. To wait for
    /// playout, deliver until [`is_drained`](Self::is_drained), then sleep until this time.
    #[must_use]
    pub fn played_out_at(&self, now: Instant) -> Option<Instant> {
        let Some(media) = self.clock.media_at(now) else {
            return self.is_drained().then_some(now);
        };
        let Some(last) = self.due_times(media).last().or(self.last_video) else { return Some(now) };
        let end = last + self.period;
        if end <= media { Some(now) } else { self.clock.instant_of(end) }
    }

    /// Returns the estimated media time of the audio at the converter at `now`, or `None` before the first
    /// report.
    #[must_use]
    pub fn audio_time(&self, now: Instant) -> Option<Duration> {
        self.clock.media_at(now)
    }

    /// Returns the last reported media time of the audio: what has left the converter, not what is queued
    /// before it.
    #[must_use]
    pub fn last_audio_time(&self) -> Option<Duration> {
        self.clock.last_report()
    }

    /// Returns the media time of the last delivered frame.
    #[must_use]
    pub const fn last_video_time(&self) -> Option<Duration> {
        self.last_video
    }

    /// Returns how much faster media time runs than the host's clock, in ppm, as estimated; 0 before reports
    /// show a difference.
    #[must_use]
    pub fn audio_rate_ppm(&self) -> f64 {
        self.clock.rate_ppm()
    }

    /// Returns how many frames a second were delivered over the last second or four periods, whichever is
    /// longer, and over the last 64 frames at most; 0 for fewer than two frames.
    #[must_use]
    pub fn actual_fps(&self, now: Instant) -> f64 {
        self.frame_rate.fps(now, self.period)
    }

    /// Returns how many frames are queued.
    #[must_use]
    pub fn queued_frames(&self) -> usize {
        self.queue.len()
    }

    /// Returns how many frames the queue takes: `video_queue_ms` of them.
    #[must_use]
    pub const fn queue_frames(&self) -> usize {
        self.queue_frames
    }

    /// Returns how many frames were delivered and discarded so far.
    #[must_use]
    pub fn stats(&self) -> AvSyncStats {
        AvSyncStats { audio_jumps: self.clock.jumps(), ..self.stats }
    }

    /// Discards what is queued. The audio's clock runs on, and the next frame without a timestamp is due at
    /// once. After a seek, report where the audio is now before pushing frames of that position; otherwise they
    /// are compared with the old one.
    pub fn clear(&mut self, mut discard: impl FnMut(V)) {
        while !self.queue.is_empty() {
            self.discard_front(&mut discard);
        }
        self.pace = None;
        self.is_behind = false;
    }

    /// Resets the synchronizer to its initial state: nothing queued, no clock, nothing counted, and open again.
    pub fn reset(&mut self, discard: impl FnMut(V)) {
        self.clear(discard);
        self.clock = MediaClock::new();
        self.last_video = None;
        self.is_closed = false;
        self.frame_rate.clear();
        self.stats = AvSyncStats::default();
    }

    /// Discards what is queued and refuses further frames. To deliver what is queued, wait for
    /// [`is_drained`](Self::is_drained) first.
    pub fn close(&mut self, discard: impl FnMut(V)) {
        self.clear(discard);
        self.is_closed = true;
    }

    fn discard_front(&mut self, discard: &mut impl FnMut(V)) {
        if let Some(queued) = self.queue.pop_front() {
            self.stats.discarded += 1;
            discard(queued.frame);
        }
    }

    /// Returns the media time at which each queued frame is due, at media time `media`.
    fn due_times(&self, media: Duration) -> impl Iterator<Item = Duration> + '_ {
        self.queue.iter().scan(self.pace, move |before, queued| {
            let follows = before.map_or(media, |before| before + self.period);
            *before = Some(queued.timestamp.unwrap_or(follows));
            *before
        })
    }

    fn due(&self, media: Duration) -> Option<DueFrames> {
        let front = self.queue.front()?;
        let front_at = self.due_times(media).next()?;
        let (newest, newest_at) = self.due_times(media).enumerate().filter(|&(_, at)| at <= media).last()?;
        Some(DueFrames { newest, newest_at, front_at, front_is_timed: front.timestamp.is_some() })
    }
}
