//! Control side: reads audio files of any kind, piece by piece or whole, for commands that process recordings.

use std::path::{Path, PathBuf};

use handsfree::failure::Failure;
use handsfree_sim::wav::{Clip, ClipReader};

use super::{Decoded, Decoder, RawFormat};

/// Longest recording of raw samples, in seconds, as for WAV files: a device such as /dev/zero has no end.
const MAX_RAW_SECONDS: usize = 4 * 3_600;

/// Audio file of any kind that [`Decoder`] knows, read piece by piece. WAV files of which no length is true are repaired.
#[derive(Debug)]
pub struct Recording(Kind);

#[derive(Debug)]
enum Kind {
    Wav(Box<ClipReader>),
    Decoded(Box<DecodedFile>),
}

#[derive(Debug)]
struct DecodedFile {
    path: PathBuf,
    decoder: Decoder,
    channels: u16,
    /// Number of samples so far.
    samples: usize,
    notice: Option<String>,
}

impl Recording {
    /// Opens a file. A file that does not begin with the name of its kind is raw samples if `raw` states their format.
    ///
    /// # Errors
    /// Returns an error that names the file and what was found instead of audio.
    pub fn open(path: &Path, raw: Option<RawFormat>) -> Result<Self, Failure> {
        let decoded =
            |decoder| DecodedFile::new(path, decoder).map(|file| Self(Kind::Decoded(Box::new(file))));
        if raw.is_some() {
            let decoder = Decoder::open(path, raw)?;
            // A pipe cannot be opened again.
            if decoder.is_raw() || !path.is_file() {
                return decoded(decoder);
            }
        }
        let own = match ClipReader::open(path) {
            Ok(reader) => return Ok(Self(Kind::Wav(Box::new(reader)))),
            Err(error) => Failure::from(error),
        };
        let says = |found: &str| own.to_string().contains(found);
        match (says("is not a WAV file"), says("is coded as")) {
            // The decoder's error names every kind that it would have read.
            (true, _) => decoded(Decoder::open(path, None)?),
            (_, true) => Decoder::open(path, None).map_or(Err(own), decoded),
            _ => Err(own),
        }
    }

    /// Returns the rate in hertz.
    #[must_use]
    pub fn rate_hz(&self) -> u32 {
        match &self.0 {
            Kind::Wav(reader) => reader.rate_hz(),
            Kind::Decoded(file) => file.decoder.rate_hz(),
        }
    }

    /// Returns the number of channels, at least 1.
    #[must_use]
    pub fn channels(&self) -> u16 {
        match &self.0 {
            Kind::Wav(reader) => reader.channels(),
            Kind::Decoded(file) => file.channels,
        }
    }

    /// Replaces the content of `out` by the next interleaved samples, full scale at ±1.0. Returns false at the end.
    ///
    /// # Errors
    /// Returns an error that names the file if it cannot be read on, is too long, or has no samples at all.
    pub fn next(&mut self, out: &mut Vec<f32>) -> Result<bool, Failure> {
        match &mut self.0 {
            Kind::Wav(reader) => {
                reader.next(out)?;
                Ok(!out.is_empty())
            }
            Kind::Decoded(file) => file.next(out),
        }
    }

    /// Returns what was wrong with the file and how it was repaired, which is complete at the end; `None` for a valid file.
    #[must_use]
    pub fn notice(&self) -> Option<String> {
        match &self.0 {
            Kind::Wav(reader) => reader.notice(),
            Kind::Decoded(file) => file.notice.clone(),
        }
    }
}

impl DecodedFile {
    fn new(path: &Path, decoder: Decoder) -> Result<Self, Failure> {
        let channels = u16::try_from(decoder.channels())
            .map_err(|_| Failure::run(format!("{}: has {} channels", path.display(), decoder.channels())))?;
        Ok(Self { path: path.to_owned(), decoder, channels, samples: 0, notice: None })
    }

    fn next(&mut self, out: &mut Vec<f32>) -> Result<bool, Failure> {
        let invalid = |path: &Path, found: String| Failure::run(format!("{}: {found}", path.display()));
        match self.decoder.next_f32(out) {
            Decoded::Samples => {
                self.samples += out.len();
                let most = MAX_RAW_SECONDS * self.decoder.rate_hz() as usize * usize::from(self.channels);
                if self.decoder.is_raw() && self.samples > most {
                    let found = format!("is longer than {MAX_RAW_SECONDS} s: expected at most that");
                    return Err(invalid(&self.path, found));
                }
                return Ok(true);
            }
            Decoded::End => {}
            Decoded::Broken(reason) => self.notice = Some(format!("{}: {reason}", self.path.display())),
        }
        match self.samples {
            0 => Err(invalid(&self.path, "contains no samples: expected at least one".into())),
            _ => Ok(false),
        }
    }
}

/// Reads a whole audio file, as [`Recording`] does piece by piece.
///
/// # Errors
/// Returns an error that names the file and what was found instead of audio.
pub fn read_clip(path: impl AsRef<Path>, raw: Option<RawFormat>) -> Result<Clip, Failure> {
    let mut recording = Recording::open(path.as_ref(), raw)?;
    let (mut samples, mut part) = (Vec::new(), Vec::new());
    while recording.next(&mut part)? {
        samples.extend_from_slice(&part);
    }
    let (rate_hz, channels) = (recording.rate_hz(), recording.channels());
    Ok(Clip { rate_hz, channels, samples, notice: recording.notice() })
}
