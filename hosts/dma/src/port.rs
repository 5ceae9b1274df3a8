//! Where an interrupt finds its half, and control its hardware.

use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::RawMutex;
use handsfree_core::limits::MAX_DEVICE_CHANNELS;
use handsfree_core::{Duration, Instant};

use crate::error::DmaError;
use crate::ring_counter::RingCounter;
use crate::stream::{DmaStream, StreamProperties};

/// Numbers of periods that a ring may have.
const PERIODS: core::ops::RangeInclusive<u32> = 2..=64;

/// One direction's hardware and, while a stream runs, its interrupt half: an [`Intake`](handsfree_core::capture::Intake) or an
/// [`Outlet`](handsfree_core::playback::Outlet). `PERIOD` is the number of samples in a period, of all slots.
///
/// A `static` holds it. The DMA's interrupt calls `on_interrupt`, and [`DmaIo`](crate::DmaIo) starts and stops it. Both take the
/// contents out and put them back, each in a critical section of `M` that only moves them (some hundred bytes). What an interrupt
/// that comes while control has them would do, control does when it puts them back.
pub struct DmaPort<M: RawMutex, D: DmaStream, H, const PERIOD: usize> {
    contents: Mutex<M, Cell<Option<PortContents<D, H>>>>,
    pub(crate) state: PortState,
}

/// What the interrupt tells control. Whoever has the contents writes these, except for the two flags.
#[derive(Debug)]
pub(crate) struct PortState {
    is_installed: AtomicBool,
    /// Number of faults of the interface.
    pub(crate) faults: AtomicU32,
    /// Sample frames that were lost because an interrupt came too late.
    pub(crate) lost_sample_frames: AtomicU32,
    /// Time of the last interrupt, in microseconds.
    seen_us: AtomicU32,
    /// Whether an interrupt came while control had the contents.
    is_missed: AtomicBool,
    /// Number of frames that control completed in place of the interrupt.
    pub(crate) completed_by_control: AtomicU32,
}

impl PortState {
    const fn new() -> Self {
        Self {
            is_installed: AtomicBool::new(false),
            faults: AtomicU32::new(0),
            lost_sample_frames: AtomicU32::new(0),
            seen_us: AtomicU32::new(0),
            is_missed: AtomicBool::new(false),
            completed_by_control: AtomicU32::new(0),
        }
    }

    /// Counts. Only one context writes each counter, so no read-modify-write is needed, which some processors lack.
    pub(crate) fn count(counter: &AtomicU32, by: u64) {
        // Relaxed: the counters order no other memory access.
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(by as u32), Ordering::Relaxed);
    }

    pub(crate) fn see(&self, now: Instant) {
        self.seen_us.store((now.as_nanos() / 1_000) as u32, Ordering::Relaxed);
    }

    /// Returns the time since the last interrupt.
    pub(crate) fn unseen_for(&self, now: Instant) -> Duration {
        let now_us = (now.as_nanos() / 1_000) as u32;
        Duration::from_micros(i64::from(now_us.wrapping_sub(self.seen_us.load(Ordering::Relaxed)) as i32))
    }
}

/// Contents of a port.
pub(crate) struct PortContents<D, H> {
    pub(crate) dma: D,
    pub(crate) properties: StreamProperties,
    pub(crate) counter: RingCounter,
    /// Position of the next period to be read or written.
    pub(crate) next: u64,
    /// Position of the first period of this start.
    pub(crate) first: u64,
    /// Whether the slots may be shifted, until the stream is restarted.
    pub(crate) is_faulty: bool,
    pub(crate) half: Option<H>,
}

impl<D: DmaStream, H> PortContents<D, H> {
    /// Looks where the DMA is, and returns its position in sample frames.
    pub(crate) fn look(&mut self, now: Instant) -> u64 {
        let index = self.index();
        self.next += self.counter.update_after_pause(index, now);
        self.counter.position()
    }

    /// Begins the work of an interrupt: returns its time and the DMA's position, or `None` if there is nothing to do.
    pub(crate) fn enter(&mut self, state: &PortState) -> Option<(Instant, u64)> {
        let called = self.dma.now();
        let head = self.look(called);
        state.see(called);
        // After the look: what was captured before it has its slots in their places.
        self.take_fault(state);
        (self.half.is_some() && !self.is_faulty).then_some((called, head))
    }

    /// Looks if the interface has had a fault.
    pub(crate) fn take_fault(&mut self, state: &PortState) {
        if self.dma.take_fault() {
            self.is_faulty = true;
            PortState::count(&state.faults, 1);
        }
    }

    /// Begins a stream at the begin of the ring, whose first period to be read or written comes `ahead` sample frames later.
    /// Control side, while the hardware does not run.
    pub(crate) fn begin(&mut self, state: &PortState, ahead: u32) {
        let now = self.dma.now();
        state.see(now);
        self.counter.restart(now);
        self.next = self.counter.position() + u64::from(ahead);
        self.first = self.next;
        self.is_faulty = false;
        // Stopping an interface often sets its flags.
        _ = self.dma.take_fault();
        self.dma.start();
    }

    /// Returns the DMA's place in the ring, in sample frames.
    pub(crate) fn index(&self) -> u32 {
        (self.dma.moved() / (self.properties.slots as usize).max(1)) as u32
    }

    /// Returns the index of the first sample of [`next`](Self::next) in the DMA's memory.
    pub(crate) fn next_index(&self) -> usize {
        self.counter.index_of(self.next) as usize * self.properties.slots as usize
    }
}

impl<M: RawMutex, D: DmaStream, H, const PERIOD: usize> DmaPort<M, D, H, PERIOD> {
    /// Returns a port without hardware, for a `static`.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a static needs it const")]
    pub const fn new() -> Self {
        Self { contents: Mutex::new(Cell::new(None)), state: PortState::new() }
    }

    /// Hands the hardware over, which must not run. Once, before the first start. Control side.
    ///
    /// # Errors
    /// Names a property that is out of its range, or that does not agree with `PERIOD`, and a second installation.
    pub fn install(&self, properties: StreamProperties, dma: D) -> Result<(), DmaError> {
        let StreamProperties { slots, periods, .. } = properties;
        if !(1..=MAX_DEVICE_CHANNELS as u32).contains(&slots) {
            return Err(DmaError::Slots { slots });
        }
        if properties.period_sample_frames == 0 || properties.period_samples() != PERIOD {
            return Err(DmaError::Period { samples: properties.period_samples(), expected: PERIOD });
        }
        if !PERIODS.contains(&periods) {
            return Err(DmaError::Periods { periods });
        }
        if properties.latency < Duration::ZERO {
            return Err(DmaError::Misuse("the latency is negative: expected 0 or more"));
        }
        if self.state.is_installed.load(Ordering::Relaxed) {
            return Err(DmaError::Misuse("the port has its hardware already: expected one installation"));
        }
        let counter = RingCounter::new(properties.rate, properties.ring_sample_frames());
        self.put(PortContents { dma, properties, counter, next: 0, first: 0, is_faulty: false, half: None });
        self.state.is_installed.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Takes the contents out; `None` if the port is empty or another context has them.
    pub(crate) fn take(&self) -> Option<PortContents<D, H>> {
        self.contents.lock(Cell::take)
    }

    pub(crate) fn put(&self, contents: PortContents<D, H>) {
        self.contents.lock(|cell| cell.set(Some(contents)));
    }

    /// Works with the contents on the control side, and calls `serve` as the interrupt would if one came meanwhile. `None` if no
    /// hardware was installed. On one core the interrupt has always put them back; on another core it does so within its run
    /// time.
    pub(crate) fn hold<R>(
        &self,
        work: impl FnOnce(&mut PortContents<D, H>, &PortState) -> R,
        serve: fn(&mut PortContents<D, H>, &PortState) -> u32,
    ) -> Option<R> {
        if !self.state.is_installed.load(Ordering::Relaxed) {
            return None;
        }
        let mut contents = loop {
            if let Some(contents) = self.take() {
                break contents;
            }
            core::hint::spin_loop();
        };
        let result = work(&mut contents, &self.state);
        self.put(contents);
        // Another may come while the work of the last one is done.
        while self.state.is_missed.load(Ordering::Acquire) {
            self.state.is_missed.store(false, Ordering::Release);
            PortState::count(&self.state.completed_by_control, self.interrupt(serve).into());
        }
        Some(result)
    }

    /// Does the work of an interrupt, or notes that it was missed.
    pub(crate) fn interrupt(&self, serve: fn(&mut PortContents<D, H>, &PortState) -> u32) -> u32 {
        let Some(mut contents) = self.take() else {
            self.state.is_missed.store(true, Ordering::Release);
            return 0;
        };
        let frames = serve(&mut contents, &self.state);
        self.put(contents);
        frames
    }
}

impl<M: RawMutex, D: DmaStream, H, const PERIOD: usize> core::fmt::Debug for DmaPort<M, D, H, PERIOD> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("DmaPort").field("state", &self.state).finish_non_exhaustive()
    }
}
