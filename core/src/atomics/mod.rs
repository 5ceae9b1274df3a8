//! Both sides: the atomics and the queue memory of all modules, which the tests of interleavings replace.
//!
//! A normal build takes them from `core` and `heapless`. In a test build with `--cfg loom` they are loom's, so that
//! `interleavings` runs the real types in every order of their loads and stores.

#[cfg(not(all(test, loom)))]
pub(crate) use core::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
#[cfg(not(all(test, loom)))]
pub(crate) use heapless::spsc;

#[cfg(all(test, loom))]
pub(crate) mod model;
#[cfg(all(test, loom))]
pub(crate) mod spsc;

#[cfg(all(test, loom))]
pub(crate) use core::sync::atomic::Ordering;
#[cfg(all(test, loom))]
pub(crate) use model::{AtomicBool, AtomicU32, fence};
