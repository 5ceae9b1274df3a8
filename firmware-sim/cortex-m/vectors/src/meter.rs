//! Measures the parts of a session while a conversation runs.

/// A part of the session that runs once in 10 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionPart {
    /// Interrupt of the microphone.
    CaptureInterrupt,
    /// Interrupt of the loudspeaker.
    PlaybackInterrupt,
    /// Capture pipeline, including the canceller.
    CapturePipeline,
    /// Playback pipeline.
    PlaybackPipeline,
}

/// Observes the parts of a session while they run.
pub trait PartMeter {
    /// Runs a part.
    fn measure<T>(&mut self, part: SessionPart, work: impl FnOnce() -> T) -> T;
    /// Takes note that `count` frames left the session.
    fn delivered(&mut self, count: u32);
}

/// Measures nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoMeter;

impl PartMeter for NoMeter {
    fn measure<T>(&mut self, _part: SessionPart, work: impl FnOnce() -> T) -> T {
        work()
    }

    fn delivered(&mut self, _count: u32) {}
}

/// Sums a clock's ticks in each part, for each delivered frame.
#[derive(Debug)]
pub struct TickMeter<F> {
    now: F,
    /// Mask of the clock's bits.
    mask: u32,
    /// Ticks since the last frame.
    ticks: u32,
    totals: [u64; 4],
    frames: u32,
    most: u32,
}

/// Ticks of a session in 10 ms.
#[derive(Clone, Copy, Debug, Default)]
pub struct TickFigures {
    /// Mean of each part, in the order of [`SessionPart`].
    pub parts: [u32; 4],
    /// Mean of all parts together.
    pub mean: u32,
    /// Most of all parts together.
    pub most: u32,
}

impl<F: Fn() -> u32> TickMeter<F> {
    /// Makes a meter from a clock that counts up and wraps to 0 after `mask`, a number of which all bits are
    /// set.
    pub const fn new(now: F, mask: u32) -> Self {
        Self { now, mask, ticks: 0, totals: [0; 4], frames: 0, most: 0 }
    }

    /// Returns the figures since the last call and starts anew.
    pub fn take(&mut self) -> TickFigures {
        let mean = |total: u64| (total / u64::from(self.frames.max(1))) as u32;
        let figures = TickFigures {
            parts: self.totals.map(mean),
            mean: mean(self.totals.iter().sum()),
            most: self.most,
        };
        (self.ticks, self.totals, self.frames, self.most) = (0, [0; 4], 0, 0);
        figures
    }
}

impl<F: Fn() -> u32> PartMeter for TickMeter<F> {
    fn measure<T>(&mut self, part: SessionPart, work: impl FnOnce() -> T) -> T {
        let started = (self.now)();
        let result = work();
        let ticks = (self.now)().wrapping_sub(started) & self.mask;
        self.ticks += ticks;
        if let Some(total) = self.totals.get_mut(part as usize) {
            *total += u64::from(ticks);
        }
        result
    }

    fn delivered(&mut self, count: u32) {
        if count > 0 {
            self.frames += count;
            self.most = self.most.max(self.ticks / count);
            self.ticks = 0;
        }
    }
}
