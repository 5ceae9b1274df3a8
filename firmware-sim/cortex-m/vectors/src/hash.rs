//! Hash of samples, by which results of two processors are compared.

/// FNV-1a hash of samples.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fnv1a(u64);

impl Fnv1a {
    pub(crate) const fn new() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }

    pub(crate) const fn value(self) -> u64 {
        self.0
    }

    pub(crate) fn take(&mut self, samples: impl IntoIterator<Item = i16>) {
        for sample in samples {
            for byte in sample.to_le_bytes() {
                self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
            }
        }
    }
}
