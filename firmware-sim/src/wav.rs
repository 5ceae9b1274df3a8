//! WAV files: a tolerant reader for users' files, and a writer for 16-bit mono files.

use std::fmt;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use hound::{SampleFormat, WavReader, WavSpec};

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
        shipped_clip("clips/far.wav", include_bytes!("../clips/far.wav"))
    }

    /// Returns the near-end clip that ships with the simulator: a user speaking, 6.6 s, 16 kHz mono.
    pub fn near() -> Self {
        shipped_clip("clips/near.wav", include_bytes!("../clips/near.wav"))
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
        let channels = usize::from(self.channels);
        if channels == 1 {
            return resample_to(&self.samples, self.rate_hz, rate_hz);
        }
        let mono: Vec<f32> = self
            .samples
            .chunks_exact(channels)
            .map(|frame| frame.iter().sum::<f32>() / channels as f32)
            .collect();
        resample_to(&mono, self.rate_hz, rate_hz)
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

/// Reads a WAV file with integer samples of 8, 16, 24 or 32 bits or float samples of 32 bits, any number of
/// channels and any rate.
///
/// The content decides the format, not the file name's extension. A truncated file yields the samples that
/// are there, and a file with wrong lengths in its header, as a pipe writes it, yields all its samples. NaN
/// and infinity become 0. The clip's `notice` reports each of these repairs.
///
/// # Errors
/// Returns an error for a missing, empty or unreadable file, for a directory, and for content that is not a
/// WAV file, has no samples, has a rate of 0 or no channels, or has a coding that is not listed above.
pub fn read(path: impl AsRef<Path>) -> Result<Clip, WavError> {
    let path = path.as_ref();
    let metadata = std::fs::metadata(path).map_err(|error| WavError::new(path, describe(&error)))?;
    if metadata.is_dir() {
        return Err(WavError::new(path, "is a directory; expected a WAV file"));
    }
    if metadata.is_file() && metadata.len() == 0 {
        return Err(WavError::new(path, "is empty (0 bytes); expected a WAV file"));
    }
    let bytes = std::fs::read(path).map_err(|error| WavError::new(path, describe(&error)))?;
    parse(path, bytes)
}

fn describe(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "does not exist".into(),
        std::io::ErrorKind::PermissionDenied => "may not be opened (permission denied)".into(),
        _ => error.to_string(),
    }
}

fn parse(path: &Path, mut bytes: Vec<u8>) -> Result<Clip, WavError> {
    let mut notices = Vec::new();
    let layout = repair_lengths(&mut bytes).map_err(|found| WavError::new(path, found))?;
    if let Some(missing) = layout.missing {
        notices.push(missing);
    }
    let mut reader = WavReader::new(Cursor::new(bytes)).map_err(|error| {
        let found = match error {
            hound::Error::Unsupported => {
                format!("is coded as {}; expected PCM of 8 to 32 bits or float of 32 bits", layout.coding)
            }
            other => format!("is damaged ({other}); its header names {}", layout.coding),
        };
        WavError::new(path, found)
    })?;
    let spec = reader.spec();
    if spec.sample_rate == 0 || spec.channels == 0 {
        let (rate, channels) = (spec.sample_rate, spec.channels);
        return Err(WavError::new(
            path,
            format!("has {rate} Hz and {channels} channels; expected at least 1 of each"),
        ));
    }
    if !(1..=32).contains(&spec.bits_per_sample) {
        return Err(WavError::new(path, format!("is coded as {}; expected 8 to 32 bits", layout.coding)));
    }
    let mut samples: Vec<f32> = match spec.sample_format {
        SampleFormat::Float => reader.samples::<f32>().map_while(Result::ok).collect(),
        SampleFormat::Int => {
            let scale = 1.0 / (1_u64 << (spec.bits_per_sample - 1)) as f64;
            reader
                .samples::<i32>()
                .map_while(Result::ok)
                .map(|sample| (f64::from(sample) * scale) as f32)
                .collect()
        }
    };
    samples.truncate(samples.len() - samples.len() % usize::from(spec.channels));
    if samples.is_empty() {
        return Err(WavError::new(path, "has a WAV header but no samples"));
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
    Ok(Clip { rate_hz: spec.sample_rate, channels: spec.channels, samples, notice })
}

struct WavLayout {
    coding: String,
    missing: Option<String>,
}

/// Corrects the lengths in the headers to the bytes that are there, because `hound` rejects files with wrong
/// lengths.
fn repair_lengths(bytes: &mut Vec<u8>) -> Result<WavLayout, String> {
    if !bytes.starts_with(b"RIFF") || bytes.get(8..12) != Some(b"WAVE") {
        let start: String = bytes
            .iter()
            .take(12)
            .map(|&byte| if byte.is_ascii_graphic() { byte as char } else { '.' })
            .collect();
        return Err(format!(
            "is not a WAV file: its {} bytes start with \"{start}\"; expected \"RIFF....WAVE\"",
            bytes.len()
        ));
    }
    let u16_at = |bytes: &[u8], at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let u32_at = |bytes: &[u8], at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let mut at = 12;
    let mut format = None;
    while let (Some(id), Some(length)) = (bytes.get(at..at + 4), u32_at(bytes, at + 4)) {
        let body = at + 8;
        if id == b"fmt " {
            format = u16_at(bytes, body).zip(u16_at(bytes, body + 12)).zip(u16_at(bytes, body + 14));
        } else if id == b"data" {
            let Some(((tag, block), bits)) = format else {
                return Err("is damaged: its samples come before their format (chunk \"fmt \")".into());
            };
            let there = bytes.len() - body;
            let block = usize::from(block.max(1));
            let claimed = length as usize;
            let used = claimed.min(there);
            // A length of 0 or all ones in front of samples marks a stream: its writer could not go back to
            // the header.
            let streamed = there >= block && (claimed == 0 || claimed >= 0xffff_f000);
            let used = if streamed { there } else { used };
            let used = used - used % block;
            let missing = if streamed {
                Some(format!("its header does not state the length; all {used} bytes of samples are used"))
            } else if used < claimed {
                Some(format!(
                    "is cut short: its header names {claimed} bytes of samples, and {used} are there and used"
                ))
            } else {
                None
            };
            bytes.truncate(body + used);
            bytes[at + 4..at + 8].copy_from_slice(&(used as u32).to_le_bytes());
            let riff = (bytes.len() - 8) as u32;
            bytes[4..8].copy_from_slice(&riff.to_le_bytes());
            let name = match tag {
                1 => "PCM",
                3 => "float",
                6 => "A-law",
                7 => "mu-law",
                0x11 => "IMA ADPCM",
                0xfffe => "extensible",
                _ => "unknown",
            };
            return Ok(WavLayout { coding: format!("{bits}-bit {name} (format tag {tag})"), missing });
        }
        // Chunks are padded to an even length.
        at = body.saturating_add(length as usize).saturating_add(length as usize & 1);
    }
    Err(format!("is cut short or damaged: there are no samples in its {} bytes", bytes.len()))
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
mod tests {
    use super::*;
    use crate::noise::Rng;

    struct TempFolder(PathBuf);

    impl TempFolder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("handsfree-wav-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
            let path = self.0.join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        }
    }

    impl Drop for TempFolder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn encode(channels: u16, rate_hz: u32, bits: u16, values: &[f64]) -> Vec<u8> {
        let float = bits == 0;
        let spec = WavSpec {
            channels,
            sample_rate: rate_hz,
            bits_per_sample: if float { 32 } else { bits },
            sample_format: if float { SampleFormat::Float } else { SampleFormat::Int },
        };
        let mut bytes = Vec::new();
        let mut writer = hound::WavWriter::new(Cursor::new(&mut bytes), spec).unwrap();
        for value in values {
            if float {
                writer.write_sample(*value as f32).unwrap();
            } else {
                writer.write_sample((value * 2_f64.powi(i32::from(bits) - 1)).round() as i32).unwrap();
            }
        }
        writer.finalize().unwrap();
        bytes
    }

    #[test]
    fn reads_every_coding_and_channel_count() {
        let seed = 31;
        println!("seed {seed}");
        let folder = TempFolder::new("codings");
        let mut rng = Rng::new(seed);
        for bits in [8_u16, 16, 24, 32, 0] {
            for channels in 1..=8_u16 {
                let rate_hz = rng.range(4_000, 192_000) as u32;
                let values: Vec<f64> =
                    (0..usize::from(channels) * 50).map(|_| rng.uniform() * 1.9 - 0.95).collect();
                // The extension is wrong on purpose.
                let path = folder.file("clip.mp3", &encode(channels, rate_hz, bits, &values));
                let clip = read(&path).unwrap();
                assert_eq!((clip.rate_hz, clip.channels, clip.frames()), (rate_hz, channels, 50));
                assert_eq!(clip.notice, None, "{bits} bits");
                let step = if bits == 0 || bits > 24 { 1e-6 } else { 2_f64.powi(-i32::from(bits)) * 1.01 };
                for (expected, &actual) in values.iter().zip(&clip.samples) {
                    assert!((expected - f64::from(actual)).abs() <= step, "{bits} bits, {channels} channels");
                }
                let mono = clip.to_mono_at(rate_hz);
                let mean = values[..usize::from(channels)].iter().sum::<f64>() / f64::from(channels);
                assert!((f64::from(mono[0]) - mean).abs() <= step + 1e-6);
            }
        }
    }

    #[test]
    fn reads_or_rejects_a_file_truncated_anywhere() {
        let folder = TempFolder::new("truncated");
        let values: Vec<f64> = (0..300).map(|n| f64::from(n) / 400.0).collect();
        for bits in [16, 24, 0] {
            let whole = encode(2, 48_000, bits, &values);
            let full = read(folder.file("whole.wav", &whole)).unwrap();
            for length in 0..whole.len() {
                let path = folder.file("cut.wav", &whole[..length]);
                match read(&path) {
                    Ok(clip) => {
                        let notice = clip.notice.clone().unwrap();
                        assert!(notice.contains("cut.wav") && notice.contains("cut short"), "{notice}");
                        assert_eq!(clip.samples[..], full.samples[..clip.samples.len()]);
                    }
                    Err(error) => {
                        let message = error.to_string();
                        assert!(message.contains("cut.wav"), "{message}");
                        assert!(length < 80, "{length} bytes of {}: {message}", whole.len());
                    }
                }
            }
        }
    }

    #[test]
    fn reads_a_streamed_file_without_a_length_to_its_end() {
        let folder = TempFolder::new("streamed");
        let mut bytes = encode(1, 16_000, 16, &[0.1, 0.2, 0.3]);
        for length in [0, u32::MAX] {
            bytes[40..44].copy_from_slice(&length.to_le_bytes());
            bytes[4..8].copy_from_slice(&length.to_le_bytes());
            let clip = read(folder.file("pipe.wav", &bytes)).unwrap();
            assert_eq!(clip.frames(), 3);
            assert!(clip.notice.unwrap().contains("does not state the length"));
        }
    }

    #[test]
    fn names_a_wrong_file_and_what_was_found_in_it() {
        let folder = TempFolder::new("wrong");
        let mut a_law = encode(1, 8_000, 16, &[0.0; 8]);
        a_law[20] = 6;
        let mut no_rate = encode(1, 8_000, 16, &[0.0; 8]);
        no_rate[24..32].fill(0);
        let cases = [
            (folder.0.join("missing.wav"), "does not exist"),
            (folder.0.clone(), "is a directory"),
            (folder.file("empty.wav", b""), "is empty (0 bytes)"),
            (folder.file("text.wav", b"hello, this is not sound"), "start with \"hello,.this.\""),
            (folder.file("short.wav", b"RIFF"), "is not a WAV file: its 4 bytes"),
            (folder.file("header.wav", &encode(1, 8_000, 16, &[])), "no samples"),
            (folder.file("alaw.wav", &a_law), "16-bit A-law"),
            (folder.file("norate.wav", &no_rate), "0 Hz"),
        ];
        for (path, expected) in cases {
            let message = read(&path).unwrap_err().to_string();
            assert!(message.starts_with(&path.display().to_string()), "{message}");
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn random_bytes_after_a_header_never_panic() {
        let seed = 8;
        println!("seed {seed}");
        let mut rng = Rng::new(seed);
        let good = encode(2, 44_100, 24, &[0.25; 64]);
        for _ in 0..3000 {
            let mut bytes = good.clone();
            for _ in 0..rng.range(1, 6) {
                let at = rng.range(0, 60.min(bytes.len() as u64)) as usize;
                bytes[at] = rng.next_u64() as u8;
            }
            bytes.truncate(rng.range(1, bytes.len() as u64 + 1) as usize);
            if let Ok(clip) = parse(Path::new("fuzz.wav"), bytes) {
                assert!(clip.channels > 0 && clip.rate_hz > 0 && clip.frames() > 0);
                assert_eq!(clip.samples.len() % usize::from(clip.channels), 0);
            }
        }
    }

    #[test]
    fn replaces_and_counts_samples_that_are_not_finite() {
        let folder = TempFolder::new("nan");
        let path = folder.file("nan.wav", &encode(1, 16_000, 0, &[0.5, f64::NAN, f64::INFINITY, -0.5]));
        let clip = read(&path).unwrap();
        assert_eq!(clip.samples, [0.5, 0.0, 0.0, -0.5]);
        assert!(clip.notice.unwrap().contains("2 samples are not finite"));
    }

    #[test]
    fn sixteen_bits_survive_a_round_trip() {
        let folder = TempFolder::new("trip");
        let path = folder.0.join("out.wav");
        let samples: Vec<f32> = (i16::MIN..=i16::MAX).map(|v| f32::from(v) / 32_768.0).collect();
        assert_eq!(write_mono(&path, 16_000, &samples).unwrap(), 0);
        assert_eq!(read(&path).unwrap().samples, samples);
        assert_eq!(write_mono(&path, 16_000, &[1.5, -2.0, 0.999_99, 0.0]).unwrap(), 3);
        let error = write_mono(folder.0.join("no/such/folder.wav"), 16_000, &samples).unwrap_err();
        assert!(error.to_string().contains("folder.wav: cannot be written"), "{error}");
    }

    #[test]
    fn the_shipped_clips_are_speech_at_their_level() {
        for (clip, seconds) in [(Clip::far(), 14.165), (Clip::near(), 6.591)] {
            assert_eq!((clip.rate_hz, clip.channels, &clip.notice), (16_000, 1, &None));
            assert!((clip.seconds() - seconds).abs() < 0.001, "{} s", clip.seconds());
            // The pause at the end is not speech.
            let spoken = &clip.samples[..clip.samples.len() - 9_600];
            let power = spoken.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / spoken.len() as f64;
            assert!((10.0 * power.log10() + 20.0).abs() < 0.5);
            assert!(clip.samples.iter().all(|x| x.abs() < 0.71));
        }
    }
}
