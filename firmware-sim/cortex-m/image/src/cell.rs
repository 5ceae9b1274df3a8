//! A place for what belongs to one interrupt.

use core::cell::UnsafeCell;

/// What the main program hands to one interrupt before it is enabled.
///
/// An `Intake` or `Outlet` is called by one interrupt and nothing else, so a lock would only delay
/// the other interrupts.
pub struct InterruptCell<T> {
    value: UnsafeCell<Option<T>>,
}

// SAFETY: the contracts of `fill` and `borrow` leave one context at a time with access, and the
// processor has one core.
unsafe impl<T: Send> Sync for InterruptCell<T> {}

impl<T> InterruptCell<T> {
    /// An empty cell.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a static needs it const")]
    pub const fn new() -> Self {
        Self { value: UnsafeCell::new(None) }
    }

    /// Puts the value in.
    ///
    /// # Safety
    /// The interrupt that borrows it is disabled.
    pub unsafe fn fill(&self, value: T) {
        // SAFETY: by the contract nobody else has access meanwhile.
        unsafe { *self.value.get() = Some(value) };
    }

    /// The value, for its interrupt.
    ///
    /// # Safety
    /// Called by one interrupt only, once in each run of its handler.
    #[expect(clippy::mut_from_ref, reason = "this is what the cell is for, under its contract")]
    pub unsafe fn borrow(&self) -> Option<&mut T> {
        // SAFETY: by the contract no other reference is alive: a handler does not nest with itself.
        unsafe { (*self.value.get()).as_mut() }
    }
}
