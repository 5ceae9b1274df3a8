//! Worker side: holds the output at or below the microphone's level, whatever the filters did.

/// Energy of an output frame in terms of the microphone's at the same time above which it is turned down:
/// 0.4 dB. The high-pass moves energy from one frame to the next, which must not be heard as a gain.
const HEADROOM: f32 = 1.096;

/// Returns the energy of a frame.
#[inline(never)]
pub(super) fn energy(samples: &[f32]) -> f32 {
    samples.iter().fold(0.0, |sum, x| sum + x * x)
}

/// Turns a frame down to the energy of the microphone, if it has more.
pub(super) fn limit_to(microphone: f32, samples: &mut [f32]) {
    let found = energy(samples);
    let allowed = HEADROOM * microphone;
    // What is no number is not below either.
    if found <= allowed {
        return;
    }
    let gain = if found.is_finite() { root(allowed / found) } else { 0.0 };
    for x in samples {
        // A product with 0 would keep what is no number.
        *x = if gain > 0.0 { *x * gain } else { 0.0 };
    }
}

/// Returns a sample of which full scale is 1.
#[inline]
pub(super) fn from_i16(sample: i16) -> f32 {
    f32::from(sample) * const { 1.0 / 32_768.0 }
}

/// Returns the nearest 16-bit sample.
#[inline]
pub(super) fn to_i16(x: f32) -> i16 {
    let x = x * 32_768.0;
    ((x + 0.5f32.copysign(x)) as i32).clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

/// Returns the square root of a number from 0 to 1, at most 0.1 % too low.
fn root(x: f32) -> f32 {
    if x < 1e-30 { 0.0 } else { 0.9999 * x * crate::dsp::fft::fast_inverse_sqrt(x) }
}

/// Converts samples from full scale 1 to 16 bits. Rounding does not raise the energy above the allowed one.
/// Returns their energy, of which what is turned down here is not subtracted.
pub(super) fn quantise(microphone: f32, from: &[f32], to: &mut [i16]) -> f32 {
    let mut found = 0.0;
    for (to, &x) in to.iter_mut().zip(from) {
        *to = to_i16(x);
        let x = from_i16(*to);
        found += x * x;
    }
    if found > HEADROOM * microphone {
        for (to, &x) in to.iter_mut().zip(from) {
            *to = ((x * 32_768.0) as i32).clamp(i16::MIN.into(), i16::MAX.into()) as i16;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_frame_leaves_louder_than_allowed() {
        for level in [0.0, 1e-12, 1e-6, 0.3, 400.0] {
            for scale in [1e-5f32, 0.01, 1.0, 1e10, f32::INFINITY, f32::NAN] {
                let mut frame = [scale, -scale, 0.5 * scale, 0.0];
                limit_to(level, &mut frame);
                let found = energy(&frame);
                assert!(found <= level * 1.0965, "{found} of {level}");
                let mut samples = [0; 4];
                quantise(level, &frame, &mut samples);
                let found: f32 = samples.iter().map(|&x| (f32::from(x) / 32_768.0).powi(2)).sum();
                assert!(found <= level * 1.0965, "{found} of {level}");
            }
        }
    }

    #[test]
    fn samples_are_rounded_to_the_nearest_on_both_sides_of_zero() {
        for sample in (i16::MIN..=i16::MAX).step_by(7) {
            let exact = f32::from(sample);
            for off in [-0.4, 0.0, 0.4] {
                assert_eq!(to_i16((exact + off) / 32_768.0), sample, "{exact} {off}");
            }
        }
        assert_eq!([2.0, -2.0, f32::NAN].map(to_i16), [i16::MAX, i16::MIN, 0]);
    }
}
