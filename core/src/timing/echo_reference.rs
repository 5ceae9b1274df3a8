//! Worker side: what the loudspeaker played at the very moment the microphone heard.
//!
//! The reference is looked up by time, not by arrival. What was played is kept with the clock that
//! played it; for each microphone frame the history is read at the moments of that frame, between
//! its samples and at the ratio of the two clocks. Different clocks, deep buffers and jumps of the
//! latency all become one constant, small, causal delay.

use crate::dsp::FrameConverter;
use crate::dsp::fractional::{Between, Full, Quick};
use crate::format::{Format, SampleRate};
use crate::frame::{Frame, copy};
use crate::limits::MAX_CHANNELS;
use crate::time::{Duration, Instant};
use crate::timing::echo_follower::Correction;
use crate::timing::history::History;
use crate::timing::stream_clock::{Observation, Place, RateEstimate, StreamClock};

/// Further than this from where it should be, reading jumps instead of slewing.
const JUMP: Duration = Duration::from_millis(3);
/// A locked offset that is off by less is left alone: the lead covers it, and a move would cost the
/// canceller more than it gains.
const LOCKED_SLACK: Duration = Duration::from_micros(1_500);
/// Frames that a locked offset must be off before it is moved.
const LOCKED_PATIENCE_FRAMES: u16 = 50;
/// Reading takes over so many times less of a new time than the clocks do.
const CALM: f32 = 4.0;
/// Off by more standard deviations of their times than this, it takes over more.
const DOUBT_SIGMAS: f32 = 3.0;
/// Reading follows the clocks by at most this much faster or slower, in parts.
const MAX_SLEW: f32 = 5e-3;
/// Sample frames beyond the last read position that interpolation needs.
const REACH: i64 = 34;

/// Samples interpolated at a time, from one stretch of the history that is converted once.
const CHUNK: usize = 64;
/// Samples more that a chunk may reach by slewing.
const SLACK: usize = 4;

/// Samples around a chunk that the longest kernel needs.
const MOST_AROUND: usize = 64;

const _: () = assert!(CHUNK as f32 * MAX_SLEW < (SLACK - 1) as f32);
const _: () = assert!(Full::AROUND <= MOST_AROUND && Quick::AROUND <= MOST_AROUND);

/// Working memory of the reference, part of a session.
#[derive(Debug)]
pub(crate) struct ReferenceMemory<const CAP: usize> {
    block: Frame<CAP>,
    converted: Frame<CAP>,
    converter: FrameConverter<CAP>,
}

impl<const CAP: usize> ReferenceMemory<CAP> {
    pub(crate) const fn new() -> Self {
        Self { block: Frame::EMPTY, converted: Frame::EMPTY, converter: FrameConverter::new() }
    }
}

/// How precisely the reference is read where two clocks drive the converters; with one clock it is a
/// copy, bit by bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ReferenceQuality {
    /// Within -75 dB up to 0.9 of the Nyquist frequency: for cancellers. 128 multiplications a sample
    /// and 33 KB of read-only memory.
    #[default]
    Full,
    /// Within -50 dB up to half of the Nyquist frequency: for suppressors and meters on small
    /// processors. 8 multiplications of integers a sample and 500 bytes.
    Quick,
}

/// What reading the reference came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Reading {
    /// The frame holds what was played at that time.
    Aligned,
    /// The same, but reading had to jump there: the canceller meets a new delay.
    Jumped,
    /// It is not all known yet; nothing was read.
    Late,
}

/// Where reading is, on the history's index.
#[derive(Clone, Copy, Debug)]
enum Head {
    /// Nowhere yet.
    Lost,
    /// One clock drives both converters: capture position plus a whole offset.
    Locked { offset: i64, off_frames: u16 },
    /// Two clocks: the next place.
    Free(Place),
}

/// The history of what was played, read by the microphone's time.
///
/// Both sides are in sample frames at the terminal's rate, each on its own clock.
#[derive(Debug)]
pub struct EchoReference<'a, const CAP: usize> {
    memory: &'a mut ReferenceMemory<CAP>,
    history: History<'a>,
    clock: StreamClock,
    rate: SampleRate,
    /// Time of the first sample of the block being put together.
    block_time: Option<Instant>,
    fresh: bool,
    /// Index from which on times disagree with the clock.
    suspect_from: i64,
    /// Sample frames at the terminal's rate by which conversion delays what is in the history.
    conversion: i64,
    head: Head,
    lead: Duration,
    /// Chosen at the first reading and kept, for a change would be a jump.
    lead_in_use: Option<Duration>,
    jumps: u32,
    /// Sample frames by which the ear corrects the times: read so much older sound.
    later_q32: i64,
    /// By how much that grows with each sample frame.
    slower_q32: i64,
}

impl<'a, const CAP: usize> EchoReference<'a, CAP> {
    pub(crate) fn new(
        memory: &'a mut ReferenceMemory<CAP>,
        history: &'a mut [i16],
        far: Format,
        lead: Duration,
    ) -> Self {
        memory.block.begin(Format::UNSET);
        memory.converter.reset();
        Self {
            memory,
            history: History::new(history, far.channels()),
            clock: StreamClock::new(far.rate()),
            rate: far.rate(),
            block_time: None,
            fresh: true,
            suspect_from: 0,
            conversion: 0,
            head: Head::Lost,
            lead,
            lead_in_use: None,
            jumps: 0,
            later_q32: 0,
            slower_q32: 0,
        }
    }

    /// By how much the reference runs ahead of the microphone: the delay a canceller is told. One
    /// clock needs no lead; for two it is what was set.
    #[must_use]
    pub fn lead(&self) -> Duration {
        self.lead_in_use.unwrap_or(self.lead)
    }

    pub(crate) fn set_lead(&mut self, lead: Duration) {
        self.lead = lead;
    }

    /// Corrects the times by what the echo says; returns what was really done. One clock moves by
    /// whole sample frames, and is no longer taken for one once it is steered.
    pub(crate) fn correct(&mut self, correction: Correction) -> Correction {
        let hz = f64::from(self.rate.hz());
        let asked = correction.shift.as_nanos() as f64 * 1e-9 * hz;
        let shift = if self.slower_q32 == 0 { libm::round(asked) } else { asked };
        self.later_q32 += (shift * Q32) as i64;
        self.slower_q32 += libm::round(correction.slower_ppm * 1e-6 * Q32) as i64;
        if shift != 0.0 {
            self.head = Head::Lost;
        }
        Correction { shift: Duration::from_nanos((shift * 1e9 / hz) as i64), ..correction }
    }

    /// By how much the ear corrects the times: the echo comes so much later than they say.
    pub(crate) fn later(&self) -> Duration {
        Duration::from_nanos((self.later_q32 as f64 / Q32 * 1e9 / f64::from(self.rate.hz())) as i64)
    }

    /// How much faster the loudspeaker's clock runs against the microphone's than the times say,
    /// in ppm.
    pub(crate) fn hidden_drift_ppm(&self) -> f64 {
        -(self.slower_q32 as f64) / Q32 * 1e6
    }

    /// The loudspeaker's clock against the host's.
    #[must_use]
    pub fn rate(&self) -> Option<RateEstimate> {
        self.clock.rate()
    }

    /// The same clock itself.
    pub(crate) const fn clock(&self) -> &StreamClock {
        &self.clock
    }

    /// How often reading had to jump.
    #[must_use]
    pub const fn jumps(&self) -> u32 {
        self.jumps
    }

    /// Takes a reference frame. What was lost before it becomes silence, up to a second of it; more
    /// shows as a jump of its times.
    pub(crate) fn push<const SLOTS: usize>(&mut self, frame: &Frame<CAP, SLOTS>) {
        let format = frame.format();
        if self.memory.block.format() != format {
            self.memory.block.begin(format);
            self.memory.converter.reset();
            self.conversion = FrameConverter::<CAP>::latency_sample_frames(format.rate(), self.rate) as i64;
            self.fresh = true;
        }
        if frame.stamp.fresh && self.memory.block.sample_frames() > 0 {
            // What was begun before belongs to another time.
            self.memory.block.extend_silence(usize::MAX);
            self.finish_block();
        }
        // What is lost beyond a second is left to the times, which then stand anew.
        self.fresh |= frame.stamp.fresh || frame.stamp.lost > format.rate_hz();
        let mut silent = (frame.stamp.lost as usize).min(format.rate_hz() as usize);
        while silent > 0 {
            if self.memory.block.sample_frames() == 0 {
                self.block_time = None;
            }
            silent -= self.memory.block.extend_silence(silent).max(1).min(silent);
            self.finish_block();
        }
        // The usual case, without a copy.
        let whole = frame.sample_frames() == format.sample_frames() && self.memory.block.sample_frames() == 0;
        if whole && format.rate() == self.rate {
            let begin = self.history.end();
            self.history.write(frame.samples());
            self.learn(begin, frame.stamp.time);
            return;
        }
        let channels = format.channels().max(1);
        let mut rest = frame.samples();
        while !rest.is_empty() {
            if self.memory.block.sample_frames() == 0 {
                let into = (frame.samples().len() - rest.len()) / channels;
                self.block_time =
                    Some(frame.stamp.time + Duration::of_sample_frames(into as u64, format.rate()));
            }
            let room = self.memory.block.extend(rest.len() / channels);
            let taken = copy(rest, room).max(1);
            rest = rest.get(taken..).unwrap_or(&[]);
            self.finish_block();
        }
    }

    /// Moves a whole block into the history and learns from its time.
    #[inline(never)]
    fn finish_block(&mut self) {
        let ReferenceMemory { block, converted, converter } = &mut *self.memory;
        if block.missing() > 0 {
            return;
        }
        let begin = self.history.end();
        if block.format().rate() == self.rate {
            self.history.write(block.samples());
        } else {
            converter.convert(block, self.rate, converted);
            self.history.write(converted.samples());
        }
        block.begin(block.format());
        if let Some(time) = self.block_time.take() {
            self.learn(begin, time);
        }
    }

    /// Learns from the time of what was written from index `begin` on.
    #[inline(never)]
    fn learn(&mut self, begin: i64, time: Instant) {
        if core::mem::take(&mut self.fresh) && self.clock.is_running() {
            let late = self.clock.restart(begin as u64, time).unwrap_or(Duration::ZERO);
            let shifted = self.shift(begin, late);
            self.clock.observe((begin + shifted) as u64, time);
            return;
        }
        match self.clock.observe(begin as u64, time) {
            Observation::Taken => self.suspect_from = self.history.end(),
            Observation::Ignored => {}
            Observation::Jumped(by) => {
                self.shift(self.suspect_from, by);
                self.suspect_from = self.history.end();
            }
        }
    }

    /// Moves what was played from index `from` on later by `by`, to whole sample frames.
    #[cold]
    #[inline(never)]
    fn shift(&mut self, from: i64, by: Duration) -> i64 {
        let whole = by.nearest_sample_frames(self.rate);
        // The clock's positions never run backwards past its start.
        if self.history.end() + whole < 0 {
            return 0;
        }
        self.history.shift(from, whole);
        whole
    }

    /// Reads the reference for the capture frame at `position` of `capture`, as long as `out`'s
    /// format says. `locked` says that one clock drives both converters.
    ///
    /// Costs a copy when locked, else 128 multiplications a sample, or 8 when quick.
    pub(crate) fn read<B: Between>(
        &mut self,
        capture: &StreamClock,
        position: u64,
        locked: bool,
        out: &mut Frame<CAP>,
        far: Format,
    ) -> Reading {
        if !self.clock.is_running() || !capture.is_running() {
            return Reading::Late;
        }
        let lead = if locked { Duration::ZERO } else { self.lead };
        self.lead_in_use.get_or_insert(lead);
        let sample_frames = far.sample_frames();
        let begin = self.target(capture, position);
        if locked && self.slower_q32 == 0 {
            return self.read_locked(begin.nearest(), position, out, far);
        }
        let here = match self.head {
            Head::Free(place) => Some(place),
            Head::Locked { offset, .. } => Some(Place { index: position as i64 + offset, fraction_q32: 0 }),
            Head::Lost => None,
        };
        let farthest = JUMP.in_sample_frames(self.rate) as f32;
        let start = here.filter(|&here| begin.since(here).abs() <= farthest);
        let jumped = start.is_none();
        let start = start.unwrap_or(begin);
        let off = begin.since(start);
        let made_up = self.part_made_up(capture, off) * off;
        // Both clocks run evenly within a frame. What a step is longer than 1 is little, so single
        // precision will do for it.
        let evenly = capture.slower_than(&self.clock) - self.slower_q32 as f32 / Q32 as f32;
        let longer = (evenly + made_up / sample_frames as f32).clamp(-MAX_SLEW, MAX_SLEW);
        let newest = Place { index: self.history.end() - REACH, fraction_q32: 0 };
        if sample_frames as f32 * (1.0 + longer) > newest.since(start) {
            return Reading::Late;
        }
        let step_q32 = (Q32 as i64 + (longer * Q32 as f32) as i64) as u64;
        self.head = self.interpolate::<B>(start, step_q32, out, far);
        self.later_q32 += self.slower_q32 * sample_frames as i64;
        self.landed(jumped)
    }

    /// What part of being `off`, in sample frames, is made up for in one frame: little, for every
    /// timestamp moves the clocks' idea of now, and that random walk would be an echo path that moves
    /// (at 60 dB, 10 ppm of it cost AEC3 2 dB and 30 ppm 6), where their ratio is far calmer; but
    /// more when it is off by more than they doubt.
    fn part_made_up(&self, capture: &StreamClock, off: f32) -> f32 {
        let (played_ns2, played_jitter_ns2) = self.clock.variances_ns2();
        let (heard_ns2, heard_jitter_ns2) = capture.variances_ns2();
        let doubt_ns2 = played_ns2 + heard_ns2;
        let taken = doubt_ns2 / (doubt_ns2 + played_jitter_ns2 + heard_jitter_ns2);
        let off_ns = off * 1e9 / self.rate.hz() as f32;
        let surprise = off_ns * off_ns / (DOUBT_SIGMAS * DOUBT_SIGMAS * doubt_ns2);
        (taken / CALM * surprise.max(1.0)).min(1.0)
    }

    /// How much of the reference for the capture frame at `position` is not known yet.
    #[cold]
    #[inline(never)]
    pub(crate) fn shortfall(&self, capture: &StreamClock, position: u64) -> Duration {
        let end = self.target(capture, position + self.rate.sample_frames() as u64).index + REACH;
        let missing = (end - self.history.end()).max(0);
        Duration::of_sample_frames(missing as u64, self.rate)
    }

    /// The index that was at the loudspeaker when the microphone was at `position`, plus the lead.
    #[inline(never)]
    fn target(&self, capture: &StreamClock, position: u64) -> Place {
        let time = capture.time_of(position) + self.lead();
        let Place { index, fraction_q32 } = self.clock.place_at(time);
        Place { index: index + self.conversion, fraction_q32 }.plus_q32(-self.later_q32)
    }

    fn read_locked(&mut self, target: i64, position: u64, out: &mut Frame<CAP>, far: Format) -> Reading {
        let wanted = target - position as i64;
        let [slack, far_off] = [LOCKED_SLACK, JUMP].map(|span| i64::from(span.in_sample_frames(self.rate)));
        let (offset, off_frames, jumped) = match self.head {
            Head::Locked { offset, off_frames } => {
                let error = (wanted - offset).abs();
                let off_frames = if error > slack { off_frames + 1 } else { 0 };
                if error > far_off || off_frames > LOCKED_PATIENCE_FRAMES {
                    (wanted, 0, true)
                } else {
                    (offset, off_frames, false)
                }
            }
            _ => (wanted, 0, true),
        };
        let begin = position as i64 + offset;
        if begin + far.sample_frames() as i64 > self.history.end() {
            return Reading::Late;
        }
        self.head = Head::Locked { offset, off_frames };
        out.begin(far);
        self.history.copy_to(begin, out.extend(far.sample_frames()));
        self.landed(jumped)
    }

    fn interpolate<B: Between>(
        &self,
        start: Place,
        step_q32: u64,
        out: &mut Frame<CAP>,
        far: Format,
    ) -> Head {
        let mut place = start;
        let channels = far.channels().clamp(1, usize::from(MAX_CHANNELS));
        out.begin(far);
        let mut window = [B::Number::default(); CHUNK + SLACK + MOST_AROUND];
        for chunk in out.extend(far.sample_frames()).chunks_mut(CHUNK * channels) {
            let sample_frames = chunk.len() / channels;
            let window = window.get_mut(..sample_frames + SLACK + B::AROUND).unwrap_or(&mut []);
            for channel in 0..channels {
                self.history.load(place.index - B::BEFORE as i64, channel, window);
                if channels == 1 {
                    B::read(window, u64::from(place.fraction_q32), step_q32, chunk);
                    continue;
                }
                let mut single = [0; CHUNK];
                let single = single.get_mut(..sample_frames).unwrap_or(&mut []);
                B::read(window, u64::from(place.fraction_q32), step_q32, single);
                interleave(single, channel, channels, chunk);
            }
            place = place.plus_q32((step_q32 * sample_frames as u64) as i64);
        }
        Head::Free(place)
    }

    fn landed(&mut self, jumped: bool) -> Reading {
        if jumped {
            self.jumps = self.jumps.saturating_add(1);
            Reading::Jumped
        } else {
            Reading::Aligned
        }
    }
}

/// One channel to its places.
#[inline(never)]
fn interleave(single: &[i16], channel: usize, channels: usize, out: &mut [i16]) {
    let mut at = channel;
    for &sample in single {
        let Some(place) = out.get_mut(at) else { return };
        *place = sample;
        at += channels;
    }
}

const Q32: f64 = 4_294_967_296.0;

#[cfg(test)]
#[path = "echo_reference/tests.rs"]
mod tests;
