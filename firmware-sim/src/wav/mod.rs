//! WAV files: a tolerant reader for users' files, and a writer for 16-bit mono files.

mod clip_reader;
mod format;
mod header;
mod stream;

use std::fmt;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use hound::{SampleFormat, WavSpec};

pub use self::clip_reader::ClipReader;
pub use self::format::{RawCoding, WavFormat};
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
    let clip = ClipReader::of_bytes(Path::new(name), bytes.to_vec()).and_then(ClipReader::read_whole);
    clip.expect("a test reads the shipped clips")
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

/// Reads a whole WAV file, as [`ClipReader`] does piece by piece.
///
/// # Errors
/// Returns the errors of [`ClipReader::open`] and [`ClipReader::next`].
pub fn read(path: impl AsRef<Path>) -> Result<Clip, WavError> {
    ClipReader::open(path.as_ref())?.read_whole()
}

fn describe(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "does not exist".into(),
        std::io::ErrorKind::PermissionDenied => "may not be opened (permission denied)".into(),
        _ => error.to_string(),
    }
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

/// Returns the header of a 16-bit mono file with `samples` samples, which follow it: up to 2 147 483 629, so that a longer file states a
/// wrong length.
pub fn mono_header(rate_hz: u32, samples: usize) -> Vec<u8> {
    let (mut header, _) = mono_bytes(rate_hz, &[]);
    let data = u32::try_from(2 * samples).unwrap_or(u32::MAX);
    for (at, length) in [(4, data.saturating_add(36)), (40, data)] {
        header.splice(at..at + 4, length.to_le_bytes());
    }
    header
}

#[cfg(test)]
mod tests;
