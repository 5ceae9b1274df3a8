//! The board as RTIC wants to be told of it, where a vendor's crate would stand.

/// Bits of an interrupt's priority on this processor.
pub const NVIC_PRIO_BITS: u8 = 3;

/// The board's interrupts, by the names of their handlers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
#[allow(clippy::upper_case_acronyms, reason = "the handlers' names")]
pub enum Interrupt {
    /// Capture.
    TIMER0 = 8,
    /// Playback.
    TIMER1 = 9,
    /// Not used by a device: RTIC dispatches its tasks in it.
    DUALTIMER = 10,
}

pub use Interrupt as interrupt;

// SAFETY: the numbers are the board's and stay what they are.
unsafe impl cortex_m::interrupt::InterruptNumber for Interrupt {
    fn number(self) -> u16 {
        self as u16
    }
}
