//! embassy's executor with WFI as its sleep instruction, because QEMU's WFE does not sleep.

use core::sync::atomic::{AtomicBool, Ordering};

use embassy_executor::Spawner;
use embassy_executor::raw::Executor;
use static_cell::StaticCell;

static EXECUTOR: StaticCell<Executor> = StaticCell::new();
static WOKEN: AtomicBool = AtomicBool::new(false);

#[unsafe(export_name = "__pender")]
fn pender(_context: *mut ()) {
    WOKEN.store(true, Ordering::Release);
}

/// Runs the tasks that `start` spawns. Never returns.
pub(crate) fn run(start: impl FnOnce(Spawner)) -> ! {
    let executor: &'static Executor = EXECUTOR.init(Executor::new(core::ptr::null_mut()));
    start(executor.spawner());
    loop {
        WOKEN.store(false, Ordering::Release);
        // SAFETY: only this loop polls the executor, and `pender` does not.
        unsafe { executor.poll() };
        // With interrupts enabled, one that comes between the check and WFI would not end the sleep. A masked
        // one does.
        cortex_m::interrupt::disable();
        if !WOKEN.load(Ordering::Acquire) {
            cortex_m::asm::wfi();
        }
        // SAFETY: no critical section is open here.
        unsafe { cortex_m::interrupt::enable() };
    }
}
