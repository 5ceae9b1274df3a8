//! WAV files: a tolerant reader for users' files, and a writer for 16-bit mono files.

mod format;
mod header;
mod stream;

use std::fmt;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use hound::{SampleFormat, WavSpec};

use self::format::Placement;
pub use self::format::{RawCoding, WavFormat};
use self::header::{HeaderError, WavHeader};
pub use self::stream::{StreamSamples, WavStream};
use crate::interpolate::resample_to;

/// Recording in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    /// Sample rate, in hertz.
    pub rate_hz: u32,
    /// Number of channels, 1 or more.
    pub channels: u16,
    /// Interleaved samples, full scale at ±1.0. All are finite, and they form a whole number of sample frames.
    pub samples: Vec<f32>,
    /// Message for the user about what was wrong with the file and how it was repaired, starting with the
    /// file's name; `None` for a valid file.
    pub notice: Option<String>,
}

impl Clip {
    /// Returns the far-end clip that ships with the simulator: an assistant speaking, 14 s, 16 kHz mono.
    pub fn far() -> Self {
        shipped_clip("clips/far.wav", include_bytes!("../../clips/far.wav"))
    }

    /// Returns the near-end clip that ships with the simulator: a user speaking, 6.6 s, 16 kHz mono.
    pub fn near() -> Self {
        shipped_clip("clips/near.wav", include_bytes!("../../clips/near.wav"))
    }

    /// Returns the length in sample frames.
    pub fn frames(&self) -> usize {
        self.samples.len() / usize::from(self.channels)
    }

    /// Returns the length in seconds.
    pub fn seconds(&self) -> f64 {
        self.frames() as f64 / f64::from(self.rate_hz)
    }

    /// Returns the mean of all channels, resampled to another rate (see [`resample_to`]).
    ///
    /// # Panics
    /// Panics if the rate is 0.
    pub fn to_mono_at(&self, rate_hz: u32) -> Vec<f32> {
        if self.channels == 1 {
            return resample_to(&self.samples, self.rate_hz, rate_hz);
        }
        let all: Vec<usize> = (0..usize::from(self.channels)).collect();
        resample_to(&self.mean_of(&all), self.rate_hz, rate_hz)
    }

    /// Returns the mean of some channels, which are counted from 0, at the clip's own rate. Channels that the clip
    /// does not have count as silence.
    pub fn mean_of(&self, channels: &[usize]) -> Vec<f32> {
        let count = channels.len().max(1) as f32;
        self.samples
            .chunks_exact(usize::from(self.channels.max(1)))
            .map(|frame| channels.iter().filter_map(|&channel| frame.get(channel)).sum::<f32>() / count)
            .collect()
    }

    /// Returns whether all channels carry the same samples.
    pub fn has_equal_channels(&self) -> bool {
        self.samples
            .chunks_exact(usize::from(self.channels.max(1)))
            .all(|frame| frame.iter().all(|sample| Some(sample) == frame.first()))
    }
}

fn shipped_clip(name: &str, bytes: &[u8]) -> Clip {
    parse(Path::new(name), bytes.to_vec()).expect("a test reads the shipped clips")
}

/// Error of a WAV file that could not be read or written. The message names the file and what was found in it.
#[derive(Debug)]
pub struct WavError {
    path: PathBuf,
    found: String,
}

impl WavError {
    fn new(path: &Path, found: impl Into<String>) -> Self {
        Self { path: path.to_owned(), found: found.into() }
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Display for WavError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.found)
    }
}

impl std::error::Error for WavError {}

/// Sample rates that are read, in hertz: from half of a telephone's to twice that of a studio's fastest converter. Another
/// rate is a mistake in the header, and converting it would need more memory than there is.
const RATES_HZ: std::ops::RangeInclusive<u32> = 4_000..=768_000;
/// Longest recording, in seconds: 4 h, which at 48 kHz take 2.8 GB of memory for each signal.
const MAX_SECONDS: usize = 4 * 3_600;
/// Largest file, in bytes: 4 h of 8 channels of 16 bits at 48 kHz are 11 GB.
const MAX_FILE_BYTES: u64 = 12 << 30;
/// Largest number of bytes read from a pipe, whose length is not known before: 1 GiB, 3 h of mono at 48 kHz.
const MAX_PIPE_BYTES: u64 = 1 << 30;
/// Length of the part in front that tells a WAV file, in bytes.
const MAGIC_BYTES: usize = 12;
/// First bytes of a W64 file.
const W64_START: &[u8] = b"riff\x2e\x91\xcf\x11";

/// Reads a WAV file (RIFF, RF64, BW64 or W64) with integer samples of 1 to 32 bits, float samples of 32 or 64 bits,
/// mu-law or A-law, any number of channels and a rate of 4 to 768 kHz, up to a length of 4 h. A pipe is read to its end,
/// up to 1 GiB.
///
/// The content decides the format, not the file name's extension. A truncated file yields the samples that
/// are there, and a file with wrong lengths in its header, as a pipe writes it, yields all its samples. NaN
/// and infinity become 0. The clip's `notice` reports each of these repairs.
///
/// Integer samples of fewer bits than their container are read as the format demands, with the valid bits at the
/// top ("Multiple Channel Audio Data and WAVE Files", Microsoft, 2007, section "Structure of
/// WAVEFORMATEXTENSIBLE"). A file that keeps them at the bottom is recognised by its values.
///
/// # Errors
/// Returns an error for a missing, empty or unreadable file, for a directory, and for content that is not a
/// WAV file, has no samples, has another rate or no channels, is too long, or has a coding that is not listed above.
pub fn read(path: impl AsRef<Path>) -> Result<Clip, WavError> {
    let path = path.as_ref();
    let metadata = std::fs::metadata(path).map_err(|error| WavError::new(path, describe(&error)))?;
    if metadata.is_dir() {
        return Err(WavError::new(path, "is a directory; expected a WAV file"));
    }
    if metadata.is_file() && metadata.len() == 0 {
        return Err(WavError::new(path, "is empty (0 bytes); expected a WAV file"));
    }
    let limit = if metadata.is_file() { MAX_FILE_BYTES } else { MAX_PIPE_BYTES };
    let too_long = || WavError::new(path, format!("has more than {limit} bytes; expected at most that many"));
    if metadata.is_file() && metadata.len() > limit {
        return Err(too_long());
    }
    let mut file = File::open(path).map_err(|error| WavError::new(path, describe(&error)))?;
    // The first bytes are examined before the rest is read, which for a device such as /dev/zero has no end.
    let mut bytes = Vec::with_capacity(MAGIC_BYTES);
    let mut read_to = |length: u64, bytes: &mut Vec<u8>| {
        let missing = length - bytes.len() as u64;
        let read = file.by_ref().take(missing).read_to_end(bytes);
        read.map_err(|error| WavError::new(path, describe(&error)))
    };
    read_to(MAGIC_BYTES as u64, &mut bytes)?;
    check_magic(&bytes).map_err(|found| WavError::new(path, found))?;
    read_to(limit + 1, &mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(too_long());
    }
    parse(path, bytes)
}

fn describe(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "does not exist".into(),
        std::io::ErrorKind::PermissionDenied => "may not be opened (permission denied)".into(),
        _ => error.to_string(),
    }
}

fn parse(path: &Path, bytes: Vec<u8>) -> Result<Clip, WavError> {
    let error = |found: String| WavError::new(path, found);
    let (format, data, mut notices) = layout(&bytes).map_err(error)?;
    if format.channels == 0 || !RATES_HZ.contains(&format.rate_hz) {
        let (rate, channels) = (format.rate_hz, format.channels);
        return Err(error(format!(
            "has {rate} Hz and {channels} channels; expected {} to {} Hz and at least 1 channel",
            RATES_HZ.start(),
            RATES_HZ.end()
        )));
    }
    let seconds = data.len() / format.block() / format.rate_hz as usize;
    if seconds > MAX_SECONDS {
        return Err(error(format!("is {seconds} s long; expected at most {MAX_SECONDS} s")));
    }
    let mut placement = None;
    let mut samples = format
        .decode(data, &mut placement)
        .ok_or_else(|| error(format!("is coded as {format}; expected {}", format::EXPECTED)))?;
    if placement == Some(Placement::Bottom) {
        notices.push(format.placement_notice());
    }
    samples.truncate(samples.len() - samples.len() % usize::from(format.channels));
    if samples.is_empty() {
        return Err(error("has a WAV header but no samples".into()));
    }
    let mut replaced = 0_u64;
    for sample in samples.iter_mut().filter(|sample| !sample.is_finite()) {
        *sample = 0.0;
        replaced += 1;
    }
    if replaced > 0 {
        notices.push(format!("{replaced} samples are not finite numbers and were replaced by silence"));
    }
    let notice = (!notices.is_empty()).then(|| format!("{}: {}", path.display(), notices.join("; ")));
    Ok(Clip { rate_hz: format.rate_hz, channels: format.channels, samples, notice })
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

/// Finds the format and the samples' bytes, whatever lengths the headers claim. Returns messages about wrong lengths
/// as well.
fn layout(bytes: &[u8]) -> Result<(WavFormat, &[u8], Vec<String>), String> {
    let mut rest = bytes;
    let header = WavHeader::read(&mut rest).map_err(|error| match error {
        HeaderError::NotWav(start) => {
            format!(
                "is not a WAV file: its {} bytes start with \"{start}\"; expected \"RIFF....WAVE\"",
                bytes.len()
            )
        }
        HeaderError::NoSamples => {
            format!("is cut short or damaged: there are no samples in its {} bytes", bytes.len())
        }
        other => other.to_string(),
    })?;
    let WavHeader { format, length } = header;
    let block = format.block();
    // A length of 0 or all ones in front of samples marks a stream: its writer could not go back to the header.
    let streamed = rest.len() >= block && length.is_none();
    let claimed = length.unwrap_or(0);
    let used =
        if streamed { rest.len() } else { rest.len().min(usize::try_from(claimed).unwrap_or(usize::MAX)) };
    let used = used - used % block;
    let mut notices = Vec::new();
    if streamed {
        notices.push(format!("its header does not state the length; all {used} bytes of samples are used"));
    } else if (used as u64) < claimed {
        notices.push(format!(
            "is cut short: its header names {claimed} bytes of samples, and {used} are there and used"
        ));
    }
    Ok((format, &rest[..used], notices))
}

/// Returns the nearest 16-bit value of a sample, and whether the sample was outside full scale (±1.0). NaN
/// becomes 0.
pub fn to_i16(sample: f32) -> (i16, bool) {
    let scaled = (sample * 32_768.0).round();
    (scaled as i16, !(-32_768.0..=32_767.0).contains(&scaled))
}

/// Writes a 16-bit mono file. Returns the number of samples outside full scale, which were clipped.
///
/// # Errors
/// Returns an error with the system's reason if the path cannot be written.
pub fn write_mono(path: impl AsRef<Path>, rate_hz: u32, samples: &[f32]) -> Result<u64, WavError> {
    let path = path.as_ref();
    let (bytes, clipped) = mono_bytes(rate_hz, samples);
    std::fs::write(path, bytes)
        .map_err(|error| WavError::new(path, format!("cannot be written ({})", describe(&error))))?;
    Ok(clipped)
}

/// Does the same as [`write_mono`] in memory. Returns the bytes of the file and the number of clipped samples.
pub fn mono_bytes(rate_hz: u32, samples: &[f32]) -> (Vec<u8>, u64) {
    let spec =
        WavSpec { channels: 1, sample_rate: rate_hz, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let mut bytes = Vec::with_capacity(44 + 2 * samples.len());
    let mut clipped = 0;
    let in_memory = "writing to memory cannot fail";
    let mut writer = hound::WavWriter::new(Cursor::new(&mut bytes), spec).expect(in_memory);
    for &sample in samples {
        let (value, outside) = to_i16(sample);
        clipped += u64::from(outside);
        writer.write_sample(value).expect(in_memory);
    }
    writer.finalize().expect(in_memory);
    (bytes, clipped)
}

#[cfg(test)]
mod tests;
