//! Worker side: both rings in, cleaned frames out.

use crate::capture::guard::{Guard, VoiceState};
use crate::capture::processor::{FrameProcessor, VoiceProcessor, VoiceStats};
use crate::capture::sink::FrameSink;
use crate::dsp::FrameConverter;
use crate::event::EventSender;
use crate::format::{Format, SampleRate};
use crate::frame::{Frame, PcmRef};
use crate::limits::REFERENCE_PATIENCE_FRAMES;
use crate::playback::SharedPlan;
use crate::ring::FrameConsumer;
use crate::stats::CaptureCounters;
use crate::time::{Clock, Duration};
use crate::timing::{DelayEstimator, EchoReference};

/// Working memory of the capture worker, part of a session.
#[derive(Debug)]
pub(crate) struct CaptureMemory<const CAP: usize> {
    converter: FrameConverter<CAP>,
    frame: Frame<CAP>,
    backup: Frame<CAP>,
    silence: Frame<CAP>,
    reference: EchoReference<CAP>,
}

impl<const CAP: usize> CaptureMemory<CAP> {
    pub(crate) const fn new() -> Self {
        Self {
            converter: FrameConverter::new(),
            frame: Frame::EMPTY,
            backup: Frame::EMPTY,
            silence: Frame::EMPTY,
            reference: EchoReference::new(),
        }
    }
}

/// What a session lends to its capture worker.
#[derive(Debug)]
pub(crate) struct CaptureEnds<'a, const CAP: usize, const SLOTS: usize> {
    pub(crate) capture: FrameConsumer<'a, CAP>,
    pub(crate) reference: FrameConsumer<'a, CAP, SLOTS>,
    pub(crate) memory: &'a mut CaptureMemory<CAP>,
    pub(crate) counters: &'a CaptureCounters,
    pub(crate) plan: &'a SharedPlan,
    pub(crate) events: EventSender<'a>,
}

/// The worker half of capture: drains the capture and the reference ring, runs the voice processor
/// and the chain, hands cleaned frames to a sink.
///
/// It is the only caller of the voice processor, so no lock around that exists.
#[derive(Debug)]
pub struct Pipeline<'a, const CAP: usize, const SLOTS: usize, V, P = ()> {
    ends: CaptureEnds<'a, CAP, SLOTS>,
    near: Format,
    far: Format,
    voice: Guard<V>,
    chain: P,
    delay: DelayEstimator,
    /// Capture frames since the last reference frame.
    quiet_frames: u16,
    /// Position and losses on the output, at the terminal's rate.
    position: u64,
    lost: u32,
    device: Option<Format>,
}

impl<'a, const CAP: usize, const SLOTS: usize, V: VoiceProcessor, P: FrameProcessor>
    Pipeline<'a, CAP, SLOTS, V, P>
{
    pub(crate) fn new(
        ends: CaptureEnds<'a, CAP, SLOTS>,
        near: Format,
        far: Format,
        voice: V,
        chain: P,
    ) -> Self {
        ends.memory.silence.clear(far, far.sample_frames());
        ends.memory.reference.reset();
        ends.memory.converter.reset();
        Self {
            ends,
            near,
            far,
            voice: Guard::new(voice),
            chain,
            delay: DelayEstimator::new(),
            quiet_frames: 0,
            position: 0,
            lost: 0,
            device: None,
        }
    }

    /// Processes all that has arrived and returns how many frames went to the sink.
    ///
    /// Worker side: call it when an interrupt half completed a frame, or at least every few
    /// milliseconds, also while only one direction runs. Bounded by the rings' capacity; costs the
    /// voice processor's time a frame. `clock` is read twice a frame to see whether the voice
    /// processor is too slow.
    pub fn poll(&mut self, clock: &impl Clock, sink: &mut impl FrameSink<CAP>) -> usize {
        self.ends.counters.ring_fill.set(self.ends.capture.len() as u32);
        self.ends.counters.reference_fill.set(self.ends.reference.len() as u32);
        self.drain_reference();
        let mut delivered = 0;
        for _ in 0..self.ends.capture.capacity() {
            let Some(frame) = self.ends.capture.pop() else {
                break;
            };
            if self.take(&frame, clock) {
                sink.on_frame(&self.ends.memory.frame);
                delivered += 1;
            }
        }
        delivered
    }

    /// What the voice processor says about its work.
    #[must_use]
    pub fn voice_stats(&self) -> VoiceStats {
        self.voice.voice.stats()
    }

    /// Whether the voice processor is in use.
    #[must_use]
    pub fn voice_state(&self) -> VoiceState {
        self.voice.state()
    }

    /// Tries a voice processor again that was given up.
    pub fn rearm(&mut self) {
        self.voice.rearm();
    }

    /// The voice processor, to switch its settings. Worker side, between two polls.
    pub fn voice_mut(&mut self) -> &mut V {
        &mut self.voice.voice
    }

    /// Render plus capture latency as estimated from the devices' times.
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.delay.delay()
    }

    /// How much later samples come out of the rate conversion than they went in.
    #[must_use]
    pub fn conversion_latency(&self) -> Duration {
        self.device
            .map_or(Duration::ZERO, |device| FrameConverter::<CAP>::latency(device.rate(), self.near.rate()))
    }

    fn drain_reference(&mut self) {
        for _ in 0..self.ends.reference.capacity() {
            let Some(frame) = self.ends.reference.pop() else {
                break;
            };
            if frame.format().channels() != self.far.channels() {
                self.ends.counters.foreign_frames.add(1);
                continue;
            }
            self.delay.on_render(frame.stamp.latency);
            self.quiet_frames = 0;
            if frame.stamp.lost > 0 {
                self.ends.counters.reference_lost_sample_frames.add(frame.stamp.lost);
            }
            let (voice, counters, events) = (&mut self.voice, self.ends.counters, &mut self.ends.events);
            self.ends.memory.reference.push(&frame, self.far.rate(), |far: PcmRef<'_>| {
                voice.reverse(far, counters, events);
            });
        }
    }

    /// Brings one captured frame to the terminal's rate and through all processors.
    fn take(&mut self, captured: &Frame<CAP>, clock: &impl Clock) -> bool {
        let format = captured.format();
        if format.channels() != self.near.channels() {
            self.ends.counters.foreign_frames.add(1);
            self.lost = self.lost.saturating_add(self.near.sample_frames() as u32);
            return false;
        }
        if self.device != Some(format) {
            self.device = Some(format);
            self.delay.reset_capture();
        }
        self.delay.on_capture(captured.stamp.latency);
        self.stamp_and_convert(captured);
        self.hear_silence();
        let delay = self.delay.delay();
        let counters = self.ends.counters;
        counters.delay_us.set(u32::try_from(delay.as_micros()).unwrap_or(u32::MAX));
        let memory = &mut *self.ends.memory;
        let (frame, backup) = (&mut memory.frame, &mut memory.backup);
        self.voice.capture(frame, backup, delay, clock, counters, &mut self.ends.events);
        if self.chain.enabled() && self.chain.process(frame.pcm_mut()).is_err() {
            counters.processor_errors.add(1);
        }
        counters.frames.add(1);
        true
    }

    fn stamp_and_convert(&mut self, captured: &Frame<CAP>) {
        let rate = self.near.rate();
        let memory = &mut *self.ends.memory;
        memory.converter.convert(captured, rate, &mut memory.frame);
        let lost = at_rate(captured.stamp.lost, captured.format().rate(), rate);
        let lost = lost.saturating_add(core::mem::take(&mut self.lost));
        self.position += u64::from(lost);
        let stamp = &mut memory.frame.stamp;
        *stamp = captured.stamp;
        stamp.lost = lost;
        stamp.position = self.position;
        stamp.time = captured.stamp.time - FrameConverter::<CAP>::latency(captured.format().rate(), rate);
        self.position += self.near.sample_frames() as u64;
    }

    /// While nothing plays the canceller hears silence, so that it keeps its filter and its idea
    /// of time; a reference that is merely late is waited for.
    fn hear_silence(&mut self) {
        self.quiet_frames = self.quiet_frames.saturating_add(1);
        if self.ends.plan.get().is_none() || self.quiet_frames > REFERENCE_PATIENCE_FRAMES {
            let counters = self.ends.counters;
            counters.reference_silence_frames.add(1);
            self.voice.reverse(self.ends.memory.silence.pcm(), counters, &mut self.ends.events);
        }
    }
}

/// A count of sample frames at another rate, rounded to nearest.
fn at_rate(sample_frames: u32, from: SampleRate, to: SampleRate) -> u32 {
    let (from, to) = (from.sample_frames().max(1) as u64, to.sample_frames() as u64);
    u32::try_from((u64::from(sample_frames) * to + from / 2) / from).unwrap_or(u32::MAX)
}
