//! An interrupt that occupies the processor for up to 2 ms every 3 to 13 ms, so that the others are late.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::machine;
use crate::noise::Noise;

/// Time until the first disturbance, in ticks: 1 ms.
const FIRST_TICKS: u32 = 25_000;

static SEED: AtomicU32 = AtomicU32::new(0x5EED);

/// Starts the disturbances. `DUALTIMER` must be unmasked and call [`on_interrupt`].
pub fn start() {
    machine::disturb_in(FIRST_TICKS);
}

/// Occupies the processor, and sets the time of the next disturbance.
pub fn on_interrupt() {
    machine::acknowledge_disturbance();
    let mut noise = Noise::new(SEED.load(Ordering::Relaxed));
    let (busy, pause) = (noise.word() % 50_000, 75_000 + noise.word() % 250_000);
    SEED.store(noise.word(), Ordering::Relaxed);
    busy_wait(busy);
    machine::disturb_in(pause);
}

/// Occupies the processor for a number of ticks.
pub fn busy_wait(ticks: u32) {
    let started = machine::counter();
    while machine::counter().wrapping_sub(started) < ticks {}
}
