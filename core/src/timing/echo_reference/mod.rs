//! Worker side: returns what the loudspeaker played at the moment the microphone heard.
//!
//! The reference is looked up by time, not by arrival. The samples played are kept with the clock that played
//! them. For each microphone frame the history is read at the times of that frame, between samples and at the
//! ratio of the two clocks. Different clocks, deep buffers and jumps of the latency all become one constant,
//! small, causal delay.

use crate::capture::EchoShift;
use crate::dsp::FrameConverter;
use crate::dsp::fractional::FractionalReader;
use crate::format::{Format, SampleRate};
use crate::frame::{Frame, copy};
use crate::time::{Duration, Instant};
use crate::timing::history::History;
use crate::timing::shift_follower::ShiftFollower;
use crate::timing::stream_clock::{FractionalPosition, Observation, RateEstimate, SOUND_SERVER, StreamClock};

use self::interpolation::interpolate;
use self::uncertainty::{PositionUncertainty, Refinement};

mod interpolation;
mod uncertainty;

/// Position error beyond which reading jumps instead of slewing.
const JUMP: Duration = Duration::from_millis(3);
/// Standard deviation of one clock's times up to which they are exact, in nanoseconds: less than a sample frame.
const EXACT_TIMES_NS: f32 = 15e3;
/// Position error of a locked offset that is no error of the times, in sample frames: rounding, and a little more.
const LOCKED_SLACK: i64 = 3;
/// Number of times from each device after which it is decided if one clock needs a lead (1 s). Before, the
/// clocks' first guess outweighs their jitter; after, a canceller has learned too much to lose.
const LEAD_AFTER: u32 = 100;
/// Number of successive frames with a larger error after which a locked offset is moved.
const MAX_LOCKED_ERROR_FRAMES: u16 = 50;
/// Factor by which position error is corrected more slowly than the clocks converge.
const SMOOTHING: f32 = 4.0;
/// Position error beyond which it is corrected faster, in standard deviations of the clocks' times.
const FASTER_SIGMAS: f32 = 3.0;
/// Largest change of the reading speed, as a fraction: clocks that differ by 2 %, and a correction besides.
const MAX_SLEW: f32 = 25e-3;
/// Longest jump of the times that moves samples within the history. A longer one is a change of the host's
/// clock, such as a computer that slept, and not of the device's latency.
const LONGEST_SHIFT: Duration = Duration::from_millis(10_000);
/// Part of the history that a shift leaves free, for the frames that arrive in bursts.
const HISTORY_MARGIN: Duration = Duration::from_millis(200);
/// Number of sample frames after the last read position that interpolation needs.
const REACH: i64 = 34;

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

/// Precision with which the reference is read where two clocks drive the converters. With one clock the
/// reference is a bit-exact copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ReferenceQuality {
    /// Error below -75 dB up to 0.9 of the Nyquist frequency, for cancellers. Costs 128 multiplications per
    /// sample and 33 KB of read-only memory.
    #[default]
    Full,
    /// Error below -50 dB up to three quarters of the Nyquist frequency, for cancellers on small processors. Costs
    /// 16 integer multiplications per sample and 1.1 KB of read-only memory.
    Medium,
    /// Error below -50 dB up to half of the Nyquist frequency, for suppressors and meters on small
    /// processors. Costs 8 integer multiplications per sample and 500 bytes of read-only memory.
    Quick,
}

/// Result of reading the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) enum Reading {
    /// The frame holds what was played at the time of the capture frame.
    Aligned,
    /// The frame holds what was played at the time of the capture frame, but reading had to jump there, so
    /// the canceller finds a new delay.
    Jumped,
    /// Part of the reference has not arrived yet. Nothing was read.
    Late,
    /// The reference has arrived, but a few more times will show if the loudspeaker stalled before it. Nothing was
    /// read.
    Undecided,
}

/// Position in the history from which the next frame is read.
#[derive(Clone, Copy, Debug)]
enum ReadHead {
    /// There is no position yet.
    Unset,
    /// One clock drives both converters: the capture position plus a whole offset. `error_frames` counts the
    /// successive frames at which the offset was in error.
    Locked { offset: i64, error_frames: u16 },
    /// Two clocks drive the converters: the next position.
    Free(FractionalPosition),
}

/// A change in how the reference is read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Correction {
    /// Duration by which the reference is read later (older sound).
    pub(crate) shift: Duration,
    /// Speed by which the reference is read more slowly, in ppm.
    pub(crate) slower_ppm: f64,
}

/// The samples that the loudspeaker played, read by the times of the microphone.
///
/// Both directions are in sample frames at the session's rate, each on its own clock.
#[derive(Debug)]
pub(crate) struct EchoReference<'a, const CAP: usize> {
    memory: &'a mut ReferenceMemory<CAP>,
    history: History<'a>,
    clock: StreamClock,
    rate: SampleRate,
    /// Time of the first sample of the incomplete block.
    block_time: Option<Instant>,
    /// Whether the next block begins a new timeline, without relation to the previous times.
    fresh: bool,
    /// Index from which on the times disagree with the clock.
    suspect_from: i64,
    /// Sample frames at the session's rate by which the rate conversion delays the samples in the history.
    conversion: i64,
    head: ReadHead,
    /// Index after the last sample that was read. Devices without an operating system hold back too little to need it.
    read_to: [i64; SOUND_SERVER as usize],
    lead: Duration,
    /// Lead of the next readings. With two clocks it is chosen at the first reading and kept, because a change
    /// would be a jump.
    lead_in_use: Option<Duration>,
    /// Whether it was decided if one clock needs a lead.
    lead_settled: bool,
    jumps: u32,
    /// Sample frames by which the acoustic delay estimate makes the reference read later (older sound), in
    /// 1/2^32.
    later_q32: i64,
    /// Growth of `later_q32` with each sample frame read.
    slower_q32: i64,
    /// What the canceller sees of the echo's place.
    follower: ShiftFollower,
    uncertainty: PositionUncertainty,
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
            head: ReadHead::Unset,
            read_to: [0; SOUND_SERVER as usize],
            lead,
            lead_in_use: None,
            lead_settled: false,
            jumps: 0,
            later_q32: 0,
            slower_q32: 0,
            follower: ShiftFollower::new(),
            uncertainty: PositionUncertainty::new(),
        }
    }

    /// Lets the next reading follow the echo, which in the last frame came as `shift` tells.
    pub(crate) fn follow(&mut self, shift: EchoShift) {
        if matches!(self.head, ReadHead::Free(_)) {
            self.follower.observe(shift, self.rate.sample_frames() as f32);
        }
    }

    /// Forgets how the echo moved, because a direction begins a new timeline: other devices have other clocks.
    pub(crate) fn forget_motion(&mut self) {
        self.follower = ShiftFollower::new();
    }

    /// Returns the time by which the reference runs ahead of the microphone, which is the delay that a
    /// canceller is configured with.
    #[must_use]
    pub(crate) fn lead(&self) -> Duration {
        self.lead_in_use.unwrap_or(self.lead)
    }

    pub(crate) fn set_lead(&mut self, lead: Duration) {
        self.lead = lead;
    }

    /// Applies a correction from the acoustic delay estimate. Returns the correction applied: with one clock,
    /// shifts are rounded to whole sample frames until the reference is steered for the first time.
    pub(crate) fn correct(&mut self, correction: Correction) -> Correction {
        let hz = f64::from(self.rate.hz());
        let requested = correction.shift.as_nanos() as f64 * 1e-9 * hz;
        let shift = if self.slower_q32 == 0 { libm::round(requested) } else { requested };
        self.later_q32 += (shift * Q32) as i64;
        self.slower_q32 += libm::round(correction.slower_ppm * 1e-6 * Q32) as i64;
        if shift != 0.0 {
            self.head = ReadHead::Unset;
        }
        Correction { shift: Duration::from_nanos((shift * 1e9 / hz) as i64), ..correction }
    }

    /// Returns how much later the echo comes than the timestamps say, as the acoustic delay estimate
    /// corrected them.
    pub(crate) fn later(&self) -> Duration {
        Duration::from_nanos((self.later_q32 as f64 / Q32 * 1e9 / f64::from(self.rate.hz())) as i64)
    }

    /// Returns by how much later the reference can be read at most, so that the history still holds what is read.
    pub(crate) fn longest_shift(&self) -> Duration {
        let unread = self.read_to.first().map_or(0, |read_to| self.history.end() - read_to).max(0) as u64;
        let length = Duration::of_sample_frames(self.history.capacity() as u64, self.rate);
        length - Duration::of_sample_frames(unread, self.rate) - HISTORY_MARGIN
    }

    /// Returns how much faster the loudspeaker's clock runs against the microphone's than the timestamps say,
    /// in ppm.
    pub(crate) fn hidden_drift_ppm(&self) -> f64 {
        -(self.slower_q32 as f64) / Q32 * 1e6
    }

    /// Returns the rate of the loudspeaker's clock against the host's clock.
    #[must_use]
    pub(crate) fn rate(&self) -> Option<RateEstimate> {
        self.clock.rate()
    }

    /// Returns the loudspeaker's clock.
    pub(crate) const fn clock(&self) -> &StreamClock {
        &self.clock
    }

    /// Returns how often reading had to jump, including the first reading.
    #[must_use]
    pub(crate) const fn jumps(&self) -> u32 {
        self.jumps
    }

    /// Takes a reference frame. Losses before it become silence, up to one second; longer ones show as a jump
    /// of its times.
    pub(crate) fn push<const SLOTS: usize>(&mut self, frame: &Frame<CAP, SLOTS>) {
        let format = frame.format();
        if self.memory.block.format() != format {
            self.memory.block.begin(format);
            self.memory.converter.reset();
            self.conversion = FrameConverter::<CAP>::latency_sample_frames(format.rate(), self.rate) as i64;
            self.fresh = true;
        }
        if frame.stamp.fresh && self.memory.block.sample_frames() > 0 {
            // The incomplete block belongs to the previous timeline.
            self.memory.block.extend_silence(usize::MAX);
            self.finish_block();
        }
        // Losses of more than a second begin a new timeline.
        self.fresh |= frame.stamp.fresh || frame.stamp.lost > format.rate_hz();
        let mut silent = (frame.stamp.lost as usize).min(format.rate_hz() as usize);
        while silent > 0 {
            if self.memory.block.sample_frames() == 0 {
                self.block_time = None;
            }
            silent -= self.memory.block.extend_silence(silent).max(1).min(silent);
            self.finish_block();
        }
        // The common case needs no copy.
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
            let free = self.memory.block.extend(rest.len() / channels);
            let taken = copy(rest, free).max(1);
            rest = rest.get(taken..).unwrap_or(&[]);
            self.finish_block();
        }
    }

    /// Moves a whole block into the history and passes its time to the clock.
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

    /// Passes the time of the samples from index `begin` on to the clock.
    #[inline(never)]
    fn learn(&mut self, begin: i64, time: Instant) {
        if core::mem::take(&mut self.fresh) && self.clock.is_running() {
            self.forget_motion();
            let late = self.clock.restart(begin as u64, time).unwrap_or(Duration::ZERO);
            let shifted = self.shift(begin, late);
            self.clock.observe((begin + shifted) as u64, time);
            self.uncertainty.on_jump(begin + shifted, &self.clock);
            return;
        }
        match self.clock.observe(begin as u64, time) {
            Observation::Taken => self.suspect_from = self.history.end(),
            Observation::Ignored => {}
            Observation::Jumped(by) => {
                let shifted = self.shift(self.suspect_from, by);
                self.uncertainty.on_jump(self.suspect_from + shifted, &self.clock);
                self.suspect_from = self.history.end();
            }
        }
    }

    /// Notes that the position has a variance of `ns2` from the next frame on, and forgets how the echo moved at the last one.
    pub(crate) fn doubt_position(&mut self, ns2: f32) {
        self.forget_motion();
        self.uncertainty.set(ns2);
    }

    /// Returns once the standard deviation of the position from the last frame that was read on.
    pub(crate) fn take_uncertainty(&mut self) -> Option<Duration> {
        self.uncertainty.take()
    }

    /// Moves the samples from index `from` on later by `by`, rounded to whole sample frames. Returns that
    /// number. A jump that is too long moves the clock's time instead.
    #[cold]
    #[inline(never)]
    fn shift(&mut self, from: i64, by: Duration) -> i64 {
        let whole = by.nearest_sample_frames(self.rate);
        // The clock's positions cannot be negative.
        if by.abs() > LONGEST_SHIFT || self.history.end() + whole < 0 {
            self.clock.jump(by);
            // Its clock was another one.
            self.uncertainty.forget_jump();
            return 0;
        }
        self.history.shift(from, whole);
        whole
    }

    /// Reads one frame of format `far` for the capture frame at `position` of the clock `capture`. `locked`
    /// means that one clock drives both converters, `may_hold` that the frame can wait until it is decided if the
    /// loudspeaker stalled.
    ///
    /// Costs a copy when locked, else 128 multiplications per sample, or 8 with [`QuickReader`].
    pub(crate) fn read<R: FractionalReader>(
        &mut self,
        capture: &StreamClock,
        position: u64,
        locked: bool,
        may_hold: bool,
        out: &mut Frame<CAP>,
        far: Format,
    ) -> Reading {
        if !self.clock.is_running() || !capture.is_running() {
            return Reading::Late;
        }
        self.lead_in_use.get_or_insert(if locked { Duration::ZERO } else { self.lead });
        let sample_frames = far.sample_frames();
        if locked && !self.lead_settled && self.clock.taken().min(capture.taken()) >= LEAD_AFTER {
            self.settle_lead(capture);
        }
        let begin = self.target(capture, position);
        if locked && self.slower_q32 == 0 {
            self.uncertainty.forget_jump();
            return self.read_locked(begin.nearest(), position, out, far);
        }
        let here = match self.head {
            ReadHead::Free(position) => Some(position),
            ReadHead::Locked { offset, .. } => {
                Some(FractionalPosition { index: position as i64 + offset, fraction_q32: 0 })
            }
            ReadHead::Unset => None,
        };
        let farthest = JUMP.in_sample_frames(self.rate) as f32;
        let start = here.filter(|&here| begin.since(here).abs() <= farthest);
        let jumped = start.is_none();
        let mut start = start.unwrap_or(begin);
        let mut error = begin.since(start);
        if jumped {
            self.uncertainty.on_move(&self.clock);
        }
        let mut passes_jump = false;
        if let Some(Refinement { from, later_ns }) = self.uncertainty.refinement(&self.clock, begin.index) {
            let later = (later_ns * 1e-9 * self.rate.hz() as f32).clamp(-farthest, farthest);
            error += later;
            passes_jump = start.index + sample_frames as i64 / 2 > from;
            if passes_jump {
                start = start.plus_q32(-((later * Q32 as f32) as i64));
            }
        }
        let error = self.follower.without_bias(error);
        let corrected = self.corrected_share(capture, error) * error;
        // Both clocks run at a constant rate within a frame. A step differs little from 1, so single
        // precision suffices for the difference.
        let rate_difference = capture.slower_than(&self.clock) - self.slower_q32 as f32 / Q32 as f32;
        let longer = rate_difference + corrected / sample_frames as f32 - self.follower.step();
        let longer = longer.clamp(-MAX_SLEW, MAX_SLEW);
        let newest = FractionalPosition { index: self.history.end() - REACH, fraction_q32: 0 };
        if sample_frames as f32 * (1.0 + longer) > newest.since(start) {
            return Reading::Late;
        }
        if may_hold && self.clock.expects_jump() && begin.index + sample_frames as i64 > self.suspect_from {
            return Reading::Undecided;
        }
        let step_q32 = (Q32 as i64 + (longer * Q32 as f32) as i64) as u64;
        self.follower.end_step();
        if passes_jump {
            self.uncertainty.forget_jump();
            self.doubt_position(self.clock.variances_ns2().0);
        }
        self.head = ReadHead::Free(interpolate::<R, CAP>(&self.history, start, step_q32, out, far));
        let rate_variance =
            self.clock.rate_variance().unwrap_or(0.0) + capture.rate_variance().unwrap_or(0.0);
        self.uncertainty.observe(out.samples(), rate_variance);
        self.read_to.fill(start.index + sample_frames as i64);
        self.later_q32 += self.slower_q32 * sample_frames as i64;
        self.finish_reading(jumped)
    }

    /// Returns the share of a position error, in sample frames, that is corrected in one frame. The share is
    /// small, because every timestamp moves the clocks' estimates of time, and following that random walk
    /// would look like a moving echo path (at 60 dB, 10 ppm of it cost AEC3 2 dB and 30 ppm cost 6 dB), while
    /// the ratio of the clocks is far steadier. It is larger for errors beyond the uncertainty of the clocks.
    fn corrected_share(&self, capture: &StreamClock, error: f32) -> f32 {
        let (played_ns2, played_jitter_ns2) = self.clock.variances_ns2();
        let (heard_ns2, heard_jitter_ns2) = capture.variances_ns2();
        let uncertainty_ns2 = played_ns2 + heard_ns2;
        let taken = uncertainty_ns2 / (uncertainty_ns2 + played_jitter_ns2 + heard_jitter_ns2);
        let error_ns = error * 1e9 / self.rate.hz() as f32;
        let surprise = error_ns * error_ns / (FASTER_SIGMAS * FASTER_SIGMAS * uncertainty_ns2);
        (taken / SMOOTHING * surprise.max(1.0)).min(1.0)
    }

    /// Returns how much of the reference for the capture frame at `position` has not arrived yet.
    #[cold]
    #[inline(never)]
    pub(crate) fn shortfall(&self, capture: &StreamClock, position: u64) -> Duration {
        let end = self.target(capture, position + self.rate.sample_frames() as u64).index + REACH;
        let missing = (end - self.history.end()).max(0);
        Duration::of_sample_frames(missing as u64, self.rate)
    }

    /// Returns the index that was at the loudspeaker when the microphone was at `position`, plus the lead.
    #[inline(never)]
    fn target(&self, capture: &StreamClock, position: u64) -> FractionalPosition {
        let time = capture.time_of(position) + self.lead();
        let FractionalPosition { index, fraction_q32 } = self.clock.fractional_position_at(time);
        FractionalPosition { index: index + self.conversion, fraction_q32 }.plus_q32(-self.later_q32)
    }

    fn read_locked(&mut self, target: i64, position: u64, out: &mut Frame<CAP>, far: Format) -> Reading {
        let wanted = target - position as i64;
        let [lead, far_off] = [self.lead(), JUMP].map(|span| i64::from(span.in_sample_frames(self.rate)));
        let (offset, error_frames, jumped) = match self.head {
            ReadHead::Locked { offset, error_frames } => {
                let error = (wanted - offset).abs();
                // The lead covers the error. A move would cost the canceller more than it gains.
                let slack = (lead - lead / 4).max(LOCKED_SLACK);
                let error_frames = if error > slack && self.lead_settled { error_frames + 1 } else { 0 };
                if error > far_off || error_frames > MAX_LOCKED_ERROR_FRAMES {
                    (wanted, 0, true)
                } else {
                    (offset, error_frames, false)
                }
            }
            _ => (wanted, 0, true),
        };
        let begin = position as i64 + offset;
        if begin + far.sample_frames() as i64 > self.history.end() {
            return Reading::Late;
        }
        self.head = ReadHead::Locked { offset, error_frames };
        out.begin(far);
        self.history.copy_to(begin, out.extend(far.sample_frames()));
        self.read_to.fill(begin + far.sample_frames() as i64);
        self.finish_reading(jumped)
    }

    /// Gives one clock a lead if its times are not exact, at the place that they tell now.
    #[cold]
    #[inline(never)]
    fn settle_lead(&mut self, capture: &StreamClock) {
        self.lead_settled = true;
        if self.clock.variances_ns2().0 + capture.variances_ns2().0 > EXACT_TIMES_NS * EXACT_TIMES_NS {
            self.lead_in_use = Some(self.lead);
            self.head = ReadHead::Unset;
        }
    }

    fn finish_reading(&mut self, jumped: bool) -> Reading {
        if jumped {
            // The bias and the rate belong to the place before.
            self.forget_motion();
            self.jumps = self.jumps.saturating_add(1);
            Reading::Jumped
        } else {
            Reading::Aligned
        }
    }
}

const Q32: f64 = 4_294_967_296.0;

#[cfg(test)]
mod tests;
