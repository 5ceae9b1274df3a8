//! Worker side: conversion between the rings' interleaved i16 samples and the library's f32 planes, one per
//! channel.

/// Scale between i16 and f32 samples. It is a power of two, so scaling is exact.
const FULL_SCALE: f32 = 32_768.0;

/// Adding and then subtracting this constant (1.5 * 2^23) rounds any value within 2^22 to the nearest whole
/// number, ties to even. Unlike a call of `round`, the compiler vectorizes it.
const ROUNDING_OFFSET: f32 = 12_582_912.0;

fn to_float(sample: i16) -> f32 {
    f32::from(sample) / FULL_SCALE
}

/// Rounds to the nearest sample value and clamps to its range. NaN becomes 0, the result of Rust's cast.
fn to_i16(sample: f32) -> i16 {
    let scaled = (sample * FULL_SCALE).clamp(-32_768.0, 32_767.0);
    ((scaled + ROUNDING_OFFSET) - ROUNDING_OFFSET) as i16
}

/// Splits interleaved samples into one plane per channel.
pub(crate) fn to_planes<const LEN: usize>(samples: &[i16], planes: &mut [[f32; LEN]], channels: usize) {
    for (channel, plane) in planes.iter_mut().take(channels).enumerate() {
        let of_channel = samples.iter().skip(channel).step_by(channels);
        plane.iter_mut().zip(of_channel).for_each(|(float, &sample)| *float = to_float(sample));
    }
}

/// Interleaves the planes, one per channel, into `samples`.
pub(crate) fn from_planes<const LEN: usize>(planes: &[[f32; LEN]], samples: &mut [i16], channels: usize) {
    for (channel, plane) in planes.iter().take(channels).enumerate() {
        let of_channel = samples.iter_mut().skip(channel).step_by(channels);
        of_channel.zip(plane).for_each(|(sample, &float)| *sample = to_i16(float));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_survives_the_round_trip() {
        for sample in i16::MIN..=i16::MAX {
            assert_eq!(to_i16(to_float(sample)), sample);
        }
    }

    #[test]
    fn rounds_to_nearest_and_clamps() {
        let lsb = 1.0 / FULL_SCALE;
        for (float, sample) in [
            (0.0, 0),
            (-0.0, 0),
            (0.49 * lsb, 0),
            (0.51 * lsb, 1),
            (-0.51 * lsb, -1),
            (-1.49 * lsb, -1),
            (1.0, i16::MAX),
            (-1.0, i16::MIN),
            (7.0, i16::MAX),
            (-7.0, i16::MIN),
            (f32::INFINITY, i16::MAX),
            (f32::NEG_INFINITY, i16::MIN),
            (f32::NAN, 0),
            (1e-40, 0),
        ] {
            assert_eq!(to_i16(float), sample, "{float}");
        }
    }

    #[test]
    fn channels_keep_their_order() {
        let samples: Vec<i16> = (0..20).collect();
        let mut planes = [[9.0; 10]; 2];
        to_planes(&samples, &mut planes, 2);
        assert_eq!(planes[0][3], to_float(6));
        assert_eq!(planes[1][3], to_float(7));
        let mut back = vec![99; 20];
        from_planes(&planes, &mut back, 2);
        assert_eq!(back, samples);
    }
}
