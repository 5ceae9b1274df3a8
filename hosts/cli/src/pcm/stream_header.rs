//! Any side: the header of a WAV file whose length is not known when it is written.

use super::format::PcmFormat;

/// Length that stands for an unknown one, as other programs write and accept it.
const UNKNOWN: u32 = u32::MAX;
/// Number of bytes of the format chunk's content.
const FORMAT_BYTES: u32 = 16;
/// Number of the format "PCM".
const PCM: u16 = 1;

/// Returns the header for 16-bit samples of unknown number.
#[must_use]
pub fn stream_header(format: PcmFormat) -> Vec<u8> {
    let frame_bytes = format.frame_bytes() as u32;
    let mut bytes = b"RIFF".to_vec();
    bytes.extend(UNKNOWN.to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(FORMAT_BYTES.to_le_bytes());
    bytes.extend(PCM.to_le_bytes());
    bytes.extend((format.channels as u16).to_le_bytes());
    bytes.extend(format.rate_hz.to_le_bytes());
    bytes.extend((format.rate_hz * frame_bytes).to_le_bytes());
    bytes.extend((frame_bytes as u16).to_le_bytes());
    bytes.extend(16u16.to_le_bytes());
    bytes.extend(b"data");
    bytes.extend(UNKNOWN.to_le_bytes());
    bytes
}
