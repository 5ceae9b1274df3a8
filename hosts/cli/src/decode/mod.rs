//! Application side: reads audio files of all kinds, for every command.
//!
//! WAV files and their variants for long files are read by the simulator's reader, which knows more codings and repairs
//! wrong lengths. The decoding library reads all others, and the compressed codings in WAV files. Samples without a header are
//! read only where a switch states their format.

mod clip;
#[cfg(feature = "formats")]
mod library;
#[cfg(not(feature = "formats"))]
#[path = "without_library.rs"]
mod library;
mod mpeg_frames;
mod raw;

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use handsfree::failure::Failure;
use handsfree::pcm::to_i16;
use handsfree_sim::wav::{StreamSamples, WavStream};

pub use self::clip::{Recording, read_clip};
use self::library::LibraryDecoder;
pub use self::raw::{RawCodingName, RawFormat};

/// Number of bytes that identify the kind of a file.
const MAGIC_BYTES: u64 = 12;

/// Decoder of one audio file.
pub struct Decoder {
    path: PathBuf,
    kind: DecoderKind,
    rate_hz: u32,
    channels: u32,
    /// First samples, which were decoded to find the rate and channels; `None` once they are returned.
    first: Option<Vec<f32>>,
    has_samples: bool,
    /// Whether the samples have no header.
    is_raw: bool,
}

enum DecoderKind {
    Wav(WavStream<Box<dyn Read + Send>>),
    Library(Box<LibraryDecoder>),
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Result of decoding the next samples of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Samples were decoded.
    Samples,
    /// The file ended.
    End,
    /// The file cannot be decoded further, with the reason. All samples before this point were returned.
    Broken(String),
}

impl Decoded {
    fn incomplete() -> Self {
        Self::Broken("is incomplete: the part before its end was played".into())
    }
}

/// Returns whether a file begins as one of the kinds that the decoding library knows. Anything else is refused: the
/// library also searches in the middle of a file, and takes noise for a compressed file.
fn is_known_kind(begin: &[u8]) -> bool {
    is_named_kind(begin) || mpeg_frames::begins_with_frames(begin)
}

/// Returns whether a file begins with the name of a kind that the decoding library knows. One of sixteen million files of raw
/// samples does so by chance.
fn is_named_kind(magic: &[u8]) -> bool {
    let starts = |start: &[u8]| magic.starts_with(start);
    starts(b"fLaC")
        || starts(b"OggS")
        || starts(b"FORM")
        || starts(b"caff")
        || starts(b"ID3")
        || magic.get(4..8) == Some(b"ftyp")
}

fn is_wav(magic: &[u8]) -> bool {
    let is_riff = [b"RIFF", b"RF64", b"BW64"].iter().any(|start| magic.starts_with(*start));
    is_riff || magic.starts_with(b"riff\x2e\x91\xcf\x11")
}

/// Reads what identifies a file's kind: some bytes, or if they have no name several frames.
fn read_begin(source: &mut impl Read, begin: &mut Vec<u8>) -> io::Result<()> {
    source.by_ref().take(MAGIC_BYTES).read_to_end(begin)?;
    if mpeg_frames::has_sync(begin) {
        source.by_ref().take(mpeg_frames::MOST_BYTES).read_to_end(begin)?;
    }
    Ok(())
}

impl Decoder {
    /// Opens an audio file. Supported are WAV (RIFF, RF64, BW64, W64), AIFF, CAF, FLAC, Ogg Vorbis, MP3, and AAC or ALAC in
    /// MP4. The format is detected from the content; the file name's extension is only a hint. A FIFO or a device is read
    /// from its begin to its end. A file that does not begin with the name of its kind is raw samples if `raw` states their
    /// format.
    ///
    /// # Errors
    /// Returns an error that names the file and what was found instead of audio.
    pub fn open(path: &Path, raw: Option<RawFormat>) -> Result<Self, Failure> {
        let invalid = |found: String| Failure::run(format!("{}: {found}", path.display()));
        let unreadable = |error: io::Error| invalid(format!("cannot be read: {error}"));
        let mut file = File::open(path).map_err(|error| invalid(format!("cannot be opened: {error}")))?;
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(invalid("is a directory: expected an audio file".into()));
        }
        if !metadata.is_file() {
            return Self::from_stream(&path.display().to_string(), Box::new(file), raw);
        }
        if metadata.len() == 0 {
            return Err(invalid("is empty (0 bytes): expected an audio file".into()));
        }
        let mut magic = Vec::new();
        read_begin(&mut file, &mut magic).map_err(unreadable)?;
        file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
        if let Some(raw) = raw.filter(|_| !is_wav(&magic) && !is_named_kind(&magic)) {
            return Ok(Self::raw(&path.display().to_string(), Box::new(file), raw));
        }
        if !is_wav(&magic) {
            return Self::of_library(path, &magic, |extension| LibraryDecoder::of_file(file, extension));
        }
        let own = file.try_clone().map_err(unreadable)?;
        match WavStream::open(Box::new(own) as Box<dyn Read + Send>) {
            Ok(stream) => Self::of_wav(path, stream),
            Err(found) if found.contains("is coded as") => {
                // Compressed codings in a WAV file are the library's.
                file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
                Self::of_kind(path, LibraryDecoder::of_file(file, Some("wav")).map_err(|_| invalid(found))?)
            }
            Err(found) => Err(invalid(found)),
        }
    }

    /// Opens samples without a header. Reads nothing yet. `name` appears in messages.
    #[must_use]
    pub fn raw(name: &str, source: Box<dyn Read + Send>, format: RawFormat) -> Self {
        let RawFormat { rate_hz, channels, coding } = format;
        Self {
            path: name.into(),
            kind: DecoderKind::Wav(WavStream::of_raw(source, coding, channels, rate_hz)),
            rate_hz,
            channels: u32::from(channels),
            first: None,
            has_samples: false,
            is_raw: true,
        }
    }

    /// Opens audio that can only be read from its begin to its end, such as a pipe. `name` appears in messages. `raw` is as for
    /// [`open`](Self::open).
    ///
    /// # Errors
    /// Returns an error that names the stream and what was found instead of audio.
    pub fn from_stream(
        name: &str,
        mut source: Box<dyn Read + Send>,
        raw: Option<RawFormat>,
    ) -> Result<Self, Failure> {
        let path = Path::new(name);
        let invalid = |found: String| Failure::run(format!("{name}: {found}"));
        let mut magic = Vec::new();
        read_begin(&mut source, &mut magic).map_err(|error| invalid(format!("cannot be read: {error}")))?;
        if magic.is_empty() {
            return Err(invalid("is empty (0 bytes): expected audio".into()));
        }
        let whole: Box<dyn Read + Send> = Box::new(Cursor::new(magic.clone()).chain(source));
        if let Some(raw) = raw.filter(|_| !is_wav(&magic) && !is_named_kind(&magic)) {
            return Ok(Self::raw(name, whole, raw));
        }
        if is_wav(&magic) {
            return Self::of_wav(path, WavStream::open(whole).map_err(invalid)?);
        }
        Self::of_library(path, &magic, |_| LibraryDecoder::of_stream(whole))
    }

    fn of_library(
        path: &Path,
        magic: &[u8],
        open: impl FnOnce(Option<&str>) -> Result<LibraryDecoder, String>,
    ) -> Result<Self, Failure> {
        let invalid = |found: String| Failure::run(format!("{}: {found}", path.display()));
        if !is_known_kind(magic) {
            let start: String = magic
                .iter()
                .take(MAGIC_BYTES as usize)
                .map(|&byte| if byte.is_ascii_graphic() { char::from(byte) } else { '.' })
                .collect();
            return Err(invalid(format!(
                "is no audio file: it starts with \"{start}\"; expected WAV, AIFF, CAF, FLAC, Ogg Vorbis, MP3 or MP4"
            )));
        }
        let extension = path.extension().and_then(|extension| extension.to_str());
        Self::of_kind(path, open(extension).map_err(invalid)?)
    }

    fn of_kind(path: &Path, mut decoder: LibraryDecoder) -> Result<Self, Failure> {
        let invalid = |found: String| Failure::run(format!("{}: {found}", path.display()));
        // Some headers lack the rate and channels; decoded samples always have them.
        let mut samples = Vec::new();
        match decoder.next(&mut samples) {
            Decoded::Samples => {}
            Decoded::End => return Err(invalid("contains no samples: expected at least one".into())),
            Decoded::Broken(reason) => return Err(invalid(reason)),
        }
        Ok(Self {
            path: path.to_owned(),
            rate_hz: decoder.rate_hz(),
            channels: decoder.channels(),
            kind: DecoderKind::Library(Box::new(decoder)),
            first: Some(samples),
            has_samples: true,
            is_raw: false,
        })
    }

    fn of_wav(path: &Path, stream: WavStream<Box<dyn Read + Send>>) -> Result<Self, Failure> {
        let format = stream.format();
        let mut decoder = Self {
            path: path.to_owned(),
            rate_hz: format.rate_hz,
            channels: u32::from(format.channels),
            kind: DecoderKind::Wav(stream),
            first: None,
            has_samples: false,
            is_raw: false,
        };
        let invalid = |found: &str| Failure::run(format!("{}: {found}", path.display()));
        let mut samples = Vec::new();
        match decoder.next_f32(&mut samples) {
            Decoded::Samples => {}
            Decoded::End => return Err(invalid("contains no samples: expected at least one")),
            Decoded::Broken(reason) => return Err(invalid(&reason)),
        }
        decoder.first = Some(samples);
        Ok(decoder)
    }

    /// Returns the file's sample rate, in hertz.
    #[must_use]
    pub fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    /// Returns the file's number of channels.
    #[must_use]
    pub fn channels(&self) -> u32 {
        self.channels
    }

    /// Returns whether the samples have no header, so that only a switch stated their format.
    #[must_use]
    pub fn is_raw(&self) -> bool {
        self.is_raw
    }

    /// Replaces the content of `out` with the next interleaved samples. `out` stays unchanged at the end or after an error.
    pub fn next(&mut self, out: &mut Vec<i16>) -> Decoded {
        let mut samples = Vec::new();
        let decoded = self.next_f32(&mut samples);
        if decoded == Decoded::Samples {
            *out = to_i16(&samples);
        }
        decoded
    }

    /// Does the same as [`next`](Self::next) with samples of full scale 1.0.
    pub fn next_f32(&mut self, out: &mut Vec<f32>) -> Decoded {
        if let Some(first) = self.first.take() {
            *out = first;
            return Decoded::Samples;
        }
        let stream = match &mut self.kind {
            DecoderKind::Library(decoder) => return decoder.next(out),
            DecoderKind::Wav(stream) => stream,
        };
        let mut samples = Vec::new();
        match stream.next(&mut samples) {
            Ok(StreamSamples::Some) => {
                self.has_samples = true;
                *out = samples;
                Decoded::Samples
            }
            Ok(StreamSamples::End) if self.is_raw && stream.incomplete_bytes() > 0 => Decoded::Broken(
                format!("ends with {} bytes of an incomplete sample frame", stream.incomplete_bytes()),
            ),
            Ok(StreamSamples::End) => Decoded::End,
            Ok(StreamSamples::CutShort) if self.has_samples => Decoded::incomplete(),
            Ok(StreamSamples::CutShort) => {
                Decoded::Broken("ends before its first sample: expected at least one".into())
            }
            Err(error) => Decoded::Broken(format!("cannot be read: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a file with an extended format chunk, `valid_bits` of 32 at the top of each sample.
    fn extensible(valid_bits: u16, samples: &[i32]) -> Vec<u8> {
        let mut bytes = b"RIFF".to_vec();
        bytes.extend((60 + 4 * samples.len() as u32).to_le_bytes());
        bytes.extend(b"WAVEfmt \x28\0\0\0\xfe\xff\x01\0");
        bytes.extend(48_000_u32.to_le_bytes());
        bytes.extend(192_000_u32.to_le_bytes());
        for value in [4, 32, 22, valid_bits, 4, 0, 1] {
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend([0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71]);
        bytes.extend(b"data");
        bytes.extend((4 * samples.len() as u32).to_le_bytes());
        bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
        bytes
    }

    #[test]
    fn unused_bits_do_not_change_the_level() {
        let expected: Vec<i16> = (0..2_000).map(|n| ((n * 37) % 20_000 - 10_000) as i16).collect();
        let samples: Vec<i32> = expected.iter().map(|&sample| i32::from(sample) << 16).collect();
        for valid_bits in [16, 20, 24, 32] {
            let path = std::env::temp_dir()
                .join(format!("handsfree-decode-{}-{valid_bits}.wav", std::process::id()));
            std::fs::write(&path, extensible(valid_bits, &samples)).unwrap();
            let mut decoder = Decoder::open(&path, None).unwrap();
            let (mut all, mut part) = (Vec::new(), Vec::new());
            while decoder.next(&mut part) == Decoded::Samples {
                all.extend_from_slice(&part);
            }
            std::fs::remove_file(&path).unwrap();
            assert_eq!(all.len(), expected.len(), "{valid_bits} bits");
            let differ = all.iter().zip(&expected).position(|(a, b)| a.abs_diff(*b) > 1);
            assert_eq!(differ, None, "{valid_bits} bits: {:?} instead of {:?}", &all[..4], &expected[..4]);
        }
    }

    #[test]
    fn noise_is_never_played_for_a_wrong_guess() {
        let folder = std::env::temp_dir();
        let mut state = 7u64;
        for round in 0..200 {
            let bytes: Vec<u8> = (0..20_000)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    // Small samples have high bytes of 0 and ff, which look like the begin of MPEG frames.
                    if round % 2 == 0 {
                        (state >> 56) as u8
                    } else {
                        [0, 0xff, 0xfb, 0x10][(state >> 62) as usize]
                    }
                })
                .collect();
            let path = folder.join(format!("handsfree-noise-{}-{round}", std::process::id()));
            std::fs::write(&path, &bytes).unwrap();
            let streamed = Decoder::from_stream("noise", Box::new(Cursor::new(bytes.clone())), None);
            for decoder in [Decoder::open(&path, None), streamed] {
                assert!(decoder.is_err(), "round {round}: it starts with {:?}", &bytes[..4]);
            }
            std::fs::remove_file(&path).unwrap();
        }
        for start in [&b"hello, this is no sound"[..], &[0; 400], &[1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7]] {
            let failure = Decoder::from_stream("-", Box::new(Cursor::new(start.to_vec())), None).unwrap_err();
            assert!(failure.to_string().starts_with("-: is no audio file: it starts with"), "{failure}");
        }
    }

    #[test]
    fn raw_samples_need_their_format_and_a_header_is_obeyed() {
        let format = RawFormat::new(22_050, 2, handsfree_sim::wav::RawCoding::Signed16).unwrap();
        let samples: Vec<i16> = (0..2_000).map(|n| (n * 7 - 7_000) as i16).collect();
        let raw: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let wav = extensible(32, &[1 << 16, -2 << 16]);
        let path = std::env::temp_dir().join(format!("handsfree-raw-{}", std::process::id()));
        for (bytes, expected, rate_hz) in [(&raw, &samples[..], 22_050), (&wav, &[1, -2], 48_000)] {
            std::fs::write(&path, bytes).unwrap();
            let streamed =
                Decoder::from_stream("-", Box::new(Cursor::new(bytes.clone())), Some(format)).unwrap();
            for mut decoder in [Decoder::open(&path, Some(format)).unwrap(), streamed] {
                assert_eq!((decoder.rate_hz(), decoder.is_raw()), (rate_hz, rate_hz == 22_050));
                let (mut all, mut part) = (Vec::new(), Vec::new());
                while decoder.next(&mut part) == Decoded::Samples {
                    all.extend_from_slice(&part);
                }
                assert_eq!(all, expected);
            }
        }
        std::fs::write(&path, &raw[..3_999]).unwrap();
        let mut decoder = Decoder::open(&path, Some(format)).unwrap();
        let mut part = Vec::new();
        assert_eq!(decoder.next(&mut part), Decoded::Samples);
        let broken = Decoded::Broken("ends with 3 bytes of an incomplete sample frame".into());
        assert_eq!(decoder.next(&mut part), broken);
        std::fs::write(&path, &raw).unwrap();
        assert!(Decoder::open(&path, None).is_err());
        std::fs::remove_file(&path).unwrap();
        for (rate_hz, channels) in [(3_999, 1), (192_001, 1), (16_000, 0), (16_000, 9)] {
            let failure = RawFormat::new(rate_hz, channels, handsfree_sim::wav::RawCoding::ALaw).unwrap_err();
            assert_eq!(failure.code(), 2);
        }
    }
}
