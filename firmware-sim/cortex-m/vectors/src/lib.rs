//! Sessions whose results must be the same to the last bit on every processor: recorded schedules of periods
//! and polls, and conversations with the echo canceller.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod cancellers;
pub mod conversation;
mod hash;
pub mod meter;
#[cfg(feature = "replay")]
mod replay;
mod room;
#[cfg(feature = "replay")]
mod voice;

#[cfg(feature = "replay")]
pub use self::replay::{CASES, ReplayOutcome, ReplaySession, replay};
