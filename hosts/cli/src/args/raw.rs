//! Switches that state the format of files without a header.

use clap::Args;

use crate::decode::{RawCodingName, RawFormat};

/// Switches that state the format of files without a header.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Files without a header")]
pub struct RawArgs {
    /// Reads files without a header as raw samples of this rate, in hertz, 4000 to 192000. A file that begins with the name
    /// of its kind (WAV, AIFF, CAF, FLAC, Ogg, MP4, MP3 with a tag) is still read as that
    #[arg(long, value_name = "HZ", value_parser = clap::value_parser!(u32).range(4_000..=192_000))]
    pub raw_rate: Option<u32>,
    /// Number of interleaved channels of raw samples, 1 to 8
    #[arg(long, value_name = "N", default_value_t = 1, requires = "raw_rate", value_parser = clap::value_parser!(u16).range(1..=8))]
    pub raw_channels: u16,
    /// Coding of raw samples
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t, requires = "raw_rate")]
    pub raw_format: RawCodingName,
}

impl RawArgs {
    /// Returns the format of files without a header, if it is stated.
    #[must_use]
    pub fn format(self) -> Option<RawFormat> {
        let rate_hz = self.raw_rate?;
        Some(RawFormat { rate_hz, channels: self.raw_channels, coding: self.raw_format.into() })
    }
}
