//! Compile time: the functions behind kernels and windows, because const evaluation has no mathematical
//! library.

const PI: f64 = core::f64::consts::PI;

/// Returns sin(pi x) / (pi x) for x >= 0.
pub(crate) const fn sinc(x: f64) -> f64 {
    if x < 1e-9 { 1.0 } else { sin_pi(x) / (PI * x) }
}

/// Returns sin(pi x) for x >= 0, by reduction to +-1/2 and the Taylor series (error below 1e-15).
pub(crate) const fn sin_pi(x: f64) -> f64 {
    let nearest = (x + 0.5) as u64;
    let r = PI * (x - nearest as f64);
    let square = r * r;
    let mut term = r;
    let mut sum = r;
    let mut n = 1.0;
    while n < 20.0 {
        term = -term * square / ((n + 1.0) * (n + 2.0));
        sum += term;
        n += 2.0;
    }
    if nearest.is_multiple_of(2) { sum } else { -sum }
}

/// Returns the modified Bessel function of order 0 at `2 sqrt(x)`, so that a window needs no square root.
pub(crate) const fn bessel_i0_of_quarter_square(x: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    let mut k = 1.0;
    while term > sum * 1e-17 {
        term *= x / (k * k);
        sum += term;
        k += 1.0;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_functions_match_known_values() {
        for i in 0..1_600 {
            let x = f64::from(i) / 100.0;
            assert!((sin_pi(x) - (PI * x).sin()).abs() < 1e-12, "sin_pi({x})");
        }
        assert!((bessel_i0_of_quarter_square(81.0 / 4.0) - 1_093.588_354_511_37).abs() < 1e-6);
        assert_eq!((sinc(0.0), bessel_i0_of_quarter_square(0.0)), (1.0, 1.0));
    }
}
