//! Clock of the board, extended to 64 bits.

use core::cell::Cell;

use critical_section::Mutex;
use handsfree_core::Instant;

use crate::machine;

/// Last value of the counter and the number of its wraps.
static LAST: Mutex<Cell<(u32, u32)>> = Mutex::new(Cell::new((0, 0)));

/// Returns the ticks since the start. It must be called at least every two minutes, because the counter wraps
/// then.
#[must_use]
pub fn ticks() -> u64 {
    critical_section::with(|token| {
        let (last, wraps) = LAST.borrow(token).get();
        let now = machine::counter();
        let wraps = if now < last { wraps.wrapping_add(1) } else { wraps };
        LAST.borrow(token).set((now, wraps));
        u64::from(wraps) << 32 | u64::from(now)
    })
}

/// Converts ticks since the start to an instant.
#[must_use]
pub const fn instant(ticks: u64) -> Instant {
    Instant::from_nanos(ticks as i64 * machine::TICK_NS)
}

/// Returns the current time.
#[must_use]
pub fn now() -> Instant {
    instant(ticks())
}
