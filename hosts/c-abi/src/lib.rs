//! `libhandsfree.a`: a terminal in the caller's memory, for firmware in C.
//!
//! Every function checks its pointers, the order of calls and the lengths it is given, and answers with a
//! code of [`error`]. The period functions touch nothing but their own half of the terminal, so they may
//! interrupt all others.
#![no_std]
#![deny(missing_docs)]
#![allow(non_camel_case_types, reason = "the names are C's")]

pub mod error;
pub mod event;
pub mod period;
pub mod poll;
pub mod sizes;
pub mod stats;
pub mod terminal;
pub mod track;

/// Never called: the build checks that nothing in the library panics.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
