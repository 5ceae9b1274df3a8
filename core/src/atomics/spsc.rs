//! Both sides: the queue memory of `heapless::spsc` over loom's atomics, with the same loads, stores and orderings.
//!
//! The algorithm is heapless's own (`spsc.rs`, version 0.9.3); what is tested is what the core's wrapper makes of it.
//! `unsafe` is not allowed here, so an item lies in a mutex that is never contended, and a cell beside it lets loom
//! see each access: two that are not ordered fail the model.

use std::cell::OnceCell;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::model::AtomicUsize;

#[derive(Debug)]
struct Item<T> {
    value: Mutex<Option<T>>,
    access: OnceLock<Box<Mutex<loom::cell::UnsafeCell<()>>>>,
}

impl<T> Item<T> {
    const fn empty() -> Self {
        Self { value: Mutex::new(None), access: OnceLock::new() }
    }

    fn accessed(&self) -> std::sync::MutexGuard<'_, loom::cell::UnsafeCell<()>> {
        let cell = self.access.get_or_init(|| Box::new(Mutex::new(loom::cell::UnsafeCell::new(()))));
        cell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, value: T) {
        self.accessed().with_mut(|_| ());
        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }

    /// Takes the item as a read: heapless leaves the bytes where they are.
    fn take(&self) -> Option<T> {
        self.accessed().with(|_| ());
        self.value.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Memory of a queue of `N - 1` items.
#[derive(Debug)]
pub(crate) struct Queue<T, const N: usize> {
    head: AtomicUsize,
    tail: AtomicUsize,
    items: [Item<T>; N],
}

pub(crate) struct Producer<'a, T> {
    head: &'a AtomicUsize,
    tail: &'a AtomicUsize,
    items: &'a [Item<T>],
}

pub(crate) struct Consumer<'a, T> {
    head: &'a AtomicUsize,
    tail: &'a AtomicUsize,
    items: &'a [Item<T>],
    /// The oldest item once it was looked at.
    front: OnceCell<T>,
}

impl<T, const N: usize> Queue<T, N> {
    pub(crate) const fn new() -> Self {
        Self { head: AtomicUsize::new(0), tail: AtomicUsize::new(0), items: [const { Item::empty() }; N] }
    }

    pub(crate) fn dequeue(&mut self) -> Option<T> {
        self.split().1.dequeue()
    }

    pub(crate) fn split(&mut self) -> (Producer<'_, T>, Consumer<'_, T>) {
        let Self { head, tail, items } = self;
        let (head, tail, items) = (&*head, &*tail, &*items);
        (Producer { head, tail, items }, Consumer { head, tail, items, front: OnceCell::new() })
    }
}

impl<T> Producer<'_, T> {
    pub(crate) fn enqueue(&mut self, item: T) -> Result<(), T> {
        let tail = self.tail.load(Ordering::Relaxed);
        let next = (tail + 1) % self.items.len();
        if next == self.head.load(Ordering::Acquire) {
            return Err(item);
        }
        self.items[tail].put(item);
        self.tail.store(next, Ordering::Release);
        Ok(())
    }

    pub(crate) fn ready(&self) -> bool {
        (self.tail.load(Ordering::Relaxed) + 1) % self.items.len() != self.head.load(Ordering::Relaxed)
    }

    pub(crate) fn len(&self) -> usize {
        len(self.head, self.tail, self.items.len())
    }

    pub(crate) fn capacity(&self) -> usize {
        self.items.len() - 1
    }
}

impl<T> Consumer<'_, T> {
    pub(crate) fn dequeue(&mut self) -> Option<T> {
        let head = self.head.load(Ordering::Relaxed);
        if head == self.tail.load(Ordering::Acquire) {
            return None;
        }
        let item = self.items[head].take();
        let item = self.front.take().or(item);
        self.head.store((head + 1) % self.items.len(), Ordering::Release);
        item
    }

    pub(crate) fn peek(&self) -> Option<&T> {
        if !self.ready() {
            return None;
        }
        if let Some(front) = self.front.get() {
            return Some(front);
        }
        let item = self.items[self.head.load(Ordering::Relaxed)].take()?;
        Some(self.front.get_or_init(|| item))
    }

    pub(crate) fn ready(&self) -> bool {
        self.head.load(Ordering::Relaxed) != self.tail.load(Ordering::Relaxed)
    }

    pub(crate) fn len(&self) -> usize {
        len(self.head, self.tail, self.items.len())
    }

    pub(crate) fn capacity(&self) -> usize {
        self.items.len() - 1
    }
}

fn len(head: &AtomicUsize, tail: &AtomicUsize, n: usize) -> usize {
    let (head, tail) = (head.load(Ordering::Relaxed), tail.load(Ordering::Relaxed));
    tail.wrapping_sub(head).wrapping_add(n) % n
}
