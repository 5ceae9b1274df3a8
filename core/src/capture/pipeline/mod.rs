//! Worker side: takes captured and played frames from their rings and gives cleaned frames to a sink.

mod settings;

use crate::audio_io::Direction;
use crate::capture::alignment::{AlignedRead, Alignment, WaitingFrame};
use crate::capture::guard::Guard;
use crate::capture::processor::{FrameProcessor, VoiceProcessor};
use crate::capture::sink::FrameSink;
use crate::devices::{DeviceSnapshot, DeviceState};
use crate::dsp::FrameConverter;
use crate::event::{EventSender, SessionEvent};
use crate::format::{Format, SampleRate};
use crate::frame::{Frame, Stamp};
use crate::limits::{FRAME_NS, MAX_CHAIN_STEPS, MAX_REFERENCE_WAIT};
use crate::playback::PlayoutTracker;
use crate::recorder::{RecordingClock, WorkerRecorder};
use crate::ring::FrameConsumer;
use crate::stall::StallReporter;
use crate::stats::CaptureCounters;
use crate::time::{Clock, Duration, Instant};
use crate::timing::{EchoEventOutput, EchoFrames, ReferenceMemory};

/// Working memory of the capture worker, part of a session.
#[derive(Debug)]
pub(crate) struct CaptureMemory<const CAP: usize> {
    frames: CaptureFrames<CAP>,
    reference: ReferenceMemory<CAP>,
}

#[derive(Debug)]
struct CaptureFrames<const CAP: usize> {
    converter: FrameConverter<CAP>,
    near: Frame<CAP>,
    backup: Frame<CAP>,
    far: Frame<CAP>,
}

impl<const CAP: usize> CaptureMemory<CAP> {
    pub(crate) const fn new() -> Self {
        Self {
            frames: CaptureFrames {
                converter: FrameConverter::new(),
                near: Frame::EMPTY,
                backup: Frame::EMPTY,
                far: Frame::EMPTY,
            },
            reference: ReferenceMemory::new(),
        }
    }
}

/// The parts of a session that its capture worker borrows.
#[derive(Debug)]
pub(crate) struct CapturePipelineParts<'a, const CAP: usize, const SLOTS: usize> {
    pub(crate) capture: FrameConsumer<'a, CAP>,
    pub(crate) reference: FrameConsumer<'a, CAP, SLOTS>,
    pub(crate) memory: &'a mut CaptureMemory<CAP>,
    pub(crate) history: &'a mut [i16],
    pub(crate) counters: &'a CaptureCounters,
    pub(crate) device_state: &'a DeviceState,
    pub(crate) playout: PlayoutTracker<'a, SLOTS>,
    pub(crate) events: EventSender<'a>,
    pub(crate) stalls: StallReporter<'a>,
}

/// The worker half of capture: drains the capture and the reference ring, aligns the reference, runs the
/// voice processor and the chain, and hands cleaned frames to a sink.
///
/// It is the only caller of the voice processor, so no lock around that exists. The processor always gets one
/// reference frame before each capture frame.
#[derive(Debug)]
pub struct Pipeline<'a, const CAP: usize, const SLOTS: usize, V, P = ()> {
    pub(crate) capture: FrameConsumer<'a, CAP>,
    pub(crate) reference_ring: FrameConsumer<'a, CAP, SLOTS>,
    frames: &'a mut CaptureFrames<CAP>,
    counters: &'a CaptureCounters,
    device_state: &'a DeviceState,
    playout: PlayoutTracker<'a, SLOTS>,
    events: EventSender<'a>,
    stalls: StallReporter<'a>,
    near: Format,
    far: Format,
    voice: Guard<V>,
    chain: P,
    alignment: Alignment<'a, CAP>,
    /// When the converted frame was taken from the ring, while it waits for its reference.
    waiting_since: Option<Instant>,
    /// Position of the next frame on the output, in sample frames at the session's rate.
    position: u64,
    /// Sample frames lost since the last frame that was converted, at the session's rate.
    lost: u32,
    /// Format of the last captured frame.
    captured_format: Option<Format>,
    /// Format of the last played frame.
    played_format: Option<Format>,
    /// Splits the loudspeaker's loopback from a captured frame, if captured frames hold one.
    split_loopback: Option<SplitLoopback<CAP>>,
    /// Lets the alignment learn from a processed frame, if it corrects itself by the acoustic delay.
    observe_echo: Option<fn(&mut Self, bool)>,
    /// State of the devices in this round.
    devices: DeviceSnapshot,
    pub(crate) recorder: WorkerRecorder<'a>,
}

/// A pointer that only [`Pipeline::use_loopback_reference`] names, so that other images do not link the
/// function.
type SplitLoopback<const CAP: usize> = fn(&mut Frame<CAP>, Format, Format, &mut Frame<CAP>);

impl<'a, const CAP: usize, const SLOTS: usize, V: VoiceProcessor, P: FrameProcessor>
    Pipeline<'a, CAP, SLOTS, V, P>
{
    pub(crate) fn new(
        parts: CapturePipelineParts<'a, CAP, SLOTS>,
        near: Format,
        far: Format,
        voice: V,
        chain: P,
    ) -> Self {
        let CaptureMemory { frames, reference } = parts.memory;
        frames.converter.reset();
        Self {
            capture: parts.capture,
            reference_ring: parts.reference,
            frames,
            counters: parts.counters,
            device_state: parts.device_state,
            playout: parts.playout,
            events: parts.events,
            stalls: parts.stalls,
            near,
            far,
            voice: Guard::new(voice),
            chain,
            alignment: Alignment::new(reference, parts.history, near, far),
            waiting_since: None,
            position: 0,
            lost: 0,
            captured_format: None,
            played_format: None,
            split_loopback: None,
            observe_echo: None,
            devices: DeviceSnapshot::default(),
            recorder: WorkerRecorder::default(),
        }
    }

    /// Processes the frames that have arrived and returns how many went to the sink.
    ///
    /// Worker side: call it when an interrupt half completed a frame, or at least every few milliseconds,
    /// also while only one direction runs. Bounded by the rings' capacity; costs the voice processor's time a
    /// frame and the read of the echo reference, which is a copy if both directions share a clock and
    /// otherwise depends on the processor's [`ReferenceQuality`](crate::timing::ReferenceQuality). A device
    /// of another format than before resets the chain and is reported as [`SessionEvent::DeviceChanged`]. A
    /// frame whose reference is not known yet waits for it, at most 100 ms; then silence takes the
    /// reference's place. `clock` is read to measure that wait and the time that the voice processor takes.
    pub fn poll(&mut self, clock: &impl Clock, sink: &mut impl FrameSink<CAP>) -> usize {
        self.devices = self.recorder.begin_round(self.device_state.snapshot());
        let clock = &RecordingClock::new(clock);
        self.counters.ring_fill.set(self.capture.len() as u32);
        self.counters.reference_fill.set(self.reference_ring.len() as u32);
        self.stalls.poll(&mut self.events);
        self.drain_reference();
        let mut delivered = 0;
        for _ in 0..=self.capture.capacity() {
            if self.waiting_since.is_none() && !self.convert_next(clock) {
                break;
            }
            if !self.read_reference(clock) {
                break;
            }
            self.waiting_since = None;
            if self.process(clock)
                && let Some(likelihood) = self.voice.voice.near_end_likelihood()
            {
                sink.on_near_end(likelihood);
            }
            self.recorder.record_cleaned(&self.frames.near, clock);
            sink.on_frame(&self.frames.near);
            delivered += 1;
        }
        self.recorder.end_round(clock);
        delivered
    }

    fn captured_channels(&self) -> usize {
        let loopback_channels = if self.split_loopback.is_some() { self.far.channels() } else { 0 };
        self.near.channels() + loopback_channels
    }

    fn drain_reference(&mut self) {
        for _ in 0..self.reference_ring.capacity() {
            // Read in place, because a copy costs as much as all the rest.
            let Some(frame) = self.reference_ring.peek() else { break };
            self.recorder.count_reference();
            let format = frame.format();
            if frame.sample_frames() == 0 {
                // An empty frame only reports what was never played, of a device whose frames came before.
                if self.played_format == Some(format) {
                    self.playout.observe(frame);
                }
                self.reference_ring.discard();
                continue;
            }
            if format.channels() != self.far.channels() {
                self.counters.foreign_frames.add(1);
                self.reference_ring.discard();
                continue;
            }
            if frame.stamp.lost > 0 {
                self.counters.reference_lost_sample_frames.add(frame.stamp.lost);
            }
            self.playout.observe(frame);
            self.alignment.on_played(frame);
            self.reference_ring.discard();
            let before = self.played_format.replace(format);
            self.on_device_format(before, format, Direction::Playback);
        }
    }

    /// Takes the next captured frame from the ring and converts it to the session's rate; returns whether
    /// there was one.
    fn convert_next(&mut self, clock: &impl Clock) -> bool {
        let channels = self.captured_channels();
        for _ in 0..self.capture.capacity() {
            let Some(captured) = self.capture.peek() else { return false };
            self.recorder.count_captured();
            let (format, stamp) = (captured.format(), captured.stamp);
            if format.channels() != channels {
                self.counters.foreign_frames.add(1);
                self.lost = self.lost.saturating_add(self.near.sample_frames() as u32);
                self.capture.discard();
                continue;
            }
            let CaptureFrames { converter, near, far, .. } = &mut *self.frames;
            converter.convert(captured, self.near.rate(), near);
            self.capture.discard();
            if let Some(split) = self.split_loopback {
                split(near, self.near, self.far, far);
            }
            let before = self.captured_format.replace(format);
            self.on_device_format(before, format, Direction::Capture);
            self.stamp_output(stamp, format.rate());
            self.alignment.on_captured(&self.frames.near.stamp);
            self.waiting_since = Some(clock.now());
            return true;
        }
        false
    }

    /// Resets the chain and reports the change if a device has another format than the one before: then it is
    /// another device, and what was learned of the old one's echo is stale. The canceller is not reset here,
    /// because that may allocate; the application does it when it gets the event.
    #[cold]
    #[inline(never)]
    fn on_device_format(&mut self, before: Option<Format>, now: Format, direction: Direction) {
        if before.is_some_and(|before| before != now) {
            self.chain.reset();
            self.events.send(SessionEvent::DeviceChanged { direction });
        }
    }

    /// Stamps the converted frame with its position and time on the output, from the stamp with which it was
    /// captured.
    fn stamp_output(&mut self, captured: Stamp, device: SampleRate) {
        let rate = self.near.rate();
        let lost = at_rate(captured.lost, device, rate);
        let lost = lost.saturating_add(core::mem::take(&mut self.lost));
        self.position += u64::from(lost);
        let stamp = &mut self.frames.near.stamp;
        *stamp = captured;
        stamp.lost = lost;
        stamp.position = self.position;
        stamp.time = captured.time - FrameConverter::<CAP>::latency(device, rate);
        self.position += self.near.sample_frames() as u64;
    }

    /// Reads what was played while the converted frame was at the microphone; returns false while the frame
    /// should wait for it.
    ///
    /// While nothing plays the reference is silence, so that the canceller keeps its filter and its delay.
    fn read_reference(&mut self, clock: &impl Clock) -> bool {
        if self.split_loopback.is_some() {
            return true;
        }
        if !self.devices.plays {
            return self.use_silence();
        }
        let CaptureFrames { near, far, .. } = &mut *self.frames;
        let frame = WaitingFrame {
            position: near.stamp.position,
            since: self.waiting_since,
            arrived: near.stamp.time + near.stamp.latency + Duration::from_nanos(FRAME_NS),
            // A ring of a few frames must not fill during a wait.
            longest_wait: MAX_REFERENCE_WAIT
                .min(Duration::from_nanos(FRAME_NS * self.capture.capacity().saturating_sub(1) as i64)),
            is_newest: self.capture.is_empty(),
        };
        match self.alignment.read::<V>(frame, self.devices.one_clock, far, self.far, clock) {
            AlignedRead::Ready => true,
            AlignedRead::Wait => false,
            AlignedRead::Missing => self.use_silence(),
        }
    }

    fn use_silence(&mut self) -> bool {
        self.counters.reference_silence_frames.add(1);
        self.frames.far.clear(self.far, self.far.sample_frames());
        true
    }

    /// Runs the converted frame and its reference through all processors. Returns whether the voice processor
    /// changed it.
    fn process(&mut self, clock: &impl Clock) -> bool {
        let counters = self.counters;
        let latency_us = self.alignment.delay_estimator().delay().as_micros();
        counters.delay_us.set(u32::try_from(latency_us).unwrap_or(u32::MAX));
        let CaptureFrames { near, backup, far, .. } = &mut *self.frames;
        let mut lead = Duration::ZERO;
        if self.split_loopback.is_none() {
            lead = self.alignment.lead();
            if let Some(deviation) = self.alignment.take_uncertainty() {
                self.voice.voice.on_reference_uncertain(deviation);
            }
        }
        self.voice.reverse(far.pcm(), counters, &mut self.events);
        let processed = self.voice.capture(near, backup, lead, clock, counters, &mut self.events);
        if processed
            && self.split_loopback.is_none()
            && let Some(shift) = self.voice.voice.echo_shift()
        {
            self.alignment.follow(shift);
        }
        if let Some(observe) = self.observe_echo {
            observe(self, processed);
        }
        let near = &mut self.frames.near;
        if self.chain.enabled() && self.chain.process(near.pcm_mut()).is_err() {
            counters.processor_errors.add(1);
        }
        for _ in 0..MAX_CHAIN_STEPS {
            let Some(fault) = self.chain.take_fault() else { break };
            self.events.send(fault.into());
        }
        counters.frames.add(1);
        processed
    }

    /// Passes a frame of both directions to the alignment. `processed` means that the voice processor changed
    /// the microphone's.
    fn observe_aligned_echo(&mut self, processed: bool) {
        if self.split_loopback.is_some() {
            return;
        }
        let CaptureFrames { near, backup, far, .. } = &*self.frames;
        let before = if processed { backup } else { near };
        let frames = EchoFrames { far: far.pcm(), before: before.pcm(), after: near.pcm() };
        let rate = self.near.rate();
        let [played, captured] = [self.played_format, self.captured_format]
            .map(|format| format.map_or(rate, |format| format.rate()));
        let output = EchoEventOutput { counters: self.counters, events: &mut self.events, played, captured };
        self.alignment.observe_echo(frames, &mut self.voice.voice, output);
    }
}

/// Converts a number of sample frames to another rate, rounded to nearest.
fn at_rate(sample_frames: u32, from: SampleRate, to: SampleRate) -> u32 {
    let (from, to) = (from.sample_frames().max(1) as u64, to.sample_frames() as u64);
    u32::try_from((u64::from(sample_frames) * to + from / 2) / from).unwrap_or(u32::MAX)
}
