//! Control side: checks a library's file before the system's loader maps it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use object::elf::{FileHeader32, FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, FileKind};

use crate::error::FilterError;

/// Number of bytes that are read of a file; contains the header and the segment table of any real library.
const HEAD_BYTES: u64 = 1 << 16;

/// Checks the file at `path` and returns its absolute path: the loader searches other directories for a path without a
/// directory.
///
/// A file that ends before its segments do is refused, such as an interrupted copy: the loader would map it, and access
/// to the missing part would kill the process (SIGBUS).
pub(crate) fn check(path: &Path) -> Result<PathBuf, FilterError> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => FilterError::NotFound { file: path.to_owned() },
        _ => FilterError::Unreadable { file: path.to_owned(), reason: error.to_string() },
    };
    let absolute = std::path::absolute(path).map_err(unreadable)?;
    let file = File::open(&absolute).map_err(unreadable)?;
    let about = file.metadata().map_err(unreadable)?;
    if !about.is_file() {
        let reason = "expected a regular file".to_owned();
        return Err(FilterError::Unreadable { file: absolute, reason });
    }
    let mut head = Vec::new();
    file.take(HEAD_BYTES).read_to_end(&mut head).map_err(unreadable)?;
    match segments_end(&head) {
        Some(needed) if needed > about.len() => {
            let reason = format!(
                "the file has {} bytes: expected at least {needed}, the end of its last segment",
                about.len()
            );
            Err(FilterError::NotALibrary { file: absolute, reason })
        }
        // The loader reports files that are not ELF, or invalid ELF.
        _ => Ok(absolute),
    }
}

/// Returns the offset at which the last loaded segment of an ELF file ends.
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
