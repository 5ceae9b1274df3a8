//! The headers of WAV files and of their variants for long files: RF64, BW64 and W64.
//!
//! RF64 and BW64 are those of EBU Tech 3306 and ITU-R BS.2088: a chunk "ds64" has the lengths. W64 is Sony's, with
//! identifiers of 16 bytes and lengths of 64 bits that include the chunk's header.

use std::fmt;
use std::io::{self, Read};

use super::format::WavFormat;

/// Lengths from here on stand for "unknown" in a header of 32 bits: writers of streams use all ones, or all ones less the
/// header.
const UNKNOWN_FROM: u64 = 0xffff_f000;
/// Largest number of bytes of a format chunk that are looked at.
const MAX_FORMAT_BYTES: u64 = 1_024;
/// Identifier of a W64 file.
const W64_FILE: &[u8; 16] = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00";
/// End of the identifiers of a W64 file's chunks, behind four letters.
const W64_CHUNK: &[u8; 12] = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a";

/// Header of a file, behind which its samples begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct WavHeader {
    pub(super) format: WavFormat,
    /// Number of bytes of samples; `None` if the header does not state it.
    pub(super) length: Option<u64>,
}

/// Reason why a header cannot be read.
#[derive(Debug)]
pub(super) enum HeaderError {
    /// The file begins with these bytes, as text.
    NotWav(String),
    /// The file ends before its samples.
    NoSamples,
    /// The samples come before their format.
    NoFormat,
    /// The file cannot be read.
    Read(io::Error),
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWav(start) => {
                write!(f, "is not a WAV file: it starts with \"{start}\"; expected \"RIFF....WAVE\"")
            }
            Self::NoSamples => f.write_str("is cut short or damaged: there are no samples in it"),
            Self::NoFormat => {
                f.write_str("is damaged: its samples come before their format (chunk \"fmt \")")
            }
            Self::Read(error) => write!(f, "cannot be read: {error}"),
        }
    }
}

impl From<io::Error> for HeaderError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::NoSamples,
            _ => Self::Read(error),
        }
    }
}

impl WavHeader {
    /// Reads up to the first sample.
    pub(super) fn read(source: &mut impl Read) -> Result<Self, HeaderError> {
        let mut start = Vec::new();
        source.take(12).read_to_end(&mut start)?;
        let not_wav = || {
            let text = start.iter().map(|&byte| if byte.is_ascii_graphic() { byte as char } else { '.' });
            HeaderError::NotWav(text.collect())
        };
        match start.first_chunk::<4>() {
            Some(b"RIFF" | b"RF64" | b"BW64") if start.get(8..12) == Some(b"WAVE") => read_chunks(source),
            Some(b"riff") if start[..] == W64_FILE[..12] => {
                // The rest of the identifier, the length of the file, and the identifier "wave".
                let mut rest = [0; 28];
                source.read_exact(&mut rest)?;
                if rest[..4] != W64_FILE[12..] || &rest[12..16] != b"wave" {
                    return Err(not_wav());
                }
                read_w64_chunks(source)
            }
            _ => Err(not_wav()),
        }
    }
}

fn read_chunks(source: &mut impl Read) -> Result<WavHeader, HeaderError> {
    let mut format = None;
    let mut long_length = None;
    loop {
        let mut head = [0; 8];
        source.read_exact(&mut head)?;
        let [a, b, c, d, length @ ..] = head;
        let length = u64::from(u32::from_le_bytes(length));
        match &[a, b, c, d] {
            b"data" => {
                let format = format.ok_or(HeaderError::NoFormat)?;
                let known = (1..UNKNOWN_FROM).contains(&length).then_some(length);
                let length = known.or(long_length.filter(is_stated));
                return Ok(WavHeader { format, length });
            }
            b"fmt " => format = read_format(source, length)?,
            b"ds64" if length >= 16 => {
                let mut lengths = [0; 16];
                source.read_exact(&mut lengths)?;
                // Behind the length of the file, which is not needed.
                long_length = lengths.last_chunk().map(|bytes| u64::from_le_bytes(*bytes));
                skip(source, length - 16)?;
            }
            _ => skip(source, length)?,
        }
        // Chunks are padded to an even length.
        skip(source, length & 1)?;
    }
}

fn read_w64_chunks(source: &mut impl Read) -> Result<WavHeader, HeaderError> {
    let mut format = None;
    loop {
        let mut head = [0; 24];
        source.read_exact(&mut head)?;
        let whole = head.last_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let length = whole.saturating_sub(24);
        let name = if &head[4..16] == W64_CHUNK { &head[..4] } else { &[] };
        match name {
            b"data" => {
                let format = format.ok_or(HeaderError::NoFormat)?;
                let length = Some(length).filter(is_stated);
                return Ok(WavHeader { format, length });
            }
            b"fmt " => format = read_format(source, length)?,
            _ => skip(source, length)?,
        }
        // Chunks are padded to a multiple of eight bytes.
        skip(source, length.wrapping_neg() & 7)?;
    }
}

fn read_format(source: &mut impl Read, length: u64) -> Result<Option<WavFormat>, HeaderError> {
    let mut chunk = Vec::new();
    let looked_at = length.min(MAX_FORMAT_BYTES);
    source.take(looked_at).read_to_end(&mut chunk)?;
    if (chunk.len() as u64) < looked_at {
        return Err(HeaderError::NoSamples);
    }
    skip(source, length - looked_at)?;
    Ok(WavFormat::parse(&chunk))
}

fn skip(source: &mut impl Read, bytes: u64) -> Result<(), HeaderError> {
    match io::copy(&mut source.take(bytes), &mut io::sink())? {
        skipped if skipped == bytes => Ok(()),
        _ => Err(HeaderError::NoSamples),
    }
}

/// Returns whether a length of 64 bits is one: a writer that could not go back leaves 0 or all ones.
fn is_stated(length: &u64) -> bool {
    (1..u64::MAX / 2).contains(length)
}
