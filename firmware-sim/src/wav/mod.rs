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
pub use self::format::WavFormat;
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

    /// Returns files with the same samples under every header, each with its length or a length that is not known.
    fn long_files(rate_hz: u32, tag: u16, bits: u16, data: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        let block = bits / 8;
        let mut format = tag.to_le_bytes().to_vec();
        format.extend(1_u16.to_le_bytes());
        format.extend(rate_hz.to_le_bytes());
        format.extend((rate_hz * u32::from(block)).to_le_bytes());
        format.extend(block.to_le_bytes());
        format.extend(bits.to_le_bytes());
        let riff = |name: &[u8; 4], ds64: Option<u64>, length: u32| {
            let mut bytes = name.to_vec();
            bytes.extend(u32::MAX.to_le_bytes());
            bytes.extend(b"WAVE");
            if let Some(length) = ds64 {
                bytes.extend(b"ds64\x1c\0\0\0");
                for value in [length + 80, length, length / u64::from(block)] {
                    bytes.extend(value.to_le_bytes());
                }
                bytes.extend([0; 4]);
            }
            bytes.extend(b"fmt \x10\0\0\0");
            bytes.extend(&format);
            bytes.extend(b"data");
            bytes.extend(length.to_le_bytes());
            bytes.extend(data);
            bytes
        };
        let w64 = |length: u64| {
            let mut bytes = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0".to_vec();
            bytes.extend((length + 104).to_le_bytes());
            let guid = |name: &[u8]| [name, b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"].concat();
            bytes.extend(guid(b"wave"));
            // A chunk of an odd length is padded to eight bytes.
            bytes.extend(guid(b"junk"));
            bytes.extend(27_u64.to_le_bytes());
            bytes.extend(b"odd\0\0\0\0\0");
            bytes.extend(guid(b"fmt "));
            bytes.extend(40_u64.to_le_bytes());
            bytes.extend(&format);
            bytes.extend(guid(b"data"));
            bytes.extend((length + 24).to_le_bytes());
            bytes.extend(data);
            bytes
        };
        let length = data.len() as u64;
        vec![
            ("riff", riff(b"RIFF", None, length as u32)),
            ("rf64", riff(b"RF64", Some(length), u32::MAX)),
            ("bw64", riff(b"BW64", Some(length), u32::MAX)),
            ("w64", w64(length)),
            ("riff 0", riff(b"RIFF", None, 0)),
            ("riff ffffffff", riff(b"RIFF", None, u32::MAX)),
            ("rf64 unknown", riff(b"RF64", Some(0), u32::MAX)),
            ("rf64 unknown", riff(b"RF64", Some(u64::MAX), u32::MAX)),
        ]
    }

    /// The reader of whole files and that of pieces must agree, also on what is behind the samples.
    #[test]
    fn every_header_is_read_whole_and_piece_by_piece() {
        let folder = TempFolder::new("headers");
        let values: Vec<i16> = (0..40_000).map(|n| ((n * 37) % 20_000 - 10_000) as i16).collect();
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        for (name, bytes) in long_files(22_050, 1, 16, &data) {
            let clip = read(folder.file("long.wav", &bytes)).unwrap();
            let samples: Vec<i16> = clip.samples.iter().map(|&sample| to_i16(sample).0).collect();
            assert_eq!(
                (clip.rate_hz, samples == values),
                (22_050, true),
                "{name}: {} samples",
                samples.len()
            );
            let mut stream = WavStream::open(&bytes[..]).unwrap();
            let (mut streamed, mut part) = (Vec::new(), Vec::new());
            while stream.next(&mut part).unwrap() == StreamSamples::Some {
                streamed.extend_from_slice(&part);
            }
            assert!(streamed == clip.samples, "{name}");
            let cut = &bytes[..bytes.len() - 1_001];
            let mut stream = WavStream::open(cut).unwrap();
            let end = loop {
                match stream.next(&mut part).unwrap() {
                    StreamSamples::Some => {}
                    end => break end,
                }
            };
            let expected = if clip.notice.is_some() { StreamSamples::End } else { StreamSamples::CutShort };
            assert_eq!(end, expected, "{name}");
        }
        let mut trailing = long_files(8_000, 1, 16, &data).remove(0).1;
        trailing.extend(b"LIST\x04\0\0\0more");
        let mut stream = WavStream::open(&trailing[..]).unwrap();
        let (mut count, mut part) = (0, Vec::new());
        while stream.next(&mut part).unwrap() == StreamSamples::Some {
            count += part.len();
        }
        assert_eq!(count, values.len(), "the list behind the samples is no sound");
    }

    #[test]
    fn laws_and_bottom_bits_are_streamed_as_they_are_read() {
        let folder = TempFolder::new("laws");
        let codes: Vec<u8> = (0..=255).collect();
        let bottom: Vec<u8> = (-500..500_i32).flat_map(|n| (n * 9_999).to_le_bytes()).collect();
        for bytes in [
            long_files(8_000, 6, 8, &codes).remove(0).1,
            long_files(8_000, 7, 8, &codes).remove(3).1,
            extensible(1, 24, 32, &[[0; 8_000].as_slice(), &bottom].concat()),
            extensible(
                3,
                64,
                64,
                &[0.5_f64, -0.25].iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>(),
            ),
        ] {
            let clip = read(folder.file("coded.wav", &bytes)).unwrap();
            let mut stream = WavStream::open(&bytes[..]).unwrap();
            let mut part = Vec::new();
            assert_eq!(stream.next(&mut part).unwrap(), StreamSamples::Some);
            assert_eq!(part, clip.samples);
        }
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
