//! A Linux kernel of the distribution inside QEMU, with its sound drivers: real cards to play to, record from, drift,
//! unplug and suspend, where the machine that runs the tests has none.
//!
//! [`Machine::boot`] starts one (about 3 s without KVM), [`Machine::spawn`] runs scripts in it, side by side if need be,
//! and [`Machine::qmp`] plugs devices in and out. Everything has a time limit, and a guest that panics, hangs or ends
//! makes a [`Failure`] with the end of its console. [`wav`] makes and reads the sound.
//!
//! Without KVM a second in the guest is a second outside, but its processor is several times slower: what is proven here
//! is what the kernel does, not how fast.

mod answers;
mod archive;
mod failure;
mod job;
mod machine;
mod options;
mod qemu;
mod qmp;
pub mod room;
pub mod wav;

pub use failure::{Failure, Result};
pub use job::{Job, Output};
pub use machine::Machine;
pub use options::Options;
