//! Capture worker to application: one track's playout as words, and the questions that an application asks of it.

use super::clock_anchor::{ClockAnchor, NEVER, ROUNDING_TOLERANCE, RateRatio};
use super::track_playout::{PlayedStretch, TrackPlayout};
use crate::limits::PLAYOUT_STRETCHES;
use crate::published::{Published, PublishedReader};
use crate::time::Instant;

const ANCHOR_WORDS: usize = 8;

const TRACK_WORDS: usize = 8;

const STRETCH_WORDS: usize = 5;

pub(super) const WORDS: usize = ANCHOR_WORDS + TRACK_WORDS + PLAYOUT_STRETCHES * STRETCH_WORDS;

/// A slot's playout, written by the capture worker and read by the application.
#[derive(Debug)]
pub(crate) struct PublishedPlayout {
    words: Published<WORDS>,
}

impl PublishedPlayout {
    pub(crate) const fn new() -> Self {
        Self { words: Published::new() }
    }

    /// Publishes that `track` was played up to `position`, for a mixer without a device and its clock.
    pub(crate) fn publish_played(&self, track: u32, position: u64) {
        let track = TrackPlayout { track, played: position, silent_at: NEVER, ..TrackPlayout::default() };
        self.publish(&ClockAnchor::default(), &track, &mut [0; WORDS]);
    }

    /// Publishes only the words in use; the count of stretches tells the reader how many those are. `words` is
    /// scratch memory.
    #[inline(never)]
    pub(super) fn publish(&self, anchor: &ClockAnchor, track: &TrackPlayout, words: &mut [u32; WORDS]) {
        let (low, high) = (|wide: u64| wide as u32, |wide: u64| (wide >> 32) as u32);
        let [time, position, period] =
            [anchor.time_ns, anchor.position, anchor.period_q32].map(|value| value as u64);
        let [played, silent_at, silent] = [track.played, track.silent_at as u64, track.silent_position];
        let head: [u32; ANCHOR_WORDS + TRACK_WORDS] = [
            low(time),
            high(time),
            low(position),
            high(position),
            low(period),
            high(period),
            anchor.ratio.terminal,
            anchor.ratio.device,
            track.track,
            track.count as u32,
            low(played),
            high(played),
            low(silent_at),
            high(silent_at),
            low(silent),
            high(silent),
        ];
        let Some((first, rest)) = words.split_first_chunk_mut() else { return };
        *first = head;
        let rest = rest.as_chunks_mut::<STRETCH_WORDS>().0;
        for (target, stretch) in rest.iter_mut().zip(track.stretches()) {
            let (begin, position) = (stretch.begin as u64, stretch.position);
            *target = [low(begin), high(begin), low(position), high(position), stretch.sample_frames];
        }
        let used = head.len() + track.count * STRETCH_WORDS;
        self.words.publish(words.get(..used).unwrap_or(&words[..]));
    }

    /// Returns the playout of `track`, or `None` if the slot's playout is another track's.
    pub(crate) fn read(&self, track: u32) -> Option<Playout> {
        let playout = Playout::from_words(&self.words.read());
        (playout.track.track == track).then_some(playout)
    }
}

/// A copy of one track's playout and the clock to ask it by, on the application's side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Playout {
    anchor: ClockAnchor,
    track: TrackPlayout,
}

impl Playout {
    /// Returns one past the last sample frame of the track that had wholly left the loudspeaker by `now`.
    pub(crate) fn played(&self, now: Instant) -> u64 {
        let at = self.anchor.at(now).saturating_add(ROUNDING_TOLERANCE);
        let mut played = self.track.played;
        for stretch in self.track.stretches() {
            if at <= stretch.begin {
                break;
            }
            let elapsed = self.anchor.ratio.of_terminal(at - stretch.begin);
            played = stretch.position + u64::from(stretch.sample_frames).min(elapsed);
        }
        played
    }

    /// Returns when the sample frame at `position` of the track begins to leave the loudspeaker, if it was
    /// written and its stretch is still known.
    pub(crate) fn time_of(&self, position: u64) -> Option<Instant> {
        let holds = |stretch: &&PlayedStretch| (stretch.position..stretch.end()).contains(&position);
        let stretch = self.track.stretches().iter().rev().find(holds)?;
        let at = stretch.begin + self.anchor.ratio.on_stream(position - stretch.position);
        let ahead_ns = self.anchor.nanos(at - self.anchor.position);
        Some(Instant::from_nanos(self.anchor.time_ns.saturating_add(ahead_ns)))
    }

    /// Returns whether by `now` everything before `position` was played or is known never to be played.
    pub(crate) fn is_over(&self, position: u64, now: Instant) -> bool {
        let at = self.anchor.at(now).saturating_add(ROUNDING_TOLERANCE);
        self.played(now) >= position || (self.track.silent_position >= position && at >= self.track.silent_at)
    }

    /// Returns when the last known sample has left the loudspeaker.
    pub(crate) fn ends(&self) -> Option<Instant> {
        let last = self.track.stretches().last()?;
        let begin = self.time_of(last.end().checked_sub(1)?)?;
        let period_ns = self.anchor.nanos(self.anchor.ratio.on_stream(1));
        Some(Instant::from_nanos(begin.as_nanos().saturating_add(period_ns)))
    }

    fn from_words(words: &[u32; WORDS]) -> Self {
        let mut reader = PublishedReader::new(words);
        let anchor = ClockAnchor {
            time_ns: reader.u64() as i64,
            position: reader.u64() as i64,
            period_q32: reader.u64() as i64,
            ratio: RateRatio { terminal: reader.u32(), device: reader.u32() },
        };
        let mut track = TrackPlayout { track: reader.u32(), ..TrackPlayout::default() };
        track.count = (reader.u32() as usize).min(PLAYOUT_STRETCHES);
        track.played = reader.u64();
        track.silent_at = reader.u64() as i64;
        track.silent_position = reader.u64();
        for stretch in track.stretches.iter_mut().take(track.count) {
            *stretch = PlayedStretch {
                begin: reader.u64() as i64,
                position: reader.u64(),
                sample_frames: reader.u32(),
            };
        }
        Self { anchor, track }
    }
}
