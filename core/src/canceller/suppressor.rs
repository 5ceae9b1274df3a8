//! Worker side: turns down the bins in which residual echo prevails.
//!
//! A Wiener gain with the decision-directed estimate of the signal's power by Ephraim and Malah, "Speech
//! enhancement using a minimum mean-square error short-time spectral amplitude estimator", IEEE Trans. ASSP 32
//! (1984), equation 51, where the noise is the residual echo. The residual is multiplied by more while no near
//! talker speaks (Berouti, Schwartz and Makhoul, "Enhancement of speech corrupted by acoustic noise", ICASSP
//! 1979).

use super::bands::BIN_HZ;
use super::storage::RandomBits;
use crate::dsp::fft::{Complex, fast_inverse_sqrt};
use crate::dsp::select::{larger, smaller};

/// Weight of the previous frame's output in the estimate of the signal's power.
const DIRECTED: f32 = 0.97;
/// Multiple of the residual that is removed while only the far end speaks.
const PRESSED_ALONE: f32 = 5.0;
/// Multiple of the residual that is removed while the near talker speaks.
const PRESSED_TALKING: f32 = 0.05;
/// Lowest gain of a bin: -45 dB.
const LEAST_GAIN: f32 = 0.005_6;
/// Part of the error's power that its mean follows in 10 ms: a time constant of 50 ms.
const NOISE_STEP: f32 = 0.2;
/// Rise of the noise estimate in 10 ms: 0.65 dB a second.
const NOISE_RISE: f32 = 1.001_5;
/// Mean of noise in terms of the minimum that is tracked.
const MINIMUM_TO_MEAN: f32 = 1.5;
/// Part of the room's noise, as an amplitude, that takes the place of what was removed.
const COMFORT: f32 = 0.7;
/// Part of the near talker's presence that is replaced in 10 ms when it falls: a time constant of 0.33 s, the length of a
/// short word.
const PRESENCE_FALL: f32 = 0.03;
/// Multiple of residual and noise above which a bin counts as the near talker's.
const TALKER_ABOVE: f32 = 2.0;
/// Lowest frequency of the bins that tell a talker from noise, in hertz.
const PRESENCE_FROM_HZ: usize = 200;
/// Frequency above those bins, in hertz.
const PRESENCE_TO_HZ: usize = 4_000;

/// State of the suppressor.
#[derive(Debug)]
pub(super) struct ResidualSuppressor<const BINS: usize> {
    gains: [f32; BINS],
    last_power: [f32; BINS],
    mean_power: [f32; BINS],
    noise: [f32; BINS],
    presence: f32,
    random: RandomBits,
}

/// Settings of the suppressor for a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pressing {
    /// Factor on the multiples of the residual that are removed.
    pub(super) factor: f32,
    /// Whether noise takes the place of what was removed.
    pub(super) comfort_noise: bool,
}

impl<const BINS: usize> ResidualSuppressor<BINS> {
    pub(super) const fn new() -> Self {
        Self {
            gains: [0.0; BINS],
            last_power: [0.0; BINS],
            mean_power: [0.0; BINS],
            noise: [0.0; BINS],
            presence: 0.0,
            random: RandomBits::new(),
        }
    }

    pub(super) fn reset(&mut self) {
        self.gains.fill(1.0);
        self.last_power.fill(0.0);
        self.mean_power.fill(1e-9);
        self.noise.fill(1.0);
        self.presence = 0.0;
        self.random = RandomBits::new();
    }

    /// Returns the likelihood that the near talker speaks, from 0 to 1.
    pub(super) fn presence(&self) -> f32 {
        self.presence
    }

    /// Returns the mean power of the room's noise in a bin.
    pub(super) fn noise_power(&self) -> impl Iterator<Item = f32> {
        self.noise.iter().map(|noise| MINIMUM_TO_MEAN * noise)
    }

    /// Estimates the noise and whether the near talker speaks.
    pub(super) fn observe(&mut self, error_power: &[f32; BINS], residual: &[f32; BINS]) {
        let (mut talker, mut rest) = (0.0, 1e-9);
        let tracked = self.mean_power.iter_mut().zip(&mut self.noise);
        for (bin, ((mean, noise), (&power, &residual))) in
            tracked.zip(error_power.iter().zip(residual)).enumerate()
        {
            *mean += NOISE_STEP * (power - *mean);
            *noise = smaller(*noise * NOISE_RISE, *mean);
            if (const { PRESENCE_FROM_HZ / BIN_HZ }..const { PRESENCE_TO_HZ / BIN_HZ }).contains(&bin) {
                let known = residual + MINIMUM_TO_MEAN * *noise;
                talker += larger(power - TALKER_ABOVE * known, 0.0);
                rest += known;
            }
        }
        let ratio = talker / rest;
        let now = ratio / (ratio + 1.0);
        self.presence = now.max(self.presence + PRESENCE_FALL * (now - self.presence));
    }

    /// Applies the gains to the error's spectrum.
    pub(super) fn apply(
        &mut self,
        error: &mut [Complex; BINS],
        error_power: &[f32; BINS],
        residual: &[f32; BINS],
        pressing: Pressing,
    ) {
        let pressed = PRESSED_ALONE + (PRESSED_TALKING - PRESSED_ALONE) * self.presence;
        let pressed = pressed * pressing.factor;
        let known = error_power.iter().zip(residual).zip(&self.noise);
        let state = self.gains.iter_mut().zip(&mut self.last_power);
        for (((z, (gain, last_power)), (&power, &residual)), &noise) in error
            .iter_mut()
            .zip(state)
            .zip(known.clone().map(|(both, _)| both))
            .zip(known.map(|(_, noise)| noise))
        {
            let reciprocal = 1.0 / (pressed * residual + 1e-12);
            let above = larger(power * reciprocal - 1.0, 0.0);
            let directed = *gain * *gain * *last_power * reciprocal;
            let ratio = DIRECTED * directed + (1.0 - DIRECTED) * above;
            *last_power = power;
            *gain = larger(ratio / (1.0 + ratio), LEAST_GAIN);
            *z = z.scaled(*gain);
            if pressing.comfort_noise {
                // A uniform number from -1 to 1 has a variance of 1/3; two of them make a bin of power 1.
                let power = const { 1.5 * MINIMUM_TO_MEAN } * (1.0 - *gain * *gain) * noise + 1e-20;
                let amplitude = COMFORT * power * fast_inverse_sqrt(power);
                z.re += amplitude * self.random.next_signed();
                z.im += amplitude * self.random.next_signed();
            }
        }
    }
}
