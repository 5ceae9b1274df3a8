//! Tests on the kernel machine: the behaviour of the kernel's sound devices on which the Linux host relies, checked with
//! alsa-utils alone, and the ALSA host with whole sessions on the same devices (`alsa_host_*`).
//!
//! One file per concern; all files form one executable, so that it is linked once. The tests run one at a time, because two
//! machines on a small computer would disturb each other's measurements.

mod alsa_host_calls;
mod alsa_host_exact;
mod alsa_host_faults;
mod alsa_host_latency;
mod cards;
mod drift;
mod duplex;
mod harness;
mod stream;
mod suspend;
mod unplug;
mod usb;

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use handsfree_kernel_tests::{Machine, Options, Result};

/// Time limit for scripts, longer than any of them takes on a busy computer.
const LONG: Duration = Duration::from_secs(60);

/// Waits until no other test runs. A failure of an earlier test is ignored.
fn exclusive() -> MutexGuard<'static, ()> {
    static EXCLUSIVE: Mutex<()> = Mutex::new(());
    EXCLUSIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the machine that is shared by all tests that leave the cards unchanged. It has two loopback cables, A and B, and
/// a dummy card D with positions from a high-resolution timer.
fn shared() -> Result<&'static Machine> {
    static SHARED: OnceLock<Result<Machine>> = OnceLock::new();
    booted(&SHARED, with_cards())
}

/// Returns a shared machine with the same cards and its own time, in which load on this computer causes no xrun.
fn shared_in_own_time() -> Result<&'static Machine> {
    static SHARED: OnceLock<Result<Machine>> = OnceLock::new();
    booted(&SHARED, with_cards().own_time())
}

fn with_cards() -> Options {
    Options::new()
        .module("snd-aloop enable=1,1 index=0,1 id=A,B")
        .module("snd-dummy index=2 id=D")
        .program(duplex::PROGRAM)
}

fn booted(once: &'static OnceLock<Result<Machine>>, options: Options) -> Result<&'static Machine> {
    let machine = once.get_or_init(|| {
        let machine = Machine::boot(&options)?;
        println!("Linux {} booted in {:.1?}", machine.release(), machine.boot_time());
        Ok(machine)
    });
    machine.as_ref().map_err(|failure| handsfree_kernel_tests::MachineFailure::new(failure.to_string()))
}
