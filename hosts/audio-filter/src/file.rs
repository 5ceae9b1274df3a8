//! Control side: what can be said of a library's file before the system's loader maps it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use object::elf::{FileHeader32, FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, FileKind};

use crate::error::FilterError;

/// As much of a file as holds its header and segment table.
const HEAD_BYTES: u64 = 1 << 16;

/// The file's absolute path, for a path without a directory would make the loader search elsewhere.
///
/// A file that ends before its segments do is refused: the loader maps it all the same, and touching what is not
/// there kills the process (SIGBUS). A copy that was interrupted looks like that.
pub(crate) fn check(path: &Path) -> Result<PathBuf, FilterError> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => FilterError::NotFound { file: path.to_owned() },
        _ => FilterError::Unreadable { file: path.to_owned(), reason: error.to_string() },
    };
    let absolute = std::path::absolute(path).map_err(unreadable)?;
    let file = File::open(&absolute).map_err(unreadable)?;
    let about = file.metadata().map_err(unreadable)?;
    if !about.is_file() {
        let reason = "it is not a regular file".to_owned();
        return Err(FilterError::Unreadable { file: absolute, reason });
    }
    let mut head = Vec::new();
    file.take(HEAD_BYTES).read_to_end(&mut head).map_err(unreadable)?;
    match segments_end(&head) {
        Some(needed) if needed > about.len() => {
            let reason = format!("the file ends after {} bytes, its segments need {needed}", about.len());
            Err(FilterError::NotALibrary { file: absolute, reason })
        }
        // What is no ELF file, or a broken one, is for the loader to judge.
        _ => Ok(absolute),
    }
}

/// Where the last loaded segment of an ELF file ends.
fn segments_end(head: &[u8]) -> Option<u64> {
    match FileKind::parse(head).ok()? {
        FileKind::Elf64 => last_end::<FileHeader64<Endianness>>(head),
        FileKind::Elf32 => last_end::<FileHeader32<Endianness>>(head),
        _ => None,
    }
}

fn last_end<Elf: FileHeader<Endian = Endianness>>(head: &[u8]) -> Option<u64> {
    let header = Elf::parse(head).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, head).ok()?;
    segments
        .iter()
        .filter(|segment| segment.p_type(endian) == PT_LOAD)
        .map(|segment| {
            let offset: u64 = segment.p_offset(endian).into();
            offset.saturating_add(segment.p_filesz(endian).into())
        })
        .max()
}
