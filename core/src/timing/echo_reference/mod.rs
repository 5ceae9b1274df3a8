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
use crate::frame::Frame;
use crate::time::{Duration, Instant};
use crate::timing::history::History;
use crate::timing::shift_follower::ShiftFollower;
use crate::timing::stream_clock::{FractionalPosition, RateEstimate, SOUND_SERVER, StreamClock};

use self::interpolation::interpolate;
use self::uncertainty::{PositionUncertainty, Refinement};

mod input;
mod interpolation;
mod locked;
mod uncertainty;

/// Position error beyond which reading jumps instead of slewing.
const JUMP: Duration = Duration::from_millis(3);
/// Factor by which position error is corrected more slowly than the clocks converge.
const SMOOTHING: f32 = 4.0;
/// Position error beyond which it is corrected faster, in standard deviations of the clocks' times.
const FASTER_SIGMAS: f32 = 3.0;
/// Largest change of the reading speed, as a fraction: clocks that differ by 2 %, and a correction besides.
const MAX_SLEW: f32 = 25e-3;
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
    /// Whether something was played to one clock. Devices without an operating system have exact times.
    has_sounded: [bool; SOUND_SERVER as usize],
    /// Sample frames by which the acoustic delay estimate makes the reference read later (older sound), in
    /// 1/2^32.
    later_q32: i64,
    /// Growth of `later_q32` with each sample frame read.
    slower_q32: i64,
    /// What the canceller sees of the echo's place.
    follower: ShiftFollower,
    uncertainty: PositionUncertainty,
    /// Jump of the last times, until it is known whether it is the device's or the host clock's.
    undecided_jump: [Option<Duration>; SOUND_SERVER as usize],
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
            has_sounded: [false; SOUND_SERVER as usize],
            later_q32: 0,
            slower_q32: 0,
            follower: ShiftFollower::new(),
            uncertainty: PositionUncertainty::new(),
            undecided_jump: [None; SOUND_SERVER as usize],
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

    /// Notes that the position has a variance of `ns2` from the next frame on, and forgets how the echo moved at the last one.
    pub(crate) fn doubt_position(&mut self, ns2: f32) {
        self.forget_motion();
        self.uncertainty.set(ns2);
    }

    /// Returns once the standard deviation of the position from the last frame that was read on.
    pub(crate) fn take_uncertainty(&mut self) -> Option<Duration> {
        self.uncertainty.take()
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
        if locked && self.can_settle_lead(capture) {
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
