//! Both sides: the ring of lines between a recorder and the thread that writes the file.

use core::fmt;

use crate::atomics::spsc::Queue;

use crate::queue::{self, QueueReader, QueueWriter};
use crate::stats::Counter;

/// Number of bytes in a [`Line`].
pub const LINE_BYTES: usize = 64;

/// One entry of the ring. A record takes one line for its header and as many more as its samples need.
pub type Line = [u8; LINE_BYTES];

/// The memory of a journal: a ring of `N - 1` lines. It must hold everything that is written between two
/// visits of the reader. A period of 480 samples takes 16 to 31 lines.
pub struct Journal<const N: usize> {
    lines: Queue<Line, N>,
    lost: Counter,
}

/// The writing end, for the intake, the outlet or the capture worker of a session.
pub struct JournalWriter<'a> {
    lines: QueueWriter<'a, Line>,
    lost: &'a Counter,
}

/// The reading end. Its lines, one after the other, are the bytes that [`Record::read`](super::Record::read)
/// reads.
pub struct JournalReader<'a> {
    lines: QueueReader<'a, Line>,
    lost: &'a Counter,
}

impl<const N: usize> Default for Journal<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Journal<N> {
    /// Returns an empty journal, which is all zero bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self { lines: Queue::new(), lost: Counter::new() }
    }

    /// Returns the two ends. A journal that was split before starts empty again.
    pub fn split(&mut self) -> (JournalWriter<'_>, JournalReader<'_>) {
        self.lost = Counter::new();
        let (writer, reader) = queue::split_empty(&mut self.lines);
        (JournalWriter { lines: writer, lost: &self.lost }, JournalReader { lines: reader, lost: &self.lost })
    }
}

impl JournalWriter<'_> {
    /// Reserves space for a whole record. Without enough space the record is lost, and so are all later ones:
    /// a run cannot be replayed from a journal with a gap.
    pub(crate) fn open(&mut self, payload_bytes: usize) -> Option<RecordWriter<'_>> {
        let needed = 1 + payload_bytes.div_ceil(LINE_BYTES);
        if self.lost.get() > 0 || self.lines.capacity() - self.lines.len() < needed {
            self.lost.add(1);
            return None;
        }
        Some(RecordWriter { lines: &mut self.lines, line: [0; LINE_BYTES], filled: 0 })
    }
}

impl JournalReader<'_> {
    /// Takes the oldest line. Any side except an interrupt; wait-free.
    pub fn pop(&mut self) -> Option<Line> {
        self.lines.pop()
    }

    /// Returns how many records were lost. Once the ring has been full, every later record is lost.
    #[must_use]
    pub fn lost_records(&self) -> u32 {
        self.lost.get()
    }
}

/// Writes one record into the ring, line by line.
pub(crate) struct RecordWriter<'w> {
    lines: &'w mut dyn PushLine,
    line: Line,
    filled: usize,
}

/// A queue writer without its lifetime, so that [`RecordWriter`] needs only one.
trait PushLine {
    fn push_line(&mut self, line: Line);
}

impl PushLine for QueueWriter<'_, Line> {
    fn push_line(&mut self, line: Line) {
        // `JournalWriter::open` has reserved the space.
        _ = self.push(line);
    }
}

impl RecordWriter<'_> {
    /// Appends bytes, at most [`LINE_BYTES`] of them.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        let free = LINE_BYTES - self.filled;
        let (now, later) = bytes.split_at_checked(free).unwrap_or((bytes, &[]));
        self.fill(now);
        self.fill(later);
    }

    fn fill(&mut self, bytes: &[u8]) {
        let end = self.filled + bytes.len();
        if let Some(free) = self.line.get_mut(self.filled..end) {
            free.copy_from_slice(bytes);
            self.filled = end;
        }
        if self.filled == LINE_BYTES {
            self.finish_line();
        }
    }

    fn finish_line(&mut self) {
        self.lines.push_line(core::mem::replace(&mut self.line, [0; LINE_BYTES]));
        self.filled = 0;
    }

    /// Ends the record with its last, partly filled line.
    pub(crate) fn close(mut self) {
        if self.filled > 0 {
            self.finish_line();
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
        f.debug_struct("JournalWriter").field("unread_lines", &self.lines.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for JournalReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JournalReader").field("unread_lines", &self.lines.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_does_not_fit_and_all_later_ones_are_lost() {
        let mut journal = Journal::<4>::new();
        let (mut writer, mut reader) = journal.split();
        let mut record = writer.open(LINE_BYTES).unwrap();
        (0..2 * LINE_BYTES as u8).for_each(|byte| record.put(&[byte]));
        record.close();
        assert!(writer.open(LINE_BYTES).is_none(), "two lines fit into one");
        let first = reader.pop().unwrap();
        assert_eq!((first[0], first[63]), (0, 63));
        assert_eq!(reader.pop().unwrap()[63], 127);
        assert!(reader.pop().is_none());
        assert!(writer.open(0).is_none(), "a record was written after a lost one");
        assert_eq!(reader.lost_records(), 2);
    }

    #[test]
    fn bytes_continue_on_the_next_line() {
        let mut journal = Journal::<8>::new();
        let (mut writer, mut reader) = journal.split();
        let mut record = writer.open(99).unwrap();
        (0..33u8).for_each(|n| record.put(&[n, n + 100, n + 200]));
        record.close();
        let bytes: Vec<u8> = std::iter::from_fn(|| reader.pop()).flatten().collect();
        let expected: Vec<u8> = (0..33u8).flat_map(|n| [n, n + 100, n + 200]).collect();
        assert_eq!(bytes[..99], expected);
        assert!(bytes[99..].iter().all(|&byte| byte == 0) && bytes.len() == 128);
    }
}
