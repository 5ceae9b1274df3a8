//! Application side: the format of samples that have no header, which only switches can state.

use clap::ValueEnum;
use handsfree::failure::Failure;
use handsfree_sim::wav::RawCoding;

use crate::pcm::format::PcmFormat;

/// Coding of raw samples, by the name that ALSA's programs use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "verbatim")]
#[allow(non_camel_case_types, reason = "the names that ALSA's programs use")]
pub enum RawCodingName {
    /// 16 bits
    #[default]
    S16_LE,
    /// 24 bits at the bottom of 32
    S24_LE,
    /// 24 bits in three bytes
    S24_3LE,
    /// 32 bits
    S32_LE,
    /// 8 bits, 128 is zero
    U8,
    /// Float of 32 bits
    FLOAT_LE,
    /// Float of 64 bits
    FLOAT64_LE,
    /// mu-law
    MU_LAW,
    /// A-law
    A_LAW,
}

impl From<RawCodingName> for RawCoding {
    fn from(name: RawCodingName) -> Self {
        match name {
            RawCodingName::S16_LE => Self::Signed16,
            RawCodingName::S24_LE => Self::Signed24,
            RawCodingName::S24_3LE => Self::Signed24Packed,
            RawCodingName::S32_LE => Self::Signed32,
            RawCodingName::U8 => Self::Unsigned8,
            RawCodingName::FLOAT_LE => Self::Float32,
            RawCodingName::FLOAT64_LE => Self::Float64,
            RawCodingName::MU_LAW => Self::MuLaw,
            RawCodingName::A_LAW => Self::ALaw,
        }
    }
}

/// Format of samples without a header: little-endian, with interleaved channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawFormat {
    /// Sample rate, in hertz.
    pub rate_hz: u32,
    /// Number of channels.
    pub channels: u16,
    /// Coding of the samples.
    pub coding: RawCoding,
}

impl RawFormat {
    /// Returns the format if a track may have its rate and channels.
    ///
    /// # Errors
    /// Returns an error that names the value and the allowed range.
    pub fn new(rate_hz: u32, channels: u32, coding: RawCoding) -> Result<Self, Failure> {
        let format = PcmFormat::of_track(rate_hz, channels)?;
        Ok(Self { rate_hz: format.rate_hz, channels: format.channels as u16, coding })
    }
}
