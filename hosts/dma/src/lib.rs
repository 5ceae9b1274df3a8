#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod buffer_times;
mod capture;
mod error;
mod halfword_swapped;
mod io;
mod playback;
mod port;
mod ring_counter;
mod stream;
mod tick_clock;

pub use buffer_times::BufferTimes;
pub use error::DmaError;
pub use halfword_swapped::HalfwordSwapped;
pub use io::DmaIo;
pub use port::DmaPort;
pub use stream::{DmaStream, StreamProperties};
pub use tick_clock::TickClock;
