//! Control side: Ctrl-C and SIGTERM, which end a command in order.

use std::sync::atomic::{AtomicBool, Ordering};

use handsfree::failure::Failure;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Returns whether the command was asked to end.
pub(crate) fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Makes Ctrl-C and SIGTERM end the command in order. A second Ctrl-C ends the process immediately.
pub(crate) fn handle_interrupts() -> Result<(), Failure> {
    ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })
    .map_err(|error| Failure::run(format!("the handler for Ctrl-C could not be installed: {error}")))
}
