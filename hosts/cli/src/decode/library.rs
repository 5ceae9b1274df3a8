//! Application side: the decoding library, for all files that are no plain WAV files.

use std::fs::File;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatReader, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream, ReadOnlySource};

use super::Decoded;

/// Decoder of one file by the library.
pub(super) struct LibraryDecoder {
    reader: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    rate_hz: u32,
    channels: u32,
    /// Number of packets decoded so far.
    packets: u64,
}

/// Reader that threads may share, as the library asks for.
struct SharedRead(Mutex<Box<dyn Read + Send>>);

impl Read for SharedRead {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).read(bytes)
    }
}

impl LibraryDecoder {
    /// Opens a file. `extension` is a hint.
    pub(super) fn of_file(file: File, extension: Option<&str>) -> Result<Self, String> {
        let mut hint = Hint::new();
        if let Some(extension) = extension {
            hint.with_extension(extension);
        }
        Self::of_source(Box::new(file), &hint)
    }

    /// Opens a stream, which is read from its begin to its end.
    pub(super) fn of_stream(source: Box<dyn Read + Send>) -> Result<Self, String> {
        let source = ReadOnlySource::new(SharedRead(Mutex::new(source)));
        Self::of_source(Box::new(source), &Hint::new())
    }

    fn of_source(source: Box<dyn MediaSource>, hint: &Hint) -> Result<Self, String> {
        let stream = MediaSourceStream::new(source, Default::default());
        let reader = symphonia::default::get_probe()
            .probe(hint, stream, Default::default(), Default::default())
            .map_err(|error| format!("{error}: expected WAV, AIFF, CAF, FLAC, Ogg Vorbis, MP3 or MP4"))?;
        let track =
            reader.default_track(TrackType::Audio).ok_or("contains no audio track: expected at least one")?;
        let parameters = track
            .codec_params
            .as_ref()
            .and_then(|parameters| parameters.audio())
            .ok_or("does not state how its audio is coded: expected a codec")?;
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(parameters, &AudioDecoderOptions::default())
            .map_err(|error| error.to_string())?;
        let track = track.id;
        Ok(Self { reader, decoder, track, rate_hz: 0, channels: 0, packets: 0 })
    }

    /// Returns the rate of the decoded samples, in hertz; 0 before the first ones.
    pub(super) fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    /// Returns the number of channels of the decoded samples; 0 before the first ones.
    pub(super) fn channels(&self) -> u32 {
        self.channels
    }

    /// Replaces the content of `out` with the next interleaved samples. `out` stays unchanged at the end or after an error.
    pub(super) fn next(&mut self, out: &mut Vec<f32>) -> Decoded {
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
            Error::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                if self.packets == 0 {
                    Decoded::Broken("ends before its first sample: expected at least one".into())
                } else {
                    Decoded::incomplete()
                }
            }
            other => Decoded::Broken(other.to_string()),
        }
    }
}
