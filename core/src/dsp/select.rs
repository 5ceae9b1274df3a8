//! Worker side: the larger and the smaller of two numbers, for inner loops.
//!
//! `f32::max` is a call on processors whose floating-point unit has no instruction for it, as the Cortex-M4F's:
//! 33 instructions with what it saves and restores, where a comparison takes four.

/// Returns the larger number; the second one if either is no number.
#[inline]
pub(crate) fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// Returns the smaller number; the second one if either is no number.
#[inline]
pub(crate) fn smaller(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}
