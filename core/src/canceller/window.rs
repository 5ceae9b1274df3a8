//! Worker side: the root-Hann window over two frames, in front of the suppressor and behind it.

use crate::dsp::special::sin_pi;

/// Returns the rising half of a root-Hann window over two hops.
pub(super) const fn rising<const HOP: usize>() -> [f32; HOP] {
    let mut window = [0.0; HOP];
    let mut at = 0;
    while at < HOP {
        window[at] = sin_pi((at as f64 + 0.5) / (2 * HOP) as f64) as f32;
        at += 1;
    }
    window
}

/// Writes two frames under a root-Hann window.
// Not inlined, because the compiler would unroll it and write the window into the code.
#[inline(never)]
pub(super) fn windowed<const HOP: usize>(
    first: &[f32; HOP],
    second: &[f32; HOP],
    rising: &[f32; HOP],
    to: &mut [[f32; HOP]; 2],
) {
    let [to_first, to_second] = to;
    for ((to, x), window) in to_first.iter_mut().zip(first).zip(rising) {
        *to = x * window;
    }
    for ((to, x), window) in to_second.iter_mut().zip(second).zip(rising.iter().rev()) {
        *to = x * window;
    }
}

/// Windows two frames; adds the overlap to the first, and keeps the second as the next overlap.
#[inline(never)]
pub(super) fn overlap_add<const HOP: usize>(
    time: &mut [[f32; HOP]; 2],
    overlap: &mut [f32; HOP],
    rising: &[f32; HOP],
) {
    let [first, second] = time;
    for ((first, overlap), window) in first.iter_mut().zip(overlap.iter()).zip(rising) {
        *first = *first * window + overlap;
    }
    for ((overlap, second), window) in overlap.iter_mut().zip(second.iter()).zip(rising.iter().rev()) {
        *overlap = second * window;
    }
}
