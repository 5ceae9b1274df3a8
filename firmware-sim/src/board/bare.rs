//! The board without halves: who steps it serves the interrupts, as a program in another language does.

use handsfree_core::audio_io::Direction;
use handsfree_core::time::PeriodTime;

use super::Board;
use crate::device::mean;

/// What a bare board's last interrupt is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) direction: Direction,
    pub(super) time: PeriodTime,
}

/// A period of a bare board, whose interrupt the caller serves before the next step.
#[derive(Debug)]
pub struct BarePeriod<'p> {
    /// Capture: it was recorded. Playback: it is to be filled.
    pub direction: Direction,
    /// Interleaved, 16 bits whatever format the side is said to have; silence at first for playback.
    pub samples: &'p mut [i16],
    /// When and where in its stream it is.
    pub time: PeriodTime,
}

impl<const CAP: usize, const SLOTS: usize> Board<'_, CAP, SLOTS> {
    /// Starts both directions without halves, those that run already excepted. After each
    /// [`Step::Capture`](super::Step::Capture) and [`Step::Playback`](super::Step::Playback) the caller serves
    /// [`period`](Self::period).
    pub fn start_bare(&mut self) {
        let now = self.now();
        if self.capture.is_none() {
            self.capture = Some(self.capture_stream(now, None));
        }
        if self.playback.is_none() {
            self.playback = Some(self.playback_stream(now, None));
        }
    }

    /// The period of the last step, if that was a bare board's interrupt. What is in a playback period when the
    /// board is stepped again is what the loudspeaker plays.
    pub fn period(&mut self) -> Option<BarePeriod<'_>> {
        let Pending { direction, time } = self.pending?;
        Some(BarePeriod { direction, samples: &mut self.buffers.device.i16, time })
    }

    /// Puts a playback period to the converter.
    pub(super) fn finish_pending(&mut self) {
        let Some(Pending { direction: Direction::Playback, .. }) = self.pending.take() else { return };
        let Some(stream) = &mut self.playback else { return };
        let channels = self.config.playback.device_channels as usize;
        let period = &self.buffers.device.i16;
        mean(period, channels, stream.tape.last_mut(period.len() / channels));
    }
}
