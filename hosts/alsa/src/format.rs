//! Both sides: the supported sample formats of devices, and a period's memory in each of them.

use std::fmt;
use std::str::FromStr;

use handsfree_core::{DeviceSample, I24, PackedI24};

/// Sample format of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SampleFormat {
    /// `S16_LE`: 16-bit integers.
    S16,
    /// `S24_3LE`: 24-bit integers in three bytes.
    S24Packed,
    /// `S24_LE`: 24-bit integers in the low three of four bytes.
    S24,
    /// `S32_LE`: 32-bit integers.
    S32,
    /// `FLOAT_LE`: 32-bit floats with full scale at 1.0.
    Float,
}

impl SampleFormat {
    /// All formats, the one with the cheapest conversion first.
    pub const ALL: [Self; 5] = [Self::S16, Self::S24, Self::S24Packed, Self::S32, Self::Float];

    /// Returns ALSA's name of the format.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::S16 => "S16_LE",
            Self::S24Packed => "S24_3LE",
            Self::S24 => "S24_LE",
            Self::S32 => "S32_LE",
            Self::Float => "FLOAT_LE",
        }
    }

    pub(crate) const fn alsa(self) -> alsa::pcm::Format {
        use alsa::pcm::Format;
        match self {
            Self::S16 => Format::S16LE,
            Self::S24Packed => Format::S243LE,
            Self::S24 => Format::S24LE,
            Self::S32 => Format::S32LE,
            Self::Float => Format::FloatLE,
        }
    }
}

impl fmt::Display for SampleFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Error of parsing a name that is not the name of a supported format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownFormat(String);

impl fmt::Display for UnknownFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sample format '{}': expected one of", self.0)?;
        SampleFormat::ALL.iter().try_for_each(|format| write!(f, " {format}"))
    }
}

impl std::error::Error for UnknownFormat {}

impl FromStr for SampleFormat {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        let named = |format: &Self| format.name().eq_ignore_ascii_case(text);
        Self::ALL.into_iter().find(named).ok_or_else(|| UnknownFormat(text.into()))
    }
}

/// Memory of one period in a device's format, all channels.
#[derive(Debug)]
pub(crate) enum PeriodMemory {
    S16(Vec<i16>),
    S24Packed(Vec<PackedI24>),
    S24(Vec<I24>),
    S32(Vec<i32>),
    Float(Vec<f32>),
}

/// Evaluates `$body` with `$samples` bound to the memory as a vector of its sample type.
macro_rules! in_its_type {
    ($memory:expr, $samples:ident => $body:expr) => {
        match $memory {
            $crate::format::PeriodMemory::S16($samples) => $body,
            $crate::format::PeriodMemory::S24Packed($samples) => $body,
            $crate::format::PeriodMemory::S24($samples) => $body,
            $crate::format::PeriodMemory::S32($samples) => $body,
            $crate::format::PeriodMemory::Float($samples) => $body,
        }
    };
}
pub(crate) use in_its_type;

fn silent<S: DeviceSample>(samples: usize) -> Vec<S> {
    vec![S::SILENCE; samples]
}

impl PeriodMemory {
    /// Creates memory for `samples` samples, filled with silence.
    pub(crate) fn new(format: SampleFormat, samples: usize) -> Self {
        match format {
            SampleFormat::S16 => Self::S16(silent(samples)),
            SampleFormat::S24Packed => Self::S24Packed(silent(samples)),
            SampleFormat::S24 => Self::S24(silent(samples)),
            SampleFormat::S32 => Self::S32(silent(samples)),
            SampleFormat::Float => Self::Float(silent(samples)),
        }
    }

    /// Overwrites all samples with silence.
    pub(crate) fn silence(&mut self) {
        fn fill<S: DeviceSample>(samples: &mut [S]) {
            samples.fill(S::SILENCE);
        }
        in_its_type!(self, samples => fill(samples));
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        in_its_type!(self, samples => {
            // SAFETY: each type is a number or a transparent wrapper of one, without padding. The bytes are those of the
            // vector, and are borrowed together with it.
            unsafe { std::slice::from_raw_parts(samples.as_ptr().cast(), size_of_val(samples.as_slice())) }
        })
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        in_its_type!(self, samples => {
            let length = size_of_val(samples.as_slice());
            // SAFETY: each type is a number or a transparent wrapper of one, without padding, and all byte values are
            // valid. The bytes are those of the vector, and are borrowed together with it.
            unsafe { std::slice::from_raw_parts_mut(samples.as_mut_ptr().cast(), length) }
        })
    }

    /// Returns the size of one sample, in bytes.
    pub(crate) fn sample_bytes(&self) -> usize {
        match self {
            Self::S16(_) => 2,
            Self::S24Packed(_) => 3,
            Self::S24(_) | Self::S32(_) | Self::Float(_) => 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_has_the_size_that_alsa_reports() {
        for format in SampleFormat::ALL {
            let mut memory = PeriodMemory::new(format, 7);
            let width = format.alsa().physical_width().unwrap() as usize / 8;
            assert_eq!(memory.sample_bytes(), width, "{format}");
            assert_eq!(memory.bytes().len(), 7 * width, "{format}");
            assert!(memory.bytes().iter().all(|&byte| byte == 0), "{format}: silence");
            memory.bytes_mut().fill(1);
            memory.silence();
            assert!(memory.bytes().iter().all(|&byte| byte == 0), "{format}: silence again");
        }
    }

    #[test]
    fn format_names_are_those_of_alsa() {
        for format in SampleFormat::ALL {
            assert_eq!(format.name(), format.alsa().to_string());
            assert_eq!(format.name().to_lowercase().parse(), Ok(format));
        }
        let error = "MU_LAW".parse::<SampleFormat>().unwrap_err();
        assert!(error.to_string().starts_with("sample format 'MU_LAW': expected one of S16_LE "), "{error}");
    }
}
