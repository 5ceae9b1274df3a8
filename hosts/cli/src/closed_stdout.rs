//! Control side: whether stdout was closed before the program began.
//!
//! Rust's runtime opens /dev/null in place of a closed stdout before `main`, so that it cannot be told from an intended
//! /dev/null any more. A function in `.init_array` runs before that (System V ABI, generic part, section "Initialization
//! and Termination Functions").

use std::sync::atomic::{AtomicBool, Ordering};

static WAS_CLOSED: AtomicBool = AtomicBool::new(false);

extern "C" fn look() {
    // SAFETY: F_GETFD takes no argument and only reads; an invalid descriptor is its error.
    let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
    // Relaxed: there is one thread.
    WAS_CLOSED.store(flags == -1, Ordering::Relaxed);
}

// SAFETY: the section holds pointers to functions that the C library calls before `main`; `look` needs nothing of Rust's
// runtime.
#[unsafe(link_section = ".init_array")]
#[used]
static LOOK: extern "C" fn() = look;

/// Returns whether stdout was closed.
pub(crate) fn was_closed() -> bool {
    WAS_CLOSED.load(Ordering::Relaxed)
}
