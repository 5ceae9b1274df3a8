//! Worker side: least squares of the microphone against the echoes of functions of the far end.

use core::array::from_fn;

/// Functions, the sample itself first. As many as two vectors of a processor hold.
pub(super) const FUNCTIONS: usize = 8;
/// Part of the functions' products that is kept in an active frame: 10 s.
const PRODUCTS_KEPT: f32 = 0.999;
/// Regularisation of the least squares as a part of its trace, for 24 bits of precision.
const LEAST_DIAGONAL: f32 = 1e-6;

/// One value for each function.
pub(super) type Values = [f32; FUNCTIONS];

/// Products of the functions on the far end.
#[derive(Debug)]
pub(super) struct Products {
    /// Energy of the far end.
    pub(super) energy: f32,
    /// Products of the sample and each function.
    pub(super) linear: Values,
    /// Products of two functions without their linear parts.
    pub(super) gram: [Values; FUNCTIONS],
}

/// Least squares of the microphone against the functions' echoes.
#[derive(Debug)]
pub(super) struct Squares {
    pub(super) matrix: [Values; FUNCTIONS],
    pub(super) right: Values,
    /// Gains of the functions' echoes in the microphone.
    pub(super) solution: Values,
}

impl Products {
    pub(super) const fn new() -> Self {
        Self { energy: 0.0, linear: [0.0; FUNCTIONS], gram: [[0.0; FUNCTIONS]; FUNCTIONS] }
    }

    /// Returns the part of the sample in each function.
    pub(super) fn linear_parts(&self) -> Values {
        let mut parts = [0.0; FUNCTIONS];
        if self.energy > 0.0 {
            parts = self.linear.map(|product| product / self.energy);
        }
        // The sample itself stays.
        parts[0] = 0.0;
        parts
    }

    /// Adds the products of a sample's functions.
    pub(super) fn add(&mut self, functions: &Values) {
        for (row, a) in self.gram.iter_mut().zip(functions) {
            for (product, b) in row.iter_mut().zip(functions) {
                *product += a * b;
            }
        }
    }

    /// Adds the products of a frame, of which one sample in `every` gave the products of two functions.
    pub(super) fn keep(&mut self, now: &Self, every: f32) {
        self.energy = PRODUCTS_KEPT * self.energy + now.energy;
        for (sum, now) in self.linear.iter_mut().zip(&now.linear) {
            *sum = PRODUCTS_KEPT * *sum + now;
        }
        for (sum, now) in self.gram.as_flattened_mut().iter_mut().zip(now.gram.as_flattened()) {
            *sum = PRODUCTS_KEPT * *sum + every * now;
        }
    }
}

impl Squares {
    pub(super) const fn new() -> Self {
        Self { matrix: [[0.0; FUNCTIONS]; FUNCTIONS], right: [0.0; FUNCTIONS], solution: [0.0; FUNCTIONS] }
    }

    /// Returns the gain of the mean path's echo in the microphone, for a loudspeaker without distortion.
    pub(super) fn linear_gain(&self) -> f32 {
        let own = self.matrix[0][0];
        if own > 0.0 { self.right[0] / own } else { 0.0 }
    }

    /// Adds samples of the microphone, each with the functions' echoes, to the part that is kept of earlier ones.
    pub(super) fn add(&mut self, echoes: &[(f32, Values)], weight: f32, part_kept: f32) {
        for kept in self.matrix.as_flattened_mut().iter_mut().chain(&mut self.right) {
            *kept *= part_kept;
        }
        for (near, values) in echoes {
            for ((row, right), value) in self.matrix.iter_mut().zip(&mut self.right).zip(values) {
                let weighted = weight * value;
                *right += weighted * near;
                for (sum, other) in row.iter_mut().zip(values) {
                    *sum += weighted * other;
                }
            }
        }
    }

    /// Solves the least squares. A distortion as loud as the sound itself is expected with a standard deviation of 1, so
    /// that functions which the far end does not tell apart share a small curve.
    pub(super) fn solve(&mut self, products: &Products) {
        if products.energy <= 0.0 {
            return;
        }
        let mut matrix = self.matrix;
        let prior = 1.0 / products.energy;
        // The gain itself is not small.
        for (row, products) in matrix.iter_mut().zip(&products.gram).skip(1) {
            for (sum, product) in row.iter_mut().zip(products).skip(1) {
                *sum += prior * product;
            }
        }
        let trace: f32 = (0..FUNCTIONS).fold(0.0, |sum, k| sum + matrix[k][k]);
        for (k, row) in matrix.iter_mut().enumerate() {
            row[k] += LEAST_DIAGONAL * trace;
        }
        self.solution = solved(matrix, self.right);
    }
}

/// Solves a symmetric positive definite system by the decomposition `L D L'` (Golub and Van Loan, "Matrix Computations",
/// section 4.1.2).
fn solved(mut matrix: [Values; FUNCTIONS], right: Values) -> Values {
    let mut solution = right;
    for j in 0..FUNCTIONS {
        let (row, pivot) = (matrix[j], matrix[j][j]);
        if pivot <= 0.0 {
            return [0.0; FUNCTIONS];
        }
        for i in j + 1..FUNCTIONS {
            let factor = matrix[i][j] / pivot;
            matrix[i] = from_fn(|k| matrix[i][k] - factor * row[k]);
            solution[i] -= factor * solution[j];
        }
    }
    for j in (0..FUNCTIONS).rev() {
        let known = (j + 1..FUNCTIONS).fold(0.0, |sum, k| sum + matrix[j][k] * solution[k]);
        solution[j] = (solution[j] - known) / matrix[j][j];
    }
    solution
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canceller::storage::RandomBits;

    #[test]
    fn systems_are_solved() {
        let mut random = RandomBits::new();
        let mut number = || random.next_signed();
        for round in 0..100 {
            let parts: [Values; 12] = from_fn(|_| from_fn(|_| number()));
            let mut matrix = [[0.0; FUNCTIONS]; FUNCTIONS];
            for part in &parts {
                for (row, a) in matrix.iter_mut().zip(part) {
                    for (sum, b) in row.iter_mut().zip(part) {
                        *sum += a * b;
                    }
                }
            }
            let expected: Values = from_fn(|_| number());
            let right: Values = from_fn(|k| matrix[k].iter().zip(&expected).map(|(a, b)| a * b).sum());
            for (found, expected) in solved(matrix, right).iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-2, "round {round}: {found} instead of {expected}");
            }
        }
        assert_eq!(solved([[0.0; FUNCTIONS]; FUNCTIONS], [1.0; FUNCTIONS]), [0.0; FUNCTIONS]);
    }

    #[test]
    fn products_of_earlier_frames_fade_and_sparse_ones_count_for_all_samples() {
        let frame = |of: f32| Products {
            energy: of,
            linear: [2.0 * of; FUNCTIONS],
            gram: [[3.0 * of; FUNCTIONS]; FUNCTIONS],
        };
        let mut kept = Products::new();
        kept.keep(&frame(10.0), 4.0);
        kept.keep(&frame(1.0), 4.0);
        let expected =
            [10.0 * PRODUCTS_KEPT + 1.0, 20.0 * PRODUCTS_KEPT + 2.0, 4.0 * (30.0 * PRODUCTS_KEPT + 3.0)];
        let found = [kept.energy, kept.linear[0], kept.gram[FUNCTIONS - 1][0]];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-4 * expected, "{found} instead of {expected}");
        }
    }
}
