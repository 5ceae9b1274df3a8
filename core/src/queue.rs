//! Both sides: the two ends of a wait-free queue with one writer and one reader, which cannot panic.
//!
//! `heapless::spsc` orders an item's bytes before its visibility: the release store of its tail is the
//! partner of the reader's acquire load. Its ends divide by the queue's length, which is never 0; but only
//! the queue's type guarantees that, not the type of the ends. Each operation here checks the length first,
//! so that the compiler drops the division's panic: firmware is checked for panics by name.
//!
//! No operation is inlined: each takes about a hundred bytes and is used at many places.

use crate::atomics::{Ordering, fence};
use core::fmt;

use crate::atomics::spsc::{Consumer, Producer, Queue};

/// The writing end of a queue.
pub(crate) struct QueueWriter<'a, T> {
    queue: Producer<'a, T>,
}

/// The reading end of a queue.
pub(crate) struct QueueReader<'a, T> {
    queue: Consumer<'a, T>,
}

/// Empties a queue and returns both of its ends.
pub(crate) fn split_empty<T, const N: usize>(
    queue: &mut Queue<T, N>,
) -> (QueueWriter<'_, T>, QueueReader<'_, T>) {
    while queue.dequeue().is_some() {}
    let (producer, consumer) = queue.split();
    (QueueWriter { queue: producer }, QueueReader { queue: consumer })
}

/// Capacity that `heapless` would report for a queue of length 0, which does not exist.
const NO_LENGTH: usize = usize::MAX;

impl<T> QueueWriter<'_, T> {
    /// Adds an item, or returns it if the queue is full.
    #[inline(never)]
    pub(crate) fn push(&mut self, item: T) -> Result<(), T> {
        if self.queue.capacity() == NO_LENGTH { Err(item) } else { self.queue.enqueue(item) }
    }

    /// Adds a copy of an item and returns whether it fit. Makes one copy only, because a copy that does not
    /// fit need not be returned.
    #[inline(never)]
    pub(crate) fn push_copy(&mut self, item: &T) -> bool
    where
        T: Clone,
    {
        self.queue.capacity() != NO_LENGTH && self.queue.ready() && self.queue.enqueue(item.clone()).is_ok()
    }

    pub(crate) fn len(&self) -> usize {
        if self.queue.capacity() == NO_LENGTH { 0 } else { self.queue.len() }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.queue.capacity()
    }
}

impl<T> QueueReader<'_, T> {
    /// Takes the oldest item from the queue.
    #[inline(never)]
    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.queue.capacity() == NO_LENGTH { None } else { self.queue.dequeue() }
    }

    /// Drops the oldest item without copying it and returns whether there was one.
    #[inline(never)]
    pub(crate) fn discard(&mut self) -> bool {
        self.queue.capacity() != NO_LENGTH && self.queue.dequeue().is_some()
    }

    /// Returns the oldest item without taking it.
    #[inline(never)]
    pub(crate) fn peek(&self) -> Option<&T> {
        if !self.queue.ready() {
            return None;
        }
        // heapless peeks with relaxed loads: the fence is the partner of the release store that pushed the
        // item.
        fence(Ordering::Acquire);
        self.queue.peek()
    }

    pub(crate) fn len(&self) -> usize {
        if self.queue.capacity() == NO_LENGTH { 0 } else { self.queue.len() }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.queue.capacity()
    }
}

impl<T> fmt::Debug for QueueWriter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueWriter").field("len", &self.len()).finish()
    }
}

impl<T> fmt::Debug for QueueReader<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueReader").field("len", &self.len()).finish()
    }
}
