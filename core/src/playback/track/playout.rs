//! Application side: what of a track has left the loudspeaker.

use embassy_sync::blocking_mutex::raw::RawMutex;

use crate::playback::playout::Playout;
use crate::playback::slot::{MixProgress, TrackPort};
use crate::playback::track::{Track, TrackError};
use crate::time::{Duration, Instant};

/// Default time for which a track still speaks after its last sample was played: streams of speech synthesis
/// have gaps.
const DEFAULT_GRACE: Duration = Duration::from_millis(500);

/// An event of a track at the loudspeaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TrackEvent {
    /// The first sample of an utterance left the loudspeaker. An utterance begins with the track and after each
    /// of the other two events.
    FirstAudio {
        /// Time at which the sample left the loudspeaker.
        at: Instant,
    },
    /// The last sample before [`mark_synthesis_complete`](Track::mark_synthesis_complete) left the loudspeaker.
    LastAudio {
        /// Time at which the sample left the loudspeaker.
        at: Instant,
    },
    /// An interruption or a clearing has been carried out to its end.
    Interrupted {
        /// Source position one past the last sample frame that was played.
        position: u64,
    },
}

/// The state of a track's current utterance. Positions are those of the queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Utterance {
    begin: u64,
    has_begun: bool,
    complete: Option<u64>,
    /// Whether an interruption was requested and its outcome not yet reported.
    interruption_pending: bool,
    /// Queue position of the last interruption.
    interrupted_at_queued: Option<u64>,
    grace: Duration,
}

impl Utterance {
    pub(crate) const fn new() -> Self {
        Self {
            begin: 0,
            has_begun: false,
            complete: None,
            interruption_pending: false,
            interrupted_at_queued: None,
            grace: DEFAULT_GRACE,
        }
    }

    pub(crate) fn interrupt(&mut self, queued: u64) {
        *self = Self {
            begin: queued,
            has_begun: false,
            complete: None,
            interruption_pending: true,
            interrupted_at_queued: Some(queued),
            ..*self
        };
    }

    /// Moves the begin of the utterance behind silence that was queued before it.
    pub(crate) fn delay(&mut self, queued: u64) {
        if !self.has_begun {
            self.begin = queued;
        }
    }

    fn end(&mut self, queued: u64) {
        *self = Self { begin: queued, has_begun: false, complete: None, ..*self };
    }
}

/// Queries. Each costs some hundred loads and may be made at any time. `now` is the time of the session's
/// clock, not earlier than in the query before.
impl<M: RawMutex, const CAP: usize, const SLOTS: usize, const MEMORY: usize>
    Track<'_, '_, M, CAP, SLOTS, MEMORY>
{
    /// Returns the source position one past the last sample frame that had wholly left the loudspeaker by
    /// `now`, by the playback device's clock. It is exact to the sample frame as far as the device's times are,
    /// also after pauses, starvation, xruns and device changes. Sample frames within a fade count as played.
    ///
    /// For a [matched](super::Matching) source it is accurate to a millisecond.
    #[must_use]
    pub fn played_position(&self, now: Instant) -> u64 {
        self.playout().map_or(0, |playout| self.source.position_of(playout.played(now)))
    }

    /// Returns the source position at which the last interruption stopped the source: one past the last sample
    /// frame that was played. Returns `None` until everything on its way has left the loudspeaker, and if there
    /// was no interruption.
    ///
    /// If playback is stopped or its device is lost, this is what was played until then. What waits in the
    /// playback ring is played, faded, when playback resumes.
    #[must_use]
    pub fn interrupted_at(&self, now: Instant) -> Option<u64> {
        let port = self.port.as_ref()?;
        self.utterance.interrupted_at_queued?;
        let progress = self.progress(port);
        if progress.epoch != port.epoch {
            return None;
        }
        let end = progress.cut;
        let played = |playout: &Playout| self.source.position_of(playout.played(now).min(end));
        match self.playout() {
            _ if end == 0 => Some(0),
            Some(playout) if playout.is_over(end, now) => Some(played(&playout)),
            Some(playout) if self.is_stopped(&playout, now) => Some(played(&playout)),
            None if !self.pool.is_playing() => Some(0),
            _ => None,
        }
    }

    /// Returns whether by `now` everything pushed has left the loudspeaker. Samples that do not fill a frame
    /// count too, so call [`flush`](Self::flush) first.
    #[must_use]
    pub fn is_played_out(&self, now: Instant) -> bool {
        self.is_over(self.queued, now)
    }

    /// Returns how long it takes until everything pushed is played, if nothing pauses or starves the track.
    #[must_use]
    pub fn unplayed_duration(&self, now: Instant) -> Duration {
        let played = self.playout().map_or(0, |playout| playout.played(now));
        // Audio that an interruption dropped will not be played.
        let begin = played.max(self.utterance.begin);
        Duration::of_sample_frames(self.queued.saturating_sub(begin), self.format().rate())
    }

    /// Returns whether the track speaks: something is queued or on its way to the loudspeaker, or was played
    /// less than the [grace period](Self::set_grace) ago. A paused track stops speaking one grace period after
    /// its last sample, an interrupted one as soon as its last sample was played.
    #[must_use]
    pub fn is_speaking(&self, now: Instant) -> bool {
        let Some(port) = self.port.as_ref() else { return false };
        if !self.is_paused() && (!port.frames.is_empty() || port.pending.sample_frames() > 0) {
            return true;
        }
        let mixed = self.progress(port).position;
        let Some(playout) = self.playout() else { return mixed > 0 };
        if !playout.is_over(mixed, now) && !self.is_stopped(&playout, now) {
            return true;
        }
        let was_interrupted = self
            .utterance
            .interrupted_at_queued
            .is_some_and(|interrupted_at_queued| playout.played(now) <= interrupted_at_queued);
        !was_interrupted && playout.ends().is_some_and(|ends| now - ends < self.utterance.grace)
    }

    /// Sets for how long after its last sample a track still [speaks](Self::is_speaking), by default 500 ms.
    pub const fn set_grace(&mut self, grace: Duration) {
        self.utterance.grace = grace;
    }

    /// Marks the utterance as complete and flushes its tail. [`LastAudio`](TrackEvent::LastAudio) follows when
    /// all of it was played, at once if it was already.
    ///
    /// # Errors
    /// Returns [`TrackError::Full`] when the queue has no space for the tail. A retry after about 10 ms may
    /// succeed.
    pub fn mark_synthesis_complete(&mut self) -> Result<(), TrackError> {
        self.flush()?;
        self.utterance.complete = Some(self.queued);
        Ok(())
    }

    /// Returns the next event at the loudspeaker by `now`, in order. A pause delays the events after it, and an
    /// interruption takes the place of [`LastAudio`](TrackEvent::LastAudio).
    pub fn poll_event(&mut self, now: Instant) -> Option<TrackEvent> {
        if self.utterance.interruption_pending {
            let position = self.interrupted_at(now)?;
            self.utterance.interruption_pending = false;
            return Some(TrackEvent::Interrupted { position });
        }
        let playout = self.playout();
        let begin = self.utterance.begin;
        if !self.utterance.has_begun
            && let Some(playout) = playout
            && playout.played(now) > begin
        {
            self.utterance.has_begun = true;
            return Some(TrackEvent::FirstAudio { at: playout.time_of(begin).unwrap_or(now) });
        }
        let end = self.utterance.complete.filter(|&end| self.is_over(end, now))?;
        self.utterance.end(end);
        let ends = playout.filter(|_| end > begin).and_then(|playout| playout.ends());
        Some(TrackEvent::LastAudio { at: ends.map_or(now, |ends| ends.min(now)) })
    }

    pub(crate) fn is_over(&self, position: u64, now: Instant) -> bool {
        // Dropped audio is over when its interruption is.
        if position <= self.utterance.begin && position > 0 {
            return !self.utterance.interruption_pending || self.interrupted_at(now).is_some();
        }
        position == 0 || self.playout().is_some_and(|playout| playout.is_over(position, now))
    }

    /// Returns how far the mixer has come with this track: nowhere, if the slot was not mixed since the track
    /// was opened.
    fn progress(&self, port: &TrackPort<'_, CAP>) -> MixProgress {
        let progress = port.shared.progress();
        let is_ours = progress.track == self.id();
        if is_ours { progress } else { MixProgress { epoch: progress.epoch, ..MixProgress::default() } }
    }

    fn playout(&self) -> Option<Playout> {
        self.port.as_ref()?.shared.playout.read(self.id())
    }

    /// Returns whether no stream runs and everything that the last one held has been played.
    fn is_stopped(&self, playout: &Playout, now: Instant) -> bool {
        !self.pool.is_playing() && playout.ends().is_none_or(|ends| ends <= now)
    }
}
