//! Control side: a chirp that can be found in a recording.

use std::f64::consts::TAU;

/// Length, in seconds: long enough to rise out of a room's noise, short enough for its echo to end soon.
const LENGTH_S: f64 = 0.1;
/// First and last frequency of the sweep, in hertz; a terminal at 8 kHz carries both.
const SWEEP_HZ: (f64, f64) = (400.0, 3_400.0);
/// Amplitude of the chirp, with full scale 1.
const LEVEL: f64 = 0.35;
/// Factor over the mean square of the correlation from which a peak counts as the chirp.
const STANDS_OUT: f64 = 60.0;

/// Sweep with soft ends, and its matched filter.
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
                // A raised cosine avoids clicks at both ends and side lobes beside the peak.
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

    /// Returns where the chirp begins in `recording`, in samples with a fraction; `None` if it is not found. Costs a product
    /// for each pair of a sample of the recording and one of the chirp.
    pub(crate) fn find(&self, recording: &[i16]) -> Option<f64> {
        let places = recording.len().checked_sub(self.filter.len())?;
        let air: Vec<f32> = recording.iter().map(|&sample| f32::from(sample)).collect();
        let likeness: Vec<f64> = (0..=places)
            .map(|at| {
                let part = air.get(at..at + self.filter.len()).unwrap_or_default();
                f64::from(part.iter().zip(&self.filter).map(|(a, b)| a * b).sum::<f32>())
            })
            .collect();
        let (best, peak) = likeness.iter().enumerate().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()))?;
        let mean_square = likeness.iter().map(|value| value * value).sum::<f64>() / likeness.len() as f64;
        if peak * peak <= STANDS_OUT * mean_square {
            return None;
        }
        let beside = |at: Option<usize>| at.and_then(|at| likeness.get(at)).map(|value| value.abs());
        let (Some(before), Some(after)) = (beside(best.checked_sub(1)), beside(Some(best + 1))) else {
            return Some(best as f64);
        };
        // Peak of the parabola through the largest value and its neighbours.
        let bend = before - 2.0 * peak.abs() + after;
        let part = if bend < 0.0 { (before - after) / (2.0 * bend) } else { 0.0 };
        Some(best as f64 + part.clamp(-0.5, 0.5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use handsfree_sim::noise::Rng;

    #[test]
    fn it_is_found_in_noise_to_the_sample_and_turned_upside_down() {
        for rate_hz in [8_000, 16_000, 48_000] {
            let chirp = Chirp::new(rate_hz);
            let mut rng = Rng::for_stream(1, "doctor");
            for (at, factor) in [(0, 1.0), (1_234, 0.02), (3_000, -0.1)] {
                let mut recording: Vec<i16> = (0..chirp.samples().len() + 4_000)
                    .map(|_| (rng.uniform() * 60.0 - 30.0) as i16)
                    .collect();
                for (place, &sample) in recording.iter_mut().skip(at).zip(chirp.samples()) {
                    *place += (f64::from(sample) * factor) as i16;
                }
                let found = chirp.find(&recording).unwrap();
                assert!((found - at as f64).abs() < 0.3, "{rate_hz} Hz: {found} instead of {at}");
            }
        }
    }

    #[test]
    fn noise_and_silence_hold_none() {
        let chirp = Chirp::new(16_000);
        let mut rng = Rng::for_stream(2, "doctor");
        let noise: Vec<i16> = (0..16_000).map(|_| (rng.uniform() * 6_000.0 - 3_000.0) as i16).collect();
        assert_eq!(chirp.find(&noise), None);
        assert_eq!(chirp.find(&[0; 16_000]), None);
        assert_eq!(chirp.find(&[0; 10]), None);
    }
}
