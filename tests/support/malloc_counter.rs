//! Test support: counts the calls of malloc and free by Rust and C++ code on the current thread or on threads of a name.
//!
//! Tests that count include this file by path. It is not part of the shared test library because it replaces malloc in
//! every program that links it.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Number of calls since the previous query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Calls {
    pub(crate) allocations: u64,
    pub(crate) frees: u64,
}

thread_local! {
    // These are constants without destructors, so that reading them does not allocate. They are per thread because the
    // test harness allocates on other threads.
    static WATCHING: Cell<bool> = const { Cell::new(false) };
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static FREES: Cell<u64> = const { Cell::new(0) };
    static STRETCHES: Cell<u64> = const { Cell::new(0) };
}

/// Beginning of the names of the threads whose calls [`of_threads`] returns.
static THREADS: OnceLock<&'static str> = OnceLock::new();
static OF_THREADS: AtomicU64 = AtomicU64::new(0);

fn count(calls: &'static std::thread::LocalKey<Cell<u64>>) {
    if WATCHING.get() {
        calls.set(calls.get() + 1);
    }
    if THREADS.get().is_some_and(|prefix| is_named(prefix)) {
        OF_THREADS.fetch_add(1, Ordering::Relaxed);
    }
}

/// Returns whether the name of the current thread begins with `prefix`. Asks the kernel, because the library's answer may
/// allocate.
fn is_named(prefix: &str) -> bool {
    let mut name = [0_u8; 16];
    // SAFETY: PR_GET_NAME writes at most 16 bytes to the buffer.
    unsafe { prctl(PR_GET_NAME, name.as_mut_ptr()) };
    name.starts_with(prefix.as_bytes())
}

/// Returns the number of calls by all threads whose names begin with `prefix` since the previous query. Counts from the
/// first query on.
pub(crate) fn of_threads(prefix: &'static str) -> u64 {
    THREADS.get_or_init(|| prefix);
    OF_THREADS.swap(0, Ordering::Relaxed)
}

const PR_GET_NAME: c_int = 16;

/// Starts or stops counting on this thread.
pub(crate) fn watch(on: bool) {
    STRETCHES.set(STRETCHES.get() + u64::from(on));
    WATCHING.set(on);
}

/// Runs `work` and counts its calls.
pub(crate) fn watched<T>(work: impl FnOnce() -> T) -> T {
    watch(true);
    let value = work();
    watch(false);
    value
}

/// Returns the calls on this thread since the previous query and resets the counters.
pub(crate) fn taken() -> Calls {
    Calls { allocations: ALLOCATIONS.replace(0), frees: FREES.replace(0) }
}

/// Returns how often counting was started on this thread since the previous query, so that a test can check that it
/// counted at all.
pub(crate) fn stretches() -> u64 {
    STRETCHES.replace(0)
}

unsafe extern "C" {
    fn prctl(option: c_int, ...) -> c_int;
    fn __libc_malloc(size: usize) -> *mut c_void;
    fn __libc_calloc(count: usize, size: usize) -> *mut c_void;
    fn __libc_realloc(block: *mut c_void, size: usize) -> *mut c_void;
    fn __libc_free(block: *mut c_void);
    fn __libc_memalign(alignment: usize, size: usize) -> *mut c_void;
}

#[unsafe(no_mangle)]
extern "C" fn malloc(size: usize) -> *mut c_void {
    count(&ALLOCATIONS);
    // SAFETY: This is glibc's own malloc under its internal name, called with the caller's arguments.
    unsafe { __libc_malloc(size) }
}

#[unsafe(no_mangle)]
extern "C" fn calloc(items: usize, size: usize) -> *mut c_void {
    count(&ALLOCATIONS);
    // SAFETY: This is glibc's own function under its internal name, called with the caller's arguments.
    unsafe { __libc_calloc(items, size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
    count(&ALLOCATIONS);
    // SAFETY: This is glibc's own realloc, called with the caller's arguments; all blocks come from glibc.
    unsafe { __libc_realloc(block, size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn free(block: *mut c_void) {
    if !block.is_null() {
        count(&FREES);
    }
    // SAFETY: This is glibc's own free, called with the caller's argument; all blocks come from glibc.
    unsafe { __libc_free(block) }
}

#[unsafe(no_mangle)]
extern "C" fn aligned_alloc(alignment: usize, size: usize) -> *mut c_void {
    count(&ALLOCATIONS);
    // SAFETY: This is glibc's own function under its internal name, called with the caller's arguments.
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
    // SAFETY: The caller passes a valid pointer to write to, as posix_memalign requires.
    unsafe { *block = made };
    0
}
