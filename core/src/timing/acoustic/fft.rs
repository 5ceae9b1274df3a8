//! Worker side: complex numbers and a radix-2 fast Fourier transform without allocation.

use crate::dsp::special::sin_pi;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Complex {
    pub(super) re: f32,
    pub(super) im: f32,
}

impl Complex {
    pub(super) const ZERO: Self = Self { re: 0.0, im: 0.0 };

    #[inline]
    pub(super) fn times(self, other: Self) -> Self {
        Self { re: self.re * other.re - self.im * other.im, im: self.re * other.im + self.im * other.re }
    }

    #[inline]
    pub(super) fn conj(self) -> Self {
        Self { re: self.re, im: -self.im }
    }

    #[inline]
    pub(super) fn plus(self, other: Self) -> Self {
        Self { re: self.re + other.re, im: self.im + other.im }
    }

    #[inline]
    pub(super) fn scaled(self, by: f32) -> Self {
        Self { re: self.re * by, im: self.im * by }
    }

    #[inline]
    pub(super) fn power(self) -> f32 {
        self.re * self.re + self.im * self.im
    }
}

/// `exp(j w n)` for the bins of a [`WINDOW`](super::WINDOW): what moves a spectrum in time.
pub(super) struct Rotor {
    now: Complex,
    step: Complex,
}

impl Rotor {
    /// Multiplying a spectrum by it makes its signal later by `-samples`, from bin `first` on.
    pub(super) fn new(first: usize, samples: f64) -> Self {
        let per_bin = core::f64::consts::TAU / super::WINDOW as f64 * samples;
        Self { now: unit(per_bin * first as f64), step: unit(per_bin) }
    }
}

impl Iterator for Rotor {
    type Item = Complex;

    #[inline]
    fn next(&mut self) -> Option<Complex> {
        let now = self.now;
        self.now = now.times(self.step);
        Some(now)
    }
}

fn unit(angle: f64) -> Complex {
    let (sin, cos) = libm::sincos(angle);
    Complex { re: cos as f32, im: sin as f32 }
}

/// Longest transform.
const LEN: usize = super::WINDOW;

/// For each stage its twiddle factors, one behind the other: 1 + 2 + 4 + ... + LEN / 2.
static TWIDDLES: [Complex; LEN - 1] = twiddles();

/// Indices of [`LEN`] points with their bits in reverse order.
static REVERSED: [u16; LEN] = reversed();

/// The forward transform in place; `N` is a power of two up to 512.
///
/// Costs 5 N log2 N operations.
pub(super) fn transform<const N: usize>(data: &mut [Complex; N]) {
    const { assert!(N.is_power_of_two() && N >= 4 && N <= LEN) };
    let shift = (LEN / N).trailing_zeros();
    for (index, &other) in REVERSED.iter().take(N).enumerate() {
        let other = usize::from(other) >> shift;
        if index < other && other < N {
            data.swap(index, other);
        }
    }
    for quad in data.as_chunks_mut::<4>().0 {
        let [a, b, c, d] = *quad;
        let (low, high) = (a.plus(b), c.plus(d));
        let (low_rest, high_rest) = (a.plus(b.scaled(-1.0)), c.plus(d.scaled(-1.0)));
        let turned = Complex { re: high_rest.im, im: -high_rest.re };
        *quad = [
            low.plus(high),
            low_rest.plus(turned),
            low.plus(high.scaled(-1.0)),
            low_rest.plus(turned.scaled(-1.0)),
        ];
    }
    let mut half = 4;
    while half < N {
        let Some(factors) = TWIDDLES.get(half - 1..2 * half - 1) else { return };
        for block in data.chunks_exact_mut(2 * half) {
            let (low, high) = block.split_at_mut(half);
            for ((a, b), &factor) in low.iter_mut().zip(high).zip(factors) {
                let turned = b.times(factor);
                *b = Complex { re: a.re - turned.re, im: a.im - turned.im };
                *a = a.plus(turned);
            }
        }
        half *= 2;
    }
}

const fn reversed() -> [u16; LEN] {
    let mut table = [0; LEN];
    let mut index = 0;
    while index < LEN {
        table[index] = (index as u16).reverse_bits() >> (u16::BITS - LEN.trailing_zeros());
        index += 1;
    }
    table
}

/// `1 / sqrt(x)` for x > 0, within 5e-6: Lomont's constant ("Fast inverse square root", 2003) and two
/// steps of Newton's, some ten operations where a software square root and a division take a hundred.
#[inline]
pub(super) fn inverse_root(x: f32) -> f32 {
    let guess = f32::from_bits(0x5f37_59df - (x.to_bits() >> 1));
    let guess = guess * (1.5 - 0.5 * x * guess * guess);
    guess * (1.5 - 0.5 * x * guess * guess)
}

const fn twiddles() -> [Complex; LEN - 1] {
    let mut table = [Complex::ZERO; LEN - 1];
    let mut half = 1;
    while half < LEN {
        let mut k = 0;
        while k < half {
            let turn = k as f64 / half as f64;
            table[half - 1 + k] = Complex { re: sin_pi(turn + 0.5) as f32, im: -sin_pi(turn) as f32 };
            k += 1;
        }
        half *= 2;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverse_roots_are_good_enough_everywhere() {
        for exponent in -60..60 {
            let x = 1.37f32 * 2f32.powi(exponent);
            assert!((inverse_root(x) * x.sqrt() - 1.0).abs() < 6e-6, "{x}");
        }
    }

    #[test]
    fn it_is_the_fourier_transform() {
        let wave: [Complex; 128] = core::array::from_fn(|n| Complex {
            re: ((n * n * 7 + 3) % 19) as f32 - 9.0,
            im: ((n * 5 + n * n) % 23) as f32 - 11.0,
        });
        let mut fast = wave;
        transform(&mut fast);
        for (k, bin) in fast.iter().enumerate() {
            let (mut re, mut im) = (0.0, 0.0);
            for (n, x) in wave.iter().enumerate() {
                let (s, c) = (-core::f64::consts::TAU * (k * n % 128) as f64 / 128.0).sin_cos();
                re += f64::from(x.re) * c - f64::from(x.im) * s;
                im += f64::from(x.re) * s + f64::from(x.im) * c;
            }
            assert!(
                (f64::from(bin.re) - re).abs() < 1e-2 && (f64::from(bin.im) - im).abs() < 1e-2,
                "bin {k}"
            );
        }
    }
}
