//! What the images share: the mps2-an386 board as QEMU plays it, a room, and what is measured.
//!
//! ```text
//! TIMER0    stands for the capture DMA's interrupt
//! TIMER1    stands for the playback DMA's interrupt, above it, so that it nests
//! DUALTIMER its first half is the clock, its second half delays the others on purpose
//! ```
#![no_std]
#![deny(missing_docs)]

pub mod cell;
pub mod clock;
pub mod listener;
pub mod machine;
pub mod measure;
pub mod noise;
pub mod pac;
pub mod room;
pub mod stack;

use handsfree_core::Session;

/// Samples in 10 ms: mono at 16 kHz.
pub const CAP: usize = 160;
/// Tracks that play at once.
pub const SLOTS: usize = 2;
/// 250 ms of what was played.
pub const HISTORY: usize = 4_000;

/// Ticks of a capture period of 10 ms.
pub const CAPTURE_TICKS: u32 = 250_000;
/// Ticks of a playback period: a clock that is 100 ppm fast.
pub const PLAYBACK_TICKS: u32 = 249_975;

/// The session of both images.
pub type TerminalSession = Session<CAP, SLOTS, 4, 4, 4, 8, HISTORY>;
