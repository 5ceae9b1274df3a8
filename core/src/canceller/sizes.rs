//! Compile time: the memory that a canceller may take, by tail and storage.

use super::LeanStorage;

/// One KiB.
const KIB: usize = 1_024;

crate::echo_canceller! { type Lean128 = EchoCanceller<LeanStorage> { rate_hz: 16_000, tail_ms: 128 }; }
crate::echo_canceller! { type Lean64 = EchoCanceller<LeanStorage> { rate_hz: 16_000, tail_ms: 64 }; }

// Scratch included: a Cortex-M4 with 128 KiB has room for a session beside either.
const _: () = assert!(size_of::<Lean128>() <= 64 * KIB);
const _: () = assert!(size_of::<Lean64>() <= 48 * KIB);
