//! The edge to the hardware: what a board's code provides for one direction.

use handsfree_core::{DeviceSample, Duration, Instant, SampleRate};

/// One direction of a serial audio interface (I2S, SAI, TDM) with its DMA stream, which moves samples through a ring of
/// memory for ever.
///
/// A value of this type is moved while the DMA runs, so the memory must be elsewhere, usually in a `static`; and because the DMA writes
/// it, [`read`](Self::read) and [`write`](Self::write) access it as volatile, or behind a fence.
///
/// The memory holds whole sample frames: one sample for each slot, slot 0 first. The length of the ring is
/// [`StreamProperties::periods`] periods; with half and complete interrupts these are two.
pub trait DmaStream {
    /// Sample in the DMA's memory: `i16`, `i32` (also 24 bits, left-justified in 32), `I24` (24 bits, right-justified in
    /// 32), or [`HalfwordSwapped`](crate::HalfwordSwapped).
    type Sample: DeviceSample;

    /// Starts the DMA at the begin of the memory, then the interface, with slot 0 as the first one. Control side. After a
    /// fault this is called after [`stop`](Self::stop) and [`take_fault`](Self::take_fault), and must empty the interface's FIFO,
    /// so that no sample of before shifts the slots.
    fn start(&mut self);

    /// Stops the interface and the DMA. Control side.
    fn stop(&mut self);

    /// Returns how many samples the DMA has moved since it last passed the begin of the memory: the length of the memory
    /// less the counter of what is left, for a DMA that counts down. Interrupt side.
    fn moved(&self) -> usize;

    /// Returns whether the interface reported an overrun, an underrun or a wrong frame since the last call, and clears its
    /// flags. Interrupt side. From then on the slots may be shifted.
    fn take_fault(&mut self) -> bool;

    /// Copies captured samples from the memory at `index`. Interrupt side. Where the processor caches the memory, this
    /// invalidates the cache's lines first.
    fn read(&mut self, index: usize, samples: &mut [Self::Sample]);

    /// Copies samples to be played into the memory at `index`. Interrupt side. Where the processor caches the memory, this
    /// cleans the cache's lines afterwards.
    fn write(&mut self, index: usize, samples: &[Self::Sample]);

    /// Returns the time of a free-running timer, the same one for both directions; [`TickClock`](crate::TickClock) makes it of
    /// a counter. Any side.
    fn now(&self) -> Instant;
}

/// Properties of one direction, which the board's wiring and its DMA's configuration decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct StreamProperties {
    /// Name of the device for display.
    pub name: &'static str,
    /// Sample rate.
    pub rate: SampleRate,
    /// Number of slots in a sample frame, 1 to 64. A mono microphone in a stereo frame has two.
    pub slots: u32,
    /// Sample frames between two interrupts.
    pub period_sample_frames: u32,
    /// Number of periods in the ring, 2 to 64.
    pub periods: u32,
    /// Time between the converter and the DMA's memory: the interface's FIFO, and the codec's filters.
    pub latency: Duration,
    /// Number of the clock that drives the converters, 0 for a clock of its own. One duplex interface has the same number in
    /// both directions.
    pub clock_domain: u32,
}

impl StreamProperties {
    /// Returns the length of the ring, in sample frames.
    pub(crate) const fn ring_sample_frames(&self) -> u32 {
        self.period_sample_frames.saturating_mul(self.periods)
    }

    /// Returns the number of samples in a period.
    pub(crate) const fn period_samples(&self) -> usize {
        self.period_sample_frames as usize * self.slots as usize
    }
}
