//! Counts the calls of malloc and free: its own thread's, Rust's and C++'s, while it watches.
//!
//! Included by path in the tests that count, and no part of the library that all tests share: it replaces
//! malloc in whatever program it is linked into.

use std::cell::Cell;
use std::ffi::{c_int, c_void};

/// What was called since it was last asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Calls {
    pub(crate) allocations: u64,
    pub(crate) frees: u64,
}

thread_local! {
    // Constant and without a destructor, so that reading them allocates nothing. The harness allocates on its own
    // threads as it likes.
    static WATCHING: Cell<bool> = const { Cell::new(false) };
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static FREES: Cell<u64> = const { Cell::new(0) };
    static STRETCHES: Cell<u64> = const { Cell::new(0) };
}

fn count(calls: &'static std::thread::LocalKey<Cell<u64>>) {
    if WATCHING.get() {
        calls.set(calls.get() + 1);
    }
}

/// Counts from now on, or not.
pub(crate) fn watch(on: bool) {
    STRETCHES.set(STRETCHES.get() + u64::from(on));
    WATCHING.set(on);
}

/// Counts while `work` runs.
pub(crate) fn watched<T>(work: impl FnOnce() -> T) -> T {
    watch(true);
    let value = work();
    watch(false);
    value
}

/// The calls on this thread since this was last asked.
pub(crate) fn taken() -> Calls {
    Calls { allocations: ALLOCATIONS.replace(0), frees: FREES.replace(0) }
}

/// How often this thread was watched since this was last asked, so that a test can tell that it was.
pub(crate) fn stretches() -> u64 {
    STRETCHES.replace(0)
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
