//! Worker and application side: wait-free queues that carry events of speech from the worker to two readers.

use rtrb::{Consumer, Producer, RingBuffer};

use crate::speech::SpeechEvent;

/// Largest number of events that wait for a reader: more than a person can start and end to speak in half a
/// minute. A queue that is full drops the newest event.
const DEPTH: usize = 64;

/// Makes the queues: the worker's end, the reader for all events, and the reader that goes with the cleaned frames.
pub(super) fn speech_queue() -> (SpeechWriter, SpeechReader, SpeechMarks) {
    let (events, all) = RingBuffer::new(DEPTH);
    let (marks, with_frames) = RingBuffer::new(DEPTH);
    (SpeechWriter { events, marks }, SpeechReader(all), SpeechMarks(with_frames))
}

/// Worker's end of both queues.
pub(crate) struct SpeechWriter {
    events: Producer<SpeechEvent>,
    /// Each event with the position of the frame in which it was noticed.
    marks: Producer<(u64, SpeechEvent)>,
}

impl SpeechWriter {
    /// Sends an event that was noticed in the frame at `position`. Wait-free.
    pub(crate) fn send(&mut self, event: SpeechEvent, position: u64) {
        // A reader that does not read has no use for the event.
        _ = self.events.push(event);
        _ = self.marks.push((position, event));
    }
}

/// Reader of all events.
pub(crate) struct SpeechReader(Consumer<SpeechEvent>);

impl SpeechReader {
    pub(crate) fn pop(&mut self) -> Option<SpeechEvent> {
        self.0.pop().ok()
    }
}

/// Reader of the events, each with its place among the cleaned frames.
pub(crate) struct SpeechMarks(Consumer<(u64, SpeechEvent)>);

impl SpeechMarks {
    /// Takes the oldest event that was noticed in the frame at `position` or before it.
    pub(crate) fn pop(&mut self, position: u64) -> Option<SpeechEvent> {
        let &(noticed, event) = self.0.peek().ok()?;
        if noticed > position {
            return None;
        }
        _ = self.0.pop();
        Some(event)
    }

    pub(crate) fn clear(&mut self) {
        while self.0.pop().is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speech::SpeechPoint;

    #[test]
    fn an_event_comes_with_the_frame_in_which_it_was_noticed() {
        let (mut writer, mut all, mut marks) = speech_queue();
        let started = SpeechEvent::Started(SpeechPoint::default());
        writer.send(started, 480);
        assert_eq!(marks.pop(320), None);
        assert_eq!(marks.pop(480), Some(started));
        assert_eq!(marks.pop(640), None);
        assert_eq!(all.pop(), Some(started));
        for _ in 0..1_000 {
            writer.send(started, 960);
        }
        assert_eq!(std::iter::from_fn(|| all.pop()).count(), DEPTH, "a queue that is not read is bounded");
        marks.clear();
        assert_eq!(marks.pop(u64::MAX), None);
    }
}
