//! Any side: conversion between 16-bit samples and floating-point samples of full scale 1.0.

use handsfree_core::{DeviceSample, Gain};

/// Converts floating-point samples to 16 bits.
///
/// Full scale is 1.0. Each sample is rounded to the nearest step. Samples beyond full scale are clipped, and a
/// NaN becomes silence.
#[must_use]
pub fn to_i16(samples: &[f32]) -> Vec<i16> {
    samples.iter().map(|sample| sample.to_pcm(Gain::UNITY).0).collect()
}

/// Converts 16-bit samples to floating point, with full scale 1.0. The conversion is exact.
#[must_use]
pub fn from_i16(samples: &[i16]) -> Vec<f32> {
    samples.iter().map(|&sample| f32::from_pcm(sample)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_16_bit_sample_survives_both_conversions() {
        let all: Vec<i16> = (i16::MIN..=i16::MAX).collect();
        assert_eq!(to_i16(&from_i16(&all)), all);
    }

    #[test]
    fn out_of_range_samples_clip_and_nan_becomes_silence() {
        assert_eq!(to_i16(&[1.5, -1.5, f32::NAN, 0.5]), [i16::MAX, i16::MIN, 0, 16_384]);
    }
}
