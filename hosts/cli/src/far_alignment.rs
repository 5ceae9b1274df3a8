//! Control side: moves a far-end recording so that its echo lies where the online alignment expects it.

use handsfree_sim::interpolate::Interpolator;

use crate::start_search::EchoLine;

/// Lag of the earliest echo behind the far end after a move, in seconds: the strongest sound is what the search finds, and sound on
/// a more direct path may come up to 10 ms before it.
const TARGET_LAG_S: f64 = 0.020;
/// Longest lag that is left as recorded, in seconds: it lies well inside every canceller's reach, and a far end that is not moved
/// is exactly what was recorded.
const MAX_KEPT_LAG_S: f64 = 0.050;

/// Returns whether the recordings are used as they are: their clocks are equal and the echo lies shortly after the far end.
#[must_use]
pub fn is_aligned(line: &EchoLine) -> bool {
    line.mic_ppm == 0.0 && (0.0..=MAX_KEPT_LAG_S).contains(&line.lag_s)
}

/// Returns by how much [`aligned`] delays the far end at the start, in whole samples; negative if it advances it.
#[must_use]
pub fn delay_samples(line: &EchoLine, rate_hz: u32) -> i64 {
    if is_aligned(line) {
        0
    } else {
        ((line.lag_s - line.early_s - TARGET_LAG_S) * f64::from(rate_hz)).round() as i64
    }
}

/// Returns the far end on the microphone's clock, with the echo shortly after it, and with silence where nothing was recorded. The
/// result has `length` samples. With equal clocks, samples are copied.
#[must_use]
pub fn aligned(far: &[f32], line: &EchoLine, rate_hz: u32, length: usize) -> Vec<f32> {
    let mut out = vec![0.0; length];
    let step = 1.0 - line.mic_ppm * 1e-6;
    Interpolator::new(step).read_run(far, (-delay_samples(line, rate_hz), 0.0), step, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(lag_s: f64, mic_ppm: f64) -> EchoLine {
        EchoLine { lag_s, mic_ppm, ppm_error: 0.0, early_s: 0.0, blocks: 1, correlation: 1.0 }
    }

    #[test]
    fn equal_clocks_copy_samples_exactly() {
        let far: Vec<f32> = (0..5_000_u16).map(|n| f32::from(n) / 8_192.0).collect();
        assert_eq!(aligned(&far, &line(0.02, 0.0), 1_000, 5_000), far);
        let later = aligned(&far, &line(1.02, 0.0), 1_000, 5_000);
        assert_eq!((later[999], &later[1_000..]), (0.0, &far[..4_000]));
        let earlier = aligned(&far, &line(-0.98, 0.0), 1_000, 5_000);
        assert_eq!((&earlier[..4_000], earlier[4_000]), (&far[1_000..], 0.0));
    }

    #[test]
    fn a_fast_microphone_clock_stretches_the_far_end() {
        let far: Vec<f32> = (0..20_000).map(|n| (f64::from(n) * 0.05).sin() as f32).collect();
        let out = aligned(&far, &line(0.02, 10_000.0), 1_000, 10_000);
        for (n, found) in out.iter().enumerate().take(9_900).skip(100) {
            let expected = (n as f64 * 0.99 * 0.05).sin() as f32;
            assert!((found - expected).abs() < 1e-4, "{n}: {found} instead of {expected}");
        }
    }
}
