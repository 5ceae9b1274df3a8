//! Description of the board's interrupts, in place of the peripheral access crate of a vendor, as RTIC needs
//! it.

/// Number of bits of an interrupt priority on this processor.
pub const NVIC_PRIO_BITS: u8 = 3;

/// Interrupts of the board that the images use, named like their handlers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
#[allow(clippy::upper_case_acronyms, reason = "these are the names of the handlers")]
pub enum Interrupt {
    /// Capture DMA.
    TIMER0 = 8,
    /// Playback DMA.
    TIMER1 = 9,
    /// Disturbance of the other two. The RTIC image has no disturbance and dispatches its tasks in this
    /// interrupt.
    DUALTIMER = 10,
}

pub use Interrupt as interrupt;

// SAFETY: the numbers are those of the board and never change.
unsafe impl cortex_m::interrupt::InterruptNumber for Interrupt {
    fn number(self) -> u16 {
        self as u16
    }
}
