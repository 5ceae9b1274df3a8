//! The worker's work allocates and frees nothing, whatever comes and goes: it shares its thread with the audio
//! interrupts of a board. malloc itself is counted, so the C++ is too.
#![allow(missing_docs)]

#[path = "support/malloc_counter.rs"]
mod malloc_counter;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use handsfree_core::audio_io::Direction;
use malloc_counter::{Calls, stretches, taken, watched};
use support::TerminalRig;

/// What AEC3 frees at the end of its start-up; see `tests/tests/allocation_apm.rs`.
const STARTUP_FREES: u64 = 2;

#[test]
fn no_round_of_the_worker_allocates() {
    watched(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(taken(), Calls { allocations: 1, frees: 1 }, "the counters count");
    stretches();
    let totals: Arc<[AtomicU64; 3]> = Arc::new([const { AtomicU64::new(0) }; 3]);
    let told = Arc::clone(&totals);
    // With journals that are not read: full journals must not allocate either.
    let (mut rig, _journals) = TerminalRig::with_journals(100.0, |mut work| {
        Box::new(move || {
            watched(&mut work);
            let calls = taken();
            for (total, more) in told.iter().zip([calls.allocations, calls.frees, stretches()]) {
                total.fetch_add(more, Ordering::Relaxed);
            }
        })
    });
    let read = || totals.each_ref().map(|total| total.load(Ordering::Relaxed));
    rig.frames.listen(10);
    rig.pass(8_000);
    let [allocations, frees, rounds] = read();
    assert!(rounds > 800, "{rounds} rounds in 8 s");
    assert!(allocations == 0 && frees <= STARTUP_FREES, "{allocations} and {frees}, with a full queue");

    rig.terminal.restart_voice().unwrap();
    rig.pass(2_000);
    rig.unplug(Direction::Playback);
    rig.pass(1_000);
    let side = rig.side.clone();
    rig.plug_in(Direction::Playback, side);
    rig.pass(2_000);
    rig.terminal.restart_voice().unwrap();
    rig.terminal.set_muted(true);
    rig.pass(5_000);
    let [allocations, frees, _] = read();
    // Each of the three processors had its start-up, and one of them its end: not here.
    assert!(allocations == 0 && frees <= 3 * STARTUP_FREES, "{allocations} and {frees} in the end");
}
