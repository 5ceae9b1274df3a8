//! The bare board: a board without interrupt halves. Its caller serves the periods itself, as a C program does.

use handsfree_core::audio_io::Direction;
use handsfree_core::time::PeriodTime;

use super::SimulatedBoard;
use crate::device::average_channels;

/// Interrupt of a bare board that the caller has yet to serve.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingPeriod {
    pub(super) direction: Direction,
    pub(super) time: PeriodTime,
}

/// Period of a bare board. The caller serves it before the next step.
#[derive(Debug)]
pub struct BarePeriod<'p> {
    /// Direction of the stream. A capture period holds samples to read, a playback period is to be filled.
    pub direction: Direction,
    /// Interleaved 16-bit samples, whatever the device's configured format. A playback period starts as
    /// silence.
    pub samples: &'p mut [i16],
    /// Time and stream position of the period.
    pub time: PeriodTime,
}

impl<const CAP: usize, const SLOTS: usize> SimulatedBoard<'_, CAP, SLOTS> {
    /// Starts a stream without an interrupt half in each direction that does not run yet. After each
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

    /// Returns the period of the last step, if that step was an interrupt of a bare board. The loudspeaker
    /// plays what a playback period holds at the next step.
    pub fn period(&mut self) -> Option<BarePeriod<'_>> {
        let PendingPeriod { direction, time } = self.pending?;
        Some(BarePeriod { direction, samples: &mut self.buffers.device.i16, time })
    }

    /// Plays a pending playback period.
    pub(super) fn finish_pending(&mut self) {
        let Some(PendingPeriod { direction: Direction::Playback, .. }) = self.pending.take() else { return };
        let Some(stream) = &mut self.playback else { return };
        let channels = self.config.playback.device_channels as usize;
        let period = &self.buffers.device.i16;
        average_channels(period, channels, stream.played.last_mut(period.len() / channels));
    }
}
