//! Worker side: numbers that a recursion leaves behind when its input ends.
//!
//! A mean that decays reaches numbers below 1e-38, which do not have all their bits, and rounding keeps it there. x86
//! processors take a hundred times as long for each operation with such a number, and a silent far end made a frame
//! take up to twenty times as long.

/// Power below which nothing is kept: -250 dBFS. What it is added to is at least 1e-17, so that no result changes.
const NO_POWER: f32 = 1e-25;

/// Sample below which nothing is kept: -200 dBFS. Its power times a variance still has all its bits.
const NO_SAMPLE: f32 = 1e-10;

/// Sets samples below -200 dBFS to 0.
#[inline]
pub(super) fn flush_samples(values: &mut [f32]) {
    flush(values, NO_SAMPLE);
}

/// Sets powers below 1e-25 to 0 where they would take time; elsewhere it would be this that takes time.
#[inline]
pub(super) fn flush_powers(values: &mut [f32]) {
    if cfg!(any(target_arch = "x86_64", target_arch = "x86")) {
        flush(values, NO_POWER);
    }
}

#[inline(always)]
fn flush(values: &mut [f32], least: f32) {
    for x in values {
        *x = if x.abs() < least { 0.0 } else { *x };
    }
}
