//! Worker and application side: a bounded queue that carries frames of the cleaned microphone to the application.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use handsfree_core::capture::{FrameSink, LevelMeter};
use handsfree_core::{Frame, FrameConsumer, FrameProducer};

use super::CAP;
use super::meters::Meters;
use super::speech_queue::{SpeechMarks, SpeechWriter};
use crate::speech::{SpeechDetector, SpeechEvent};

/// State shared by worker and application. Each field has one writer.
#[derive(Debug)]
pub(crate) struct QueueState {
    /// Largest number of waiting frames, 0 while there is no reader. Written by the application.
    capacity: AtomicU32,
    /// Whether silence replaces the microphone. Written by the application.
    muted: AtomicBool,
    /// Number of frames that found the queue full. Written by the worker.
    dropped_frames: AtomicU32,
}

impl QueueState {
    pub(crate) const fn new() -> Self {
        Self { capacity: AtomicU32::new(0), muted: AtomicBool::new(false), dropped_frames: AtomicU32::new(0) }
    }

    /// Replaces the microphone by silence from the next frame on. The microphone is still processed, so that
    /// the echo canceller keeps adapting.
    pub(crate) fn set_muted(&self, muted: bool) {
        self.muted.store(muted, Ordering::Relaxed);
    }

    pub(crate) fn is_muted(&self) -> bool {
        self.muted.load(Ordering::Relaxed)
    }

    pub(crate) fn dropped_frames(&self) -> u32 {
        self.dropped_frames.load(Ordering::Relaxed)
    }
}

/// Worker's end of the queue: measures each cleaned frame, detects speech in it, and queues it while there is a
/// reader.
pub(crate) struct CleanedSink {
    ring: FrameProducer<'static, CAP>,
    state: &'static QueueState,
    meter: LevelMeter<'static>,
    detector: SpeechDetector,
    speech: SpeechWriter,
    /// Likelihood that the near talker speaks in the next frame; `None` if it is not known.
    near_end: Option<f32>,
    /// Number of sample frames dropped before the next queued frame.
    lost: u32,
}

impl CleanedSink {
    pub(crate) fn new(
        ring: FrameProducer<'static, CAP>,
        state: &'static QueueState,
        meters: &'static Meters,
        detector: SpeechDetector,
        speech: SpeechWriter,
    ) -> Self {
        let meter = LevelMeter::new(&meters.cleaned);
        Self { ring, state, meter, detector, speech, near_end: None, lost: 0 }
    }
}

impl FrameSink<CAP> for CleanedSink {
    fn on_near_end(&mut self, likelihood: f32) {
        self.near_end = Some(likelihood);
    }

    /// Queues a copy of the frame. Wait-free.
    fn on_frame(&mut self, frame: &Frame<CAP>) {
        self.meter.measure(frame.samples());
        let near_end = self.near_end.take();
        // A muted microphone has no speech.
        let near_end = if self.state.is_muted() { Some(0.0) } else { near_end };
        if let Some(event) = self.detector.observe(near_end, frame) {
            self.speech.send(event, frame.stamp.position);
        }
        let capacity = self.state.capacity.load(Ordering::Relaxed) as usize;
        if capacity == 0 {
            self.lost = 0;
            return;
        }
        let mut copy = frame.clone();
        if self.state.is_muted() {
            copy.samples_mut().fill(0);
        }
        copy.stamp.lost = copy.stamp.lost.saturating_add(self.lost);
        let lost_if_dropped = copy.stamp.lost.saturating_add(copy.sample_frames() as u32);
        if self.ring.len() < capacity && self.ring.push(copy).is_ok() {
            self.lost = 0;
            return;
        }
        self.lost = lost_if_dropped;
        let dropped = self.state.dropped_frames.load(Ordering::Relaxed);
        self.state.dropped_frames.store(dropped.wrapping_add(1), Ordering::Relaxed);
    }
}

/// Application's end of the queue of cleaned microphone frames, oldest first.
///
/// [`listen`](Self::listen) limits the number of waiting frames. A frame that finds the queue full is dropped and
/// counted, and [`Stamp::lost`](handsfree_core::Stamp::lost) of the next frame reports the missing samples.
pub struct CleanedFrames {
    ring: FrameConsumer<'static, CAP>,
    state: &'static QueueState,
    marks: SpeechMarks,
}

impl CleanedFrames {
    pub(crate) fn new(
        ring: FrameConsumer<'static, CAP>,
        state: &'static QueueState,
        marks: SpeechMarks,
    ) -> Self {
        Self { ring, state, marks }
    }

    /// Starts to queue frames, at most `frames` and at most [`MAX_WAITING`] of them. Frames that still wait are
    /// dropped.
    pub fn listen(&mut self, frames: u32) {
        self.ignore();
        self.state.capacity.store(frames.clamp(1, MAX_WAITING), Ordering::Relaxed);
    }

    /// Stops queueing frames, and drops those that wait.
    pub fn ignore(&mut self) {
        self.state.capacity.store(0, Ordering::Relaxed);
        for _ in 0..=MAX_WAITING {
            if self.ring.pop().is_none() {
                break;
            }
        }
        self.marks.clear();
    }

    /// Takes the oldest event of speech that was noticed in a frame up to the one at `position`, if there is one.
    pub fn pop_speech(&mut self, position: u64) -> Option<SpeechEvent> {
        self.marks.pop(position)
    }

    /// Takes the oldest waiting frame, if there is one.
    pub fn pop(&mut self) -> Option<Frame<CAP>> {
        self.ring.pop()
    }

    /// Returns the number of waiting frames.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.ring.len()
    }

    /// Returns the number of frames dropped so far because the queue was full; wraps at 2^32.
    #[must_use]
    pub fn dropped_frames(&self) -> u32 {
        self.state.dropped_frames()
    }
}

impl fmt::Debug for CleanedFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CleanedFrames").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

/// Largest number of frames that may wait for the application: 2.55 s of audio.
pub const MAX_WAITING: u32 = 255;

#[cfg(test)]
mod tests {
    use super::super::speech_queue::speech_queue;
    use super::*;
    use crate::speech::SpeechSettings;
    use handsfree_core::{Format, FrameRing};

    fn halves() -> (CleanedSink, CleanedFrames, &'static Meters, &'static QueueState) {
        let ring = Box::leak(Box::new(FrameRing::<CAP, 0, { MAX_WAITING as usize + 1 }>::new()));
        let meters: &'static Meters = Box::leak(Box::new(Meters::new()));
        let state: &'static QueueState = Box::leak(Box::new(QueueState::new()));
        let (producer, consumer) = ring.split();
        let detector = SpeechDetector::new(SpeechSettings::DETECTOR).unwrap();
        let (speech, _, marks) = speech_queue();
        let sink = CleanedSink::new(producer, state, meters, detector, speech);
        (sink, CleanedFrames::new(consumer, state, marks), meters, state)
    }

    fn frame(number: i16) -> Frame<CAP> {
        let mut frame = Frame::silence(Format::new(8_000, 1).unwrap()).unwrap();
        frame.samples_mut().fill(number);
        frame
    }

    #[test]
    fn a_full_queue_drops_the_newest_and_the_next_frame_reports_it() {
        let (mut sink, mut frames, _, _) = halves();
        sink.on_frame(&frame(1));
        assert_eq!(
            (frames.waiting(), frames.dropped_frames()),
            (0, 0),
            "no frame counts as lost without a reader"
        );
        frames.listen(2);
        (2..=5).for_each(|number| sink.on_frame(&frame(number)));
        assert_eq!((frames.waiting(), frames.dropped_frames()), (2, 2));
        assert_eq!(frames.pop().unwrap().samples()[0], 2);
        sink.on_frame(&frame(6));
        assert_eq!(frames.pop().unwrap().samples()[0], 3);
        let next = frames.pop().unwrap();
        assert_eq!((next.samples()[0], next.stamp.lost), (6, 160));
        frames.listen(1_000_000);
        (0..300).for_each(|number| sink.on_frame(&frame(number)));
        assert_eq!(frames.waiting(), MAX_WAITING as usize);
        frames.ignore();
        sink.on_frame(&frame(7));
        assert_eq!(frames.waiting(), 0);
    }

    #[test]
    fn muted_frames_are_silent_but_measured() {
        let (mut sink, mut frames, meters, state) = halves();
        frames.listen(4);
        state.set_muted(true);
        sink.on_frame(&frame(8_192));
        assert!(frames.pop().unwrap().samples().iter().all(|&sample| sample == 0));
        assert!((meters.cleaned.read().peak_dbfs + 12.04).abs() < 0.01);
        state.set_muted(false);
        sink.on_frame(&frame(8_192));
        assert_eq!(frames.pop().unwrap().samples()[0], 8_192);
    }
}
