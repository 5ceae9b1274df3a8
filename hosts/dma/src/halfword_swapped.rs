//! Interrupt side: samples of 32 bits that the DMA moved as two halves, the upper one first.

use handsfree_core::{DeviceSample, Gain, SampleKind};

/// Sample of 24 or 32 bits that an interface with a data register of 16 bits moves as two halfwords, the upper one first: in
/// a little-endian memory the halves are swapped. The I2S of an STM32F4 does so (RM0090, section 28.4.3, "24-bit and 32-bit
/// frames").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct HalfwordSwapped(pub u32);

impl HalfwordSwapped {
    const fn value(self) -> i32 {
        self.0.rotate_left(16) as i32
    }
}

impl DeviceSample for HalfwordSwapped {
    const SILENCE: Self = Self(0);
    const KIND: SampleKind = SampleKind::I32;

    #[inline]
    fn to_pcm(self, gain: Gain) -> (i16, bool) {
        self.value().to_pcm(gain)
    }

    #[inline]
    fn from_pcm(sample: i16) -> Self {
        Self((i32::from_pcm(sample) as u32).rotate_left(16))
    }

    /// Returns the bits of the sample in order, as a journal keeps them.
    #[inline]
    fn to_bits(self) -> u32 {
        self.value().to_bits()
    }

    #[inline]
    fn from_bits(bits: u32) -> Self {
        Self(bits.rotate_left(16))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_put_in_order() {
        for sample in [0, 1, -1, i16::MIN, i16::MAX, 0x1234] {
            let swapped = HalfwordSwapped::from_pcm(sample);
            assert_eq!(swapped.to_pcm(Gain::UNITY), (sample, false));
            assert_eq!(swapped.0 & 0xffff, u32::from(sample as u16), "the upper half comes first");
            assert_eq!(HalfwordSwapped::from_bits(swapped.to_bits()), swapped);
        }
    }
}
