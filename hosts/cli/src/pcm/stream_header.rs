//! Any side: the header of a WAV file whose length is not known when it is written.

use super::format::PcmFormat;

/// Length that stands for an unknown one, as other programs write and accept it.
const UNKNOWN: u32 = u32::MAX;
/// Number of bytes of the format chunk's content.
const FORMAT_BYTES: u32 = 16;
/// Number of bytes of the header that the length of the whole file counts.
const RIFF_REST: u32 = 36;
/// Number of the format "PCM".
const PCM: u16 = 1;

/// Returns the header for 16-bit samples of unknown number.
#[must_use]
pub fn stream_header(format: PcmFormat) -> Vec<u8> {
    header(format, UNKNOWN, UNKNOWN)
}

/// Returns the header for this number of sample frames; more than a header can state is "unknown".
#[must_use]
pub fn file_header(format: PcmFormat, sample_frames: u64) -> Vec<u8> {
    let bytes = sample_frames.saturating_mul(format.frame_bytes() as u64);
    match u32::try_from(bytes).ok().and_then(|bytes| Some((bytes.checked_add(RIFF_REST)?, bytes))) {
        Some((riff, data)) => header(format, riff, data),
        None => stream_header(format),
    }
}

fn header(format: PcmFormat, riff_bytes: u32, data_bytes: u32) -> Vec<u8> {
    let frame_bytes = format.frame_bytes() as u32;
    let mut bytes = b"RIFF".to_vec();
    bytes.extend(riff_bytes.to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(FORMAT_BYTES.to_le_bytes());
    bytes.extend(PCM.to_le_bytes());
    bytes.extend((format.channels as u16).to_le_bytes());
    bytes.extend(format.rate_hz.to_le_bytes());
    bytes.extend((format.rate_hz * frame_bytes).to_le_bytes());
    bytes.extend((frame_bytes as u16).to_le_bytes());
    bytes.extend(16u16.to_le_bytes());
    bytes.extend(b"data");
    bytes.extend(data_bytes.to_le_bytes());
    bytes
}
