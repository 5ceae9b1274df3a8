//! Worker side: both rings in, cleaned frames out.

mod settings;

use crate::audio_io::Direction;
use crate::capture::guard::Guard;
use crate::capture::processor::{FrameProcessor, VoiceProcessor};
use crate::capture::sink::FrameSink;
use crate::dsp::FrameConverter;
use crate::dsp::fractional::{Full, Quick};
use crate::event::{EventSender, SessionEvent};
use crate::format::{Format, SampleRate};
use crate::frame::{Frame, Stamp};
use crate::limits::{MAX_CHAIN_STEPS, MAX_REFERENCE_WAIT};
use crate::playback::{PlayoutTracker, RoundPlan, SharedPlan};
use crate::ring::FrameConsumer;
use crate::scribe::{Witness, WorkerScribe};
use crate::stats::CaptureCounters;
use crate::time::{Clock, Duration, Instant};
use crate::timing::{
    DelayEstimator, EchoFollower, EchoReference, Hearing, Observation, Reading, ReferenceMemory,
    ReferenceQuality, StreamClock,
};

/// By how much the reference runs ahead of the microphone unless told otherwise: more than
/// timestamps err, less than a canceller notices. AEC3 counts delays in blocks of 4 ms and starts
/// anew whenever it decides for another one, the second of which begins at 6 ms: with 3 ms a
/// reflection made it waver, for half a minute at worst.
const DEFAULT_LEAD: Duration = Duration::from_millis(2);

/// Frames in a row without a reference after which its times are not believed any more (1 s).
const DISBELIEVE_AFTER_FRAMES: u16 = 100;

/// A reference that is missing no more than this is about to come.
const SOON: Duration = Duration::from_millis(50);

/// Clocks that seem further apart than this, in parts, are not one.
const CLOCKS_DIFFER: f32 = 5e-6;
/// And so many standard deviations of either.
const CLOCKS_DIFFER_SIGMAS: f32 = 6.0;

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

/// What a session lends to its capture worker.
#[derive(Debug)]
pub(crate) struct CapturePipelineParts<'a, const CAP: usize, const SLOTS: usize> {
    pub(crate) capture: FrameConsumer<'a, CAP>,
    pub(crate) reference: FrameConsumer<'a, CAP, SLOTS>,
    pub(crate) memory: &'a mut CaptureMemory<CAP>,
    pub(crate) history: &'a mut [i16],
    pub(crate) counters: &'a CaptureCounters,
    pub(crate) plan: &'a SharedPlan,
    pub(crate) playout: PlayoutTracker<'a, SLOTS>,
    pub(crate) events: EventSender<'a>,
}

/// The worker half of capture: drains the capture and the reference ring, aligns the reference, runs
/// the voice processor and the chain, hands cleaned frames to a sink.
///
/// It is the only caller of the voice processor, so no lock around that exists. The processor hears
/// one reference frame before each capture frame, always.
#[derive(Debug)]
pub struct Pipeline<'a, const CAP: usize, const SLOTS: usize, V, P = ()> {
    capture: FrameConsumer<'a, CAP>,
    reference_ring: FrameConsumer<'a, CAP, SLOTS>,
    frames: &'a mut CaptureFrames<CAP>,
    counters: &'a CaptureCounters,
    plan: &'a SharedPlan,
    playout: PlayoutTracker<'a, SLOTS>,
    events: EventSender<'a>,
    near: Format,
    far: Format,
    voice: Guard<V>,
    chain: P,
    reference: EchoReference<'a, CAP>,
    follower: Option<EchoFollower<'a, CAP>>,
    clock: StreamClock,
    delay: DelayEstimator,
    /// When the frame that waits for its reference was taken from the ring.
    staged: Option<Instant>,
    /// A frame waited in vain; later ones do not wait until the reference is back.
    impatient: bool,
    /// Frames in a row whose reference was late beyond patience.
    late_frames: u16,
    /// Position and losses on the output, at the terminal's rate.
    position: u64,
    lost: u32,
    device: Option<Format>,
    loudspeaker: Option<Format>,
    /// Set where captured frames hold the loudspeaker's loopback behind the near end: takes it out of one.
    part_loopback: Option<PartLoopback<CAP>>,
    round: RoundPlan,
    scribe: WorkerScribe<'a>,
}

/// Named only where a loopback is asked for, so that other images do not link it.
type PartLoopback<const CAP: usize> = fn(&mut Frame<CAP>, Format, Format, &mut Frame<CAP>);

impl<'a, const CAP: usize, const SLOTS: usize, V: VoiceProcessor, P: FrameProcessor>
    Pipeline<'a, CAP, SLOTS, V, P>
{
    pub(crate) fn new(
        halves: CapturePipelineParts<'a, CAP, SLOTS>,
        near: Format,
        far: Format,
        voice: V,
        chain: P,
    ) -> Self {
        let CaptureMemory { frames, reference } = halves.memory;
        frames.converter.reset();
        Self {
            capture: halves.capture,
            reference_ring: halves.reference,
            frames,
            counters: halves.counters,
            plan: halves.plan,
            playout: halves.playout,
            events: halves.events,
            near,
            far,
            voice: Guard::new(voice),
            chain,
            reference: EchoReference::new(reference, halves.history, far, DEFAULT_LEAD),
            follower: None,
            clock: StreamClock::new(near.rate()),
            delay: DelayEstimator::new(),
            staged: None,
            impatient: false,
            late_frames: 0,
            position: 0,
            lost: 0,
            device: None,
            loudspeaker: None,
            part_loopback: None,
            round: RoundPlan::default(),
            scribe: WorkerScribe::default(),
        }
    }

    /// Processes all that has arrived and returns how many frames went to the sink.
    ///
    /// Worker side: call it when an interrupt half completed a frame, or at least every few
    /// milliseconds, also while only one direction runs. Bounded by the rings' capacity; costs the
    /// voice processor's time a frame and what [`EchoReference`] costs. A device of another format
    /// than before resets the chain and is told as [`SessionEvent::DeviceChanged`]. A frame whose reference is
    /// not there yet waits for it, at most 100 ms; then it is taken with silence. `clock` is read
    /// to see how long that has been, and whether the voice processor is too slow.
    pub fn poll(&mut self, clock: &impl Clock, sink: &mut impl FrameSink<CAP>) -> usize {
        self.round = self.scribe.turn(self.plan.of_round());
        let clock = &Witness::new(clock);
        self.counters.ring_fill.set(self.capture.len() as u32);
        self.counters.reference_fill.set(self.reference_ring.len() as u32);
        self.drain_reference();
        let mut delivered = 0;
        for _ in 0..=self.capture.capacity() {
            if self.staged.is_none() && !self.stage(clock) {
                break;
            }
            if !self.read_reference(clock) {
                break;
            }
            self.staged = None;
            self.process(clock);
            self.scribe.cleaned(&self.frames.near, clock);
            sink.on_frame(&self.frames.near);
            delivered += 1;
        }
        self.scribe.polled(clock);
        delivered
    }

    fn captured_channels(&self) -> usize {
        let behind = if self.part_loopback.is_some() { self.far.channels() } else { 0 };
        self.near.channels() + behind
    }

    fn drain_reference(&mut self) {
        for _ in 0..self.reference_ring.capacity() {
            // Read where it lies, for a copy costs as much as all the rest.
            let Some(frame) = self.reference_ring.peek() else { break };
            self.scribe.took_reference();
            let (format, stamp) = (frame.format(), &frame.stamp);
            if frame.sample_frames() == 0 {
                // It only tells what was never played, of a device that was heard before.
                if self.loudspeaker == Some(format) {
                    self.playout.hear(frame);
                }
                self.reference_ring.discard();
                continue;
            }
            if format.channels() != self.far.channels() {
                self.counters.foreign_frames.add(1);
                self.reference_ring.discard();
                continue;
            }
            if stamp.fresh {
                self.delay.reset_render();
            }
            self.delay.on_render(stamp.latency);
            if stamp.lost > 0 {
                self.counters.reference_lost_sample_frames.add(stamp.lost);
            }
            self.playout.hear(frame);
            self.reference.push(frame);
            self.reference_ring.discard();
            let before = self.loudspeaker.replace(format);
            self.meet_device(before, format, Direction::Playback);
        }
    }

    /// Takes the next captured frame from the ring and brings it to the terminal's rate.
    fn stage(&mut self, clock: &impl Clock) -> bool {
        let channels = self.captured_channels();
        for _ in 0..self.capture.capacity() {
            let Some(captured) = self.capture.peek() else { return false };
            self.scribe.took_captured();
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
            if let Some(part) = self.part_loopback {
                part(near, self.near, self.far, far);
            }
            let before = self.device.replace(format);
            self.meet_device(before, format, Direction::Capture);
            if stamp.fresh {
                self.delay.reset_capture();
            }
            self.delay.on_capture(stamp.latency);
            self.place(stamp, format.rate());
            self.keep_time();
            self.staged = Some(clock.now());
            return true;
        }
        false
    }

    /// A device of another format is another device: what was learned of the old one's echo is stale.
    /// The canceller is not reset here, for that may allocate; the application is told.
    #[cold]
    #[inline(never)]
    fn meet_device(&mut self, before: Option<Format>, now: Format, direction: Direction) {
        if before.is_some_and(|before| before != now) {
            self.chain.reset();
            self.events.send(SessionEvent::DeviceChanged { direction });
        }
    }

    /// Stamps the staged frame with its place on the output, from the stamp it was captured with.
    fn place(&mut self, captured: Stamp, device: SampleRate) {
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

    /// Lets the microphone's clock learn from the staged frame.
    fn keep_time(&mut self) {
        let stamp = self.frames.near.stamp;
        if stamp.fresh
            && let Some(late) = self.clock.restart(stamp.position, stamp.time)
        {
            self.clock.jump(late);
        }
        if let Observation::Jumped(by) = self.clock.observe(stamp.position, stamp.time) {
            self.clock.jump(by);
        }
    }

    /// Reads what was played while the staged frame was heard; false when it is worth waiting for.
    ///
    /// While nothing plays the canceller hears silence, so that it keeps its filter and its idea of
    /// time.
    fn read_reference(&mut self, clock: &impl Clock) -> bool {
        if self.part_loopback.is_some() {
            return true;
        }
        if !self.round.plays {
            return self.hear_silence();
        }
        let position = self.frames.near.stamp.position;
        let locked = self.round.one_clock && !self.clocks_differ();
        let (reference, far) = (&mut self.reference, &mut self.frames.far);
        // Known when compiled, so that only one kernel is linked.
        let reading = match V::reference_quality() {
            ReferenceQuality::Full => reference.read::<Full>(&self.clock, position, locked, far, self.far),
            ReferenceQuality::Quick => reference.read::<Quick>(&self.clock, position, locked, far, self.far),
        };
        match reading {
            Reading::Aligned | Reading::Jumped => {
                self.impatient = false;
                self.late_frames = 0;
                true
            }
            Reading::Late => {
                let waited = self.staged.map_or(MAX_REFERENCE_WAIT, |since| clock.now() - since);
                self.impatient |= waited >= MAX_REFERENCE_WAIT;
                // Even without patience the newest frame waits for what is about to come, or a
                // reference that was away would never be found again.
                let soon = self.reference.shortfall(&self.clock, position) < SOON;
                if waited < MAX_REFERENCE_WAIT && (!self.impatient || soon && self.capture.is_empty()) {
                    return false;
                }
                self.disbelieve_lateness(position);
                self.hear_silence()
            }
        }
    }

    /// A reference that is late for a second while the loudspeaker's frames keep coming is not late:
    /// its times are wrong. Then it is read as new as there is, and the ear finds where it belongs.
    fn disbelieve_lateness(&mut self, position: u64) {
        let Some(follower) = &mut self.follower else { return };
        self.late_frames = self.late_frames.saturating_add(1);
        if self.late_frames < DISBELIEVE_AFTER_FRAMES {
            return;
        }
        self.late_frames = 0;
        let shift = self.reference.shortfall(&self.clock, position);
        if shift > Duration::ZERO && shift < self.delay.render_latency().abs() + MAX_REFERENCE_WAIT {
            follower.disbelieve(&mut self.reference, shift + MAX_REFERENCE_WAIT);
        }
    }

    /// Whether the clocks contradict what the devices say of them: then they are not one.
    fn clocks_differ(&self) -> bool {
        let (playback, capture) = (self.reference.clock(), &self.clock);
        let (Some(played), Some(heard)) = (playback.rate_variance(), capture.rate_variance()) else {
            return false;
        };
        let beyond = (capture.slower_than(playback).abs() - CLOCKS_DIFFER) / CLOCKS_DIFFER_SIGMAS;
        // Whether that is more than the sum of both standard deviations, by squares, without a root.
        let twice_product = beyond * beyond - (played + heard);
        beyond > 0.0 && twice_product > 0.0 && twice_product * twice_product > 4.0 * played * heard
    }

    fn hear_silence(&mut self) -> bool {
        self.counters.reference_silence_frames.add(1);
        self.frames.far.clear(self.far, self.far.sample_frames());
        true
    }

    /// Runs the staged frame and its reference through all processors.
    fn process(&mut self, clock: &impl Clock) {
        let counters = self.counters;
        let latency_us = self.delay.delay().as_micros();
        counters.delay_us.set(u32::try_from(latency_us).unwrap_or(u32::MAX));
        let CaptureFrames { near, backup, far, .. } = &mut *self.frames;
        let by_time = self.part_loopback.is_none();
        let lead = if by_time { self.reference.lead() } else { Duration::ZERO };
        if let Some(follower) = self.follower.as_mut().filter(|_| by_time) {
            follower.hear(Hearing {
                far: far.pcm(),
                near: near.pcm(),
                reference: &mut self.reference,
                clock: &self.clock,
                delay: &mut self.delay,
            });
        }
        self.voice.reverse(far.pcm(), counters, &mut self.events);
        self.voice.capture(near, backup, lead, clock, counters, &mut self.events);
        if self.chain.enabled() && self.chain.process(near.pcm_mut()).is_err() {
            counters.processor_errors.add(1);
        }
        for _ in 0..MAX_CHAIN_STEPS {
            let Some(fault) = self.chain.take_fault() else { break };
            self.events.send(fault.into());
        }
        counters.frames.add(1);
    }
}

/// A count of sample frames at another rate, rounded to nearest.
fn at_rate(sample_frames: u32, from: SampleRate, to: SampleRate) -> u32 {
    let (from, to) = (from.sample_frames().max(1) as u64, to.sample_frames() as u64);
    u32::try_from((u64::from(sample_frames) * to + from / 2) / from).unwrap_or(u32::MAX)
}
