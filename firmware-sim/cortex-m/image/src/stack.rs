//! How much of the stack was ever used.

use core::ptr;

const PAINT: u32 = 0xC0DE_F00D;

unsafe extern "C" {
    static mut __sheap: u32;
    static mut _stack_start: u32;
}

/// Paints the stack below the caller. To be called first of all.
pub fn paint() {
    let bottom = &raw mut __sheap;
    // Room for this very function.
    let top = (cortex_m::register::msp::read() as usize - 256) as *mut u32;
    let mut word = bottom;
    while word < top {
        // SAFETY: between the statics' end and the stack pointer nothing lives.
        unsafe {
            ptr::write_volatile(word, PAINT);
            word = word.add(1);
        }
    }
}

/// Bytes of the stack that were used since it was painted, interrupts included.
#[must_use]
pub fn used_bytes() -> usize {
    let top = &raw const _stack_start;
    let mut word = &raw const __sheap;
    // SAFETY: from the statics' end to the stack's start it is all memory.
    unsafe {
        while word < top && ptr::read_volatile(word) == PAINT {
            word = word.add(1);
        }
    }
    top as usize - word as usize
}

/// Bytes that the stack has.
#[must_use]
pub fn size_bytes() -> usize {
    (&raw const _stack_start) as usize - (&raw const __sheap) as usize
}
