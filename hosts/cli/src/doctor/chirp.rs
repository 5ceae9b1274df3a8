//! Control side: a chirp signal and its detection in a recording.

use std::f64::consts::TAU;

/// Length of the chirp, in seconds: long enough to be detected in room noise, short enough for its echo to end before the
/// next chirp.
const LENGTH_S: f64 = 0.1;
/// First and last frequency of the sweep, in hertz; both are below 4 kHz, the limit at a sample rate of 8 kHz.
const SWEEP_HZ: (f64, f64) = (400.0, 3_400.0);
/// Amplitude of the chirp relative to full scale: about -9 dBFS, which leaves headroom in the device.
const LEVEL: f64 = 0.35;
/// Detection threshold: smallest ratio of the squared correlation peak to the correlation's mean square. Noise stays
/// below it.
const MIN_PEAK_RATIO: f64 = 60.0;

/// Frequency sweep with faded ends, and its matched filter.
#[derive(Debug)]
pub(crate) struct Chirp {
    samples: Vec<i16>,
    filter: Vec<f32>,
}

impl Chirp {
    pub(crate) fn new(rate_hz: u32) -> Self {
        let rate = f64::from(rate_hz);
        let count = (LENGTH_S * rate) as usize;
        let wave: Vec<f64> = (0..count)
            .map(|k| {
                let t = k as f64 / rate;
                let sweep = (SWEEP_HZ.1 - SWEEP_HZ.0) / LENGTH_S;
                let phase = TAU * (SWEEP_HZ.0 * t + sweep * t * t / 2.0);
                // The raised cosine avoids clicks at both ends and side lobes beside the correlation peak.
                let window = 0.5 - 0.5 * (TAU * k as f64 / count as f64).cos();
                phase.sin() * window
            })
            .collect();
        Self {
            samples: wave.iter().map(|value| (value * LEVEL * 32_767.0).round() as i16).collect(),
            filter: wave.iter().map(|&value| value as f32).collect(),
        }
    }

    pub(crate) fn samples(&self) -> &[i16] {
        &self.samples
    }

    /// Returns the position of the chirp's start in `recording`, in samples with a fraction; `None` if no chirp is found. The
    /// cost is the product of both lengths, in multiplications.
    pub(crate) fn find(&self, recording: &[i16]) -> Option<f64> {
        let last_start = recording.len().checked_sub(self.filter.len())?;
        let samples: Vec<f32> = recording.iter().map(|&sample| f32::from(sample)).collect();
        let correlation: Vec<f64> = (0..=last_start)
            .map(|at| {
                let part = samples.get(at..at + self.filter.len()).unwrap_or_default();
                f64::from(part.iter().zip(&self.filter).map(|(a, b)| a * b).sum::<f32>())
            })
            .collect();
        let (best, peak) = correlation.iter().enumerate().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()))?;
        let mean_square =
            correlation.iter().map(|value| value * value).sum::<f64>() / correlation.len() as f64;
        if peak * peak <= MIN_PEAK_RATIO * mean_square {
            return None;
        }
        let magnitude = |at: Option<usize>| at.and_then(|at| correlation.get(at)).map(|value| value.abs());
        let (Some(before), Some(after)) = (magnitude(best.checked_sub(1)), magnitude(Some(best + 1))) else {
            return Some(best as f64);
        };
        // The parabola through the largest value and its neighbours gives the fraction.
        let curvature = before - 2.0 * peak.abs() + after;
        let fraction = if curvature < 0.0 { (before - after) / (2.0 * curvature) } else { 0.0 };
        Some(best as f64 + fraction.clamp(-0.5, 0.5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use handsfree_sim::noise::Rng;

    #[test]
    fn finds_quiet_and_inverted_chirps_in_noise() {
        for rate_hz in [8_000, 16_000, 48_000] {
            let chirp = Chirp::new(rate_hz);
            let mut rng = Rng::for_stream(1, "doctor");
            for (at, factor) in [(0, 1.0), (1_234, 0.02), (3_000, -0.1)] {
                let mut recording: Vec<i16> = (0..chirp.samples().len() + 4_000)
                    .map(|_| (rng.uniform() * 60.0 - 30.0) as i16)
                    .collect();
                for (value, &sample) in recording.iter_mut().skip(at).zip(chirp.samples()) {
                    *value += (f64::from(sample) * factor) as i16;
                }
                let found = chirp.find(&recording).unwrap();
                assert!((found - at as f64).abs() < 0.3, "{rate_hz} Hz: {found} instead of {at}");
            }
        }
    }

    #[test]
    fn finds_no_chirp_in_noise_or_silence() {
        let chirp = Chirp::new(16_000);
        let mut rng = Rng::for_stream(2, "doctor");
        let noise: Vec<i16> = (0..16_000).map(|_| (rng.uniform() * 6_000.0 - 3_000.0) as i16).collect();
        assert_eq!(chirp.find(&noise), None);
        assert_eq!(chirp.find(&[0; 16_000]), None);
        assert_eq!(chirp.find(&[0; 10]), None);
    }
}
