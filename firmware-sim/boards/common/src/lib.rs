//! What the images for boards have in common: the session of a hands-free voice terminal, its worker, and the application, which says
//! a prompt that a button interrupts. A board adds its clocks, its audio interface and its voice processor.
//!
//! ```text
//! a task above all others   moves periods of 10 ms between the DMA and Microphone and Loudspeaker
//! the main executor         Worker::run: both pipelines with the voice processor; Prompt::run: the application
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod periods;
mod prompt;
mod terminal;
mod worker;

pub use periods::{Board, Loudspeaker, Microphone};
pub use prompt::{Pressed, Prompt};
pub use terminal::{BoardSession, Pool, Terminal, WORK, terminal};
pub use worker::Worker;

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use handsfree_core::Instant;

/// Sample rate of the terminal and of the converters, in hertz.
pub const RATE_HZ: u32 = 16_000;
/// Samples in a frame of 10 ms.
pub const CAP: usize = 160;
/// Samples in a period of the interface: two slots.
pub const PERIOD: usize = 2 * CAP;

/// Mutual exclusion by critical sections.
pub type Mutex = CriticalSectionRawMutex;
/// Sources of a playback frame that are recorded for tracks that are interrupted.
pub const SLOTS: usize = 2;

/// Returns the time of embassy's timer.
#[must_use]
pub fn now() -> Instant {
    Instant::from_nanos(embassy_time::Instant::now().as_micros() as i64 * 1_000)
}
