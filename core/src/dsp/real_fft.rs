//! Worker side: fast Fourier transforms of real signals of 160, 320, 640 and 960 points, which are 20 ms at
//! the rates of a voice session. An image that does not use them links neither code nor tables.

use super::fft::Complex;
use super::special::sin_pi;

/// Memory in which a transform works.
#[derive(Debug)]
pub(crate) struct FftScratch<const HALF: usize> {
    a: [Complex; HALF],
    b: [Complex; HALF],
}

impl<const HALF: usize> FftScratch<HALF> {
    pub(crate) const fn new() -> Self {
        Self { a: [Complex::ZERO; HALF], b: [Complex::ZERO; HALF] }
    }
}

/// Transform of `2 * HALF` real points, computed as a complex transform of `HALF` points (Sorensen, Jones,
/// Heideman and Burrus, "Real-valued fast Fourier transform algorithms", IEEE Trans. ASSP 35, 1987).
///
/// The complex transform is Stockham's self-sorting one with radices 5, 4, 3 and 2 (Swarztrauber, "FFT
/// algorithms for vector computers", Parallel Computing 1, 1984): it needs a second buffer and no
/// permutation.
pub(crate) struct RealFft<const HALF: usize>;

/// Radices of the stages in their order; `1` ends the list. One 5 comes first, and a 2 only last.
const fn radices(half: usize) -> [usize; 5] {
    assert!(half.is_multiple_of(5) && !half.is_multiple_of(25));
    let mut all = [1; 5];
    let mut left = half;
    let mut stage = 0;
    while left > 1 {
        let radix = match () {
            () if left.is_multiple_of(5) => 5,
            () if left.is_multiple_of(4) => 4,
            () if left.is_multiple_of(3) => 3,
            () if left.is_multiple_of(2) => 2,
            () => panic!("the transform's length has a prime factor above 5"),
        };
        all[stage] = radix;
        left /= radix;
        stage += 1;
    }
    all
}

/// Returns `exp(-i pi k / HALF)` for k from 0 to `HALF - 1`.
const fn half_circle<const HALF: usize>() -> [Complex; HALF] {
    let mut table = [Complex::ZERO; HALF];
    let mut k = 0;
    while k < HALF {
        let turn = k as f64 / HALF as f64;
        table[k] = Complex { re: sin_pi(turn + 0.5) as f32, im: -sin_pi(turn) as f32 };
        k += 1;
    }
    table
}

impl<const HALF: usize> RealFft<HALF> {
    const RADICES: [usize; 5] = radices(HALF);
    const ROOTS: [Complex; HALF] = half_circle::<HALF>();
    const STAGES: usize = {
        let mut count = 0;
        while count < 5 && Self::RADICES[count] > 1 {
            count += 1;
        }
        count
    };

    /// Transforms `2 * HALF` samples, given as two halves of which either may be absent and counts as
    /// silence. `out` takes the bins from 0 Hz to half the sample rate.
    #[inline(never)]
    pub(crate) fn forward<const BINS: usize>(
        first: Option<&[f32; HALF]>,
        second: Option<&[f32; HALF]>,
        out: &mut [Complex; BINS],
        scratch: &mut FftScratch<HALF>,
    ) {
        const { assert!(BINS == HALF + 1 && HALF.is_multiple_of(4)) };
        {
            let input = if Self::STAGES.is_multiple_of(2) { &mut scratch.a } else { &mut scratch.b };
            let (front, back) = input.split_at_mut(HALF / 2);
            pack(first, front);
            pack(second, back);
        }
        Self::complex(scratch);
        let [z0, rest @ ..] = scratch.a.as_slice() else { return };
        let (low, high) = out.split_at_mut(HALF / 2 + 1);
        let ([first, low @ ..], [high @ .., last]) = (low, high) else { return };
        *first = Complex { re: z0.re + z0.im, im: 0.0 };
        *last = Complex { re: z0.re - z0.im, im: 0.0 };
        let Some((middle, low)) = low.split_last_mut() else { return };
        let pairs = rest.iter().zip(rest.iter().rev()).zip(Self::ROOTS.iter().skip(1));
        for (((a, b), &root), (to_low, to_high)) in pairs.zip(low.iter_mut().zip(high.iter_mut().rev())) {
            let even = Complex { re: 0.5 * (a.re + b.re), im: 0.5 * (a.im - b.im) };
            let odd = Complex { re: 0.5 * (a.im + b.im), im: -0.5 * (a.re - b.re) }.times(root);
            *to_low = even.plus(odd);
            *to_high = Complex { re: even.re - odd.re, im: odd.im - even.im };
        }
        if let Some(z) = rest.get(HALF / 2 - 1) {
            *middle = z.conj();
        }
    }

    /// Transforms bins from 0 Hz to half the sample rate back to `2 * HALF` samples, as two halves. Imaginary
    /// parts of the first and the last bin are ignored.
    #[inline(never)]
    pub(crate) fn inverse<const BINS: usize>(
        bins: &[Complex; BINS],
        out: &mut [[f32; HALF]; 2],
        scratch: &mut FftScratch<HALF>,
    ) {
        const { assert!(BINS == HALF + 1 && HALF.is_multiple_of(4)) };
        let scale = const { 0.5 / HALF as f32 };
        {
            let input = if Self::STAGES.is_multiple_of(2) { &mut scratch.a } else { &mut scratch.b };
            // Real and imaginary parts change places, which turns the forward transform into the inverse.
            let ([first, .., last], [z0, rest @ ..]) = (bins.as_slice(), input.as_mut_slice()) else {
                return;
            };
            *z0 = Complex { re: (first.re - last.re) * scale, im: (first.re + last.re) * scale };
            let (low, high) = rest.split_at_mut(HALF / 2);
            let Some((middle, low)) = low.split_last_mut() else { return };
            let inner = bins.iter().skip(1).zip(bins.iter().rev().skip(1)).zip(Self::ROOTS.iter().skip(1));
            for (((a, b), root), (to_low, to_high)) in inner.zip(low.iter_mut().zip(high.iter_mut().rev())) {
                let even = Complex { re: a.re + b.re, im: a.im - b.im };
                let odd = Complex { re: a.re - b.re, im: a.im + b.im }.times(root.conj());
                *to_low = Complex { re: (even.im + odd.re) * scale, im: (even.re - odd.im) * scale };
                *to_high = Complex { re: (odd.re - even.im) * scale, im: (even.re + odd.im) * scale };
            }
            if let Some(z) = bins.get(HALF / 2) {
                *middle = Complex { re: -2.0 * z.im * scale, im: 2.0 * z.re * scale };
            }
        }
        Self::complex(scratch);
        let samples = out.as_flattened_mut().as_chunks_mut::<2>().0;
        for (pair, z) in samples.iter_mut().zip(&scratch.a) {
            *pair = [z.im, z.re];
        }
    }

    /// Transforms `HALF` complex points forward. The input is in `a` if the number of stages is even and
    /// otherwise in `b`; the output is always in `a`.
    fn complex(scratch: &mut FftScratch<HALF>) {
        let (mut from, mut to) = if const { Self::STAGES.is_multiple_of(2) } {
            (&mut scratch.a, &mut scratch.b)
        } else {
            (&mut scratch.b, &mut scratch.a)
        };
        let mut stride = 1;
        for radix in Self::RADICES {
            match radix {
                5 => Self::radix_5(from, to),
                4 => Self::radix_4(stride, from, to),
                3 => Self::radix_3(stride, from, to),
                2 => Self::radix_2(from, to),
                _ => break,
            }
            core::mem::swap(&mut from, &mut to);
            stride *= radix;
        }
    }

    /// Returns the stride itself; tells the compiler that its multiples are neither 0 nor overflow.
    #[inline]
    fn bounded(stride: usize) -> usize {
        stride.max(1).min(HALF)
    }

    /// Returns the twiddle factors of the butterflies of a stage.
    #[inline]
    fn factors(stride: usize) -> impl Iterator<Item = Complex> {
        Self::ROOTS.iter().step_by(2 * Self::bounded(stride)).copied()
    }

    /// The first stage, whose butterflies lie side by side in the output.
    fn radix_5(x: &[Complex; HALF], y: &mut [Complex; HALF]) {
        // Cosine and sine of 72 and 144 degrees.
        const C1: f32 = sin_pi(0.9) as f32;
        const C2: f32 = -sin_pi(0.7) as f32;
        const S1: f32 = sin_pi(0.4) as f32;
        const S2: f32 = sin_pi(0.8) as f32;
        let mut parts = x.chunks_exact(const { HALF / 5 });
        let [Some(a), Some(b), Some(c), Some(d), Some(e)] = core::array::from_fn(|_| parts.next()) else {
            return;
        };
        let inputs = a.iter().zip(b).zip(c).zip(d).zip(e);
        for (((((a, b), c), d), e), (w1, [o0, o1, o2, o3, o4])) in
            inputs.zip(Self::factors(1).zip(y.as_chunks_mut::<5>().0))
        {
            let w2 = w1.times(w1);
            let (w3, w4) = (w1.times(w2), w2.times(w2));
            let (near, near_rest) = (b.plus(*e), b.minus(*e));
            let (far, far_rest) = (c.plus(*d), c.minus(*d));
            let r1 = Complex { re: a.re + C1 * near.re + C2 * far.re, im: a.im + C1 * near.im + C2 * far.im };
            let r2 = Complex { re: a.re + C2 * near.re + C1 * far.re, im: a.im + C2 * near.im + C1 * far.im };
            let i1 = Complex {
                re: S1 * near_rest.im + S2 * far_rest.im,
                im: -(S1 * near_rest.re + S2 * far_rest.re),
            };
            let i2 = Complex {
                re: S2 * near_rest.im - S1 * far_rest.im,
                im: S1 * far_rest.re - S2 * near_rest.re,
            };
            *o0 = a.plus(near.plus(far));
            *o1 = r1.plus(i1).times(w1);
            *o2 = r2.plus(i2).times(w2);
            *o3 = r2.minus(i2).times(w3);
            *o4 = r1.minus(i1).times(w4);
        }
    }

    fn radix_4(stride: usize, x: &[Complex; HALF], y: &mut [Complex; HALF]) {
        let stride = Self::bounded(stride);
        let mut parts = x.chunks_exact(const { HALF / 4 });
        let [Some(a), Some(b), Some(c), Some(d)] = core::array::from_fn(|_| parts.next()) else { return };
        let inputs = a.chunks_exact(stride).zip(b.chunks_exact(stride));
        let inputs = inputs.zip(c.chunks_exact(stride)).zip(d.chunks_exact(stride));
        for ((((a, b), c), d), (w1, out)) in
            inputs.zip(Self::factors(stride).zip(y.chunks_exact_mut(4 * stride)))
        {
            let w2 = w1.times(w1);
            let w3 = w1.times(w2);
            let mut outs = out.chunks_exact_mut(stride);
            let [Some(o0), Some(o1), Some(o2), Some(o3)] = core::array::from_fn(|_| outs.next()) else {
                return;
            };
            let outs = o0.iter_mut().zip(o1).zip(o2).zip(o3);
            for ((((a, b), c), d), (((o0, o1), o2), o3)) in a.iter().zip(b).zip(c).zip(d).zip(outs) {
                let (even, even_rest) = (a.plus(*c), a.minus(*c));
                let (odd, odd_rest) = (b.plus(*d), b.minus(*d));
                let turned = Complex { re: odd_rest.im, im: -odd_rest.re };
                *o0 = even.plus(odd);
                *o1 = even_rest.plus(turned).times(w1);
                *o2 = even.minus(odd).times(w2);
                *o3 = even_rest.minus(turned).times(w3);
            }
        }
    }

    fn radix_3(stride: usize, x: &[Complex; HALF], y: &mut [Complex; HALF]) {
        // Sine of 120 degrees.
        const S: f32 = sin_pi(2.0 / 3.0) as f32;
        let stride = Self::bounded(stride);
        let mut parts = x.chunks_exact(const { HALF / 3 });
        let [Some(a), Some(b), Some(c)] = core::array::from_fn(|_| parts.next()) else { return };
        let inputs = a.chunks_exact(stride).zip(b.chunks_exact(stride)).zip(c.chunks_exact(stride));
        for (((a, b), c), (w1, out)) in inputs.zip(Self::factors(stride).zip(y.chunks_exact_mut(3 * stride)))
        {
            let w2 = w1.times(w1);
            let mut outs = out.chunks_exact_mut(stride);
            let [Some(o0), Some(o1), Some(o2)] = core::array::from_fn(|_| outs.next()) else { return };
            for (((a, b), c), ((o0, o1), o2)) in a.iter().zip(b).zip(c).zip(o0.iter_mut().zip(o1).zip(o2)) {
                let (sum, rest) = (b.plus(*c), b.minus(*c));
                let real = Complex { re: a.re - 0.5 * sum.re, im: a.im - 0.5 * sum.im };
                let turned = Complex { re: S * rest.im, im: -S * rest.re };
                *o0 = a.plus(sum);
                *o1 = real.plus(turned).times(w1);
                *o2 = real.minus(turned).times(w2);
            }
        }
    }

    /// The last stage, whose twiddle factor is 1.
    fn radix_2(x: &[Complex; HALF], y: &mut [Complex; HALF]) {
        let (a, b) = x.split_at(const { HALF / 2 });
        let (o0, o1) = y.split_at_mut(const { HALF / 2 });
        for ((a, b), (o0, o1)) in a.iter().zip(b).zip(o0.iter_mut().zip(o1)) {
            *o0 = a.plus(*b);
            *o1 = a.minus(*b);
        }
    }
}

/// Writes pairs of samples as complex numbers; without samples, writes zeros.
#[inline]
fn pack<const HALF: usize>(samples: Option<&[f32; HALF]>, to: &mut [Complex]) {
    match samples {
        Some(samples) => {
            for (z, &[re, im]) in to.iter_mut().zip(samples.as_chunks::<2>().0) {
                *z = Complex { re, im };
            }
        }
        None => to.fill(Complex::ZERO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave<const HALF: usize>(seed: usize) -> [f32; HALF] {
        core::array::from_fn(|n| ((n * n * 7 + n * seed + 3) % 23) as f32 - 11.0)
    }

    fn transforms_agree<const HALF: usize, const BINS: usize>() {
        let (first, second) = (wave::<HALF>(5), wave::<HALF>(11));
        let mut scratch = FftScratch::new();
        let mut bins = [Complex::ZERO; BINS];
        RealFft::<HALF>::forward(Some(&first), Some(&second), &mut bins, &mut scratch);
        let points = 2 * HALF;
        for (k, bin) in bins.iter().enumerate() {
            let (mut re, mut im) = (0.0, 0.0);
            for (n, &x) in first.iter().chain(&second).enumerate() {
                let (s, c) = (-core::f64::consts::TAU * (k * n % points) as f64 / points as f64).sin_cos();
                re += f64::from(x) * c;
                im += f64::from(x) * s;
            }
            let error = (f64::from(bin.re) - re).abs().max((f64::from(bin.im) - im).abs());
            assert!(error < 5e-3, "{points} points, bin {k}: off by {error}");
        }
        let mut back = [[0.0; HALF]; 2];
        RealFft::<HALF>::inverse(&bins, &mut back, &mut scratch);
        for (n, (x, y)) in first.iter().chain(&second).zip(back.as_flattened()).enumerate() {
            assert!((x - y).abs() < 1e-4, "{points} points, sample {n}: {y} instead of {x}");
        }
        RealFft::<HALF>::forward(None, Some(&second), &mut bins, &mut scratch);
        RealFft::<HALF>::inverse(&bins, &mut back, &mut scratch);
        assert!(back[0].iter().all(|x| x.abs() < 1e-4), "{points} points: an absent half is silence");
    }

    #[test]
    fn real_and_direct_transforms_agree_at_every_length() {
        transforms_agree::<80, 81>();
        transforms_agree::<160, 161>();
        transforms_agree::<320, 321>();
        transforms_agree::<480, 481>();
    }
}
