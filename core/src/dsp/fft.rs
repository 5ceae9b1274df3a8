//! Worker side: complex numbers, phase rotation and a radix-2 fast Fourier transform without allocation. An
//! image that does not use them links neither code nor tables.

use super::special::sin_pi;

/// A complex number in single precision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Complex {
    pub(crate) re: f32,
    pub(crate) im: f32,
}

impl Complex {
    pub(crate) const ZERO: Self = Self { re: 0.0, im: 0.0 };

    #[inline]
    pub(crate) fn times(self, other: Self) -> Self {
        Self { re: self.re * other.re - self.im * other.im, im: self.re * other.im + self.im * other.re }
    }

    /// Returns the complex conjugate.
    #[inline]
    pub(crate) fn conj(self) -> Self {
        Self { re: self.re, im: -self.im }
    }

    #[inline]
    pub(crate) fn plus(self, other: Self) -> Self {
        Self { re: self.re + other.re, im: self.im + other.im }
    }

    #[inline]
    pub(crate) fn minus(self, other: Self) -> Self {
        Self { re: self.re - other.re, im: self.im - other.im }
    }

    #[inline]
    pub(crate) fn scaled(self, by: f32) -> Self {
        Self { re: self.re * by, im: self.im * by }
    }

    /// Returns the squared magnitude.
    #[inline]
    pub(crate) fn power(self) -> f32 {
        self.re * self.re + self.im * self.im
    }
}

/// The factors that move a signal in time, one for each bin of its spectrum, in order. Infinite.
pub(crate) struct PhaseRotator {
    now: Complex,
    step: Complex,
}

impl PhaseRotator {
    /// Returns the factors for the spectrum of `points` samples, from bin `first_bin` on. Multiplied by them,
    /// its signal comes earlier by `samples`.
    pub(crate) fn new(points: usize, first_bin: usize, samples: f64) -> Self {
        let per_bin = core::f64::consts::TAU / points as f64 * samples;
        Self { now: unit(per_bin * first_bin as f64), step: unit(per_bin) }
    }
}

impl Iterator for PhaseRotator {
    type Item = Complex;

    #[inline]
    fn next(&mut self) -> Option<Complex> {
        let now = self.now;
        self.now = now.times(self.step);
        Some(now)
    }
}

/// Returns the number of magnitude 1 at `angle`, in radians.
fn unit(angle: f64) -> Complex {
    let (sin, cos) = libm::sincos(angle);
    Complex { re: cos as f32, im: sin as f32 }
}

/// Points of the longest transform.
const MAX_POINTS: usize = 512;

/// Twiddle factors of all stages, one stage after the other: 1 + 2 + 4 + ... + `MAX_POINTS` / 2 of them.
static TWIDDLES: [Complex; MAX_POINTS - 1] = twiddles();

/// Each index of [`MAX_POINTS`] points with its bits in reverse order.
static REVERSED: [u16; MAX_POINTS] = reversed();

/// Transforms `data` forward, in place. `N` is a power of two from 4 to 512.
///
/// Costs `5 N log2 N` operations.
pub(crate) fn transform<const N: usize>(data: &mut [Complex; N]) {
    const { assert!(N.is_power_of_two() && N >= 4 && N <= MAX_POINTS) };
    let shift = (MAX_POINTS / N).trailing_zeros();
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

const fn reversed() -> [u16; MAX_POINTS] {
    let mut table = [0; MAX_POINTS];
    let mut index = 0;
    while index < MAX_POINTS {
        table[index] = (index as u16).reverse_bits() >> (u16::BITS - MAX_POINTS.trailing_zeros());
        index += 1;
    }
    table
}

/// Returns `1 / sqrt(x)` for x > 0, with a relative error below 5e-6, by Lomont's constant ("Fast inverse
/// square root", 2003) and two Newton steps: about ten operations, where a square root and a division in
/// software take a hundred.
#[inline]
pub(crate) fn fast_inverse_sqrt(x: f32) -> f32 {
    let guess = f32::from_bits(0x5f37_59df - (x.to_bits() >> 1));
    let guess = guess * (1.5 - 0.5 * x * guess * guess);
    guess * (1.5 - 0.5 * x * guess * guess)
}

const fn twiddles() -> [Complex; MAX_POINTS - 1] {
    let mut table = [Complex::ZERO; MAX_POINTS - 1];
    let mut half = 1;
    while half < MAX_POINTS {
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
    fn inverse_square_roots_are_within_6e_6() {
        for exponent in -60..60 {
            let x = 1.37f32 * 2f32.powi(exponent);
            assert!((fast_inverse_sqrt(x) * x.sqrt() - 1.0).abs() < 6e-6, "{x}");
        }
    }

    #[test]
    fn fast_and_direct_transforms_agree() {
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
