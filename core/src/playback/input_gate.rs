//! Application to worker: whether more tracks may be opened and whether open tracks take more audio.

use crate::atomics::{AtomicU32, Ordering};

/// More tracks may be opened.
const OPEN: u32 = 0;
/// No more tracks may be opened; open ones go on to their ends.
const ENDED: u32 = 1;
/// Open tracks take nothing more either.
const CLOSED: u32 = 2;

/// The state of a mixer's input, in one word.
#[derive(Debug)]
pub(crate) struct InputGate(AtomicU32);

impl InputGate {
    /// Returns an open input, all zero bytes.
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(OPEN))
    }

    /// Lets no more tracks be opened. The release store is the partner of the load in [`Self::is_ended`]: a mixer
    /// that sees the input ended sees every track that was opened before.
    pub(crate) fn end(&self) {
        if !self.is_closed() {
            self.0.store(ENDED, Ordering::Release);
        }
    }

    /// Lets open tracks take nothing more and no more tracks be opened.
    pub(crate) fn close(&self) {
        self.0.store(CLOSED, Ordering::Release);
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.0.load(Ordering::Acquire) != OPEN
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.load(Ordering::Acquire) == CLOSED
    }
}
