//! What the kernel's sound devices do, as the Linux host relies on it, proven with alsa-utils alone; and on the same devices
//! what the ALSA host does (`ours_*`), whole sessions included.
//! One file per concern, in one executable, so that it is linked once. One test at a time: two machines on a small server
//! take each other's processor, and the tests measure.

mod cards;
mod drift;
mod duplex;
mod harness;
mod ours_calls;
mod ours_exact;
mod ours_faults;
mod ours_latency;
mod stream;
mod suspend;
mod unplug;
mod usb;

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use handsfree_kernel_tests::{Machine, Options, Result};

/// Longer than any script here takes, on a machine that is busy with other things.
const LONG: Duration = Duration::from_secs(60);

/// Waits for the tests before this one. A failed one is no reason to fail.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The machine of all tests that leave the cards as they were: two loopback cables, A and B, and a dummy card D whose
/// positions follow a high-resolution timer.
fn shared() -> Result<&'static Machine> {
    static SHARED: OnceLock<Result<Machine>> = OnceLock::new();
    booted(&SHARED, with_cards())
}

/// Another one with the same cards and a time of its own, in which a busy server makes no xrun.
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
    machine.as_ref().map_err(|failure| handsfree_kernel_tests::Failure::new(failure.to_string()))
}
