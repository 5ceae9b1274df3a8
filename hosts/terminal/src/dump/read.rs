//! Control side: reads records from a journal's file, one after the other.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use handsfree_core::journal::{LINE_BYTES, Record};

use crate::failure::Failure;

/// Largest record: more than a second of 64 channels at 48 kHz.
const LONGEST_BYTES: usize = 16 << 20;

/// Reader of a journal's file. An incomplete record at the end of the file is ignored, and so is everything behind the
/// end record.
pub(crate) struct Records {
    path: PathBuf,
    file: BufReader<File>,
    record: Vec<u8>,
    number: u64,
    end: Option<JournalEnd>,
}

/// How a journal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JournalEnd {
    /// The journal was closed and is complete.
    Whole,
    /// Records are missing because the journal's ring was full.
    Full,
    /// The journal was not closed.
    Torn,
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
            end: None,
        })
    }

    /// Returns the next record, if there is a complete one.
    pub(crate) fn next(&mut self) -> Result<Option<Record<'_>>, Failure> {
        self.record.clear();
        if self.end.is_some() {
            return Ok(None);
        }
        // The first line says how long the record is.
        let mut needed = LINE_BYTES;
        loop {
            let missing = (needed - self.record.len()) as u64;
            let read = self.file.by_ref().take(missing).read_to_end(&mut self.record);
            let read = read
                .map_err(|error| Failure::run(format!("{}: cannot be read: {error}", self.path.display())))?;
            if (read as u64) < missing {
                self.end.get_or_insert(JournalEnd::Torn);
                return Ok(None);
            }
            let whole = Record::bytes(&self.record);
            if whole <= needed {
                break;
            }
            if whole > LONGEST_BYTES {
                self.number += 1;
                return Err(self.bad(&format!("of {whole} bytes, expected at most {LONGEST_BYTES}")));
            }
            needed = whole;
        }
        self.number += 1;
        match Record::read(&self.record) {
            Ok(Some((Record::End { lost_records }, _))) => {
                self.end = Some(if lost_records == 0 { JournalEnd::Whole } else { JournalEnd::Full });
                Ok(None)
            }
            Ok(read) => Ok(read.map(|(record, _)| record)),
            Err(error) => {
                Err(Failure::run(format!("{}: record {}: {error}", self.path.display(), self.number)))
            }
        }
    }

    /// Returns how the journal ended, once it has.
    pub(crate) fn end(&self) -> Option<JournalEnd> {
        self.end
    }

    /// Names the record read last, for an error.
    pub(crate) fn bad(&self, why: &str) -> Failure {
        Failure::run(format!("{}: record {}: {why}", self.path.display(), self.number))
    }
}
