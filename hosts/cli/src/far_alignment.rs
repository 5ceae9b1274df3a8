//! Control side: moves a far-end recording so that its echo lies where the online alignment expects it.

use handsfree::failure::Failure;
use handsfree_sim::interpolate::Interpolator;

use crate::signal::{PART, Signal, read_run};
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

/// Passes the far end on the microphone's clock to `take` part by part, with the echo shortly after it, and with silence where nothing
/// was recorded: `length` samples together. With equal clocks, samples are copied.
///
/// # Errors
/// Returns the error of the signal and of `take`.
pub fn aligned(
    far: &dyn Signal,
    line: &EchoLine,
    rate_hz: u32,
    length: usize,
    mut take: impl FnMut(&[f32]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let step = 1.0 - line.mic_ppm * 1e-6;
    let interpolator = Interpolator::new(step);
    let mut part = vec![0.0; PART.min(length)];
    for from in (0..length).step_by(PART) {
        let part = &mut part[..PART.min(length - from)];
        let ahead = from as f64 * step;
        let position = (ahead.floor() as i64 - delay_samples(line, rate_hz), ahead - ahead.floor());
        read_run(far, &interpolator, position, step, part)?;
        take(part)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(lag_s: f64, mic_ppm: f64) -> EchoLine {
        EchoLine { lag_s, mic_ppm, ppm_error: 0.0, early_s: 0.0, blocks: 1, correlation: 1.0 }
    }

    fn moved(far: &[f32], line: &EchoLine, length: usize) -> Vec<f32> {
        let mut out = Vec::new();
        let take = |part: &[f32]| {
            out.extend_from_slice(part);
            Ok(())
        };
        aligned(&far.to_vec(), line, 1_000, length, take).unwrap();
        out
    }

    #[test]
    fn equal_clocks_copy_samples_exactly() {
        let far: Vec<f32> = (0..5_000_u16).map(|n| f32::from(n) / 8_192.0).collect();
        assert_eq!(moved(&far, &line(0.02, 0.0), 5_000), far);
        let later = moved(&far, &line(1.02, 0.0), 5_000);
        assert_eq!((later[999], &later[1_000..]), (0.0, &far[..4_000]));
        let earlier = moved(&far, &line(-0.98, 0.0), 5_000);
        assert_eq!((&earlier[..4_000], earlier[4_000]), (&far[1_000..], 0.0));
    }

    #[test]
    fn a_fast_microphone_clock_stretches_the_far_end() {
        let far: Vec<f32> = (0..200_000).map(|n| (f64::from(n) * 0.05).sin() as f32).collect();
        let out = moved(&far, &line(0.02, 10_000.0), 150_000);
        assert_eq!(out.len(), 150_000);
        for (n, found) in out.iter().enumerate().take(149_900).skip(100) {
            let expected = (n as f64 * 0.99 * 0.05).sin() as f32;
            assert!((found - expected).abs() < 1e-4, "{n}: {found} instead of {expected}");
        }
    }
}
