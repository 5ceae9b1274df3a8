//! Worker side: how the canceller stores its large arrays: as `f32`, or in half of the memory.

use core::fmt;

use crate::timing::ReferenceQuality;

mod sealed {
    /// Formats in which spectra and variances are stored. The bits of both are 0 for the value 0.
    pub trait Packing {
        /// A bin of a spectrum.
        type Bin: Copy + core::fmt::Debug + Send + 'static;
        /// A variance.
        type Variance: Copy + core::fmt::Debug + Send + 'static;
        /// The reference's precision that this precision is worth.
        const REFERENCE_QUALITY: crate::timing::ReferenceQuality;
        /// The bin 0.
        const ZERO_BIN: Self::Bin;
        /// The variance 0.
        const ZERO_VARIANCE: Self::Variance;

        /// Stores a bin. The low 16 bits of `dither` decide the direction of rounding of the real part, the others
        /// that of the imaginary part.
        fn store(re: f32, im: f32, dither: u32) -> Self::Bin;
        /// Returns the real and the imaginary part of a stored bin.
        fn load(bin: Self::Bin) -> (f32, f32);
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

/// Stores reference spectra, the shadow filter and the main filter's variances in 16 bits: the upper half of an
/// `f32`, which has 8 significant bits.
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
    const REFERENCE_QUALITY: ReferenceQuality = ReferenceQuality::Full;
    const ZERO_BIN: [f32; 2] = [0.0; 2];
    const ZERO_VARIANCE: f32 = 0.0;

    #[inline]
    fn store(re: f32, im: f32, _dither: u32) -> [f32; 2] {
        [re, im]
    }

    #[inline]
    fn load(bin: [f32; 2]) -> (f32, f32) {
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

/// Dither that rounds to the nearest.
pub(super) const NEAREST: u32 = 0x8000_8000;

impl Packing for LeanStorage {
    /// The real part is the lower half.
    type Bin = u32;
    type Variance = u16;
    const REFERENCE_QUALITY: ReferenceQuality = ReferenceQuality::Medium;
    const ZERO_BIN: u32 = 0;
    const ZERO_VARIANCE: u16 = 0;

    #[inline]
    fn store(re: f32, im: f32, dither: u32) -> u32 {
        let re = re.to_bits().wrapping_add(dither & 0xffff);
        let im = im.to_bits().wrapping_add(dither >> 16);
        re >> 16 | im & 0xffff_0000
    }

    #[inline]
    fn load(bin: u32) -> (f32, f32) {
        (f32::from_bits(bin << 16), f32::from_bits(bin & 0xffff_0000))
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
    fn lean_bins_keep_eight_bits_at_every_level() {
        for exponent in -60..60 {
            let part = 1.234_567f32 * 2f32.powi(exponent);
            let (re, im) = LeanStorage::load(LeanStorage::store(part, -0.7 * part, NEAREST));
            assert!((re - part).abs() <= part / 256.0, "{part} became {re}");
            assert!((im + 0.7 * part).abs() <= part / 256.0, "{} became {im}", -0.7 * part);
        }
        assert_eq!(LeanStorage::load(LeanStorage::store(0.0, 0.0, u32::MAX)), (0.0, 0.0));
    }

    #[test]
    fn dithered_bins_are_unbiased() {
        let mut random = RandomBits::new();
        let (re, im) = (1.003_9, -3e-5);
        let mut sums = [0.0; 2];
        for _ in 0..100_000 {
            let (re, im) = LeanStorage::load(LeanStorage::store(re, im, random.next()));
            sums = [sums[0] + f64::from(re), sums[1] + f64::from(im)];
        }
        for (sum, part) in sums.into_iter().zip([re, im]) {
            assert!((sum / 1e5 / f64::from(part) - 1.0).abs() < 1e-4, "{} instead of {part}", sum / 1e5);
        }
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
