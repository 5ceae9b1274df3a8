//! Common parts of the images: the mps2-an386 board as QEMU emulates it, an acoustic path, and measurements.
//!
//! ```text
//! TIMER0    stands for the capture DMA's interrupt
//! TIMER1    stands for the playback DMA's interrupt, at a higher priority, so that it nests
//! DUALTIMER its first half is the clock, its second half delays the other interrupts on purpose
//! ```
#![no_std]
#![deny(missing_docs)]

pub mod cell;
pub mod clock;
pub mod disturbance;
pub mod instruction_counter;
pub mod machine;
pub mod noise;
pub mod pac;
pub mod reference_checker;
pub mod room;
pub mod stack;
pub mod timer_dma;

use handsfree_core::Session;

/// Sample capacity of a frame: 10 ms at 16 kHz, mono.
pub const CAP: usize = 160;
/// Number of track slots.
pub const SLOTS: usize = 2;
/// Length of the echo reference's history in samples: 250 ms.
pub const HISTORY: usize = 4_000;

/// Length of a capture period in ticks: 10 ms.
pub const CAPTURE_TICKS: u32 = 250_000;
/// Length of a playback period in ticks: 10 ms of a clock that is 100 ppm fast.
pub const PLAYBACK_TICKS: u32 = 249_975;

/// Session type of the images.
pub type TerminalSession = Session<CAP, SLOTS, 4, 4, 4, 8, HISTORY>;
