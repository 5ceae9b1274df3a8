//! Control side: records from a file, one after the other.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use handsfree_core::journal::{LINE_BYTES, Record};

use crate::failure::Failure;

/// More than a second of 64 channels at 48 kHz.
const LONGEST_BYTES: usize = 16 << 20;

/// A journal's file. One that ends in the middle of a record ends before it; what follows its end is not read.
pub(crate) struct Records {
    path: PathBuf,
    file: BufReader<File>,
    record: Vec<u8>,
    number: u64,
    end: Option<End>,
}

/// How a journal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It was closed, and nothing is missing.
    Whole,
    /// Records are missing, for its ring was full.
    Full,
    /// Nobody closed it.
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

    /// The next record, if there is a whole one.
    pub(crate) fn next(&mut self) -> Result<Option<Record<'_>>, Failure> {
        self.record.clear();
        if self.end.is_some() {
            return Ok(None);
        }
        // How long it is its first line says.
        let mut needed = LINE_BYTES;
        loop {
            let missing = (needed - self.record.len()) as u64;
            let read = self.file.by_ref().take(missing).read_to_end(&mut self.record);
            let read = read
                .map_err(|error| Failure::run(format!("{}: cannot be read: {error}", self.path.display())))?;
            if (read as u64) < missing {
                self.end.get_or_insert(End::Torn);
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
                self.end = Some(if lost_records == 0 { End::Whole } else { End::Full });
                Ok(None)
            }
            Ok(read) => Ok(read.map(|(record, _)| record)),
            Err(error) => {
                Err(Failure::run(format!("{}: record {}: {error}", self.path.display(), self.number)))
            }
        }
    }

    /// How it ended, once it has.
    pub(crate) fn end(&self) -> Option<End> {
        self.end
    }

    /// For an error at the record read last.
    pub(crate) fn bad(&self, why: &str) -> Failure {
        Failure::run(format!("{}: record {}: {why}", self.path.display(), self.number))
    }
}
