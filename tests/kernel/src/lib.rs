//! The kernel machine: the distribution's Linux kernel inside QEMU, with its sound drivers. It provides sound cards that
//! tests can play to, record from, detune, unplug and suspend, on a computer without sound cards.
//!
//! [`Machine::boot`] starts a machine (about 3 s without KVM), [`Machine::spawn`] runs scripts in it, concurrently if
//! needed, and [`Machine::qmp`] plugs devices in and out. Every operation has a time limit. A guest that panics, hangs or
//! ends causes a [`MachineFailure`] with the end of its console. [`wav`] creates and reads sound files.
//!
//! Without KVM a second in the guest takes a second outside, but the emulated processor is several times slower. The tests
//! therefore check the kernel's behaviour, not its speed.

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

pub use failure::{MachineFailure, Result};
pub use job::{Job, Output};
pub use machine::Machine;
pub use options::Options;
