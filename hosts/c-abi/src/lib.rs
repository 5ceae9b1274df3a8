//! `libhandsfree.a`, a terminal in the caller's memory for firmware in C.
//!
//! Every function checks its pointers and lengths and the order of calls, and returns a status code of
//! [`error`]. The period functions use only their own half of the terminal, so they may interrupt all
//! other functions.
#![no_std]
#![deny(missing_docs)]
#![allow(non_camel_case_types, reason = "the names follow C conventions")]

pub mod canceller;
pub mod error;
pub mod event;
pub mod period;
pub mod poll;
pub mod sizes;
pub mod speech;
pub mod stats;
pub mod terminal;
pub mod track;

/// Required by the language and never called: the build checks that the library contains no panic.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
