//! The codings of samples in WAV files.

use std::fmt;

/// Format tag of integer samples.
const TAG_PCM: u16 = 1;
/// Format tag of float samples.
const TAG_FLOAT: u16 = 3;
/// Format tag that refers to the identifier in the extended format, whose first two bytes are the real tag.
const TAG_EXTENSIBLE: u16 = 0xfffe;

/// Format tags of the logarithmic codings of telephony (ITU-T G.711).
const TAG_A_LAW: u16 = 6;
const TAG_MU_LAW: u16 = 7;
/// Codings that are read, for messages.
pub(super) const EXPECTED: &str = "PCM of 1 to 32 bits, float of 32 or 64 bits, mu-law or A-law";

/// Coding of samples that have no header. All are little-endian, with interleaved channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawCoding {
    /// 8 bits, 128 is zero.
    Unsigned8,
    /// 16 bits.
    Signed16,
    /// 24 bits at the bottom of 32.
    Signed24,
    /// 24 bits in three bytes.
    Signed24Packed,
    /// 32 bits.
    Signed32,
    /// Float of 32 bits, full scale at ±1.0.
    Float32,
    /// Float of 64 bits, full scale at ±1.0.
    Float64,
    /// mu-law of ITU-T G.711.
    MuLaw,
    /// A-law of ITU-T G.711.
    ALaw,
}

/// Where the valid bits of a sample are in its container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    /// At the top, as the format demands.
    Top,
    /// At the bottom.
    Bottom,
}

/// Content of a format chunk.
#[derive(Clone, Copy, Debug, Default)]
pub struct WavFormat {
    tag: u16,
    /// Tag from the extended format; equal to `tag` in a plain one.
    real_tag: u16,
    /// Number of channels.
    pub channels: u16,
    /// Sample rate, in hertz.
    pub rate_hz: u32,
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
            TAG_A_LAW => "A-law",
            TAG_MU_LAW => "mu-law",
            0x11 => "IMA ADPCM",
            _ => "unknown",
        };
        write!(f, "{}-bit {name} (format tag {})", self.bits, self.tag)
    }
}

impl WavFormat {
    /// Returns the format of samples without a header, and where their valid bits are.
    pub(super) fn of_raw(coding: RawCoding, channels: u16, rate_hz: u32) -> (Self, Placement) {
        let (tag, container, bits) = match coding {
            RawCoding::Unsigned8 => (TAG_PCM, 1, 8),
            RawCoding::Signed16 => (TAG_PCM, 2, 16),
            RawCoding::Signed24 => (TAG_PCM, 4, 24),
            RawCoding::Signed24Packed => (TAG_PCM, 3, 24),
            RawCoding::Signed32 => (TAG_PCM, 4, 32),
            RawCoding::Float32 => (TAG_FLOAT, 4, 32),
            RawCoding::Float64 => (TAG_FLOAT, 8, 64),
            RawCoding::MuLaw => (TAG_MU_LAW, 1, 8),
            RawCoding::ALaw => (TAG_A_LAW, 1, 8),
        };
        let format = Self { tag, real_tag: tag, channels, rate_hz, container, bits, valid_bits: bits };
        (format, if coding == RawCoding::Signed24 { Placement::Bottom } else { Placement::Top })
    }

    pub(super) fn parse(chunk: &[u8]) -> Option<Self> {
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
    pub(super) fn block(&self) -> usize {
        (self.container * usize::from(self.channels)).max(1)
    }

    /// Returns the number of bits of an integer's container that carry no sound; 0 for other codings.
    pub(super) fn unused_bits(&self) -> u32 {
        match (self.real_tag, self.container) {
            (TAG_PCM, width @ 2..=4) => (8 * width as u32).saturating_sub(u32::from(self.valid_bits.max(1))),
            _ => 0,
        }
    }

    /// Returns whether `decode` knows the coding.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.decode(&[], &mut None).is_some()
    }

    /// Returns the samples, full scale at ±1.0, or `None` for a coding that is not read. `placement` is where the valid
    /// bits are; while it is `None`, the samples decide it as soon as one is not 0.
    pub(super) fn decode(&self, data: &[u8], placement: &mut Option<Placement>) -> Option<Vec<f32>> {
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
            (TAG_PCM, width @ 2..=4, 1..=32) => Some(self.decode_integers(data, width, placement)),
            (TAG_MU_LAW, 1, _) => {
                Some(data.iter().map(|&code| f32::from(of_mu_law(code)) / 32_768.0).collect())
            }
            (TAG_A_LAW, 1, _) => {
                Some(data.iter().map(|&code| f32::from(of_a_law(code)) / 32_768.0).collect())
            }
            _ => None,
        }
    }

    /// Returns the message for valid bits at the bottom of their containers.
    pub(super) fn placement_notice(&self) -> String {
        format!(
            "its {} valid bits are at the bottom of {} instead of at the top; they were moved",
            self.valid_bits,
            8 * self.container
        )
    }

    fn decode_integers(&self, data: &[u8], width: usize, placement: &mut Option<Placement>) -> Vec<f32> {
        let values = || integers(data, width);
        let unused_bits = self.unused_bits();
        if unused_bits > 0 && placement.is_none() && values().any(|value| value != 0) {
            let mut scan = PlacementScan::new(*self);
            scan.add(data);
            *placement = Some(scan.placement());
        }
        let shift = if *placement == Some(Placement::Bottom) { unused_bits } else { 0 };
        values().map(|value| (f64::from(value << shift) / 2_147_483_648.0) as f32).collect()
    }
}

/// Returns integers of `width` bytes, each placed at the top of 32 bits, which also extends its sign.
fn integers(data: &[u8], width: usize) -> impl Iterator<Item = i32> {
    data.chunks_exact(width).map(move |bytes| {
        let mut all = [0; 4];
        all[4 - width..].copy_from_slice(bytes);
        i32::from_le_bytes(all)
    })
}

/// Finds out where the valid bits of integers are in their containers.
pub(super) struct PlacementScan {
    format: WavFormat,
    /// Whether there is sound in the bits that should be empty.
    is_below: bool,
    /// Whether all values fit in the valid bits at the bottom.
    fits: bool,
}

impl PlacementScan {
    pub(super) fn new(format: WavFormat) -> Self {
        Self { format, is_below: false, fits: true }
    }

    /// Takes whole samples.
    pub(super) fn add(&mut self, data: &[u8]) {
        let unused_bits = self.format.unused_bits();
        let top = 32 - 8 * self.format.container as u32;
        let below = (1_i64 << (unused_bits + top)) - 1;
        let values = || integers(data, self.format.container);
        self.is_below = self.is_below || values().any(|value| i64::from(value) & below != 0);
        self.fits = self.fits && values().all(|value| (value << unused_bits) >> unused_bits == value);
    }

    /// Returns the placement. Sound in the bits that should be empty, and none in those that should be in use, marks values at
    /// the bottom.
    pub(super) fn placement(&self) -> Placement {
        if self.is_below && self.fits { Placement::Bottom } else { Placement::Top }
    }
}

/// Returns the 16-bit value of a mu-law code (ITU-T G.711, table 2a, with 14 bits at the top).
fn of_mu_law(code: u8) -> i16 {
    /// Offset that makes all segments of the curve begin at a power of two.
    const BIAS: i16 = 0x84;
    let code = !code;
    let magnitude = ((i16::from(code & 0x0f) << 3) + BIAS) << ((code & 0x70) >> 4);
    if code & 0x80 == 0 { magnitude - BIAS } else { BIAS - magnitude }
}

/// Returns the 16-bit value of an A-law code (ITU-T G.711, table 1a, with 13 bits at the top).
fn of_a_law(code: u8) -> i16 {
    let code = code ^ 0x55;
    let step = i16::from(code & 0x0f) << 4;
    let magnitude = match (code & 0x70) >> 4 {
        0 => step + 8,
        segment => (step + 0x108) << (segment - 1),
    };
    if code & 0x80 == 0 { -magnitude } else { magnitude }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values are those of the reference code of ITU-T G.191.
    #[test]
    fn the_laws_have_the_values_of_g_711() {
        for (code, value) in
            [(0x00, -32_124), (0x80, 32_124), (0x7f, 0), (0xff, 0), (0x0f, -16_764), (0xf0, 120)]
        {
            assert_eq!(of_mu_law(code), value, "mu-law {code:#x}");
        }
        for (code, value) in
            [(0x2a, -32_256), (0xaa, 32_256), (0x55, -8), (0xd5, 8), (0x1a, -4_032), (0x80, 5_504)]
        {
            assert_eq!(of_a_law(code), value, "A-law {code:#x}");
        }
        // Both curves rise over all codes of one sign.
        let rising = |values: Vec<i16>| values.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(rising((0x80..=0xff).rev().map(of_mu_law).collect()));
        assert!(rising((0x80..=0xff).map(|code: u8| of_a_law(code ^ 0x55)).collect()));
    }
}
