//! Control side: reads the records of a journal file one after another.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use handsfree_core::journal::{LINE_BYTES, Record};

use crate::failure::Failure;

/// Largest size of a record in bytes: more than a second of 64 channels at 48 kHz. An invalid record could
/// claim any size.
const MAX_RECORD_BYTES: usize = 16 << 20;

/// Reader of a journal file. It ignores an incomplete record at the end of the file, and everything behind the
/// end record.
pub(crate) struct Records {
    path: PathBuf,
    file: BufReader<File>,
    record: Vec<u8>,
    number: u64,
    /// Number of bytes of the file that were read.
    bytes: u64,
    end: Option<JournalEnd>,
}

/// How a journal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JournalEnd {
    /// The journal was closed and is complete.
    Complete,
    /// Records are missing at the end because the journal's ring was full.
    Overflowed,
    /// The journal was not closed: the end record is missing.
    Unclosed,
}

impl Records {
    pub(crate) fn open(folder: &Path, name: &str) -> Result<Self, Failure> {
        let path = folder.join(name);
        let file = File::open(&path)
            .map_err(|error| Failure::run(format!("{}: cannot be read: {error}", path.display())))?;
        Ok(Self {
            path,
            file: BufReader::with_capacity(1 << 16, file),
            record: Vec::new(),
            number: 0,
            bytes: 0,
            end: None,
        })
    }

    /// Returns the next record, or `None` at the end of the journal.
    pub(crate) fn next(&mut self) -> Result<Option<Record<'_>>, Failure> {
        self.record.clear();
        if self.end.is_some() {
            return Ok(None);
        }
        // The first line contains the length of the record.
        let mut needed = LINE_BYTES;
        loop {
            let missing = (needed - self.record.len()) as u64;
            let read = self.file.by_ref().take(missing).read_to_end(&mut self.record);
            let read = read
                .map_err(|error| Failure::run(format!("{}: cannot be read: {error}", self.path.display())))?;
            self.bytes += read as u64;
            if (read as u64) < missing {
                self.end.get_or_insert(JournalEnd::Unclosed);
                return Ok(None);
            }
            let whole = Record::bytes(&self.record);
            if whole <= needed {
                break;
            }
            if whole > MAX_RECORD_BYTES {
                self.number += 1;
                return Err(self.bad(&format!("{whole} bytes, expected at most {MAX_RECORD_BYTES}")));
            }
            needed = whole;
        }
        self.number += 1;
        match Record::read(&self.record) {
            Ok(Some((Record::End { lost_records }, _))) => {
                self.end =
                    Some(if lost_records == 0 { JournalEnd::Complete } else { JournalEnd::Overflowed });
                Ok(None)
            }
            Ok(read) => Ok(read.map(|(record, _)| record)),
            Err(error) => {
                Err(Failure::run(format!("{}: record {}: {error}", self.path.display(), self.number)))
            }
        }
    }

    /// Returns how the journal ended, or `None` before its end.
    pub(crate) fn end(&self) -> Option<JournalEnd> {
        self.end
    }

    /// Returns how many bytes of the file were read so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns an error that names the record read last.
    pub(crate) fn bad(&self, why: &str) -> Failure {
        Failure::run(format!("{}: record {}: {why}", self.path.display(), self.number))
    }
}
