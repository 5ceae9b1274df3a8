//! The worker's work allocates and frees nothing while devices and voice processors are replaced, because on a
//! board it shares its thread with the audio interrupts. The test counts calls of malloc, so that C++ code is
//! counted too.
#![allow(missing_docs)]

#[allow(dead_code, reason = "shared with tests that use more of it")]
#[path = "support/malloc_counter.rs"]
mod malloc_counter;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use handsfree_core::audio_io::Direction;
use malloc_counter::{Calls, stretches, taken, watched};
use support::TerminalRig;

/// Number of blocks that AEC3 frees at the end of its start-up phase; see `tests/tests/allocation_apm.rs`.
const STARTUP_FREES: u64 = 2;

#[test]
fn worker_rounds_never_allocate() {
    watched(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(taken(), Calls { allocations: 1, frees: 1 }, "the counters work");
    stretches();
    let totals: Arc<[AtomicU64; 3]> = Arc::new([const { AtomicU64::new(0) }; 3]);
    let shared_totals = Arc::clone(&totals);
    // The journals are never read, because full journals must not allocate either.
    let (mut rig, _journals) = TerminalRig::with_journals(100.0, |mut work| {
        Box::new(move || {
            watched(&mut work);
            let calls = taken();
            for (total, more) in shared_totals.iter().zip([calls.allocations, calls.frees, stretches()]) {
                total.fetch_add(more, Ordering::Relaxed);
            }
        })
    });
    let read = || totals.each_ref().map(|total| total.load(Ordering::Relaxed));
    rig.frames.listen(10);
    rig.pass(8_000);
    let [allocations, frees, rounds] = read();
    assert!(rounds > 800, "{rounds} rounds in 8 s");
    assert!(allocations == 0 && frees <= STARTUP_FREES, "{allocations} and {frees} calls with a full queue");

    rig.terminal.restart_voice().unwrap();
    rig.pass(2_000);
    rig.unplug(Direction::Playback);
    rig.pass(1_000);
    let playback_device = rig.playback_device.clone();
    rig.plug_in(Direction::Playback, playback_device);
    rig.pass(2_000);
    rig.terminal.restart_voice().unwrap();
    rig.terminal.set_muted(true);
    rig.pass(5_000);
    let [allocations, frees, _] = read();
    // Three processors started up in the worker. One of them was freed too, but on the control side.
    assert!(allocations == 0 && frees <= 3 * STARTUP_FREES, "{allocations} and {frees} calls in the end");
}
