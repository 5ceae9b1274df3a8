//! Worker side: the inner loops of the resampler.
//!
//! They read contiguous memory in fixed lanes, so that they compile to vector instructions without reordering
//! floats and give the same bits on every processor with IEEE arithmetic.

/// Number of partial sums.
const LANES: usize = 16;

/// Returns the sum of the products of two slices of equal length, a multiple of 16.
#[inline]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut four = [0.0; 4];
    sum_by_four(a, b, &mut four);
    (four[0] + four[2]) + (four[1] + four[3])
}

// Not inlined, and with its result in memory: when inlined, the compiler sees that pairs are summed in the
// end and makes the vectors within the loop half as wide.
#[inline(never)]
fn sum_by_four(a: &[f32], b: &[f32], four: &mut [f32; 4]) {
    let mut sums = [0.0; LANES];
    for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    for (lane, sum) in four.iter_mut().enumerate() {
        *sum = (sums[lane] + sums[lane + 4]) + (sums[lane + 8] + sums[lane + 12]);
    }
}

/// Adds `row * scale` to `sums`, or stores it there if `anew` is set.
#[inline]
pub(crate) fn accumulate(sums: &mut [f32], anew: bool, row: &[f32], scale: f32) {
    for (sum, weight) in sums.iter_mut().zip(row) {
        *sum = if anew { 0.0 } else { *sum } + weight * scale;
    }
}

/// Adds the sum over the rows of `row * scale` to `sums`. The sum over the rows is computed first, in order.
#[inline]
pub(crate) fn add_sum<const ROWS: usize>(sums: &mut [f32], rows: [&[f32]; ROWS], scales: [f32; ROWS]) {
    let rows = rows.map(|row| &row[..sums.len()]);
    for (i, sum) in sums.iter_mut().enumerate() {
        let mut partial = 0.0;
        for (row, scale) in rows.iter().zip(scales) {
            partial += row[i] * scale;
        }
        *sum += partial;
    }
}

/// Adds one slice to another.
#[inline]
pub(crate) fn add(sums: &mut [f32], terms: &[f32]) {
    for (sum, term) in sums.iter_mut().zip(terms) {
        *sum += term;
    }
}

/// Computes the weighted sum of four contiguous rows.
#[inline]
pub(crate) fn blend(row: &mut [f32], four: &[f32], weights: [f32; 4]) {
    let mut fours = four.chunks_exact(row.len().max(1));
    let mut next = || fours.next().unwrap_or(&[]);
    let (a, b, c, d) = (next(), next(), next(), next());
    for ((((out, a), b), c), d) in row.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        *out = (a * weights[0] + b * weights[1]) + (c * weights[2] + d * weights[3]);
    }
}
