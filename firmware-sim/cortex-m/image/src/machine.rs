//! The board's timers, and the interrupt vectors.

use core::ptr;

/// Clock rate of the timers, in hertz.
pub const CLOCK_HZ: u32 = 25_000_000;
/// Length of a timer tick, in nanoseconds.
pub const TICK_NS: i64 = 1_000_000_000 / CLOCK_HZ as i64;

unsafe extern "C" {
    fn TIMER0();
    fn TIMER1();
    fn DUALTIMER();
}

/// Entry of the vector table.
#[derive(Clone, Copy)]
pub union Vector {
    handler: unsafe extern "C" fn(),
    reserved: usize,
}

const RESERVED: Vector = Vector { reserved: 0 };

/// The board's part of the vector table. Its first entries belong to the serial ports.
// SAFETY: cortex-m-rt's linker script places this section after the processor's own vectors.
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
    // SAFETY: all callers pass addresses of the board's timer registers, which may be read at any time.
    unsafe { ptr::read_volatile(address as *const u32) }
}

fn write(address: usize, value: u32) {
    // SAFETY: all callers pass addresses of the board's timer registers; writing them changes no memory.
    unsafe { ptr::write_volatile(address as *mut u32, value) }
}

/// Timer that counts down, interrupts and restarts.
#[derive(Clone, Copy, Debug)]
pub struct Timer {
    base: usize,
}

/// Timer that stands for the capture DMA.
pub const CAPTURE_DMA: Timer = Timer { base: 0x4000_0000 };
/// Timer that stands for the playback DMA.
pub const PLAYBACK_DMA: Timer = Timer { base: 0x4000_1000 };

impl Timer {
    /// Starts the timer, which then interrupts every `ticks` ticks.
    pub fn start(self, ticks: u32) {
        self.start_within(ticks, ticks);
    }

    /// Starts the timer, which interrupts after `first` ticks and then every `ticks` ticks.
    pub fn start_within(self, first: u32, ticks: u32) {
        write(self.base + 8, ticks - 1);
        write(self.base + 4, first - 1);
        write(self.base, 0b1001);
    }

    /// Clears the interrupt.
    pub fn acknowledge(self) {
        write(self.base + 12, 1);
    }

    /// Returns the ticks since the last interrupt, as a DMA's counter does. `ticks` is the timer's period.
    #[must_use]
    pub fn since(self, ticks: u32) -> u32 {
        ticks - 1 - read(self.base + 4)
    }
}

const DUAL: usize = 0x4000_2000;

/// Starts the free-running counter.
pub fn start_counter() {
    write(DUAL, u32::MAX);
    write(DUAL + 8, 0b1100_0010);
}

/// Returns the free-running counter. It counts up and wraps at 32 bits.
#[must_use]
pub fn counter() -> u32 {
    !read(DUAL + 4)
}

/// Makes the dual timer interrupt once after `ticks` ticks.
pub fn disturb_in(ticks: u32) {
    write(DUAL + 0x28, 0b0010_0011);
    write(DUAL + 0x20, ticks);
    write(DUAL + 0x28, 0b1010_0011);
}

/// Clears the dual timer's interrupt.
pub fn acknowledge_disturbance() {
    write(DUAL + 0x2C, 1);
}
