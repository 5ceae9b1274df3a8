//! Replays the recorded schedules and prints the outcome of each.
#![no_std]
#![no_main]

use cortex_m_semihosting::debug::{self, EXIT_FAILURE, EXIT_SUCCESS};
use cortex_m_semihosting::hprintln;
use handsfree_vectors::{CASES, ReplaySession};
use static_cell::ConstStaticCell;

static SESSION: ConstStaticCell<ReplaySession> = ConstStaticCell::new(ReplaySession::new());

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
