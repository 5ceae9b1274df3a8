//! Cell for a value that belongs to one interrupt.

use core::cell::UnsafeCell;

/// Cell for a value that the main program hands to one interrupt before it enables the interrupt.
///
/// Only one interrupt calls an `Intake` or `Outlet`, so a lock would delay the other interrupts without need.
pub struct InterruptCell<T> {
    value: UnsafeCell<Option<T>>,
}

// SAFETY: the contracts of `fill` and `borrow` give access to one context at a time, and the processor has
// one core.
unsafe impl<T: Send> Sync for InterruptCell<T> {}

impl<T> InterruptCell<T> {
    /// Makes an empty cell.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a static needs it const")]
    pub const fn new() -> Self {
        Self { value: UnsafeCell::new(None) }
    }

    /// Stores the value.
    ///
    /// # Safety
    /// The interrupt that borrows the value must be disabled.
    pub unsafe fn fill(&self, value: T) {
        // SAFETY: by the contract no other context has access at this time.
        unsafe { *self.value.get() = Some(value) };
    }

    /// Borrows the value; `None` if the cell is empty.
    ///
    /// # Safety
    /// Only one interrupt may call this, at most once in each run of its handler.
    #[expect(clippy::mut_from_ref, reason = "this is what the cell is for, under its contract")]
    pub unsafe fn borrow(&self) -> Option<&mut T> {
        // SAFETY: by the contract no other reference is alive: a handler does not nest with itself.
        unsafe { (*self.value.get()).as_mut() }
    }
}
