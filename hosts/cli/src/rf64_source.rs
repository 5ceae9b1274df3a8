//! Application side: an RF64 file as a decoder reads it that knows WAV files only.
//!
//! Both differ in their first four bytes. The lengths of 32 bits in an RF64 file are all ones (EBU Tech 3306, section 4), which a
//! reader of WAV files takes as "to the end of the file", and it ignores the chunk `ds64` with the real lengths.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use symphonia::core::io::MediaSource;

/// First bytes of an RF64 file.
const RF64: [u8; 4] = *b"RF64";
/// First bytes that the reader sees instead.
const RIFF: [u8; 4] = *b"RIFF";

/// Reader of an RF64 file.
#[derive(Debug)]
pub struct Rf64Source {
    file: File,
    position: u64,
}

impl Rf64Source {
    /// Returns the file for a decoder: as it is, or as a WAV file if it is an RF64 file.
    ///
    /// # Errors
    /// Returns the error of the file.
    pub fn as_wav(mut file: File) -> io::Result<Box<dyn MediaSource>> {
        let mut first = Vec::with_capacity(RF64.len());
        file.by_ref().take(RF64.len() as u64).read_to_end(&mut first)?;
        file.rewind()?;
        Ok(if first == RF64 { Box::new(Self { file, position: 0 }) } else { Box::new(file) })
    }
}

impl Read for Rf64Source {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(bytes)?;
        let replaced = RIFF.iter().skip(usize::try_from(self.position).unwrap_or(usize::MAX));
        bytes.iter_mut().take(count).zip(replaced).for_each(|(byte, &to)| *byte = to);
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Rf64Source {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.position = self.file.seek(position)?;
        Ok(self.position)
    }
}

impl MediaSource for Rf64Source {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        self.file.metadata().ok().map(|metadata| metadata.len())
    }
}
