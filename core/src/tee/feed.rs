//! Worker side: passes audio and events to the sinks of a tee.

use crate::atomics::{AtomicBool, AtomicU32, Ordering};
use core::fmt;

use super::{AttachedSink, CAPTURED, TeeWriter};
use crate::capture::FrameSink;
use crate::event::SessionEvent;
use crate::frame::Frame;
use crate::playback::TrackTap;
use crate::queue;

pub(super) struct FeedSlot<'a, 's, const CAP: usize> {
    pub(super) arrived: queue::QueueReader<'a, AttachedSink<'s, CAP>>,
    pub(super) leaving: queue::QueueWriter<'a, TeeWriter<'s, CAP>>,
    pub(super) removed: &'a AtomicU32,
    pub(super) sink: Option<AttachedSink<'s, CAP>>,
}

impl<'s, const CAP: usize> FeedSlot<'_, 's, CAP> {
    fn update(&mut self) {
        if self.sink.is_none() {
            self.sink = self.arrived.pop();
            if let Some(sink) = &mut self.sink {
                sink.writer.forget_losses();
            }
        }
        let removed = self.removed.load(Ordering::Relaxed);
        let goes = |sink: &mut AttachedSink<'s, CAP>| sink.id.0 == removed || sink.writer.is_abandoned();
        if let Some(sink) = self.sink.take_if(goes) {
            // There is space: the slot is not used again before the writer was taken.
            let _ = self.leaving.push(sink.writer);
        }
    }
}

/// The worker's end of a tee: the sink of a [capture pipeline](crate::capture::Pipeline::poll), the tap of the
/// mixer, or both in turn where one worker runs both.
///
/// Costs a copy of the frame for each sink that receives it. It neither blocks nor allocates, whatever readers
/// and control do.
pub struct TeeFeed<'a, 's, const CAP: usize, const SINKS: usize> {
    pub(super) slots: [FeedSlot<'a, 's, CAP>; SINKS],
    pub(super) indirect: &'a AtomicBool,
}

impl<const CAP: usize, const SINKS: usize> fmt::Debug for TeeFeed<'_, '_, CAP, SINKS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TeeFeed").field("slots", &SINKS).field("sinks", &self.sinks()).finish()
    }
}

impl<'s, const CAP: usize, const SINKS: usize> TeeFeed<'_, 's, CAP, SINKS> {
    /// Attaches and detaches sinks as the control side asked. Worker side, once a round. Frames and events do
    /// it too, but a worker that passes nothing needs this call. Costs some loads a slot.
    pub fn poll(&mut self) {
        self.slots.iter_mut().for_each(FeedSlot::update);
    }

    /// Returns how many sinks are attached.
    #[must_use]
    pub fn sinks(&self) -> usize {
        self.slots.iter().filter(|slot| slot.sink.is_some()).count()
    }

    fn has_listener(&self, track: u32) -> bool {
        self.slots.iter().any(|slot| slot.sink.as_ref().is_some_and(|sink| sink.filter.wants(track)))
    }

    /// Returns the writers of the sinks that receive `track`, or of all sinks for an event that is not about a
    /// track.
    fn listeners(&mut self, track: Option<u32>) -> impl Iterator<Item = &mut TeeWriter<'s, CAP>> {
        self.slots.iter_mut().filter_map(move |slot| {
            let sink = slot.sink.as_mut()?;
            track.is_none_or(|track| sink.filter.wants(track)).then_some(&mut sink.writer)
        })
    }
}

impl<const CAP: usize, const SINKS: usize> FrameSink<CAP> for TeeFeed<'_, '_, CAP, SINKS> {
    fn on_frame(&mut self, frame: &Frame<CAP>) {
        self.poll();
        self.listeners(Some(CAPTURED)).for_each(|writer| writer.push_frame(CAPTURED, frame));
    }
}

impl<const CAP: usize, const SINKS: usize> TrackTap<CAP> for TeeFeed<'_, '_, CAP, SINKS> {
    /// Returns whether a sink receives this track or is about to be attached, so that the next frame attaches
    /// it.
    fn wants(&self, track: u32) -> bool {
        self.has_listener(track) || self.slots.iter().any(|slot| slot.arrived.len() > 0)
    }

    fn replaces(&self, track: u32) -> bool {
        self.indirect.load(Ordering::Relaxed) && self.has_listener(track)
    }

    fn on_frame(&mut self, track: u32, frame: &Frame<CAP>) {
        self.listeners(Some(track)).for_each(|writer| writer.push_frame(track, frame));
        // After the frame, because the mixer asked whether to replace it before a new sink was attached.
        self.poll();
    }

    fn on_event(&mut self, event: SessionEvent) {
        self.poll();
        self.listeners(track_of(event)).for_each(|writer| writer.push_event(event));
    }
}

/// Returns the track that an event is about.
const fn track_of(event: SessionEvent) -> Option<u32> {
    match event {
        SessionEvent::TrackStarted { track }
        | SessionEvent::TrackStarved { track }
        | SessionEvent::TrackEnded { track, .. }
        | SessionEvent::TrackPaused { track, .. }
        | SessionEvent::TrackResumed { track }
        | SessionEvent::TrackInterrupted { track, .. } => Some(track),
        SessionEvent::DeviceChanged { .. }
        | SessionEvent::EchoLost
        | SessionEvent::EchoFound { .. }
        | SessionEvent::RateUntrue { .. }
        | SessionEvent::PlaybackFillChanged { .. }
        | SessionEvent::DeviceStalled { .. }
        | SessionEvent::VoiceTripped { .. }
        | SessionEvent::VoiceDisabled
        | SessionEvent::ProcessorTripped { .. }
        | SessionEvent::ProcessorDisabled { .. } => None,
    }
}
