//! Replays the recorded schedules, holds a conversation with each canceller, and prints the outcomes.
#![no_std]
#![no_main]

use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{Peripherals, SYST};
use cortex_m_semihosting::debug::{self, EXIT_FAILURE, EXIT_SUCCESS};
use cortex_m_semihosting::hprintln;
use handsfree_vectors::cancellers::*;
use handsfree_vectors::conversation::{ConversationMemory, converse};
use handsfree_vectors::meter::TickMeter;
use handsfree_vectors::{CASES, ReplaySession};
use static_cell::ConstStaticCell;

static SESSION: ConstStaticCell<ReplaySession> = ConstStaticCell::new(ReplaySession::new());
static TALK: ConstStaticCell<ConversationMemory> = ConstStaticCell::new(ConversationMemory::new());

/// Bits of the processor's timer, which counts down at 25 MHz.
const TIMER_MASK: u32 = 0xff_ffff;

/// Converts ticks of 40 ns to instructions of 64 ns (QEMU's `-icount shift=6`).
const fn instructions(ticks: u32) -> u32 {
    (ticks as u64 * 40 / 64) as u32
}

#[cortex_m_rt::entry]
fn main() -> ! {
    let session = SESSION.take();
    let mut status = EXIT_SUCCESS;
    for (case, name) in CASES.iter().enumerate() {
        match handsfree_vectors::replay(case, session) {
            Ok(outcome) => hprintln!("{}: {:?}", name, outcome),
            Err(error) => {
                hprintln!("{}: {}", name, error);
                status = EXIT_FAILURE;
            }
        }
    }
    let talk = TALK.take();
    if let Some(mut peripherals) = Peripherals::take() {
        peripherals.SYST.set_clock_source(SystClkSource::Core);
        peripherals.SYST.set_reload(TIMER_MASK);
        peripherals.SYST.clear_current();
        peripherals.SYST.enable_counter();
    }
    let mut meter = TickMeter::new(|| TIMER_MASK - SYST::get_current(), TIMER_MASK);
    macro_rules! hold {
        ($($name:literal $canceller:ident $frames:literal;)*) => {$(
            {
            static MEMORY: ConstStaticCell<$canceller> = ConstStaticCell::new($canceller::new());
            match converse($frames, MEMORY.take(), talk, &mut meter) {
                Ok(outcome) => hprintln!("{}: {:?}", $name, outcome),
                Err(error) => {
                    hprintln!("{}: {}", $name, error);
                    status = EXIT_FAILURE;
                }
            }
            let figures = meter.take();
            hprintln!("{} {} {} {}", $name, size_of::<$canceller>(), instructions(figures.mean), instructions(figures.most));
            }
        )*};
    }
    handsfree_vectors::for_each_canceller!(hold);
    loop {
        debug::exit(status);
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    hprintln!("{}", info);
    loop {
        debug::exit(EXIT_FAILURE);
    }
}
