//! The board's timers, and the interrupt vectors.

use core::ptr;

/// What the timers count with.
pub const CLOCK_HZ: u32 = 25_000_000;
/// Nanoseconds in a tick of them.
pub const TICK_NS: i64 = 1_000_000_000 / CLOCK_HZ as i64;

/// The board's interrupts that the images use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Interrupt {
    /// Capture.
    Timer0 = 8,
    /// Playback.
    Timer1 = 9,
    /// Disturbance.
    DualTimer = 10,
}

// SAFETY: the numbers are the board's and stay what they are.
unsafe impl cortex_m::interrupt::InterruptNumber for Interrupt {
    fn number(self) -> u16 {
        self as u16
    }
}

unsafe extern "C" {
    fn TIMER0();
    fn TIMER1();
    fn DUALTIMER();
}

/// An entry of the vector table.
#[derive(Clone, Copy)]
pub union Vector {
    handler: unsafe extern "C" fn(),
    reserved: usize,
}

const RESERVED: Vector = Vector { reserved: 0 };

/// The board's part of the vector table, of which the first entries are the serial lines'.
// SAFETY: cortex-m-rt's linker script puts this section behind the processor's own vectors.
#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
pub static __INTERRUPTS: [Vector; 11] = [
    RESERVED,
    RESERVED,
    RESERVED,
    RESERVED,
    RESERVED,
    RESERVED,
    RESERVED,
    RESERVED,
    Vector { handler: TIMER0 },
    Vector { handler: TIMER1 },
    Vector { handler: DUALTIMER },
];

fn read(address: usize) -> u32 {
    // SAFETY: the addresses below are the board's timers, whose registers may be read at any time.
    unsafe { ptr::read_volatile(address as *const u32) }
}

fn write(address: usize, value: u32) {
    // SAFETY: the addresses below are the board's timers; what is written there changes no memory.
    unsafe { ptr::write_volatile(address as *mut u32, value) }
}

/// A timer that counts down, interrupts and starts again.
#[derive(Clone, Copy, Debug)]
pub struct Timer {
    base: usize,
}

/// The capture DMA's.
pub const CAPTURE_DMA: Timer = Timer { base: 0x4000_0000 };
/// The playback DMA's.
pub const PLAYBACK_DMA: Timer = Timer { base: 0x4000_1000 };

impl Timer {
    /// Interrupts every `ticks` ticks from now on.
    pub fn start(self, ticks: u32) {
        write(self.base + 8, ticks - 1);
        write(self.base + 4, ticks - 1);
        write(self.base, 0b1001);
    }

    /// Takes the interrupt back.
    pub fn acknowledge(self) {
        write(self.base + 12, 1);
    }

    /// Ticks since it interrupted last, of the `ticks` it was started with: a DMA's counter.
    #[must_use]
    pub fn since(self, ticks: u32) -> u32 {
        ticks - 1 - read(self.base + 4)
    }
}

const DUAL: usize = 0x4000_2000;

/// Starts the free running counter.
pub fn start_counter() {
    write(DUAL, u32::MAX);
    write(DUAL + 8, 0b1100_0010);
}

/// The free running counter, upwards.
#[must_use]
pub fn counter() -> u32 {
    !read(DUAL + 4)
}

/// Makes the dual timer interrupt once, `ticks` ticks from now.
pub fn disturb_in(ticks: u32) {
    write(DUAL + 0x28, 0b0010_0011);
    write(DUAL + 0x20, ticks);
    write(DUAL + 0x28, 0b1010_0011);
}

/// Takes the dual timer's interrupt back.
pub fn acknowledge_disturbance() {
    write(DUAL + 0x2C, 1);
}
