//! WAV files and samples without a header that are read piece by piece, also from a pipe.

use std::io::{self, Read};

use super::format::{EXPECTED, Placement, RawCoding, WavFormat};
use super::header::WavHeader;

/// Number of bytes that are read at once, before they are cut to whole sample frames.
const PIECE_BYTES: usize = 65_536;

/// WAV file, or samples without a header, read from the begin to the end.
pub struct WavStream<R> {
    pub(super) source: R,
    format: WavFormat,
    /// Number of bytes of samples that are left; `None` if the header does not state the length.
    left: Option<u64>,
    /// Where the valid bits are; decided by the first samples that are not 0.
    pub(super) placement: Option<Placement>,
    /// Begin of a sample frame whose other bytes have not been read.
    rest: Vec<u8>,
    /// Number of samples that were no finite numbers.
    pub(super) replaced: u64,
}

impl<R> std::fmt::Debug for WavStream<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WavStream")
            .field("format", &self.format)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

/// Result of reading the next samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamSamples {
    /// There are new samples.
    Some,
    /// The file ended.
    End,
    /// The file ended before the length that its header states.
    CutShort,
}

impl<R: Read> WavStream<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// Returns what was found instead of a WAV file that can be read, as the rest of a sentence about the file.
    pub fn open(mut source: R) -> Result<Self, String> {
        let WavHeader { format, length } = WavHeader::read(&mut source).map_err(|error| error.to_string())?;
        if format.rate_hz == 0 || format.channels == 0 {
            let (rate, channels) = (format.rate_hz, format.channels);
            return Err(format!("has {rate} Hz and {channels} channels; expected at least 1 of each"));
        }
        if !format.is_known() {
            return Err(format!("is coded as {format}; expected {EXPECTED}"));
        }
        Ok(Self::behind_header(source, WavHeader { format, length }))
    }

    /// Reads samples of a known coding behind a header that was read.
    pub(super) fn behind_header(source: R, header: WavHeader) -> Self {
        let WavHeader { format, length } = header;
        Self { source, format, left: length, placement: None, rest: Vec::new(), replaced: 0 }
    }

    /// Reads samples that have no header, up to the end of the source. The number of channels and the rate, in hertz, must
    /// not be 0.
    ///
    /// # Panics
    /// Panics if one of them is 0.
    #[must_use]
    pub fn of_raw(source: R, coding: RawCoding, channels: u16, rate_hz: u32) -> Self {
        assert!(
            channels > 0 && rate_hz > 0,
            "{channels} channels and {rate_hz} Hz: expected at least 1 of each"
        );
        let (format, placement) = WavFormat::of_raw(coding, channels, rate_hz);
        Self { source, format, left: None, placement: Some(placement), rest: Vec::new(), replaced: 0 }
    }

    /// Returns the number of bytes that were read of an incomplete sample frame. At the end they are missing in the samples.
    #[must_use]
    pub fn incomplete_bytes(&self) -> usize {
        self.rest.len()
    }

    /// Returns the file's format.
    #[must_use]
    pub fn format(&self) -> WavFormat {
        self.format
    }

    /// Replaces the content of `out` by the next interleaved samples, full scale at ±1.0. Samples that are no finite
    /// numbers become 0.
    ///
    /// # Errors
    /// Returns the error of the source.
    pub fn next(&mut self, out: &mut Vec<f32>) -> io::Result<StreamSamples> {
        let block = self.format.block();
        out.clear();
        while out.is_empty() {
            let wanted = self
                .left
                .map_or(PIECE_BYTES, |left| PIECE_BYTES.min(usize::try_from(left).unwrap_or(PIECE_BYTES)));
            if wanted == 0 {
                return Ok(StreamSamples::End);
            }
            let before = self.rest.len();
            self.rest.resize(before + wanted, 0);
            let count = match self.source.read(&mut self.rest[before..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    self.rest.truncate(before);
                    continue;
                }
                outcome => outcome?,
            };
            self.rest.truncate(before + count);
            if count == 0 {
                return Ok(if self.left.is_some() { StreamSamples::CutShort } else { StreamSamples::End });
            }
            self.left = self.left.map(|left| left - count as u64);
            let whole = self.rest.len() - self.rest.len() % block;
            *out = self.format.decode(&self.rest[..whole], &mut self.placement).unwrap_or_default();
            for sample in out.iter_mut().filter(|sample| !sample.is_finite()) {
                *sample = 0.0;
                self.replaced += 1;
            }
            self.rest.drain(..whole);
        }
        Ok(StreamSamples::Some)
    }
}
