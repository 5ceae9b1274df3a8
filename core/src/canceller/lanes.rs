//! Worker side: bins of a spectrum that are computed at once.
//!
//! Each bin is computed by the same operations in the same order for any number of lanes, so that all processors get the same
//! bits. Compilers turn four equal operations into one where vectors exist. A Cortex-M4F computes one bin at a time: two need more
//! registers than it has (9 % more instructions).

use core::array::from_fn;

use super::storage::Packing;
use crate::dsp::fft::Complex;

/// Number of bins that are computed at once: what a vector of the processor holds.
pub(super) const LANES: usize =
    if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) { 4 } else { 1 };

/// Returns the bins that are computed [`LANES`] at once, and the rest, computed one at a time.
#[inline(always)]
pub(super) fn in_lanes<T>(bins: &[T]) -> (&[[T; LANES]], &[[T; 1]]) {
    let (whole, rest) = bins.as_chunks();
    (whole, rest.as_chunks().0)
}

/// Returns what [`in_lanes`] returns, for changing it.
#[inline(always)]
pub(super) fn in_lanes_mut<T>(bins: &mut [T]) -> (&mut [[T; LANES]], &mut [[T; 1]]) {
    let (whole, rest) = bins.as_chunks_mut();
    (whole, rest.as_chunks_mut().0)
}

/// Complex numbers of `N` successive bins.
#[derive(Clone, Copy)]
pub(super) struct Bins<const N: usize> {
    pub(super) re: [f32; N],
    pub(super) im: [f32; N],
}

impl<const N: usize> Bins<N> {
    #[inline(always)]
    pub(super) fn unpack<S: Packing>(from: &[S::Bin; N]) -> Self {
        let parts = from.map(S::load);
        Self { re: parts.map(|part| part.0), im: parts.map(|part| part.1) }
    }

    #[inline(always)]
    pub(super) fn load(from: &[Complex; N]) -> Self {
        Self { re: from.map(|z| z.re), im: from.map(|z| z.im) }
    }

    #[inline(always)]
    pub(super) fn store(self, to: &mut [Complex; N]) {
        *to = from_fn(|i| Complex { re: self.re[i], im: self.im[i] });
    }

    #[inline(always)]
    pub(super) fn power(self) -> [f32; N] {
        from_fn(|i| self.re[i] * self.re[i] + self.im[i] * self.im[i])
    }

    /// Returns `self + a * b`.
    #[inline(always)]
    pub(super) fn plus_product(self, a: Self, b: Self) -> Self {
        Self {
            re: from_fn(|i| (self.re[i] + a.re[i] * b.re[i]) - a.im[i] * b.im[i]),
            im: from_fn(|i| (self.im[i] + a.re[i] * b.im[i]) + a.im[i] * b.re[i]),
        }
    }

    /// Returns each conjugate number multiplied by `factors`.
    #[inline(always)]
    pub(super) fn conjugate_scaled(self, factors: [f32; N]) -> Self {
        Self { re: from_fn(|i| factors[i] * self.re[i]), im: from_fn(|i| -(factors[i] * self.im[i])) }
    }
}
