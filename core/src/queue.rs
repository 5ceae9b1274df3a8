//! Both sides: the ends of a wait-free queue, one writer, one reader, that cannot panic.
//!
//! `heapless::spsc` orders an item's bytes before its visibility: the release store of its tail is
//! the partner of the reader's acquire load. Its ends divide by the queue's length, which is never 0,
//! but only the queue's type says so and the ends have forgotten it. They are asked here first, so
//! that the compiler leaves the division's panic out: firmware is checked for panics by name.
//!
//! No operation is inlined: each has some hundred bytes, and is named at many places.

use core::fmt;
use core::sync::atomic::{Ordering, fence};

use heapless::spsc::{Consumer, Producer, Queue};

/// The writing end.
pub(crate) struct Writer<'a, T> {
    queue: Producer<'a, T>,
}

/// The reading end.
pub(crate) struct Reader<'a, T> {
    queue: Consumer<'a, T>,
}

/// Both ends of a queue, emptied first.
pub(crate) fn fresh<T, const N: usize>(queue: &mut Queue<T, N>) -> (Writer<'_, T>, Reader<'_, T>) {
    while queue.dequeue().is_some() {}
    let (producer, consumer) = queue.split();
    (Writer { queue: producer }, Reader { queue: consumer })
}

/// The capacity of a queue that has no length at all, which is none.
const NO_LENGTH: usize = usize::MAX;

impl<T> Writer<'_, T> {
    /// Adds an item, or gives it back.
    #[inline(never)]
    pub(crate) fn push(&mut self, item: T) -> Result<(), T> {
        if self.queue.capacity() == NO_LENGTH { Err(item) } else { self.queue.enqueue(item) }
    }

    /// Adds a copy of an item, or says that there is no room. One copy and no more: what cannot be added
    /// need not be given back.
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

impl<T> Reader<'_, T> {
    /// Takes the oldest item.
    #[inline(never)]
    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.queue.capacity() == NO_LENGTH { None } else { self.queue.dequeue() }
    }

    /// Drops the oldest item, without a copy of it, and says whether there was one.
    #[inline(never)]
    pub(crate) fn discard(&mut self) -> bool {
        self.queue.capacity() != NO_LENGTH && self.queue.dequeue().is_some()
    }

    /// The oldest item, left where it is.
    #[inline(never)]
    pub(crate) fn peek(&self) -> Option<&T> {
        if !self.queue.ready() {
            return None;
        }
        // heapless looks with relaxed loads: the fence is the partner of the release with which the
        // item was pushed.
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

impl<T> fmt::Debug for Writer<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("len", &self.len()).finish()
    }
}

impl<T> fmt::Debug for Reader<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("len", &self.len()).finish()
    }
}
