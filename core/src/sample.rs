//! Interrupt side: converts device sample formats to and from the core's 16 bits.

use crate::error::ConfigError;

/// A linear gain from 0 to 64, held as Q16 so that integer formats stay on integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Gain {
    q16: u32,
}

impl Gain {
    /// The gain that leaves samples unchanged, bit-exact.
    pub const UNITY: Self = Self { q16: 1 << 16 };
    /// The gain that makes silence.
    pub const SILENT: Self = Self { q16: 0 };
    /// The largest gain (36 dB).
    pub const MAX: Self = Self { q16: 64 << 16 };

    /// Returns a gain from its linear value, rounded to 1/65536.
    ///
    /// # Errors
    /// [`ConfigError::Gain`] names a value that is not a finite number from 0 to 64.
    pub fn linear(gain: f32) -> Result<Self, ConfigError> {
        if !(0.0..=64.0).contains(&gain) {
            return Err(ConfigError::Gain { gain });
        }
        Ok(Self { q16: (gain * 65_536.0 + 0.5) as u32 })
    }

    pub(crate) const fn from_q16(q16: u32) -> Self {
        Self { q16 }
    }

    pub(crate) const fn q16(self) -> u32 {
        self.q16
    }

    /// Returns a 16-bit sample times this gain, rounded to nearest, bit-exact at unity; at most 2^15 x 64.
    #[inline]
    pub(crate) const fn amplify(self, sample: i16) -> i32 {
        let (whole, rest) = self.parts();
        let sample = sample as i32;
        sample * whole as i32 + ((sample * rest as i32 + 0x8000) >> 16)
    }

    /// Returns the nearest whole number, and the rest in 1/65536, negative below that number.
    const fn parts(self) -> (i16, i16) {
        (((self.q16 + 0x8000) >> 16) as i16, self.q16 as i16)
    }

    /// Adds to each sum what [`amplify`](Self::amplify) returns for its sample.
    pub(crate) fn add_amplified(self, samples: &[i16], sums: &mut [i32]) {
        let (whole, rest) = self.parts();
        let done = if HAS_VECTORS { add_products(samples, sums, &[whole; LANES], &[rest; LANES]) } else { 0 };
        let left = samples.get(done..).unwrap_or(&[]);
        for (sum, &sample) in sums.iter_mut().skip(done).zip(left) {
            *sum += self.amplify(sample);
        }
    }

    /// Adds to each sum what [`amplify`](Self::amplify) of the gain beside it returns for its sample.
    pub(crate) fn add_each_amplified(gains: &[Self], samples: &[i16], sums: &mut [i32]) {
        for ((sum, &sample), gain) in sums.iter_mut().zip(samples).zip(gains) {
            let (whole, rest) = gain.parts();
            let sample = i32::from(sample);
            *sum += sample * i32::from(whole) + ((sample * i32::from(rest) + 0x8000) >> 16);
        }
    }

    /// Returns the product of both gains, rounded to nearest; it must not exceed [`Self::MAX`].
    #[inline]
    pub(crate) const fn times(self, other: Self) -> Self {
        Self { q16: ((self.q16 as u64 * other.q16 as u64 + 0x8000) >> 16) as u32 }
    }

    /// Returns the gain as a factor.
    #[must_use]
    pub fn factor(self) -> f32 {
        self.q16 as f32 / 65_536.0
    }
}

/// Whether the processor has vector instructions for 16-bit samples. Without them, loops are written to be small.
pub(crate) const HAS_VECTORS: bool = cfg!(any(target_feature = "sse2", target_feature = "neon"));

/// Number of products computed together.
const LANES: usize = 8;

/// Adds `sample * whole`, and `sample * rest` in 1/65536 rounded to nearest, to each sum. Does so for whole multiples of
/// [`LANES`], and returns for how many samples.
// Products of 16 bits, because not every processor multiplies vectors of more. Not inlined and with its factors in memory:
// when the compiler sees that they are equal, it multiplies in 32 bits.
#[inline(never)]
fn add_products(samples: &[i16], sums: &mut [i32], whole: &[i16; LANES], rest: &[i16; LANES]) -> usize {
    let (whole, rest) = (*whole, *rest);
    let (samples, _) = samples.as_chunks::<LANES>();
    let (sums, _) = sums.as_chunks_mut::<LANES>();
    for (sums, samples) in sums.iter_mut().zip(samples) {
        for lane in 0..LANES {
            let sample = i32::from(samples[lane]);
            let rest = (sample * i32::from(rest[lane]) + 0x8000) >> 16;
            sums[lane] += sample * i32::from(whole[lane]) + rest;
        }
    }
    samples.len().min(sums.len()) * LANES
}

/// Returns the nearest 16-bit sample to a value on the scale of such samples: halves are rounded away from zero, values out of
/// range become the nearest one within, and what is not a number becomes 0.
#[inline]
pub(crate) const fn nearest_16_bits(value: f32) -> i16 {
    // The cast saturates.
    (if value < 0.0 { value - 0.5 } else { value + 0.5 }) as i16
}

/// As [`nearest_16_bits`], for loops over many values: with vector instructions it does without the cast, because x86-64 has
/// no such cast of vectors that saturates.
#[inline]
pub(crate) const fn nearest_16_bits_in_loop(value: f32) -> i16 {
    /// A float from this number on has no digits behind the point.
    const WHOLE: f32 = 8_388_608.0;
    /// The largest magnitude plus one half.
    const LIMIT: f32 = 32_768.5;
    if !HAS_VECTORS {
        return nearest_16_bits(value);
    }
    let known = if value.is_nan() { 0.0 } else { value };
    let above = known.abs() + 0.5;
    let above = if above < LIMIT { above } else { LIMIT };
    let nearest = above + WHOLE;
    let rounded_up = nearest - WHOLE > above;
    let magnitude = (nearest.to_bits() & 0xFFFF) as i32 - rounded_up as i32;
    let sign = known.to_bits().cast_signed() >> 31;
    let signed = (magnitude ^ sign) - sign;
    (if signed < i16::MAX as i32 { signed } else { i16::MAX as i32 }) as i16
}

/// A sample in a device's own format.
///
/// Implemented for `i16`, `i32` (full scale is 32 bits), [`I24`], [`PackedI24`] and `f32` (full scale
/// is 1.0).
pub trait DeviceSample: Copy {
    /// The sample that the device plays as silence.
    const SILENCE: Self;
    /// Which format it is.
    const KIND: SampleKind;

    /// Returns this sample times `gain` in 16 bits, rounded to nearest, and whether it was scrubbed because
    /// it was not a number or did not fit.
    fn to_pcm(self, gain: Gain) -> (i16, bool);

    /// Converts a 16-bit sample to the device's format.
    fn from_pcm(sample: i16) -> Self;

    /// Returns the sample's bits in the low bits of a word.
    fn to_bits(self) -> u32;

    /// Returns the sample with these bits; bits beyond the sample's width are ignored.
    fn from_bits(bits: u32) -> Self;
}

/// A device's sample format, as a journal names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SampleKind {
    /// `i16`.
    I16,
    /// [`I24`].
    I24,
    /// [`PackedI24`].
    PackedI24,
    /// `i32`.
    I32,
    /// `f32`.
    F32,
}

impl SampleKind {
    /// Bytes a sample takes in a journal.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::I16 => 2,
            Self::PackedI24 => 3,
            Self::I24 | Self::I32 | Self::F32 => 4,
        }
    }
}

/// A 24-bit sample in the low bits of 32 (`S24_LE`); the high byte is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(transparent)]
pub struct I24(pub i32);

/// A 24-bit sample in three bytes, least significant first (`S24_3LE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PackedI24(pub [u8; 3]);

/// Returns a 32-bit full-scale sample times a gain in 16 bits, rounded to nearest, and whether it was out of range. Rounding
/// down the last half step at the positive end is not clipping, so only values that a gain pushed out of 32 bits count.
// Not inlined, so that a loop at unity, the usual gain, has vector instructions.
#[inline(never)]
fn amplified(sample: i32, gain: Gain) -> (i16, bool) {
    let wide = (i64::from(sample) * i64::from(gain.q16)) >> 16;
    let rounded = (wide + 0x8000) >> 16;
    let out_of_range = wide > i64::from(i32::MAX) || wide < i64::from(i32::MIN);
    (rounded.clamp(i64::from(i16::MIN), i64::from(i16::MAX)) as i16, out_of_range)
}

/// As [`amplified`], with the sums at unity in 32 bits.
#[inline]
fn to_16_bits(sample: i32, gain: Gain) -> (i16, bool) {
    if gain == Gain::UNITY {
        let rounded = ((sample >> 15) + 1) >> 1;
        (rounded.min(i32::from(i16::MAX)) as i16, false)
    } else {
        amplified(sample, gain)
    }
}

impl DeviceSample for i16 {
    const SILENCE: Self = 0;
    const KIND: SampleKind = SampleKind::I16;

    #[inline]
    fn to_pcm(self, gain: Gain) -> (i16, bool) {
        if gain == Gain::UNITY { (self, false) } else { amplified(i32::from(self) << 16, gain) }
    }

    #[inline]
    fn from_pcm(sample: i16) -> Self {
        sample
    }

    fn to_bits(self) -> u32 {
        u32::from(self.cast_unsigned())
    }

    fn from_bits(bits: u32) -> Self {
        bits as i16
    }
}

impl DeviceSample for i32 {
    const SILENCE: Self = 0;
    const KIND: SampleKind = SampleKind::I32;

    #[inline]
    fn to_pcm(self, gain: Gain) -> (i16, bool) {
        to_16_bits(self, gain)
    }

    #[inline]
    fn from_pcm(sample: i16) -> Self {
        i32::from(sample) << 16
    }

    fn to_bits(self) -> u32 {
        self.cast_unsigned()
    }

    fn from_bits(bits: u32) -> Self {
        bits.cast_signed()
    }
}

impl DeviceSample for I24 {
    const SILENCE: Self = Self(0);
    const KIND: SampleKind = SampleKind::I24;

    #[inline]
    fn to_pcm(self, gain: Gain) -> (i16, bool) {
        to_16_bits(self.0 << 8, gain)
    }

    #[inline]
    fn from_pcm(sample: i16) -> Self {
        Self(i32::from(sample) << 8)
    }

    fn to_bits(self) -> u32 {
        self.0.cast_unsigned()
    }

    fn from_bits(bits: u32) -> Self {
        Self(bits.cast_signed())
    }
}

impl DeviceSample for PackedI24 {
    const SILENCE: Self = Self([0; 3]);
    const KIND: SampleKind = SampleKind::PackedI24;

    #[inline]
    fn to_pcm(self, gain: Gain) -> (i16, bool) {
        let [low, middle, high] = self.0;
        to_16_bits(i32::from_le_bytes([0, low, middle, high]), gain)
    }

    #[inline]
    fn from_pcm(sample: i16) -> Self {
        let [low, high] = sample.to_le_bytes();
        Self([0, low, high])
    }

    fn to_bits(self) -> u32 {
        let [low, middle, high] = self.0;
        u32::from_le_bytes([low, middle, high, 0])
    }

    fn from_bits(bits: u32) -> Self {
        let [low, middle, high, _] = bits.to_le_bytes();
        Self([low, middle, high])
    }
}

impl DeviceSample for f32 {
    const SILENCE: Self = 0.0;
    const KIND: SampleKind = SampleKind::F32;

    #[inline]
    fn to_pcm(self, gain: Gain) -> (i16, bool) {
        const FULL_SCALE: f32 = 32_768.0;
        let scaled = self * (gain.factor() * FULL_SCALE);
        let pcm = nearest_16_bits_in_loop(scaled);
        // Not "greater than", because what is not a number is scrubbed too.
        #[expect(
            clippy::neg_cmp_op_on_partial_ord,
            reason = "a comparison with what is not a number is false"
        )]
        (pcm, !(scaled.abs() <= FULL_SCALE))
    }

    #[inline]
    fn from_pcm(sample: i16) -> Self {
        f32::from(sample) / 32_768.0
    }

    fn to_bits(self) -> u32 {
        self.to_bits()
    }

    fn from_bits(bits: u32) -> Self {
        Self::from_bits(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trips<S: DeviceSample>() {
        for sample in i16::MIN..=i16::MAX {
            assert_eq!(S::from_bits(S::from_pcm(sample).to_bits()).to_pcm(Gain::UNITY), (sample, false));
            assert_eq!(S::from_pcm(sample).to_pcm(Gain::UNITY), (sample, false));
        }
    }

    #[test]
    fn every_format_carries_every_16_bit_sample_unchanged() {
        round_trips::<i16>();
        round_trips::<i32>();
        round_trips::<I24>();
        round_trips::<PackedI24>();
        round_trips::<f32>();
    }

    #[test]
    fn samples_that_are_no_numbers_are_scrubbed_and_flagged() {
        assert_eq!(f32::NAN.to_pcm(Gain::UNITY), (0, true));
        assert_eq!(f32::INFINITY.to_pcm(Gain::UNITY), (i16::MAX, true));
        assert_eq!(f32::NEG_INFINITY.to_pcm(Gain::UNITY), (i16::MIN, true));
        assert_eq!(1e38f32.to_pcm(Gain::MAX), (i16::MAX, true));
        assert_eq!(f32::MIN_POSITIVE.to_pcm(Gain::UNITY), (0, false));
        assert_eq!((f32::MIN_POSITIVE / 4.0).to_pcm(Gain::UNITY), (0, false));
        assert_eq!(1.0f32.to_pcm(Gain::UNITY), (i16::MAX, false));
        assert_eq!(i32::MAX.to_pcm(Gain::UNITY), (i16::MAX, false));
        assert_eq!(i32::MAX.to_pcm(Gain::linear(1.5).unwrap()), (i16::MAX, true));
    }

    /// Returns what a conversion to 16 bits gives, computed with a saturating cast.
    fn by_cast(sample: f32, gain: Gain) -> (i16, bool) {
        let amplified = sample * gain.factor();
        let scaled = amplified * 32_768.0;
        let rounded = if scaled < 0.0 { scaled - 0.5 } else { scaled + 0.5 };
        let whole = (rounded as i32).clamp(i32::from(i16::MIN), i32::from(i16::MAX));
        (whole as i16, !(-1.0..=1.0).contains(&amplified))
    }

    #[test]
    fn floats_become_what_a_saturating_cast_gives() {
        let gains = [Gain::UNITY, Gain::MAX, Gain::SILENT, Gain::linear(0.3).unwrap()];
        for high in 0..=u32::from(u16::MAX) {
            for low in [0, 1, 0x7FFF, 0x8000, 0xFFFF] {
                let sample = f32::from_bits(high << 16 | low);
                for gain in gains {
                    assert_eq!(sample.to_pcm(gain), by_cast(sample, gain), "{sample:?} times {gain:?}");
                }
            }
        }
        // Halves between two results, and their neighbours.
        for twice in -65_540..=65_540 {
            let half = twice as f32 / 65_536.0;
            for sample in [half.next_down(), half, half.next_up()] {
                assert_eq!(sample.to_pcm(Gain::UNITY), by_cast(sample, Gain::UNITY), "{sample:?}");
            }
        }
    }

    #[test]
    fn integers_at_unity_are_as_with_any_gain() {
        for high in i16::MIN..=i16::MAX {
            for low in [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF] {
                let sample = i32::from(high) << 16 | low;
                assert_eq!(sample.to_pcm(Gain::UNITY), amplified(sample, Gain::UNITY), "{sample}");
            }
        }
    }

    #[test]
    fn two_products_of_16_bits_are_one_of_64() {
        let samples: Vec<i16> = (i16::MIN..=i16::MAX).step_by(127).chain([i16::MAX, -1, 0, 1]).collect();
        for q16 in (0..=Gain::MAX.q16()).step_by(4_099).chain([1, 0x7FFF, 0x8000, 0xFFFF, 0x1_8000, 64 << 16])
        {
            let gain = Gain::from_q16(q16);
            let mut sums = vec![7; samples.len()];
            gain.add_amplified(&samples, &mut sums);
            for (&sample, sum) in samples.iter().zip(sums) {
                let exact = (i64::from(sample) * i64::from(q16) + 0x8000) >> 16;
                assert_eq!(
                    (i64::from(gain.amplify(sample)), i64::from(sum)),
                    (exact, 7 + exact),
                    "{sample} times {q16}"
                );
            }
        }
    }

    #[test]
    fn the_high_byte_of_24_in_32_is_ignored() {
        assert_eq!(I24(0x7F12_3456).to_pcm(Gain::UNITY), I24(0x0012_3456).to_pcm(Gain::UNITY));
        assert_eq!(I24(0x00FF_FF00).to_pcm(Gain::UNITY), (-1, false));
    }

    #[test]
    fn gain_comes_before_the_cut_to_16_bits() {
        let quiet = 100 << 8;
        assert_eq!(quiet.to_pcm(Gain::UNITY).0, 0);
        assert_eq!(quiet.to_pcm(Gain::linear(64.0).unwrap()).0, 25);
        assert!(Gain::linear(-0.1).is_err());
        assert!(Gain::linear(f32::NAN).is_err());
        assert!(Gain::linear(64.5).is_err());
    }

    #[test]
    fn scaling_is_exact_at_unity_and_rounds_to_nearest() {
        for sample in [i16::MIN, -1, 0, 1, i16::MAX] {
            assert_eq!(Gain::UNITY.amplify(sample), i32::from(sample));
            assert_eq!(Gain::MAX.amplify(sample), i32::from(sample) * 64);
            assert_eq!(Gain::SILENT.amplify(sample), 0);
        }
        assert_eq!(Gain::linear(0.5).unwrap().amplify(3), 2);
    }
}
