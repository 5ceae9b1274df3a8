//! Control side: whitening, which makes each frequency and each moment of a recording count equally.

use std::f32::consts::PI;

use handsfree_sim::fft::{self, Complex32};

/// Length of a window, in seconds: short enough for the pauses between syllables, long enough to resolve a voice's pitch.
const WINDOW_S: f64 = 0.064;
/// Bins on each side over which a magnitude is averaged: the width of the window's main lobe.
const SMOOTHING_BINS: usize = 2;
/// Magnitude below a window's strongest bin at which a bin counts half: below it lie rounding noise and leakage.
const BIN_FLOOR: f32 = 0.01;
/// Power below the recording's loud windows (90th percentile) at which a window counts half: below it lie noise and pauses.
const WINDOW_FLOOR: f32 = 1e-3;

/// Power per sample of the noise of rounding to 16 bits. What is far below it is the rounding of the computation.
const ROUNDING_POWER: f32 = 7.8e-11;

/// Returns the signal with all frequencies of `band_hz` at about equal power and all others removed, and with about equal power in
/// all windows that are not silent. The result has the length of the signal.
pub(super) fn whitened(signal: &[f32], rate_hz: f64, band_hz: std::ops::Range<f64>) -> Vec<f32> {
    let size = ((WINDOW_S * rate_hz / 2.0).round() as usize * 2).max(16);
    let hop = size / 2;
    let bin_of = |hz: f64| ((hz * size as f64 / rate_hz).round() as usize).clamp(1, size / 2);
    let band = bin_of(band_hz.start)..bin_of(band_hz.end);
    let (forward, inverse) = (fft::forward(size), fft::inverse(size));
    // The square root of a Hann window, once before and once after, adds up to 1 at half overlap.
    let window: Vec<f32> = (0..size).map(|n| (PI * (n as f32 + 0.5) / size as f32).sin()).collect();
    let windows = signal.len().div_ceil(hop) + 1;
    let mut input = forward.make_input_vec();
    let mut spectra = Vec::with_capacity(windows);
    for index in 0..windows {
        // The first window begins half a window before the signal.
        for (n, (to, weight)) in input.iter_mut().zip(&window).enumerate() {
            let at = (index * hop + n).checked_sub(hop);
            *to = at.and_then(|at| signal.get(at)).copied().unwrap_or(0.0) * weight;
        }
        let mut spectrum = forward.make_output_vec();
        forward.process(&mut input, &mut spectrum).expect("the buffers have the plan's lengths");
        spectra.push(spectrum);
    }
    let power_of = |spectrum: &[Complex32]| {
        spectrum[band.clone()].iter().map(|bin| bin.norm_sqr()).sum::<f32>() / band.len().max(1) as f32
    };
    let mut powers: Vec<f32> = spectra.iter().map(|spectrum| power_of(spectrum)).collect();
    powers.sort_by(f32::total_cmp);
    let loud = powers.get(powers.len() * 9 / 10).copied().unwrap_or(0.0);
    let mut out = vec![0.0; signal.len()];
    let mut output = inverse.make_output_vec();
    // The window halves the power of noise, and a bin holds what all its samples add up to.
    if loud <= ROUNDING_POWER / 4.0 * size as f32 / 2.0 {
        return out;
    }
    for (index, spectrum) in spectra.iter_mut().enumerate() {
        let power = power_of(spectrum);
        let weight = (power / (power + loud * WINDOW_FLOOR)).sqrt() / size as f32;
        whiten_bins(spectrum, band.clone(), weight);
        inverse.process(spectrum, &mut output).expect("the buffers have the plan's lengths");
        for (n, (from, weight)) in output.iter().zip(&window).enumerate() {
            if let Some(to) = (index * hop + n).checked_sub(hop).and_then(|at| out.get_mut(at)) {
                *to += from * weight;
            }
        }
    }
    out
}

/// Divides each bin of the band by the mean magnitude around it, multiplies by `weight`, and clears all other bins.
fn whiten_bins(spectrum: &mut [Complex32], band: std::ops::Range<usize>, weight: f32) {
    let magnitudes: Vec<f32> = spectrum.iter().map(|bin| bin.norm()).collect();
    let strongest = magnitudes[band.clone()].iter().copied().fold(0.0, f32::max);
    for (k, bin) in spectrum.iter_mut().enumerate() {
        if !band.contains(&k) || strongest <= 0.0 {
            *bin = Complex32::default();
            continue;
        }
        let around = k.saturating_sub(SMOOTHING_BINS)..(k + SMOOTHING_BINS + 1).min(magnitudes.len());
        let count = around.len() as f32;
        let mean = magnitudes[around].iter().sum::<f32>() / count;
        *bin *= weight / (mean + strongest * BIN_FLOOR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loud_and_quiet_parts_come_out_equal() {
        let tone = |n: usize, hz: f64| (std::f64::consts::TAU * hz * n as f64 / 4_000.0).sin() as f32;
        let signal: Vec<f32> = (0..16_000)
            .map(|n| (tone(n, 500.0) + 0.3 * tone(n, 1_200.0)) * if n < 8_000 { 0.5 } else { 0.1 })
            .collect();
        let white = whitened(&signal, 4_000.0, 300.0..1_800.0);
        assert_eq!(white.len(), signal.len());
        let power = |range: std::ops::Range<usize>| {
            white[range].iter().map(|x| f64::from(x * x)).sum::<f64>() / 6_000.0
        };
        let ratio = power(1_000..7_000) / power(9_000..15_000);
        assert!((0.8..1.25).contains(&ratio), "{ratio}");
    }

    #[test]
    fn silence_stays_silence() {
        assert!(whitened(&[0.0; 500], 4_000.0, 300.0..1_800.0).iter().all(|&x| x == 0.0));
        assert!(whitened(&[], 4_000.0, 300.0..1_800.0).is_empty());
    }
}
