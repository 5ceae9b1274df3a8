//! Either side: a few words that one side writes and others read consistently, without waiting.

use crate::atomics::{AtomicU32, Ordering, fence};

/// `N` words with one writer and any number of readers.
///
/// There are two copies: the writer fills the hidden one and then makes it the visible one. It never waits,
/// and a reader that interrupts it reads the previous copy. Uses 32-bit loads and stores only.
#[derive(Debug)]
pub(crate) struct Published<const N: usize> {
    /// Number of publications; its lowest bit selects the visible copy.
    version: AtomicU32,
    copies: [[AtomicU32; N]; 2],
}

impl<const N: usize> Published<N> {
    pub(crate) const fn new() -> Self {
        Self { version: AtomicU32::new(0), copies: [const { [const { AtomicU32::new(0) }; N] }; 2] }
    }

    /// Publishes words. To be called by the one writer only. If there are fewer than `N`, the rest keeps
    /// older values; the written words must tell a reader how many are valid.
    pub(crate) fn publish(&self, words: &[u32]) {
        publish(&self.version, self.copies.each_ref().map(|copy| &copy[..]), words);
    }

    /// Returns the words that were published last. Starts over if words were published meanwhile, which is
    /// rare: the worker publishes every few milliseconds, and a read takes less than a microsecond.
    pub(crate) fn read(&self) -> [u32; N] {
        self.read_interrupted(|| ())
    }

    /// Calls `interrupt` whenever the words were copied, where a test publishes.
    #[inline(always)]
    fn read_interrupted(&self, mut interrupt: impl FnMut()) -> [u32; N] {
        let mut words = [0; N];
        loop {
            // Acquire: the partner is the release store of the version in `publish`.
            let version = self.version.load(Ordering::Acquire);
            let [even, odd] = &self.copies;
            let copy = if version & 1 == 0 { even } else { odd };
            for (word, from) in words.iter_mut().zip(copy) {
                *word = from.load(Ordering::Relaxed);
            }
            interrupt();
            fence(Ordering::Acquire);
            if self.version.load(Ordering::Relaxed) == version {
                return words;
            }
        }
    }
}

/// Publishes words of any number. Not generic, so that there is one copy of the code.
#[inline(never)]
fn publish(version: &AtomicU32, [even, odd]: [&[AtomicU32]; 2], words: &[u32]) {
    let next = version.load(Ordering::Relaxed).wrapping_add(1);
    // A reader that finds a word of this copy must also find a newer version than the one it began with.
    fence(Ordering::Release);
    let copy = if next & 1 == 0 { even } else { odd };
    for (to, &word) in copy.iter().zip(words) {
        to.store(word, Ordering::Relaxed);
    }
    version.store(next, Ordering::Release);
}

/// Writer of values into words, in order; values that do not fit are dropped.
pub(crate) struct PublishedWriter<'a> {
    words: core::slice::IterMut<'a, u32>,
}

impl<'a> PublishedWriter<'a> {
    pub(crate) fn new(words: &'a mut [u32]) -> Self {
        Self { words: words.iter_mut() }
    }

    pub(crate) fn u32(&mut self, value: u32) {
        if let Some(word) = self.words.next() {
            *word = value;
        }
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.u32(value as u32);
        self.u32((value >> 32) as u32);
    }
}

/// Reader of values from words, in the order in which a [`PublishedWriter`] wrote them; 0 beyond the end.
pub(crate) struct PublishedReader<'a> {
    words: core::slice::Iter<'a, u32>,
}

impl<'a> PublishedReader<'a> {
    pub(crate) fn new(words: &'a [u32]) -> Self {
        Self { words: words.iter() }
    }

    pub(crate) fn u32(&mut self) -> u32 {
        self.words.next().copied().unwrap_or(0)
    }

    pub(crate) fn u64(&mut self) -> u64 {
        let low = u64::from(self.u32());
        low | u64::from(self.u32()) << 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_never_gets_parts_of_two_publications() {
        let published = Published::<16>::new();
        std::thread::scope(|scope| {
            scope.spawn(|| (1..20_000).for_each(|n| published.publish(&[n; 16])));
            let mut last = 0;
            while last < 19_999 {
                let words = published.read();
                assert!(words.iter().all(|&word| word == words[0]), "{words:?}");
                assert!(words[0] >= last, "{} after {last}", words[0]);
                last = words[0];
            }
        });
    }

    #[test]
    fn a_read_that_was_overtaken_starts_over() {
        let published = Published::<2>::new();
        published.publish(&[1, 1]);
        let mut last = 1;
        let words = published.read_interrupted(|| {
            if last < 3 {
                last += 1;
                published.publish(&[last; 2]);
            }
        });
        assert_eq!(words, [3, 3]);
    }

    #[test]
    fn values_come_out_as_they_went_in() {
        let mut words = [0; 5];
        let mut writer = PublishedWriter::new(&mut words);
        writer.u32(7);
        writer.u64(u64::MAX - 1);
        writer.u64(1 << 40);
        writer.u32(9);
        let mut reader = PublishedReader::new(&words);
        assert_eq!((reader.u32(), reader.u64(), reader.u64()), (7, u64::MAX - 1, 1 << 40));
        assert_eq!(reader.u32(), 0, "the last value did not fit");
    }
}
