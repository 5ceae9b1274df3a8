//! Application side: decodes audio files to 16-bit samples.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatReader, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream, ReadOnlySource};

use handsfree::failure::Failure;

/// Decoder of one audio file.
pub struct Decoder {
    path: PathBuf,
    reader: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    rate_hz: u32,
    channels: u32,
    /// First samples, which were decoded to find the rate and channels; `None` once they are returned.
    first: Option<Vec<i16>>,
    /// Number of packets decoded so far.
    packets: u64,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Reader that threads may share, as the decoding library asks for.
struct SharedRead(Mutex<Box<dyn Read + Send>>);

impl Read for SharedRead {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).read(bytes)
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

impl Decoder {
    /// Opens an audio file. Supported are WAV, AIFF, CAF, FLAC, Ogg Vorbis, MP3, and AAC or ALAC in MP4. The format is detected
    /// from the content; the file name's extension is only a hint.
    ///
    /// # Errors
    /// Returns an error that names the file and what was found instead of audio.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let invalid = |found: String| Failure::run(format!("{}: {found}", path.display()));
        let file = File::open(path).map_err(|error| invalid(format!("cannot be opened: {error}")))?;
        let metadata = file.metadata().map_err(|error| invalid(format!("cannot be read: {error}")))?;
        if metadata.is_dir() {
            return Err(invalid("is a directory: expected an audio file".into()));
        }
        if metadata.is_file() && metadata.len() == 0 {
            return Err(invalid("is empty (0 bytes): expected an audio file".into()));
        }
        let mut hint = Hint::new();
        if let Some(extension) = path.extension().and_then(|extension| extension.to_str()) {
            hint.with_extension(extension);
        }
        Self::of_source(path, Box::new(file), &hint)
    }

    /// Opens audio that can only be read from its begin to its end, such as a pipe. `name` appears in messages.
    ///
    /// # Errors
    /// Returns an error that names the stream and what was found instead of audio.
    pub fn from_stream(name: &str, source: Box<dyn Read + Send>) -> Result<Self, Failure> {
        let source = ReadOnlySource::new(SharedRead(Mutex::new(source)));
        Self::of_source(Path::new(name), Box::new(source), &Hint::new())
    }

    fn of_source(path: &Path, source: Box<dyn MediaSource>, hint: &Hint) -> Result<Self, Failure> {
        let invalid = |found: String| Failure::run(format!("{}: {found}", path.display()));
        let stream = MediaSourceStream::new(source, Default::default());
        let reader = symphonia::default::get_probe()
            .probe(hint, stream, Default::default(), Default::default())
            .map_err(|error| {
                invalid(format!("{error}: expected WAV, AIFF, CAF, FLAC, Ogg Vorbis, MP3 or MP4"))
            })?;
        let track = reader
            .default_track(TrackType::Audio)
            .ok_or_else(|| invalid("contains no audio track: expected at least one".into()))?;
        let parameters = track
            .codec_params
            .as_ref()
            .and_then(|parameters| parameters.audio())
            .ok_or_else(|| invalid("does not state how its audio is coded: expected a codec".into()))?;
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(parameters, &AudioDecoderOptions::default())
            .map_err(|error| invalid(error.to_string()))?;
        let track = track.id;
        let mut opened = Self {
            path: path.to_owned(),
            reader,
            decoder,
            track,
            rate_hz: 0,
            channels: 0,
            first: None,
            packets: 0,
        };
        // Some headers lack the rate and channels; decoded samples always have them.
        let mut samples = Vec::new();
        match opened.next(&mut samples) {
            Decoded::Samples => {}
            Decoded::End => return Err(invalid("contains no samples: expected at least one".into())),
            Decoded::Broken(reason) => return Err(invalid(reason)),
        }
        opened.first = Some(samples);
        Ok(opened)
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

    /// Replaces the content of `out` with the next interleaved samples. `out` stays unchanged at the end or after an error.
    pub fn next(&mut self, out: &mut Vec<i16>) -> Decoded {
        if let Some(first) = self.first.take() {
            *out = first;
            return Decoded::Samples;
        }
        loop {
            let packet = match self.reader.next_packet() {
                Ok(Some(packet)) => packet,
                // Only the first of several chained streams in a file is played.
                Ok(None) | Err(Error::ResetRequired) => return Decoded::End,
                Err(error) => return self.read_error(&error),
            };
            if packet.track_id != self.track {
                continue;
            }
            match self.decoder.decode(&packet) {
                Ok(decoded) if decoded.frames() == 0 => {}
                Ok(decoded) => {
                    let spec = decoded.spec();
                    let (rate_hz, channels) = (spec.rate(), spec.channels().count() as u32);
                    if self.packets == 0 {
                        (self.rate_hz, self.channels) = (rate_hz, channels);
                    } else if (rate_hz, channels) != (self.rate_hz, self.channels) {
                        return Decoded::Broken(format!(
                            "changes to {rate_hz} Hz and {channels} channels in the middle: expected \
                             {} Hz and {} channels throughout",
                            self.rate_hz, self.channels
                        ));
                    }
                    self.packets += 1;
                    decoded.copy_to_vec_interleaved(out);
                    return Decoded::Samples;
                }
                // An invalid packet is skipped, because the next packet may be valid.
                Err(Error::DecodeError(_)) => {}
                Err(error) => return self.read_error(&error),
            }
        }
    }

    fn read_error(&self, error: &Error) -> Decoded {
        match error {
            Error::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                if self.packets == 0 {
                    Decoded::Broken("ends before its first sample: expected at least one".into())
                } else {
                    Decoded::Broken("is incomplete: the part before its end was played".into())
                }
            }
            other => Decoded::Broken(other.to_string()),
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
            let mut decoder = Decoder::open(&path).unwrap();
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
}
