//! Control side: refines a coarse line with blocks from the whole microphone recording.

use handsfree::failure::Failure;
use handsfree_sim::interpolate::Interpolator;

use super::coarse::CoarseLine;
use super::correlate::Correlator;
use super::whiten::whitened;
use super::{EchoLine, MAX_DRIFT_PPM};
use crate::signal::{Signal, read_run};

/// Sample rate of the refinement, in hertz.
const RATE_HZ: f64 = 8_000.0;
/// Band of the refinement, in hertz.
const BAND_HZ: std::ops::Range<f64> = 300.0..3_400.0;
/// Length of a block, in seconds.
const BLOCK_S: f64 = 1.0;
/// Number of blocks of one pass, spread evenly.
const BLOCKS: usize = 60;
/// Distance from the line within which a block's echo is looked for, in seconds, of the passes that extend the line and of the last.
const REACH_S: [f64; 2] = [0.03, 0.004];
/// Smallest correlation of a block's peak that counts: 5 times its standard deviation by chance, 1 / sqrt(2 * 3100 Hz * 1 s).
const MIN_CORRELATION: f64 = 0.065;
/// Smallest correlation of a block that counts, as a share of the strong ones (90th percentile): where there is no echo, speech
/// reaches a quarter of what an echo reaches alone.
const STRONG_SHARE: f64 = 0.25;
/// Correlation of an early echo that counts, as a share of the median on the line.
const EARLY_CORRELATION: f64 = 0.5;
/// Smallest distance from the line at which a block is dropped as an outlier, in seconds.
const MIN_OUTLIER_S: f64 = 0.000_3;
/// Rate below which a drift is taken as 0, in ppm: it moves the echo by less than a millisecond in five minutes.
const MIN_DRIFT_PPM: f64 = 3.0;
/// Standard errors below which a drift is taken as 0.
const MIN_DRIFT_ERRORS: f64 = 4.0;
/// Movement of the echo over the whole recording below which a drift is taken as 0, in seconds: less than a strong reflection's
/// distance from the direct sound.
const MIN_MOVEMENT_S: f64 = 0.000_4;

/// Lag measured in one block.
#[derive(Clone, Copy, Debug)]
struct Measured {
    at_s: f64,
    lag_s: f64,
    correlation: f64,
}

/// Weighted line through measured lags.
#[derive(Clone, Copy, Debug)]
struct Fit {
    lag_s: f64,
    slope: f64,
    slope_error: f64,
    blocks: usize,
    correlation: f64,
}

struct Refiner<'a> {
    far: &'a dyn Signal,
    mic: &'a dyn Signal,
    rate_hz: f64,
    interpolator: Interpolator,
    correlator: Correlator,
}

/// Refines a coarse line. Returns `None` if no block shows the echo there.
pub(super) fn refined(
    far: &dyn Signal,
    mic: &dyn Signal,
    rate_hz: u32,
    coarse: CoarseLine,
) -> Result<Option<EchoLine>, Failure> {
    let mut refiner = Refiner::new(far, mic, rate_hz);
    let end_s = mic.length() as f64 / f64::from(rate_hz);
    let (mut from_s, mut to_s) = coarse.region_s;
    let (mut lag_s, mut slope) = (coarse.lag_s, coarse.slope);
    loop {
        let measured = refiner.measure((lag_s, slope), (from_s, to_s), REACH_S[0])?;
        let Some(fit) = fitted(&measured, None) else { return Ok(None) };
        (lag_s, slope) = (fit.lag_s, fit.slope);
        if from_s <= 0.0 && to_s >= end_s {
            break;
        }
        // Twice the length at a time, because the slope is uncertain.
        let length_s = to_s - from_s;
        (from_s, to_s) = ((from_s - length_s).max(0.0), (to_s + length_s).min(end_s));
    }
    // The last fit of the loop may still have turned the line by more than the narrow reach, or a few far-off blocks may have.
    let wide = refiner.measure((lag_s, slope), (0.0, end_s), REACH_S[0])?;
    let turned = fitted(&wide, None).map(|fit| (fit.lag_s, fit.slope));
    let mut best: Option<(Vec<Measured>, Fit)> = None;
    for line in [Some((lag_s, slope)), turned].into_iter().flatten() {
        let measured = refiner.measure(line, (0.0, end_s), REACH_S[1])?;
        if let Some(fit) = fitted(&measured, None)
            && best.as_ref().is_none_or(|(_, best)| fit.blocks >= best.blocks)
        {
            best = Some((measured, fit));
        }
    }
    let Some((measured, fit)) = best else { return Ok(None) };
    let moves = (fit.slope * end_s).abs() > MIN_MOVEMENT_S
        && fit.slope.abs() > MIN_DRIFT_PPM * 1e-6
        && fit.slope.abs() > MIN_DRIFT_ERRORS * fit.slope_error
        && fit.slope.abs() < 1.05 * MAX_DRIFT_PPM * 1e-6;
    let fit = if moves { Some(fit) } else { fitted(&measured, Some(0.0)) };
    Ok(fit.map(|fit| fit.line(&wide)))
}

/// Refines the start of a line whose slope is known: returns the echo's line with exactly this rate, or `None` if no block of the
/// microphone recording shows the echo there.
///
/// # Errors
/// Returns the error of a signal that cannot be read.
pub fn with_slope(
    far: &dyn Signal,
    mic: &dyn Signal,
    rate_hz: u32,
    line: EchoLine,
    mic_ppm: f64,
) -> Result<Option<EchoLine>, Failure> {
    let mut refiner = Refiner::new(far, mic, rate_hz);
    let end_s = mic.length() as f64 / f64::from(rate_hz);
    // Where the given slope is wrong, the line is right in the middle of the part that both lines have in common.
    let slope = mic_ppm * 1e-6;
    let pivot_s = end_s / 2.0;
    let lag_s = line.lag_at(pivot_s) - slope * pivot_s;
    let measured = refiner.measure((lag_s, slope), (0.0, end_s), REACH_S[0])?;
    Ok(fitted(&measured, Some(slope)).map(|fit| EchoLine { mic_ppm, ..fit.line(&measured) }))
}

impl Fit {
    /// Returns the echo's line. `measured` are lags that were looked for far from the line as well.
    fn line(&self, measured: &[Measured]) -> EchoLine {
        // A weak peak is more likely a chance than the echo.
        let early_s = measured
            .iter()
            .filter(|m| m.correlation >= EARLY_CORRELATION * self.correlation)
            .map(|m| self.lag_s + self.slope * m.at_s - m.lag_s)
            .fold(0.0, f64::max);
        EchoLine {
            lag_s: self.lag_s,
            mic_ppm: self.slope * 1e6,
            ppm_error: self.slope_error * 1e6,
            early_s,
            blocks: self.blocks,
            correlation: self.correlation,
        }
    }
}

impl<'a> Refiner<'a> {
    fn new(far: &'a dyn Signal, mic: &'a dyn Signal, rate_hz: u32) -> Self {
        let rate_hz = f64::from(rate_hz);
        let longest = ((BLOCK_S + 2.0 * REACH_S[0]) * RATE_HZ).ceil() as usize + 2;
        Self {
            far,
            mic,
            rate_hz,
            interpolator: Interpolator::new(rate_hz / RATE_HZ),
            correlator: Correlator::new(longest, 0.0),
        }
    }

    /// Measures the lag of blocks between two times of the microphone recording, near a line.
    fn measure(
        &mut self,
        (lag_s, slope): (f64, f64),
        (from_s, to_s): (f64, f64),
        reach_s: f64,
    ) -> Result<Vec<Measured>, Failure> {
        let block_s = BLOCK_S.min(to_s - from_s);
        let whole = ((to_s - from_s) / block_s).floor().max(1.0);
        let count = (whole as usize).min(BLOCKS);
        let step_s = if count > 1 { (to_s - from_s - block_s) / (count - 1) as f64 } else { 0.0 };
        let mut measured = Vec::new();
        for index in 0..count {
            let start_s = from_s + index as f64 * step_s;
            let middle_s = start_s + block_s / 2.0;
            let mic = self.read(self.mic, start_s, block_s, 1.0)?;
            // The far end is read at the microphone's pace, so that the echo stands still within the block.
            let rate = 1.0 - slope;
            let far_s = middle_s - (lag_s + slope * middle_s) - (block_s / 2.0 + reach_s) * rate;
            let far = self.read(self.far, far_s, block_s + 2.0 * reach_s, rate)?;
            let mic = whitened(&mic, RATE_HZ, BAND_HZ);
            let far = whitened(&far, RATE_HZ, BAND_HZ);
            let Some(peak) = self.correlator.peaks(&mic, &far, 1, 1).first().copied() else { continue };
            if peak.correlation >= MIN_CORRELATION {
                let ahead_s = (peak.at / RATE_HZ - reach_s) * rate;
                measured.push(Measured {
                    at_s: middle_s,
                    lag_s: lag_s + slope * middle_s - ahead_s,
                    correlation: peak.correlation,
                });
            }
        }
        let mut correlations: Vec<f64> = measured.iter().map(|m| m.correlation).collect();
        correlations.sort_by(f64::total_cmp);
        let strong = correlations.get(correlations.len() * 9 / 10).copied().unwrap_or(0.0);
        measured.retain(|m| m.correlation >= STRONG_SHARE * strong);
        Ok(measured)
    }

    /// Reads a part of a recording at the refinement's rate, `pace` times as fast as real time.
    fn read(&self, signal: &dyn Signal, from_s: f64, length_s: f64, pace: f64) -> Result<Vec<f32>, Failure> {
        let mut out = vec![0.0; (length_s * RATE_HZ).round() as usize];
        let from = from_s * self.rate_hz;
        let position = (from.floor() as i64, from - from.floor());
        read_run(signal, &self.interpolator, position, self.rate_hz / RATE_HZ * pace, &mut out)?;
        Ok(out)
    }
}

/// Returns the line through the measured lags without outliers, with a given slope or the best one; `None` without lags.
fn fitted(measured: &[Measured], slope: Option<f64>) -> Option<Fit> {
    if measured.is_empty() {
        return None;
    }
    let median = |values: Vec<f64>| handsfree_sim::measure::median(values).unwrap_or(0.0);
    // Theil (1950) and Sen (1968): the median of the slopes of all pairs tolerates 29 % outliers.
    let start_slope = slope.unwrap_or_else(|| {
        median(
            measured
                .iter()
                .enumerate()
                .flat_map(|(index, a)| {
                    measured[index + 1..].iter().map(move |b| (b.lag_s - a.lag_s) / (b.at_s - a.at_s))
                })
                .collect(),
        )
    });
    let start_lag = median(measured.iter().map(|m| m.lag_s - start_slope * m.at_s).collect());
    let residual = |m: &Measured| (m.lag_s - start_lag - start_slope * m.at_s).abs();
    let limit_s = (4.0 * median(measured.iter().map(residual).collect())).max(MIN_OUTLIER_S);
    let kept: Vec<Measured> = measured.iter().filter(|m| residual(m) <= limit_s).copied().collect();
    let count = kept.len() as f64;
    let mean = |value: &dyn Fn(&Measured) -> f64| kept.iter().map(value).sum::<f64>() / count;
    let (at, lag) = (mean(&|m| m.at_s), mean(&|m| m.lag_s));
    let spread: f64 = kept.iter().map(|m| (m.at_s - at).powi(2)).sum();
    let best_slope = if spread > 0.0 {
        kept.iter().map(|m| (m.at_s - at) * (m.lag_s - lag)).sum::<f64>() / spread
    } else {
        0.0
    };
    let slope = slope.unwrap_or(best_slope);
    let error: f64 = kept.iter().map(|m| (m.lag_s - lag - slope * (m.at_s - at)).powi(2)).sum();
    let slope_error =
        if kept.len() > 2 && spread > 0.0 { (error / (count - 2.0) / spread).sqrt() } else { f64::INFINITY };
    Some(Fit {
        lag_s: lag - slope * at,
        slope,
        slope_error,
        blocks: kept.len(),
        correlation: median(kept.iter().map(|m| m.correlation).collect()),
    })
}
