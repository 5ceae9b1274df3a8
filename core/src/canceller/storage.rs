//! Worker side: how the canceller stores its large arrays: as `f32`, or in half of the memory.

use core::fmt;

mod sealed {
    /// Formats in which spectra and variances are stored. The bits of both are 0 for the value 0.
    pub trait Packing {
        /// A bin of a spectrum.
        type Bin: Copy + core::fmt::Debug + Send + 'static;
        /// A variance.
        type Variance: Copy + core::fmt::Debug + Send + 'static;
        /// The bin 0.
        const ZERO_BIN: Self::Bin;
        /// The variance 0.
        const ZERO_VARIANCE: Self::Variance;

        /// Returns the unit in which a spectrum is stored, of which no part is above `largest`.
        fn unit(largest: f32) -> f32;
        /// Returns the reciprocal of a unit.
        fn reciprocal(unit: f32) -> f32;
        /// Stores a bin, given the reciprocal of the spectrum's unit.
        fn store(re: f32, im: f32, reciprocal: f32) -> Self::Bin;
        /// Returns the real and the imaginary part of a stored bin.
        fn load(bin: Self::Bin, unit: f32) -> (f32, f32);
        /// Stores a variance. The low 16 bits of `dither` decide the direction of rounding.
        fn store_variance(value: f32, dither: u32) -> Self::Variance;
        /// Returns a stored variance.
        fn load_variance(variance: Self::Variance) -> f32;
    }
}

pub(super) use sealed::Packing;

/// Storage of an [`EchoCanceller`](super::EchoCanceller): [`FullStorage`] or [`LeanStorage`].
pub trait CancellerStorage: Packing + fmt::Debug {}

/// Stores everything as `f32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct FullStorage;

/// Stores reference spectra and the shadow filter as 16-bit integers with one exponent per spectrum, and the
/// main filter's variances in 16 bits.
///
/// It takes about two thirds of the memory of [`FullStorage`]. The echo reduction is the same until about
/// 35 dB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct LeanStorage;

impl CancellerStorage for FullStorage {}
impl CancellerStorage for LeanStorage {}

impl Packing for FullStorage {
    type Bin = [f32; 2];
    type Variance = f32;
    const ZERO_BIN: [f32; 2] = [0.0; 2];
    const ZERO_VARIANCE: f32 = 0.0;

    #[inline]
    fn unit(_largest: f32) -> f32 {
        1.0
    }

    #[inline]
    fn reciprocal(_unit: f32) -> f32 {
        1.0
    }

    #[inline]
    fn store(re: f32, im: f32, _reciprocal: f32) -> [f32; 2] {
        [re, im]
    }

    #[inline]
    fn load(bin: [f32; 2], _unit: f32) -> (f32, f32) {
        (bin[0], bin[1])
    }

    #[inline]
    fn store_variance(value: f32, _dither: u32) -> f32 {
        value
    }

    #[inline]
    fn load_variance(variance: f32) -> f32 {
        variance
    }
}

/// Bits of an `f32` that hold its exponent.
const EXPONENT: u32 = 0xff << 23;
/// Smallest unit, as an exponent: 2^-80, where speech is silent and products are far from underflow.
const SMALLEST_UNIT: u32 = (127 - 80) << 23;
/// Distance of a unit from the power of two below the largest part: the largest part takes 15 bits.
const FIFTEEN_BITS: u32 = 14 << 23;

impl Packing for LeanStorage {
    type Bin = [i16; 2];
    type Variance = u16;
    const ZERO_BIN: [i16; 2] = [0; 2];
    const ZERO_VARIANCE: u16 = 0;

    #[inline]
    fn unit(largest: f32) -> f32 {
        let exponent = largest.to_bits() & EXPONENT;
        f32::from_bits(exponent.saturating_sub(FIFTEEN_BITS).max(SMALLEST_UNIT))
    }

    #[inline]
    fn reciprocal(unit: f32) -> f32 {
        // Units are powers of two, of which the exponent's complement is the reciprocal.
        f32::from_bits((254 << 23) - (unit.to_bits() & EXPONENT).min(253 << 23))
    }

    #[inline]
    fn store(re: f32, im: f32, reciprocal: f32) -> [i16; 2] {
        let rounded = |x: f32| {
            let x = x * reciprocal;
            let whole = (x + 0.5f32.copysign(x)) as i32;
            whole.clamp(i16::MIN.into(), i16::MAX.into()) as i16
        };
        [rounded(re), rounded(im)]
    }

    #[inline]
    fn load(bin: [i16; 2], unit: f32) -> (f32, f32) {
        (f32::from(bin[0]) * unit, f32::from(bin[1]) * unit)
    }

    #[inline]
    fn store_variance(value: f32, dither: u32) -> u16 {
        // Rounded up or down at random, as often as the value is near either: rounding to the nearest would
        // stop a variance that changes by less than its last bit a frame.
        (value.to_bits().wrapping_add(dither & 0xffff) >> 16) as u16
    }

    #[inline]
    fn load_variance(variance: u16) -> f32 {
        f32::from_bits(u32::from(variance) << 16)
    }
}

/// Random bits for dither and comfort noise: a linear congruential generator (Knuth, The Art of Computer
/// Programming 2, 3.3.4, table 1), of which the high bits are used.
#[derive(Clone, Copy, Debug)]
pub(super) struct RandomBits(u32);

impl RandomBits {
    pub(super) const fn new() -> Self {
        Self(0)
    }

    #[inline]
    pub(super) fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0
    }

    /// Returns a number from -1 to 1.
    #[inline]
    pub(super) fn next_signed(&mut self) -> f32 {
        (self.next() as i32) as f32 * const { 1.0 / (1u32 << 31) as f32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lean_bins_keep_fifteen_bits_at_every_level() {
        for exponent in -60..60 {
            let largest = 1.9f32 * 2f32.powi(exponent);
            let unit = LeanStorage::unit(largest);
            assert_eq!(unit * LeanStorage::reciprocal(unit), 1.0);
            for part in [largest, -largest, 0.3 * largest, 0.0] {
                let (re, im) =
                    LeanStorage::load(LeanStorage::store(part, -part, LeanStorage::reciprocal(unit)), unit);
                assert!((re - part).abs() <= unit && re == -im, "{part} became {re}");
                assert!(unit <= largest / 16_384.0, "{unit} for {largest}");
            }
        }
        let unit = LeanStorage::unit(0.0);
        assert_eq!(
            LeanStorage::load(LeanStorage::store(0.0, 0.0, LeanStorage::reciprocal(unit)), unit),
            (0.0, 0.0)
        );
    }

    #[test]
    fn lean_variances_are_unbiased() {
        let mut random = RandomBits::new();
        let value = 1.003_9;
        let sum: f64 = (0..100_000)
            .map(|_| {
                f64::from(LeanStorage::load_variance(LeanStorage::store_variance(value, random.next() >> 16)))
            })
            .sum();
        assert!((sum / 1e5 / f64::from(value) - 1.0).abs() < 1e-4, "{}", sum / 1e5);
        assert_eq!(LeanStorage::load_variance(LeanStorage::store_variance(0.0, 0)), 0.0);
    }
}
