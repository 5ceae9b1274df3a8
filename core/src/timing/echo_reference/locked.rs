//! Worker side: reads the reference where one clock drives both converters, at a constant number of sample frames from the microphone.

use super::uncertainty::is_pause;
use super::{EchoReference, JUMP, ReadHead, Reading};
use crate::format::Format;
use crate::frame::Frame;
use crate::timing::stream_clock::{SOUND_SERVER, StreamClock};

/// Standard deviation of one clock's times up to which they are exact, in nanoseconds: less than a sample frame.
const EXACT_TIMES_NS: f32 = 15e3;
/// Position error of a locked offset that is no error of the times, in sample frames: rounding, and a little more.
const LOCKED_SLACK: i64 = 3;
/// Number of times from each device after which it is decided if one clock needs a lead (1 s). Before, the
/// clocks' first guess outweighs their jitter; after, a canceller has learned too much to lose.
const LEAD_AFTER: u32 = 100;
/// Number of times from each device after which a large scatter decides it.
const SCATTER_AFTER: u32 = 4;
/// Standard deviation of both devices' times that is a large scatter, in nanoseconds: twice of what [`LEAD_AFTER`] times make exact.
const LARGE_SCATTER_NS: f32 = 150e3;
/// Number of successive frames with a larger error after which a locked offset is moved.
const MAX_LOCKED_ERROR_FRAMES: u16 = 50;

impl<const CAP: usize> EchoReference<'_, CAP> {
    /// Reads one frame of format `far`, whose first sample was played at the index `target` by the times, for the capture frame at
    /// `position`. Costs a copy.
    pub(super) fn read_locked(
        &mut self,
        target: i64,
        position: u64,
        out: &mut Frame<CAP>,
        far: Format,
    ) -> Reading {
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
        for has_sounded in &mut self.has_sounded {
            *has_sounded = *has_sounded || !is_pause(out.samples());
        }
        self.finish_reading(jumped)
    }

    /// Returns whether the times so far decide if one clock needs a lead, or tell its place better before anything was played.
    pub(super) fn can_settle_lead(&self, capture: &StreamClock) -> bool {
        let taken = self.clock.taken().min(capture.taken());
        if self.lead_settled {
            return taken == LEAD_AFTER && self.has_sounded.first() == Some(&false);
        }
        taken >= LEAD_AFTER || SOUND_SERVER && taken >= SCATTER_AFTER && self.times_scatter(capture)
    }

    /// Returns whether the times so far scatter so much that more of them cannot make one clock exact in time.
    fn times_scatter(&self, capture: &StreamClock) -> bool {
        self.clock.seen_scatter_ns2() + capture.seen_scatter_ns2() > LARGE_SCATTER_NS * LARGE_SCATTER_NS
    }

    /// Gives one clock a lead if its times are not exact, at the place that they tell now.
    #[cold]
    #[inline(never)]
    pub(super) fn settle_lead(&mut self, capture: &StreamClock) {
        self.lead_settled = true;
        if self.clock.variances_ns2().0 + capture.variances_ns2().0 > EXACT_TIMES_NS * EXACT_TIMES_NS {
            self.lead_in_use = Some(self.lead);
            self.head = ReadHead::Unset;
        }
    }
}
