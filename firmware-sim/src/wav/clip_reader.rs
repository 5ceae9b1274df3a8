//! WAV files that are read piece by piece, with what was wrong with them and how it was repaired.

use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::format::{self, Placement, PlacementScan, WavFormat};
use super::header::{HeaderError, WavHeader};
use super::stream::WavStream;
use super::{Clip, StreamSamples, WavError, describe};

/// Sample rates that are read, in hertz: from half of a telephone's to twice that of a studio's fastest converter. Another
/// rate is a mistake in the header.
const RATES_HZ: std::ops::RangeInclusive<u32> = 4_000..=768_000;
/// Longest recording, in seconds: 4 h.
const MAX_SECONDS: u64 = 4 * 3_600;
/// Largest file, in bytes: 4 h of 8 channels of 16 bits at 48 kHz are 11 GB.
const MAX_FILE_BYTES: u64 = 12 << 30;
/// Largest number of bytes read from a pipe, whose length is not known before: 1 GiB, 3 h of mono at 48 kHz.
const MAX_PIPE_BYTES: u64 = 1 << 30;
/// Length of the part in front that tells a WAV file, in bytes.
const MAGIC_BYTES: usize = 12;
/// First bytes of a W64 file.
const W64_START: &[u8] = b"riff\x2e\x91\xcf\x11";
/// Number of bytes that are looked at at once where a file is read twice.
const PIECE_BYTES: usize = 65_536;

/// Reader of a WAV file (RIFF, RF64, BW64 or W64) with integer samples of 1 to 32 bits, float samples of 32 or 64 bits,
/// mu-law or A-law, any number of channels and a rate of 4 to 768 kHz, up to a length of 4 h. A pipe is read to its end, up to
/// 1 GiB. Holds 64 KiB of samples, however long the file is.
///
/// The content decides the format, not the file name's extension. A truncated file yields the samples that
/// are there, and a file with wrong lengths in its header, as a pipe writes it, yields all its samples. NaN
/// and infinity become 0. [`notice`](Self::notice) reports each of these repairs.
///
/// Integer samples of fewer bits than their container are read as the format demands, with the valid bits at the
/// top ("Multiple Channel Audio Data and WAVE Files", Microsoft, 2007, section "Structure of
/// WAVEFORMATEXTENSIBLE"). A file that keeps them at the bottom is recognised by its values; in a pipe, by its first ones.
#[derive(Debug)]
pub struct ClipReader {
    path: PathBuf,
    stream: WavStream<std::io::Take<Box<dyn Read + Send>>>,
    /// Largest number of bytes of the file or pipe.
    most_bytes: u64,
    /// Number of bytes of samples that the header names; `None` if it does not state it.
    claimed: Option<u64>,
    /// Number of bytes of the samples returned so far.
    used: u64,
    is_at_end: bool,
}

impl ClipReader {
    /// Opens a file or a pipe and reads its header.
    ///
    /// # Errors
    /// Returns an error for a missing, empty or unreadable file, for a directory, and for content that is not a
    /// WAV file, has no samples, has another rate or no channels, is too long, or has a coding that is not listed above.
    pub fn open(path: &Path) -> Result<Self, WavError> {
        let fail = |found: String| WavError::new(path, found);
        let io_fail = |error: std::io::Error| WavError::new(path, describe(&error));
        let metadata = std::fs::metadata(path).map_err(io_fail)?;
        if metadata.is_dir() {
            return Err(fail("is a directory; expected a WAV file".into()));
        }
        if metadata.is_file() && metadata.len() == 0 {
            return Err(fail("is empty (0 bytes); expected a WAV file".into()));
        }
        let most_bytes = if metadata.is_file() { MAX_FILE_BYTES } else { MAX_PIPE_BYTES };
        if metadata.is_file() && metadata.len() > most_bytes {
            return Err(too_long(path, most_bytes));
        }
        let file = File::open(path).map_err(io_fail)?;
        let second = if metadata.is_file() { Some(file.try_clone().map_err(io_fail)?) } else { None };
        let length = metadata.is_file().then_some(metadata.len());
        let mut reader = Self::new(path, Box::new(file), length, most_bytes)?;
        if let Some(mut file) = second
            && reader.stream.format().unused_bits() > 0
        {
            let begin = file.stream_position().map_err(io_fail)?;
            let samples = (&file).take(reader.claimed.unwrap_or(most_bytes));
            reader.stream.placement = placement(samples, reader.stream.format()).map_err(io_fail)?;
            // Both handles share one position.
            file.seek(SeekFrom::Start(begin)).map_err(io_fail)?;
        }
        Ok(reader)
    }

    /// Reads a file in memory; `path` appears in messages.
    pub(super) fn of_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, WavError> {
        let length = bytes.len() as u64;
        Self::new(path, Box::new(Cursor::new(bytes)), Some(length), MAX_FILE_BYTES)
    }

    /// Reads the header. `length` is the number of bytes of the whole file, if it is known.
    fn new(
        path: &Path,
        source: Box<dyn Read + Send>,
        length: Option<u64>,
        most_bytes: u64,
    ) -> Result<Self, WavError> {
        let fail = |found: String| WavError::new(path, found);
        let io_fail = |error: std::io::Error| WavError::new(path, describe(&error));
        // One byte more than allowed shows that a pipe is too long.
        let mut source = source.take(most_bytes + 1);
        let mut magic = Vec::with_capacity(MAGIC_BYTES);
        // A device such as /dev/zero, which has no end, is left here.
        source.by_ref().take(MAGIC_BYTES as u64).read_to_end(&mut magic).map_err(io_fail)?;
        check_magic(&magic).map_err(fail)?;
        let header = WavHeader::read(&mut magic.as_slice().chain(source.by_ref())).map_err(|error| {
            let bytes = length.unwrap_or(most_bytes + 1 - source.limit());
            fail(match error {
                HeaderError::NotWav(start) => {
                    format!(
                        "is not a WAV file: its {bytes} bytes start with \"{start}\"; expected \"RIFF....WAVE\""
                    )
                }
                HeaderError::NoSamples => {
                    format!("is cut short or damaged: there are no samples in its {bytes} bytes")
                }
                other => other.to_string(),
            })
        })?;
        let format = header.format;
        if format.channels == 0 || !RATES_HZ.contains(&format.rate_hz) {
            let (rate, channels) = (format.rate_hz, format.channels);
            return Err(fail(format!(
                "has {rate} Hz and {channels} channels; expected {} to {} Hz and at least 1 channel",
                RATES_HZ.start(),
                RATES_HZ.end()
            )));
        }
        let there = length.map(|length| length.saturating_sub(most_bytes + 1 - source.limit()));
        let data = there.map_or(0, |there| there.min(header.length.unwrap_or(there)));
        check_length(format, data).map_err(fail)?;
        if !format.is_known() {
            return Err(fail(format!("is coded as {format}; expected {}", format::EXPECTED)));
        }
        let claimed = header.length;
        let stream = WavStream::behind_header(source, header);
        Ok(Self { path: path.to_owned(), stream, most_bytes, claimed, used: 0, is_at_end: false })
    }

    /// Returns the file's rate in hertz.
    #[must_use]
    pub fn rate_hz(&self) -> u32 {
        self.stream.format().rate_hz
    }

    /// Returns the number of channels, at least 1.
    #[must_use]
    pub fn channels(&self) -> u16 {
        self.stream.format().channels
    }

    /// Replaces the content of `out` by the next whole sample frames, interleaved, full scale at ±1.0. Leaves it empty at the end.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read on, is too long, or has no samples at all.
    pub fn next(&mut self, out: &mut Vec<f32>) -> Result<(), WavError> {
        out.clear();
        if self.is_at_end {
            return Ok(());
        }
        let samples = self.stream.next(out).map_err(|error| WavError::new(&self.path, describe(&error)))?;
        if self.stream.source.limit() == 0 {
            return Err(too_long(&self.path, self.most_bytes));
        }
        let format = self.stream.format();
        if samples == StreamSamples::Some {
            self.used += (out.len() / usize::from(format.channels) * format.block()) as u64;
            return check_length(format, self.used).map_err(|found| WavError::new(&self.path, found));
        }
        self.is_at_end = true;
        match self.used {
            0 => Err(WavError::new(&self.path, "has a WAV header but no samples")),
            _ => Ok(()),
        }
    }

    /// Returns what was wrong with the file so far and how it was repaired, starting with the file's name; `None` for a valid
    /// file. At the end it is complete.
    #[must_use]
    pub fn notice(&self) -> Option<String> {
        let mut notices = Vec::new();
        let used = self.used;
        match self.claimed {
            // A length of 0 or all ones in front of samples marks a stream: its writer could not go back to the header.
            None => notices
                .push(format!("its header does not state the length; all {used} bytes of samples are used")),
            Some(claimed) if used < claimed => {
                notices.push(format!(
                    "is cut short: its header names {claimed} bytes of samples, and {used} are there and used"
                ));
            }
            Some(_) => {}
        }
        if self.stream.placement == Some(Placement::Bottom) {
            notices.push(self.stream.format().placement_notice());
        }
        if self.stream.replaced > 0 {
            notices.push(format!(
                "{} samples are not finite numbers and were replaced by silence",
                self.stream.replaced
            ));
        }
        (!notices.is_empty()).then(|| format!("{}: {}", self.path.display(), notices.join("; ")))
    }

    /// Reads all samples that are left.
    pub(super) fn read_whole(mut self) -> Result<Clip, WavError> {
        let (mut samples, mut part) = (Vec::new(), Vec::new());
        loop {
            self.next(&mut part)?;
            if part.is_empty() {
                break;
            }
            samples.extend_from_slice(&part);
        }
        Ok(Clip { rate_hz: self.rate_hz(), channels: self.channels(), samples, notice: self.notice() })
    }
}

fn too_long(path: &Path, most_bytes: u64) -> WavError {
    WavError::new(path, format!("has more than {most_bytes} bytes; expected at most that many"))
}

fn check_length(format: WavFormat, bytes: u64) -> Result<(), String> {
    let seconds = bytes / format.block() as u64 / u64::from(format.rate_hz);
    if seconds > MAX_SECONDS {
        return Err(format!("is {seconds} s long; expected at most {MAX_SECONDS} s"));
    }
    Ok(())
}

/// Looks through all samples for where their valid bits are; `None` if all are 0.
fn placement(mut samples: impl Read, format: WavFormat) -> std::io::Result<Option<Placement>> {
    let piece = PIECE_BYTES.next_multiple_of(format.block());
    let (mut scan, mut has_sound) = (PlacementScan::new(format), false);
    let mut bytes = Vec::with_capacity(piece);
    loop {
        bytes.clear();
        samples.by_ref().take(piece as u64).read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            return Ok(has_sound.then(|| scan.placement()));
        }
        has_sound = has_sound || bytes.iter().any(|&byte| byte != 0);
        scan.add(&bytes);
    }
}

/// Checks that the bytes start as a WAV file does.
fn check_magic(bytes: &[u8]) -> Result<(), String> {
    let is_riff = [b"RIFF", b"RF64", b"BW64"].iter().any(|name| bytes.starts_with(*name));
    if is_riff && bytes.get(8..MAGIC_BYTES) == Some(b"WAVE") || bytes.starts_with(W64_START) {
        return Ok(());
    }
    let start: String = bytes
        .iter()
        .take(MAGIC_BYTES)
        .map(|&byte| if byte.is_ascii_graphic() { byte as char } else { '.' })
        .collect();
    let found = match bytes.len() {
        0..MAGIC_BYTES => format!("its {} bytes are", bytes.len()),
        _ => "it starts with".to_owned(),
    };
    Err(format!("is not a WAV file: {found} \"{start}\"; expected \"RIFF....WAVE\" at the start"))
}
