//! Worker or application side: keeps the last frames, so that speech is handed over from before its start.

use super::{SpeechEvent, SpeechPoint};
use crate::frame::Frame;
use crate::time::{Duration, Instant};

/// Time before the start of speech from which its audio is handed over: the start that is known may be 200 ms
/// after the true one if a quiet syllable comes first, and a recogniser wants some silence before the first
/// sound.
const PRE_ROLL: Duration = Duration::from_millis(300);

/// Ring of cleaned frames that hands over the audio of speech.
///
/// It keeps the last `FRAMES` frames. Once speech has started, [`pop`](Self::pop) returns the frames from 300 ms
/// before its start on, each once and in order, until the speech has ended. `FRAMES` is 300 ms plus the
/// longest time until the start is known, 300 ms, plus the time by which the reader may be late. A reader that
/// is later misses the oldest frames, which the frames' positions show.
///
/// [`new`](Self::new) is all zero bytes, so that a static needs no flash.
#[derive(Debug)]
pub struct SpeechFrames<const CAP: usize, const FRAMES: usize> {
    frames: [Frame<CAP>; FRAMES],
    /// Index at which the next frame is written.
    next: usize,
    /// Number of frames that are kept.
    kept: usize,
    /// Number of frames that are still to be handed over.
    unread: usize,
    /// Number of frames behind those, which came after the end of the speech.
    after: usize,
    is_speech: bool,
    /// Number of the newest frames that were not handed over before.
    fresh: usize,
}

impl<const CAP: usize, const FRAMES: usize> Default for SpeechFrames<CAP, FRAMES> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const CAP: usize, const FRAMES: usize> SpeechFrames<CAP, FRAMES> {
    /// Returns a ring without frames.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(FRAMES > 0, "FRAMES: expected at least 1") };
        Self {
            frames: [const { Frame::EMPTY }; FRAMES],
            next: 0,
            kept: 0,
            unread: 0,
            after: 0,
            is_speech: false,
            fresh: 0,
        }
    }

    /// Takes a frame, and the event that a [`SpeechActivity`](super::SpeechActivity) returned for it. Copies
    /// the frame.
    pub fn push(&mut self, frame: &Frame<CAP>, event: Option<SpeechEvent>) {
        if let Some(slot) = self.frames.get_mut(self.next) {
            slot.clone_from(frame);
        }
        self.next = if self.next + 1 >= FRAMES { 0 } else { self.next + 1 };
        self.kept = (self.kept + 1).min(FRAMES);
        self.fresh = (self.fresh + 1).min(FRAMES);
        if self.is_speech {
            self.unread += 1;
        } else if self.unread > 0 {
            self.after += 1;
        }
        match event {
            Some(SpeechEvent::Started(SpeechPoint { at, .. })) => {
                // What is left of the speech before is followed by all that came since.
                let left = if self.unread > 0 { self.unread + self.after } else { 0 };
                self.unread = left.max(self.frames_since(at - PRE_ROLL).min(self.fresh));
                (self.is_speech, self.after) = (true, 0);
            }
            Some(SpeechEvent::Ended(_)) => self.is_speech = false,
            Some(SpeechEvent::Confirmed(_)) | None => {}
        }
        self.unread = self.unread.min(FRAMES - self.after.min(FRAMES));
        if self.unread == 0 {
            self.after = 0;
        }
    }

    /// Returns the next frame of the speech, or `None` until there is another one.
    pub fn pop(&mut self) -> Option<&Frame<CAP>> {
        self.unread = self.unread.checked_sub(1)?;
        self.fresh = self.unread + self.after;
        let index = self.index(self.fresh);
        if self.unread == 0 {
            self.after = 0;
        }
        self.frames.get(index)
    }

    /// Forgets all frames.
    pub const fn clear(&mut self) {
        (self.kept, self.unread, self.after, self.fresh) = (0, 0, 0, 0);
        self.is_speech = false;
    }

    /// Returns the index of the frame that `newer` frames follow.
    const fn index(&self, newer: usize) -> usize {
        let back = newer + 1;
        if self.next >= back { self.next - back } else { (self.next + FRAMES).saturating_sub(back) }
    }

    /// Returns how many of the kept frames begin at a time or later.
    fn frames_since(&self, from: Instant) -> usize {
        let begins_later =
            |&newer: &usize| self.frames.get(self.index(newer)).is_some_and(|frame| frame.stamp.time >= from);
        (0..self.kept).take_while(begins_later).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;

    fn frame(number: i64) -> Frame<80> {
        let mut frame = Frame::silence(Format::new(8_000, 1).unwrap()).unwrap();
        frame.samples_mut().fill(number as i16);
        frame.stamp.time = Instant::ORIGIN + Duration::from_millis(10 * number);
        frame
    }

    fn read(frames: &mut SpeechFrames<80, 50>) -> Vec<i16> {
        std::iter::from_fn(|| frames.pop().map(|frame| frame.samples()[0])).collect()
    }

    fn at(number: i64) -> SpeechPoint {
        SpeechPoint { at: frame(number).stamp.time, position: 0 }
    }

    #[test]
    fn speech_is_handed_over_from_300_ms_before_its_start() {
        let mut frames = SpeechFrames::new();
        (0..100).for_each(|n| frames.push(&frame(n), None));
        assert!(read(&mut frames).is_empty());
        frames.push(&frame(100), Some(SpeechEvent::Started(at(90))));
        assert_eq!(read(&mut frames), (60..=100).collect::<Vec<_>>());
        frames.push(&frame(101), None);
        assert_eq!(read(&mut frames), [101]);
        frames.push(&frame(102), Some(SpeechEvent::Ended(at(95))));
        frames.push(&frame(103), None);
        assert_eq!(read(&mut frames), [102]);
    }

    #[test]
    fn no_frame_is_handed_over_twice() {
        let mut frames = SpeechFrames::new();
        (0..40).for_each(|n| frames.push(&frame(n), None));
        frames.push(&frame(40), Some(SpeechEvent::Started(at(38))));
        frames.push(&frame(41), Some(SpeechEvent::Ended(at(41))));
        assert_eq!(read(&mut frames), (8..=41).collect::<Vec<_>>());
        frames.push(&frame(42), None);
        frames.push(&frame(43), Some(SpeechEvent::Started(at(43))));
        assert_eq!(read(&mut frames), [42, 43]);
        (44..64).for_each(|n| frames.push(&frame(n), None));
        frames.push(&frame(64), Some(SpeechEvent::Ended(at(60))));
        frames.push(&frame(65), None);
        frames.push(&frame(66), Some(SpeechEvent::Started(at(66))));
        assert_eq!(read(&mut frames), (44..=66).collect::<Vec<_>>(), "what was not read yet is kept");
    }

    #[test]
    fn a_late_reader_misses_the_oldest_frames() {
        let mut frames = SpeechFrames::new();
        frames.push(&frame(0), Some(SpeechEvent::Started(at(0))));
        (1..120).for_each(|n| frames.push(&frame(n), None));
        assert_eq!(read(&mut frames), (70..120).collect::<Vec<_>>());
        frames.clear();
        frames.push(&frame(120), None);
        assert!(read(&mut frames).is_empty());
    }
}
