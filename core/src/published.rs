//! Either side: a few words that one side writes and others read as a whole, without waiting.

use core::sync::atomic::{AtomicU32, Ordering, fence};

/// `N` words with one writer and any number of readers.
///
/// The writer fills the copy that is not shown and then shows it. So it never waits, and a reader
/// that interrupts it in the middle reads the copy before. Loads and stores only, of 32 bits.
#[derive(Debug)]
pub(crate) struct Published<const N: usize> {
    /// How often something was published; its lowest bit says which copy is shown.
    turn: AtomicU32,
    copies: [[AtomicU32; N]; 2],
}

impl<const N: usize> Published<N> {
    pub(crate) const fn new() -> Self {
        Self { turn: AtomicU32::new(0), copies: [const { [const { AtomicU32::new(0) }; N] }; 2] }
    }

    /// By the one writer. Of fewer words than `N` the rest keeps older values, which the words that
    /// are written must tell not to be read.
    pub(crate) fn publish(&self, words: &[u32]) {
        publish(&self.turn, self.copies.each_ref().map(|copy| &copy[..]), words);
    }

    /// What was published last. Begins again when something was published meanwhile, which takes a
    /// worker milliseconds and a reader less than a microsecond.
    pub(crate) fn read(&self) -> [u32; N] {
        let mut words = [0; N];
        loop {
            let turn = self.turn.load(Ordering::Acquire);
            let [even, odd] = &self.copies;
            let copy = if turn & 1 == 0 { even } else { odd };
            for (word, from) in words.iter_mut().zip(copy) {
                *word = from.load(Ordering::Relaxed);
            }
            fence(Ordering::Acquire);
            if self.turn.load(Ordering::Relaxed) == turn {
                return words;
            }
        }
    }
}

/// One for all lengths.
#[inline(never)]
fn publish(shown: &AtomicU32, [even, odd]: [&[AtomicU32]; 2], words: &[u32]) {
    let turn = shown.load(Ordering::Relaxed).wrapping_add(1);
    // A reader that meets a word of this copy must see that the copy it began with is over.
    fence(Ordering::Release);
    let copy = if turn & 1 == 0 { even } else { odd };
    for (to, &word) in copy.iter().zip(words) {
        to.store(word, Ordering::Relaxed);
    }
    shown.store(turn, Ordering::Release);
}

/// Values into words, in order; what does not fit is not written.
pub(crate) struct Writer<'a> {
    words: core::slice::IterMut<'a, u32>,
}

impl<'a> Writer<'a> {
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

/// The same values out of words.
pub(crate) struct Reader<'a> {
    words: core::slice::Iter<'a, u32>,
}

impl<'a> Reader<'a> {
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
    fn a_reader_never_sees_half_of_what_was_published() {
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
    fn values_come_out_as_they_went_in() {
        let mut words = [0; 5];
        let mut writer = Writer::new(&mut words);
        writer.u32(7);
        writer.u64(u64::MAX - 1);
        writer.u64(1 << 40);
        writer.u32(9);
        let mut reader = Reader::new(&words);
        assert_eq!((reader.u32(), reader.u64(), reader.u64()), (7, u64::MAX - 1, 1 << 40));
        assert_eq!(reader.u32(), 0, "there was no room");
    }
}
