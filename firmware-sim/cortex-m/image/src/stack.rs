//! High-water mark of the stack.

use core::ptr;

const PAINT: u32 = 0xC0DE_F00D;

unsafe extern "C" {
    static mut __sheap: u32;
    static mut _stack_start: u32;
}

/// Fills the unused stack with a pattern. It must be called first in `main`.
pub fn paint() {
    let bottom = &raw mut __sheap;
    // The frame of this function is left out.
    let top = (cortex_m::register::msp::read() as usize - 256) as *mut u32;
    let mut word = bottom;
    while word < top {
        // SAFETY: the memory between the end of the statics and the stack pointer is unused.
        unsafe {
            ptr::write_volatile(word, PAINT);
            word = word.add(1);
        }
    }
}

/// Returns the largest stack usage since [`paint`], in bytes, interrupts included.
#[must_use]
pub fn used_bytes() -> usize {
    let top = &raw const _stack_start;
    let mut word = &raw const __sheap;
    // SAFETY: the whole range from the end of the statics to the start of the stack is RAM.
    unsafe {
        while word < top && ptr::read_volatile(word) == PAINT {
            word = word.add(1);
        }
    }
    top as usize - word as usize
}

/// Returns the size of the stack, in bytes.
#[must_use]
pub fn size_bytes() -> usize {
    (&raw const _stack_start) as usize - (&raw const __sheap) as usize
}
