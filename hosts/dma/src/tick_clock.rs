//! Any side: a clock of 64 bits made of a free-running counter of 32.

use core::cell::Cell;

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::RawMutex;
use handsfree_core::Instant;

/// Clock made of a free-running 32-bit counter, such as a timer. The cycle counter of a Cortex-M is one too, but it stands still
/// on many chips while the processor sleeps.
///
/// ```
/// use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
/// use handsfree_dma::TickClock;
///
/// // One tick a microsecond: the counter wraps after 71 minutes.
/// static CLOCK: TickClock<CriticalSectionRawMutex> = TickClock::new(1_000_000);
/// assert_eq!(CLOCK.now(|| u32::MAX).as_nanos(), 4_294_967_295_000); // reads the timer's register
/// assert_eq!(CLOCK.now(|| 0).as_nanos(), 4_294_967_296_000);
/// ```
#[derive(Debug)]
pub struct TickClock<M: RawMutex> {
    ticks_per_s: u32,
    /// Last value of the counter, and the number of its wraps.
    last: Mutex<M, Cell<(u32, u32)>>,
}

impl<M: RawMutex> TickClock<M> {
    /// Returns a clock for a counter of `ticks_per_s` ticks a second, 1 to 4,294,967,295.
    #[must_use]
    pub const fn new(ticks_per_s: u32) -> Self {
        Self {
            ticks_per_s: if ticks_per_s == 0 { 1 } else { ticks_per_s },
            last: Mutex::new(Cell::new((0, 0))),
        }
    }

    /// Returns the time. `read` returns the counter; it runs inside the critical section, so that no other context can read a
    /// later value in between. Must be called at least once while the counter goes round.
    ///
    /// Any side. Costs a critical section of a few instructions and two 64-bit divisions. The time is exact to a nanosecond for
    /// 292 years.
    pub fn now(&self, read: impl FnOnce() -> u32) -> Instant {
        let (counter, wraps) = self.last.lock(|last| {
            let (before, wraps) = last.get();
            let counter = read();
            let wraps = if counter < before { wraps.wrapping_add(1) } else { wraps };
            last.set((counter, wraps));
            (counter, wraps)
        });
        let ticks = u64::from(wraps) << 32 | u64::from(counter);
        let rate = u64::from(self.ticks_per_s);
        let (seconds, rest) = (ticks / rate, ticks % rate);
        let nanos = seconds.saturating_mul(1_000_000_000).saturating_add(rest * 1_000_000_000 / rate);
        Instant::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
    }
}
