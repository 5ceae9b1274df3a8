//! Application side: what of a track has left the loudspeaker.

use embassy_sync::blocking_mutex::raw::RawMutex;

use crate::playback::playout::Playout;
use crate::playback::slot::{Reached, TrackPort};
use crate::playback::track::{Track, TrackError};
use crate::time::{Duration, Instant};

/// A track speaks for so long after its last sample was heard unless set: streams of speech
/// synthesis have gaps.
const DEFAULT_GRACE: Duration = Duration::from_millis(500);

/// What happened to a track at the loudspeaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TrackEvent {
    /// The first sample of an utterance left the loudspeaker. An utterance begins with the track and
    /// after each of the other two events.
    FirstAudio {
        /// When.
        at: Instant,
    },
    /// The last sample before [`mark_synthesis_complete`](Track::mark_synthesis_complete) left the
    /// loudspeaker.
    LastAudio {
        /// When.
        at: Instant,
    },
    /// An interruption, or a clearing, was carried out to its end.
    Interrupted {
        /// One past the last sample frame of the source that was heard.
        position: u64,
    },
}

/// Where in its utterances a track is; positions are the queue's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Utterance {
    begin: u64,
    begun: bool,
    complete: Option<u64>,
    /// An interruption was asked for and its outcome not yet told.
    cut: bool,
    /// Where in the queue the last interruption was.
    cut_at: Option<u64>,
    grace: Duration,
}

impl Utterance {
    pub(crate) const fn new() -> Self {
        Self { begin: 0, begun: false, complete: None, cut: false, cut_at: None, grace: DEFAULT_GRACE }
    }

    pub(crate) fn cut(&mut self, queued: u64) {
        *self =
            Self { begin: queued, begun: false, complete: None, cut: true, cut_at: Some(queued), ..*self };
    }

    /// Its begin is put off by silence before it.
    pub(crate) fn delay(&mut self, queued: u64) {
        if !self.begun {
            self.begin = queued;
        }
    }

    fn end(&mut self, queued: u64) {
        *self = Self { begin: queued, begun: false, complete: None, ..*self };
    }
}

/// All of these cost some hundred loads, and may be asked by the application at any time. `now` is
/// the session's clock, not earlier than when asked before.
impl<M: RawMutex, const CAP: usize, const SLOTS: usize, const MEMORY: usize>
    Track<'_, '_, M, CAP, SLOTS, MEMORY>
{
    /// One past the last sample frame of the source that had wholly left the loudspeaker by `now`,
    /// by the playback device's clock; exact to the sample frame as far as the device's times are,
    /// also after pauses, starvation, xruns and changes of the device. Within a fade counts as heard.
    ///
    /// For a [matched](super::Matching) source good to a millisecond.
    #[must_use]
    pub fn played_position(&self, now: Instant) -> u64 {
        self.playout().map_or(0, |playout| self.source.position_of(playout.heard(now)))
    }

    /// Where the last interruption stopped the source: one past the last sample frame that was
    /// heard. `None` until all that was on its way has left the loudspeaker, and while there was no
    /// interruption.
    ///
    /// Where playback is stopped or its device is lost, it is what was heard until then; what waits
    /// in the playback ring is heard, faded, when playback goes on.
    #[must_use]
    pub fn interrupted_at(&self, now: Instant) -> Option<u64> {
        let port = self.port.as_ref()?;
        self.utterance.cut_at?;
        let reached = self.reached(port);
        if reached.epoch != port.epoch {
            return None;
        }
        let end = reached.cut;
        let heard = |playout: &Playout| self.source.position_of(playout.heard(now).min(end));
        match self.playout() {
            _ if end == 0 => Some(0),
            Some(playout) if playout.is_over(end, now) => Some(heard(&playout)),
            Some(playout) if self.is_stopped(&playout, now) => Some(heard(&playout)),
            None if !self.pool.is_playing() => Some(0),
            _ => None,
        }
    }

    /// Whether by `now` all that was pushed has left the loudspeaker; what does not fill a frame
    /// counts, so [`flush`](Self::flush) first.
    #[must_use]
    pub fn is_played_out(&self, now: Instant) -> bool {
        self.is_over(self.queued, now)
    }

    /// How long it takes until all that was pushed is heard, if nothing pauses or starves it.
    #[must_use]
    pub fn unplayed_duration(&self, now: Instant) -> Duration {
        let heard = self.playout().map_or(0, |playout| playout.heard(now));
        // What an interruption dropped is not to come.
        let begin = heard.max(self.utterance.begin);
        Duration::of_sample_frames(self.queued.saturating_sub(begin), self.format().rate())
    }

    /// Whether the track speaks: something is queued or on its way to the loudspeaker, or it was
    /// heard less than the [grace period](Self::set_grace) ago. A paused track speaks no more when
    /// its last sample is so long past, an interrupted one as soon as its last sample was heard.
    #[must_use]
    pub fn is_speaking(&self, now: Instant) -> bool {
        let Some(port) = self.port.as_ref() else { return false };
        if !self.is_paused() && (!port.frames.is_empty() || port.pending.sample_frames() > 0) {
            return true;
        }
        let mixed = self.reached(port).position;
        let Some(playout) = self.playout() else { return mixed > 0 };
        if !playout.is_over(mixed, now) && !self.is_stopped(&playout, now) {
            return true;
        }
        let was_interrupted = self.utterance.cut_at.is_some_and(|cut_at| playout.heard(now) <= cut_at);
        !was_interrupted && playout.ends().is_some_and(|ends| now - ends < self.utterance.grace)
    }

    /// Sets for how long after its last sample a track still [speaks](Self::is_speaking), 500 ms
    /// unless set.
    pub const fn set_grace(&mut self, grace: Duration) {
        self.utterance.grace = grace;
    }

    /// Says that the utterance is complete: its tail is flushed, and
    /// [`LastAudio`](TrackEvent::LastAudio) comes when all of it was heard; at once when it was
    /// already.
    ///
    /// # Errors
    /// [`TrackError::Full`] when the queue has no room for the tail; try again after some 10 ms.
    pub fn mark_synthesis_complete(&mut self) -> Result<(), TrackError> {
        self.flush()?;
        self.utterance.complete = Some(self.queued);
        Ok(())
    }

    /// The next thing that happened at the loudspeaker by `now`, in order. A pause delays what comes
    /// after it, and an interruption takes the place of [`LastAudio`](TrackEvent::LastAudio).
    pub fn poll_event(&mut self, now: Instant) -> Option<TrackEvent> {
        if self.utterance.cut {
            let position = self.interrupted_at(now)?;
            self.utterance.cut = false;
            return Some(TrackEvent::Interrupted { position });
        }
        let playout = self.playout();
        let begin = self.utterance.begin;
        if !self.utterance.begun
            && let Some(playout) = playout
            && playout.heard(now) > begin
        {
            self.utterance.begun = true;
            return Some(TrackEvent::FirstAudio { at: playout.time_of(begin).unwrap_or(now) });
        }
        let end = self.utterance.complete.filter(|&end| self.is_over(end, now))?;
        self.utterance.end(end);
        let ends = playout.filter(|_| end > begin).and_then(|playout| playout.ends());
        Some(TrackEvent::LastAudio { at: ends.map_or(now, |ends| ends.min(now)) })
    }

    pub(crate) fn is_over(&self, position: u64, now: Instant) -> bool {
        // What an interruption dropped is over when the interruption is.
        if position <= self.utterance.begin && position > 0 {
            return !self.utterance.cut || self.interrupted_at(now).is_some();
        }
        position == 0 || self.playout().is_some_and(|playout| playout.is_over(position, now))
    }

    /// How far the mixer has come with this track: nowhere, while the slot was not mixed since it
    /// was opened.
    fn reached(&self, port: &TrackPort<'_, CAP>) -> Reached {
        let reached = port.shared.reached();
        let is_ours = reached.track == self.id();
        if is_ours { reached } else { Reached { epoch: reached.epoch, ..Reached::default() } }
    }

    fn playout(&self) -> Option<Playout> {
        self.port.as_ref()?.shared.playout.read(self.id())
    }

    /// Whether no stream runs and what the last one held is over.
    fn is_stopped(&self, playout: &Playout, now: Instant) -> bool {
        !self.pool.is_playing() && playout.ends().is_none_or(|ends| ends <= now)
    }
}
