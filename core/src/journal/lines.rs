//! Both sides: the ring of lines between who runs and who writes to a file.

use core::fmt;

use heapless::spsc::Queue;

use crate::queue::{self, Reader, Writer};
use crate::stats::Counter;

/// Bytes in a [`Line`].
pub const LINE_BYTES: usize = 64;

/// A record takes one line for its head and as many more as its samples need.
pub type Line = [u8; LINE_BYTES];

/// The memory of a journal: a ring of `N - 1` lines, which must hold what is written while nobody
/// reads. A period of 480 samples takes 16 to 31 lines.
pub struct Journal<const N: usize> {
    lines: Queue<Line, N>,
    lost: Counter,
}

/// The writing end, for one half of a session.
pub struct JournalWriter<'a> {
    lines: Writer<'a, Line>,
    lost: &'a Counter,
}

/// The reading end: what it gives, one after the other, is what [`Record::read`](super::Record::read)
/// takes.
pub struct JournalReader<'a> {
    lines: Reader<'a, Line>,
    lost: &'a Counter,
}

impl<const N: usize> Default for Journal<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Journal<N> {
    /// An empty journal, all zero bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self { lines: Queue::new(), lost: Counter::new() }
    }

    /// The two ends; a journal that was split before starts empty again.
    pub fn split(&mut self) -> (JournalWriter<'_>, JournalReader<'_>) {
        self.lost = Counter::new();
        let (writer, reader) = queue::fresh(&mut self.lines);
        (JournalWriter { lines: writer, lost: &self.lost }, JournalReader { lines: reader, lost: &self.lost })
    }
}

impl JournalWriter<'_> {
    /// Room for a whole record, or it is lost, and with it all that follow: nothing could be had again
    /// from a journal with a hole.
    pub(crate) fn open(&mut self, payload_bytes: usize) -> Option<Page<'_>> {
        let needed = 1 + payload_bytes.div_ceil(LINE_BYTES);
        if self.lost.get() > 0 || self.lines.capacity() - self.lines.len() < needed {
            self.lost.add(1);
            return None;
        }
        Some(Page { lines: &mut self.lines, line: [0; LINE_BYTES], filled: 0 })
    }
}

impl JournalReader<'_> {
    /// The oldest line not yet taken. Any side but an interrupt's; wait-free.
    pub fn pop(&mut self) -> Option<Line> {
        self.lines.pop()
    }

    /// Records that were not written down since the ring was full: those from one moment on.
    #[must_use]
    pub fn lost_records(&self) -> u32 {
        self.lost.get()
    }
}

/// A record on its way into the ring.
pub(crate) struct Page<'w> {
    lines: &'w mut dyn PushLine,
    line: Line,
    filled: usize,
}

/// A writer whose lifetime does not matter.
trait PushLine {
    fn push_line(&mut self, line: Line);
}

impl PushLine for Writer<'_, Line> {
    fn push_line(&mut self, line: Line) {
        // There is room: it was asked for before.
        _ = self.push(line);
    }
}

impl Page<'_> {
    /// Adds some bytes, at most a line's.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES - self.filled;
        let (now, later) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
        self.fill(now);
        self.fill(later);
    }

    fn fill(&mut self, bytes: &[u8]) {
        let end = self.filled + bytes.len();
        if let Some(place) = self.line.get_mut(self.filled..end) {
            place.copy_from_slice(bytes);
            self.filled = end;
        }
        if self.filled == LINE_BYTES {
            self.turn();
        }
    }

    fn turn(&mut self) {
        self.lines.push_line(core::mem::replace(&mut self.line, [0; LINE_BYTES]));
        self.filled = 0;
    }

    /// Ends the record.
    pub(crate) fn close(mut self) {
        if self.filled > 0 {
            self.turn();
        }
    }
}

impl<const N: usize> fmt::Debug for Journal<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("lines", &(N - 1)).finish_non_exhaustive()
    }
}

impl fmt::Debug for JournalWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JournalWriter").field("waiting", &self.lines.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for JournalReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JournalReader").field("waiting", &self.lines.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_does_not_fit_is_lost_and_so_are_all_that_follow() {
        let mut journal = Journal::<4>::new();
        let (mut writer, mut reader) = journal.split();
        let mut page = writer.open(LINE_BYTES).unwrap();
        (0..2 * LINE_BYTES as u8).for_each(|byte| page.put(&[byte]));
        page.close();
        assert!(writer.open(LINE_BYTES).is_none(), "two lines into room for one");
        let first = reader.pop().unwrap();
        assert_eq!((first[0], first[63]), (0, 63));
        assert_eq!(reader.pop().unwrap()[63], 127);
        assert!(reader.pop().is_none());
        assert!(writer.open(0).is_none(), "there would be room, but no use for it");
        assert_eq!(reader.lost_records(), 2);
    }

    #[test]
    fn bytes_go_over_a_lines_end() {
        let mut journal = Journal::<8>::new();
        let (mut writer, mut reader) = journal.split();
        let mut page = writer.open(99).unwrap();
        (0..33u8).for_each(|n| page.put(&[n, n + 100, n + 200]));
        page.close();
        let bytes: Vec<u8> = std::iter::from_fn(|| reader.pop()).flatten().collect();
        let expected: Vec<u8> = (0..33u8).flat_map(|n| [n, n + 100, n + 200]).collect();
        assert_eq!(bytes[..99], expected);
        assert!(bytes[99..].iter().all(|&byte| byte == 0) && bytes.len() == 128);
    }
}
