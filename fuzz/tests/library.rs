//! The check of a shared library's file takes any bytes.

use std::sync::atomic::{AtomicU64, Ordering};

use handsfree_audio_filter::{AudioFilter, FilterError};
use handsfree_fuzz::{InputFile, fuzz};

/// Shape of an ELF file: sizes and places of the fields that the check reads (System V ABI, "ELF header" and "Program
/// header").
#[derive(Clone, Copy)]
struct ElfShape {
    is_64: bool,
    is_big_endian: bool,
}

impl ElfShape {
    fn word(self, bytes: &[u8], at: usize, length: usize) -> Option<u64> {
        let field = bytes.get(at..at.checked_add(length)?)?;
        let add = |number: u64, &byte: &u8| number << 8 | u64::from(byte);
        Some(if self.is_big_endian { field.iter().fold(0, add) } else { field.iter().rev().fold(0, add) })
    }

    fn put(self, bytes: &mut [u8], at: usize, length: usize, value: u64) {
        for index in 0..length {
            let shift = 8 * if self.is_big_endian { length - 1 - index } else { index };
            bytes[at + index] = (value >> shift) as u8;
        }
    }

    /// Length of an address.
    fn address(self) -> usize {
        if self.is_64 { 8 } else { 4 }
    }

    fn header(self) -> usize {
        if self.is_64 { 64 } else { 52 }
    }

    fn segment(self) -> usize {
        if self.is_64 { 56 } else { 32 }
    }

    /// Returns a file with two loaded segments, the last of which ends with the file.
    fn sample(self) -> Vec<u8> {
        let (header, segment, address) = (self.header(), self.segment(), self.address());
        let length = header + 2 * segment + 100;
        let mut bytes = vec![0; length];
        let kinds = [if self.is_64 { 2 } else { 1 }, if self.is_big_endian { 2 } else { 1 }, 1];
        bytes[..4].copy_from_slice(b"\x7fELF");
        bytes[4..7].copy_from_slice(&kinds);
        // Type, machine and version.
        self.put(&mut bytes, 16, 2, 3);
        self.put(&mut bytes, 18, 2, 62);
        self.put(&mut bytes, 20, 4, 1);
        self.put(&mut bytes, 24 + address, address, header as u64);
        let after = 24 + 3 * address + 4;
        self.put(&mut bytes, after, 2, header as u64);
        self.put(&mut bytes, after + 2, 2, segment as u64);
        self.put(&mut bytes, after + 4, 2, 2);
        for (index, (offset, size)) in [(0, header), (header + 2 * segment, 100)].into_iter().enumerate() {
            let at = header + index * segment;
            self.put(&mut bytes, at, 4, 1);
            let (offset_at, size_at) = if self.is_64 { (8, 32) } else { (4, 16) };
            self.put(&mut bytes, at + offset_at, address, offset as u64);
            self.put(&mut bytes, at + size_at, address, size as u64);
        }
        bytes
    }

    /// Returns whether the header says that the number of segments is in another place, which this test does not read.
    fn counts_elsewhere(self, bytes: &[u8]) -> bool {
        self.word(bytes, 24 + 3 * self.address() + 8, 2) == Some(0xFFFF)
    }

    /// Returns where the last loaded segment ends, read by another code than that of the check. `None` if this is no ELF file
    /// of the shape, or its table of segments is not whole.
    fn end(self, bytes: &[u8]) -> Option<u64> {
        let kinds = [if self.is_64 { 2 } else { 1 }, if self.is_big_endian { 2 } else { 1 }, 1];
        if !bytes.starts_with(b"\x7fELF") || bytes.get(4..7)? != kinds || bytes.len() < self.header() {
            return None;
        }
        let address = self.address();
        let table = self.word(bytes, 24 + address, address)?;
        let after = 24 + 3 * address + 4;
        let (size, count) = (self.word(bytes, after + 2, 2)?, self.word(bytes, after + 4, 2)?);
        if table == 0 || size != self.segment() as u64 {
            return None;
        }
        let mut end = None;
        for index in 0..count {
            let at = usize::try_from(table.checked_add(index * size)?).ok()?;
            // The whole entry must be there.
            bytes.get(at..at.checked_add(self.segment())?)?;
            if self.word(bytes, at, 4)? == 1 {
                let (offset_at, size_at) = if self.is_64 { (8, 32) } else { (4, 16) };
                let offset = self.word(bytes, at + offset_at, address)?;
                let length = self.word(bytes, at + size_at, address)?;
                end = end.max(Some(offset.saturating_add(length)));
            }
        }
        end
    }
}

const SHAPES: [ElfShape; 4] = [
    ElfShape { is_64: true, is_big_endian: false },
    ElfShape { is_64: true, is_big_endian: true },
    ElfShape { is_64: false, is_big_endian: false },
    ElfShape { is_64: false, is_big_endian: true },
];

/// Refused files over all executions.
static REFUSED: AtomicU64 = AtomicU64::new(0);

#[test]
fn any_bytes_are_checked_without_loading_them() {
    let file = InputFile::create("library");
    let check = |bytes: &[u8]| {
        file.set(bytes);
        let end = SHAPES.iter().find_map(|shape| shape.end(bytes));
        let is_cut = end.is_some_and(|end| end > bytes.len() as u64);
        let checked = AudioFilter::check(file.path());
        if SHAPES.iter().any(|shape| shape.counts_elsewhere(bytes)) {
            return;
        }
        match checked {
            Ok(found) => {
                assert!(found == file.path() && !is_cut, "passed, and ends at {end:?} of {}", bytes.len())
            }
            Err(FilterError::NotALibrary { .. }) => {
                assert!(is_cut, "refused, and ends at {end:?} of {}", bytes.len());
                REFUSED.fetch_add(1, Ordering::Relaxed);
            }
            Err(other) => panic!("{other:?}"),
        }
    };
    let samples: Vec<Vec<u8>> = SHAPES.iter().map(|shape| shape.sample()).collect();
    for sample in &samples {
        check(sample);
        check(&sample[..sample.len() - 1]);
    }
    assert_eq!(
        REFUSED.load(Ordering::Relaxed),
        4,
        "a whole sample passes, and one without its last byte is refused"
    );
    let executions = fuzz("library", 20_000, &samples, check);
    let refused = REFUSED.load(Ordering::Relaxed);
    println!("library: {refused} files refused");
    assert!(
        refused > executions / 20 && refused < executions,
        "{executions} executions refused {refused} files"
    );
}
