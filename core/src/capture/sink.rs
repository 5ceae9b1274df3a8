//! Worker side: sinks that take cleaned frames.

use crate::frame::Frame;
use crate::ring::FrameProducer;

/// A sink for cleaned frames, called by the capture worker. It must neither allocate nor block on a board's
/// real-time thread.
///
/// Any `FnMut(&Frame<CAP>)` is a sink; [`RingSink`] hands frames to another thread.
pub trait FrameSink<const CAP: usize> {
    /// Takes the likelihood that the near talker speaks in the frame of the next [`on_frame`](Self::on_frame), from
    /// 0 to 1. Called before each frame that a voice processor has processed that knows it, such as an
    /// [`EchoCanceller`](crate::canceller::EchoCanceller).
    #[inline]
    fn on_near_end(&mut self, _likelihood: f32) {}

    /// Takes one frame of the session's format. `frame.stamp.lost` is the number of sample frames missing
    /// before it.
    fn on_frame(&mut self, frame: &Frame<CAP>);
}

impl<const CAP: usize, F: FnMut(&Frame<CAP>)> FrameSink<CAP> for F {
    fn on_frame(&mut self, frame: &Frame<CAP>) {
        self(frame);
    }
}

/// A sink that puts frames into a ring for another thread, without blocking.
///
/// A full ring drops the newest frame; the loss is counted, and the next frame's stamp states it.
#[derive(Debug)]
pub struct RingSink<'a, const CAP: usize> {
    ring: FrameProducer<'a, CAP>,
    dropped_frames: u64,
    lost: u32,
}

impl<'a, const CAP: usize> RingSink<'a, CAP> {
    /// Returns a sink that writes to `ring`.
    #[must_use]
    pub const fn new(ring: FrameProducer<'a, CAP>) -> Self {
        Self { ring, dropped_frames: 0, lost: 0 }
    }

    /// Returns the number of frames dropped so far because the reader was slow.
    #[must_use]
    pub const fn dropped_frames(&self) -> u64 {
        self.dropped_frames
    }
}

impl<const CAP: usize> FrameSink<CAP> for RingSink<'_, CAP> {
    fn on_frame(&mut self, frame: &Frame<CAP>) {
        let mut copy = frame.clone();
        copy.stamp.lost = copy.stamp.lost.saturating_add(self.lost);
        match self.ring.push(copy) {
            Ok(()) => self.lost = 0,
            Err(rejected) => {
                self.dropped_frames += 1;
                self.lost = rejected.stamp.lost.saturating_add(rejected.sample_frames() as u32);
            }
        }
    }
}
