//! The one clock of the board.

use core::cell::Cell;

use critical_section::Mutex;
use handsfree_core::Instant;

use crate::machine;

/// What the counter showed last, and how often it had wrapped.
static LAST: Mutex<Cell<(u32, u32)>> = Mutex::new(Cell::new((0, 0)));

/// Ticks since the start. To be asked at least once in two minutes, which is when the counter wraps.
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

/// A number of ticks as a time.
#[must_use]
pub const fn instant(ticks: u64) -> Instant {
    Instant::from_nanos(ticks as i64 * machine::TICK_NS)
}

/// Now.
#[must_use]
pub fn now() -> Instant {
    instant(ticks())
}
