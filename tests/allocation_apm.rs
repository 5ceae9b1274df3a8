//! No frame allocates: neither Rust nor C++. malloc itself is counted, so nothing gets past.
//!
//! Frees are counted apart: 4 s after it started, AEC3's comfort noise lets go of the two blocks of its
//! start-up estimate, once. That is all that ever happens.
#![allow(missing_docs)]

mod support;

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering};

use handsfree_apm::{ApmConfig, ApmProcessor, EchoCancellation, GainControl, NoiseSuppression, RATES_HZ};
use handsfree_core::capture::VoiceProcessor;
use support::{Noise, format, process};

/// Of the thread under test only: the harness allocates on its own threads as it likes.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static FREES: AtomicU64 = AtomicU64::new(0);

/// What AEC3 frees at the end of its start-up.
const STARTUP_FREES: u64 = 2;

thread_local! {
    // Constant and without a destructor, so that reading it allocates nothing.
    static COUNTING: Cell<bool> = const { Cell::new(false) };
}

fn count(calls: &AtomicU64) {
    if COUNTING.get() {
        calls.fetch_add(1, Ordering::Relaxed);
    }
}

unsafe extern "C" {
    fn __libc_malloc(size: usize) -> *mut c_void;
    fn __libc_calloc(count: usize, size: usize) -> *mut c_void;
    fn __libc_realloc(block: *mut c_void, size: usize) -> *mut c_void;
    fn __libc_free(block: *mut c_void);
    fn __libc_memalign(alignment: usize, size: usize) -> *mut c_void;
}

#[unsafe(no_mangle)]
extern "C" fn malloc(size: usize) -> *mut c_void {
    count(&ALLOCATIONS);
    // SAFETY: glibc's own malloc under its other name, with the caller's arguments.
    unsafe { __libc_malloc(size) }
}

#[unsafe(no_mangle)]
extern "C" fn calloc(items: usize, size: usize) -> *mut c_void {
    count(&ALLOCATIONS);
    // SAFETY: as in `malloc`.
    unsafe { __libc_calloc(items, size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
    count(&ALLOCATIONS);
    // SAFETY: as in `malloc`; all blocks here come from glibc.
    unsafe { __libc_realloc(block, size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn free(block: *mut c_void) {
    if !block.is_null() {
        count(&FREES);
    }
    // SAFETY: as in `realloc`.
    unsafe { __libc_free(block) }
}

#[unsafe(no_mangle)]
extern "C" fn aligned_alloc(alignment: usize, size: usize) -> *mut c_void {
    count(&ALLOCATIONS);
    // SAFETY: as in `malloc`.
    unsafe { __libc_memalign(alignment, size) }
}

#[unsafe(no_mangle)]
extern "C" fn memalign(alignment: usize, size: usize) -> *mut c_void {
    aligned_alloc(alignment, size)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(block: *mut *mut c_void, alignment: usize, size: usize) -> c_int {
    const ENOMEM: c_int = 12;
    let made = aligned_alloc(alignment, size);
    if made.is_null() {
        return ENOMEM;
    }
    // SAFETY: the caller gives a place for the pointer, as posix_memalign's contract says.
    unsafe { *block = made };
    0
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Calls {
    allocations: u64,
    frees: u64,
}

fn calls_during(work: impl FnOnce()) -> Calls {
    let now = || (ALLOCATIONS.load(Ordering::Relaxed), FREES.load(Ordering::Relaxed));
    let before = now();
    COUNTING.set(true);
    work();
    COUNTING.set(false);
    let after = now();
    Calls { allocations: after.0 - before.0, frees: after.1 - before.1 }
}

const EVERYTHING: ApmConfig = ApmConfig {
    echo_cancellation: EchoCancellation::Full,
    noise_suppression: NoiseSuppression::VeryHigh,
    high_pass: true,
    gain_control: GainControl::Adaptive,
};

/// One test, because the counters are the process's.
#[test]
fn no_frame_allocates() {
    let counted = calls_during(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(counted, Calls { allocations: 1, frees: 1 }, "the counters count Rust");
    let mono = format(48_000, 1);
    let made = calls_during(|| drop(ApmProcessor::new(mono, mono, EVERYTHING).unwrap()));
    assert!(made.allocations > 100, "the counters count C++: construction made {made:?}");

    let mobile = ApmConfig { echo_cancellation: EchoCancellation::Mobile, ..EVERYTHING };
    let suppression_only = ApmConfig { echo_cancellation: EchoCancellation::Off, ..EVERYTHING };
    let mut wrong = Vec::new();
    for rate_hz in RATES_HZ {
        for (near_channels, far_channels) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
            for config in [EVERYTHING, ApmConfig::default(), mobile, suppression_only, ApmConfig::BYPASS] {
                let near_format = format(rate_hz, near_channels);
                let mut apm = ApmProcessor::new(near_format, format(rate_hz, far_channels), config).unwrap();
                let calls = calls_of_frames(&mut apm, 600);
                if calls.allocations > 0 || calls.frees > STARTUP_FREES {
                    let case =
                        format!("{rate_hz} Hz, {near_channels} and {far_channels} channels, {config:?}");
                    wrong.push(format!("{case}: {calls:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    let mut apm = ApmProcessor::new(format(16_000, 1), format(44_100, 2), EVERYTHING).unwrap();
    let calls = calls_of_frames(&mut apm, 20_000);
    assert_eq!(calls, Calls { allocations: 0, frees: STARTUP_FREES }, "different rates, 200 s");
    assert_eq!(calls_of_frames(&mut apm, 20_000), Calls::default(), "the next 200 s");

    apm.set_config(ApmConfig { noise_suppression: NoiseSuppression::Low, ..EVERYTHING }).unwrap();
    assert_eq!(calls_of_frames(&mut apm, 200), Calls::default(), "after another strength");
    apm.set_config(suppression_only).unwrap();
    assert_eq!(calls_of_frames(&mut apm, 200), Calls::default(), "after a part was switched off");
    apm.set_config(EVERYTHING).unwrap();
    assert_eq!(calls_of_frames(&mut apm, 200), Calls::default(), "after it was switched on again");
    apm.reset();
    assert_eq!(calls_of_frames(&mut apm, 200), Calls::default(), "after a reset");
}

/// Of that many pairs of frames, the first included.
fn calls_of_frames(apm: &mut ApmProcessor, frames: usize) -> Calls {
    let mut noise = Noise::new(5);
    let mut far = vec![0; apm.far().samples()];
    let mut near = vec![0; apm.near().samples()];
    let mut sum = Calls::default();
    for frame in 0..frames {
        // Silence at first, then noise, then full scale: other branches, other chances to allocate.
        let peak = [0.0, 500.0, 8_000.0, 60_000.0][frame * 4 / frames];
        far.iter_mut().for_each(|sample| *sample = noise.burst(48_000, peak));
        near.iter_mut().zip(far.iter().cycle()).for_each(|(near, far)| *near = far / 2);
        let calls = calls_during(|| {
            process(apm, &far, &mut near).unwrap();
            std::hint::black_box(apm.stats());
        });
        sum.allocations += calls.allocations;
        sum.frees += calls.frees;
    }
    sum
}
