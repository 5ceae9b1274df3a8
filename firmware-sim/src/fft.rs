//! Plans of real Fourier transforms, compiled once: each crate that plans transforms itself compiles the whole of `rustfft` again, which
//! takes longer than the crate.

use std::sync::Arc;

use realfft::RealFftPlanner;
pub use realfft::num_complex::Complex32;
pub use realfft::{ComplexToReal, RealToComplex};

/// Returns the plan of the transform of `samples` real samples to `samples / 2 + 1` bins.
#[must_use]
pub fn forward(samples: usize) -> Arc<dyn RealToComplex<f32>> {
    RealFftPlanner::new().plan_fft_forward(samples)
}

/// Returns the plan of the transform of `samples / 2 + 1` bins to `samples` real samples, which are `samples` times as large
/// as those that [`forward`] was given.
#[must_use]
pub fn inverse(samples: usize) -> Arc<dyn ComplexToReal<f32>> {
    RealFftPlanner::new().plan_fft_inverse(samples)
}
