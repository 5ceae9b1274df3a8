//! Capture worker: puts the reference stream's spans together, for every slot.

use super::clock_anchor::{ClockAnchor, RateRatio, on_stream};
use super::published::{PublishedPlayout, WORDS};
use super::track_playout::{PlayedStretch, TrackPlayout};
use crate::dsp::FrameConverter;
use crate::format::SampleRate;
use crate::frame::Frame;
use crate::limits::PLAYOUT_STRETCHES;
use crate::time::Instant;
use crate::timing::{Observation, StreamClock};

/// Joins the spans of the reference stream to stretches, for every slot.
#[derive(Debug)]
pub(crate) struct PlayoutTracker<'a, const SLOTS: usize> {
    tracks: &'a mut [PlayoutMemory; SLOTS],
    published: [Option<&'a PublishedPlayout>; SLOTS],
    terminal: SampleRate,
    device: Option<SampleRate>,
    /// A clock apart from the echo reference's, which counts positions in the reference history: those move
    /// when the latency jumps, and count at the session's rate.
    clock: StreamClock,
    /// Delay of rate conversion, in device sample frames.
    conversion: u64,
}

/// Memory for one slot's playout.
#[derive(Debug)]
pub(crate) struct PlayoutMemory(TrackPlayout);

impl PlayoutMemory {
    /// Returns unused memory, all zero bytes.
    pub(crate) const fn new() -> Self {
        Self(TrackPlayout {
            track: 0,
            stretches: [PlayedStretch { begin: 0, position: 0, sample_frames: 0 }; PLAYOUT_STRETCHES],
            count: 0,
            played: 0,
            silent_at: 0,
            silent_position: 0,
        })
    }
}

impl<'a, const SLOTS: usize> PlayoutTracker<'a, SLOTS> {
    pub(crate) fn new(
        tracks: &'a mut [PlayoutMemory; SLOTS],
        published: [Option<&'a PublishedPlayout>; SLOTS],
        terminal: SampleRate,
    ) -> Self {
        for PlayoutMemory(track) in tracks.iter_mut() {
            (track.track, track.count, track.played) = (0, 0, 0);
        }
        Self { tracks, published, terminal, device: None, clock: StreamClock::new(terminal), conversion: 0 }
    }

    /// Takes a frame that the playback interrupt wrote. Costs some hundred instructions, and as many stores for
    /// each track that plays.
    pub(crate) fn observe<const CAP: usize>(&mut self, frame: &Frame<CAP, SLOTS>) {
        let stamp = &frame.stamp;
        if let Some(device) = self.device.filter(|_| stamp.unplayed > 0) {
            let from = on_stream(stamp.position) - on_stream(u64::from(stamp.unplayed));
            let ratio = self.ratio(device);
            self.tracks.iter_mut().for_each(|track| track.0.cut_from(from, ratio));
        }
        let rate = frame.format().rate();
        if self.device != Some(rate) {
            self.device = Some(rate);
            self.clock = StreamClock::new(rate);
            self.conversion = FrameConverter::<CAP>::latency_sample_frames(self.terminal, rate) as u64;
            self.tracks.iter_mut().for_each(|track| track.0.restart());
        }
        let ratio = self.ratio(rate);
        if frame.sample_frames() > 0 {
            self.observe_time(stamp.position, stamp.time, stamp.fresh);
        }
        let begin = on_stream(stamp.position + self.conversion);
        for (track, span) in self.tracks.iter_mut().zip(&stamp.tracks) {
            if span.track != 0 {
                track.0.add_span(begin + ratio.on_stream(u64::from(span.offset)), *span, ratio);
            }
        }
        let anchor = ClockAnchor {
            time_ns: self.clock.time_of(stamp.position).as_nanos(),
            position: on_stream(stamp.position),
            period_q32: self.clock.period_q32(),
            ratio,
        };
        // Stretches that had been played when this frame was written need not be kept apart.
        let called = stamp.time - stamp.latency;
        let past = anchor.at(called) - on_stream(1);
        let mut words = [0; WORDS];
        for (track, published) in self.tracks.iter_mut().zip(&self.published) {
            let (track, Some(published)) = (&mut track.0, published) else { continue };
            if track.track != 0 {
                track.drop_before(past, ratio);
                published.publish(&anchor, track, &mut words);
            }
        }
    }

    fn ratio(&self, device: SampleRate) -> RateRatio {
        let [terminal, device] = [self.terminal, device].map(|rate| rate.sample_frames() as u32);
        RateRatio { terminal, device }
    }

    fn observe_time(&mut self, position: u64, time: Instant, fresh: bool) {
        if fresh {
            // What was written before was played or was reported as never played.
            if self.clock.is_running() {
                self.tracks.iter_mut().for_each(|track| track.0.restart());
            }
            if let Some(late) = self.clock.restart(position, time) {
                self.clock.jump(late);
            }
        }
        if let Observation::Jumped(by) = self.clock.observe(position, time) {
            self.clock.jump(by);
        }
    }
}
