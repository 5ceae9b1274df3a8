//! Both sides: the wait-free ring of frames between an interrupt and its worker, with one writer and one
//! reader.

use core::fmt;

use crate::atomics::spsc::Queue;

use crate::frame::Frame;
use crate::queue::{self, QueueReader, QueueWriter};

/// Memory of a ring that holds `N - 1` frames.
pub(crate) type RingMemory<const CAP: usize, const SLOTS: usize, const N: usize> =
    Queue<Frame<CAP, SLOTS>, N>;

/// The writing end of a frame ring.
pub struct FrameProducer<'a, const CAP: usize, const SLOTS: usize = 0> {
    queue: QueueWriter<'a, Frame<CAP, SLOTS>>,
}

/// The reading end of a frame ring.
pub struct FrameConsumer<'a, const CAP: usize, const SLOTS: usize = 0> {
    queue: QueueReader<'a, Frame<CAP, SLOTS>>,
}

/// A ring of frames for an application's own use, such as passing cleaned capture frames from the worker to
/// another thread. It holds `N - 1` frames.
///
/// ```
/// use handsfree_core::{Format, Frame, FrameRing};
///
/// let mut ring = FrameRing::<480, 0, 3>::new();
/// let (mut producer, mut consumer) = ring.split();
/// let frame = Frame::silence(Format::new(48_000, 1)?)?;
/// assert!(producer.push(frame.clone()).is_ok());
/// assert!(producer.push(frame.clone()).is_ok());
/// let rejected = producer.push(frame);
/// assert!(rejected.is_err(), "a full ring returns the frame");
/// assert!(consumer.pop().is_some());
/// # Ok::<(), handsfree_core::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct FrameRing<const CAP: usize, const SLOTS: usize, const N: usize> {
    memory: RingMemory<CAP, SLOTS, N>,
}

impl<const CAP: usize, const SLOTS: usize, const N: usize> Default for FrameRing<CAP, SLOTS, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const CAP: usize, const SLOTS: usize, const N: usize> FrameRing<CAP, SLOTS, N> {
    /// Returns an empty ring, all zero bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self { memory: Queue::new() }
    }

    /// Empties the ring and returns its two ends.
    pub fn split(&mut self) -> (FrameProducer<'_, CAP, SLOTS>, FrameConsumer<'_, CAP, SLOTS>) {
        split(&mut self.memory)
    }
}

pub(crate) fn split<const CAP: usize, const SLOTS: usize, const N: usize>(
    memory: &mut RingMemory<CAP, SLOTS, N>,
) -> (FrameProducer<'_, CAP, SLOTS>, FrameConsumer<'_, CAP, SLOTS>) {
    let (writer, reader) = queue::split_empty(memory);
    (FrameProducer { queue: writer }, FrameConsumer { queue: reader })
}

impl<const CAP: usize, const SLOTS: usize> FrameProducer<'_, CAP, SLOTS> {
    /// Adds a frame to the ring; costs one copy of it. The reader may take frames meanwhile.
    ///
    /// # Errors
    /// Returns the frame if the ring is full.
    // The error is the frame on purpose: it goes back to its owner, and boxing it would allocate.
    #[allow(clippy::result_large_err)]
    pub fn push(&mut self, frame: Frame<CAP, SLOTS>) -> Result<(), Frame<CAP, SLOTS>> {
        self.queue.push(frame)
    }

    /// Adds a copy of a frame to the ring; returns false if the ring is full.
    pub(crate) fn push_copy(&mut self, frame: &Frame<CAP, SLOTS>) -> bool {
        self.queue.push_copy(frame)
    }

    /// Returns the number of frames in the ring; the reader may take some meanwhile.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Returns whether the ring is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of frames that the ring can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.queue.capacity()
    }
}

impl<const CAP: usize, const SLOTS: usize> FrameConsumer<'_, CAP, SLOTS> {
    /// Takes the oldest frame from the ring; costs one copy of it. The writer may add frames meanwhile.
    pub fn pop(&mut self) -> Option<Frame<CAP, SLOTS>> {
        self.queue.pop()
    }

    /// Drops the oldest frame without copying it.
    pub(crate) fn discard(&mut self) {
        self.queue.discard();
    }

    /// Returns the oldest frame without taking it.
    #[must_use]
    pub fn peek(&self) -> Option<&Frame<CAP, SLOTS>> {
        self.queue.peek()
    }

    /// Returns the number of frames in the ring; the writer may add some meanwhile.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Returns whether the ring is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of frames that the ring can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.queue.capacity()
    }
}

impl<const CAP: usize, const SLOTS: usize> fmt::Debug for FrameProducer<'_, CAP, SLOTS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameProducer").field("len", &self.len()).finish()
    }
}

impl<const CAP: usize, const SLOTS: usize> fmt::Debug for FrameConsumer<'_, CAP, SLOTS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameConsumer").field("len", &self.len()).finish()
    }
}
