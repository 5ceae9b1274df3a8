//! WAV files: a tolerant reader for users' files, and a writer for 16-bit mono files.

use std::fmt;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use hound::{SampleFormat, WavSpec};

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

/// Reads a WAV file with integer samples of 1 to 32 bits or float samples of 32 or 64 bits, any number of channels
/// and a rate of 4 to 768 kHz, up to a length of 4 h. RF64 files, which are longer than 4 GiB (EBU Tech 3306), are read
/// as well. A pipe is read to its end, up to 1 GiB.
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
    let mut samples = format.decode(data, &mut notices).ok_or_else(|| {
        error(format!("is coded as {format}; expected PCM of 1 to 32 bits or float of 32 or 64 bits"))
    })?;
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

/// Format tag of integer samples.
const TAG_PCM: u16 = 1;
/// Format tag of float samples.
const TAG_FLOAT: u16 = 3;
/// Format tag that refers to the identifier in the extended format, whose first two bytes are the real tag.
const TAG_EXTENSIBLE: u16 = 0xfffe;

/// Content of a format chunk.
#[derive(Clone, Copy, Debug, Default)]
struct WavFormat {
    tag: u16,
    /// Tag from the extended format; equal to `tag` in a plain one.
    real_tag: u16,
    channels: u16,
    rate_hz: u32,
    /// Bytes of one sample of one channel.
    container: usize,
    /// Bits that the header names for a sample.
    bits: u16,
    /// Bits of a sample that carry sound.
    valid_bits: u16,
}

impl fmt::Display for WavFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.real_tag {
            TAG_PCM => "PCM",
            TAG_FLOAT => "float",
            6 => "A-law",
            7 => "mu-law",
            0x11 => "IMA ADPCM",
            _ => "unknown",
        };
        write!(f, "{}-bit {name} (format tag {})", self.bits, self.tag)
    }
}

impl WavFormat {
    fn parse(chunk: &[u8]) -> Option<Self> {
        let tag = u16_at(chunk, 0)?;
        let (channels, rate_hz) = (u16_at(chunk, 2)?, u32_at(chunk, 4)?);
        let (block, bits) = (u16_at(chunk, 12)?, u16_at(chunk, 14)?);
        let extended = (tag == TAG_EXTENSIBLE).then(|| u16_at(chunk, 18).zip(u16_at(chunk, 24))).flatten();
        let (valid_bits, real_tag) = extended.unwrap_or((bits, tag));
        // Some writers leave the block's length out.
        let from_bits = usize::from(bits.div_ceil(8));
        let container = match usize::from(block) / usize::from(channels.max(1)) {
            0 => from_bits,
            bytes => bytes,
        };
        let valid_bits = if valid_bits == 0 { bits } else { valid_bits };
        Some(Self { tag, real_tag, channels, rate_hz, container, bits, valid_bits })
    }

    /// Returns the length of one sample frame, in bytes; at least 1.
    fn block(&self) -> usize {
        (self.container * usize::from(self.channels)).max(1)
    }

    /// Returns the samples, full scale at ±1.0, or `None` for another coding than PCM and float.
    fn decode(&self, data: &[u8], notices: &mut Vec<String>) -> Option<Vec<f32>> {
        match (self.real_tag, self.container, self.bits) {
            (TAG_FLOAT, 4, _) => Some(
                data.chunks_exact(4).filter_map(|b| Some(f32::from_le_bytes(b.try_into().ok()?))).collect(),
            ),
            (TAG_FLOAT, 8, _) => Some(
                data.chunks_exact(8)
                    .filter_map(|b| Some(f64::from_le_bytes(b.try_into().ok()?) as f32))
                    .collect(),
            ),
            (TAG_PCM, 1, 1..=8) => Some(data.iter().map(|&b| (f32::from(b) - 128.0) / 128.0).collect()),
            (TAG_PCM, width @ 2..=4, 1..=32) => Some(self.decode_integers(data, width, notices)),
            _ => None,
        }
    }

    fn decode_integers(&self, data: &[u8], width: usize, notices: &mut Vec<String>) -> Vec<f32> {
        // Each value is placed at the top of 32 bits, which also extends its sign.
        let values = || {
            data.chunks_exact(width).map(move |bytes| {
                let mut all = [0; 4];
                all[4 - width..].copy_from_slice(bytes);
                i32::from_le_bytes(all)
            })
        };
        let unused_bits = (8 * width as u32).saturating_sub(u32::from(self.valid_bits.max(1)));
        let top = 32 - 8 * width as u32;
        // Sound in the bits that should be empty, and none in those that should be in use, marks values at the bottom.
        let below = (1_i64 << (unused_bits + top)) - 1;
        let is_at_bottom = unused_bits > 0
            && values().any(|value| i64::from(value) & below != 0)
            && values().all(|value| (value << unused_bits) >> unused_bits == value);
        let shift = if is_at_bottom { unused_bits } else { 0 };
        if is_at_bottom {
            notices.push(format!(
                "its {} valid bits are at the bottom of {} instead of at the top; they were moved",
                self.valid_bits,
                8 * width
            ));
        }
        values().map(|value| (f64::from(value << shift) / 2_147_483_648.0) as f32).collect()
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Checks that the bytes start as a WAV file does.
fn check_magic(bytes: &[u8]) -> Result<(), String> {
    let is_riff = bytes.starts_with(b"RIFF") || bytes.starts_with(b"RF64");
    if is_riff && bytes.get(8..MAGIC_BYTES) == Some(b"WAVE") {
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
    check_magic(bytes)?;
    let is_rf64 = bytes.starts_with(b"RF64");
    let mut at = MAGIC_BYTES;
    let mut format = None;
    let mut long_data = None;
    while let (Some(id), Some(length)) = (bytes.get(at..at + 4), u32_at(bytes, at + 4)) {
        let body = bytes.get(at + 8..).unwrap_or(&[]);
        let claimed = match (id, long_data) {
            (b"data", Some(bytes)) if length == u32::MAX => usize::try_from(bytes).unwrap_or(usize::MAX),
            _ => length as usize,
        };
        if id == b"ds64" && is_rf64 {
            // The length of the file, that of the data chunk, and others.
            long_data = u64_at(body, 8);
        } else if id == b"fmt " {
            format = WavFormat::parse(&body[..claimed.min(body.len())]);
        } else if id == b"data" {
            let Some(format) = format else {
                return Err("is damaged: its samples come before their format (chunk \"fmt \")".into());
            };
            let block = format.block();
            // A length of 0 or all ones in front of samples marks a stream: its writer could not go back to
            // the header.
            let states_none = long_data.is_none() && claimed >= 0xffff_f000;
            let streamed = body.len() >= block && (claimed == 0 || states_none);
            let used = if streamed { body.len() } else { claimed.min(body.len()) };
            let used = used - used % block;
            let mut notices = Vec::new();
            if streamed {
                notices.push(format!(
                    "its header does not state the length; all {used} bytes of samples are used"
                ));
            } else if used < claimed {
                notices.push(format!(
                    "is cut short: its header names {claimed} bytes of samples, and {used} are there and used"
                ));
            }
            return Ok((format, &body[..used], notices));
        }
        // Chunks are padded to an even length.
        at = at.saturating_add(8).saturating_add(claimed).saturating_add(claimed & 1);
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

    /// Returns a file with an extended format chunk and the given bytes of samples.
    fn extensible(tag: u16, valid_bits: u16, container_bits: u16, data: &[u8]) -> Vec<u8> {
        let block = container_bits / 8;
        let mut bytes = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0odd\0fmt \x28\0\0\0".to_vec();
        bytes.extend([0xfe, 0xff, 1, 0]);
        bytes.extend(48_000_u32.to_le_bytes());
        bytes.extend((48_000 * u32::from(block)).to_le_bytes());
        for value in [block, container_bits, 22, valid_bits, 4, 0, tag] {
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend([0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71]);
        bytes.extend(b"data");
        bytes.extend((data.len() as u32).to_le_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn valid_bits_are_read_from_the_top_of_their_container() {
        let seed = 12;
        let folder = TempFolder::new("valid-bits");
        let mut rng = Rng::new(seed);
        let values: Vec<f64> = (0..500).map(|_| rng.uniform() * 1.9 - 0.95).collect();
        for (valid_bits, container_bits) in
            [(24, 32), (20, 32), (16, 32), (20, 24), (16, 24), (12, 16), (32, 32), (24, 24), (16, 16)]
        {
            let scale = f64::from(1_u32 << (valid_bits - 1));
            let unused = container_bits - valid_bits;
            for is_at_bottom in [false, true] {
                let shift = if is_at_bottom { 0 } else { unused };
                let data: Vec<u8> = values
                    .iter()
                    .flat_map(|value| {
                        let sample = ((value * scale) as i32) << shift;
                        sample.to_le_bytes()[..container_bits as usize / 8].to_vec()
                    })
                    .collect();
                let file = extensible(1, valid_bits as u16, container_bits as u16, &data);
                let clip = read(folder.file("ext.wav", &file)).unwrap();
                let name =
                    format!("seed {seed}: {valid_bits} in {container_bits}, at bottom: {is_at_bottom}");
                assert_eq!(clip.notice.is_some(), is_at_bottom && unused > 0, "{name}: {:?}", clip.notice);
                assert_eq!(clip.frames(), values.len(), "{name}");
                for (expected, &actual) in values.iter().zip(&clip.samples) {
                    assert!(
                        (expected - f64::from(actual)).abs() <= 1.01 / scale + 1e-7,
                        "{name}: {expected} {actual}"
                    );
                }
            }
        }
    }

    #[test]
    fn float_samples_of_both_lengths_are_read() {
        let folder = TempFolder::new("floats");
        let values = [0.25_f64, -0.5, 0.75, 1.5];
        let narrow: Vec<u8> = values.iter().flat_map(|&value| (value as f32).to_le_bytes()).collect();
        let wide: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        for (bits, data) in [(32, narrow), (64, wide)] {
            let clip = read(folder.file("float.wav", &extensible(3, bits, bits, &data))).unwrap();
            assert_eq!(
                (clip.samples, clip.notice),
                (values.map(|value| value as f32).to_vec(), None),
                "{bits} bits"
            );
        }
        // A container of 64 bits is not read as integers.
        let message =
            read(folder.file("long.wav", &extensible(1, 64, 64, &[0; 32]))).unwrap_err().to_string();
        assert!(message.contains("64-bit PCM"), "{message}");
    }

    #[test]
    fn files_beyond_4_gib_state_their_length_in_64_bits() {
        let folder = TempFolder::new("rf64");
        let plain = encode(1, 16_000, 16, &[0.1, 0.2, 0.3]);
        let mut long = b"RF64\xff\xff\xff\xffWAVEds64\x1c\0\0\0".to_vec();
        for length in [0_u64, 4, 2] {
            long.extend(length.to_le_bytes());
        }
        long.extend([0; 4]);
        long.extend(&plain[12..40]);
        long.extend(u32::MAX.to_le_bytes());
        long.extend(&plain[44..]);
        let clip = read(folder.file("long.wav", &long)).unwrap();
        assert_eq!((clip.frames(), clip.notice), (2, None), "the last sample is beyond the stated length");
    }

    /// A claim of any length costs no more memory than the file has bytes, and a device without an end is left at once.
    #[cfg(unix)]
    #[test]
    fn long_files_and_devices_are_refused_before_they_are_read() {
        let folder = TempFolder::new("long");
        let sparse = folder.file("sparse.wav", &encode(1, 16_000, 16, &[0.1]));
        File::options().write(true).open(&sparse).unwrap().set_len(1 << 42).unwrap();
        let hours = folder.file("hours.wav", &encode(1, 4_000, 8, &[0.0; 16]));
        let mut bytes = std::fs::read(&hours).unwrap();
        bytes[40..44].copy_from_slice(&(4_000_u32 * 14_402).to_le_bytes());
        std::fs::write(&hours, bytes).unwrap();
        File::options().write(true).open(&hours).unwrap().set_len(44 + 4_000 * 14_402).unwrap();
        for (path, expected) in [
            (sparse, "has more than 12884901888 bytes"),
            (hours, "is 14402 s long; expected at most 14400 s"),
            (PathBuf::from("/dev/zero"), "is not a WAV file: it starts with \"............\""),
            (PathBuf::from("/dev/null"), "is not a WAV file: its 0 bytes"),
        ] {
            let message = read(&path).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn channels_are_picked_and_compared() {
        let clip =
            Clip { rate_hz: 8_000, channels: 3, samples: vec![0.1, 0.3, 0.5, 0.2, 0.4, 0.6], notice: None };
        assert_eq!(clip.mean_of(&[1]), [0.3, 0.4]);
        assert_eq!(clip.mean_of(&[0, 2]), [0.3, 0.4]);
        assert!(!clip.has_equal_channels());
        assert!(Clip { samples: vec![0.5; 6], ..clip }.has_equal_channels());
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
            (folder.file("text.wav", b"hello, this is not sound"), "starts with \"hello,.this.\""),
            (folder.file("short.wav", b"RIFF"), "is not a WAV file: its 4 bytes"),
            (
                folder.file("slow.wav", &encode(1, 1, 16, &[0.0; 8])),
                "has 1 Hz and 1 channels; expected 4000 to 768000 Hz",
            ),
            (folder.file("fast.wav", &encode(1, 4_000_000, 16, &[0.0; 8])), "has 4000000 Hz"),
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
