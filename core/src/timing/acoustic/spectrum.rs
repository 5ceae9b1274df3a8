//! Worker side: computes spectra of both signals, whitened so that their magnitudes are nearly equal.
//!
//! Whitening (the phase transform of Knapp and Carter, "The generalized correlation method for estimation of
//! time delay", IEEE TASSP 24(4), 1976) makes the correlation sharp for any speaker's voice and keeps a loud
//! talker near the microphone from outweighing the echo. Here a bin is divided by its own and its average
//! magnitude together, so that a bin far below its average, which is noise rather than signal, stays small.

use super::low_rate_history::{LowRateHistory, LowRateMemory};
use super::{BINS, FIRST_BIN, NEAR_DELAY, WINDOW, rotator};
use crate::dsp::fft::{Complex, fast_inverse_sqrt, transform};
use crate::dsp::special::sin_pi;

/// Averaging length of a bin's power, in hops, about 1 s.
const AVERAGE_POWER_HOPS: u32 = 32;
/// Power of a window's bins below which the loudspeaker is silent: an amplitude of 4 steps of 16 bits.
const SILENT_POWER: f32 = 16.0 * 0.375 * WINDOW as f32 * BINS as f32;
/// Power against the loudest recent window below which the loudspeaker is not active, -35 dB.
const QUIET_SHARE: f32 = 3e-4;
/// Decay of the loudest recent power in one hop: 9 dB in 10 s.
const LOUDEST_DECAY: f32 = 0.993;

/// Power against the strongest bin, -45 dB, below which bins of the reference are not raised: beside a tone
/// they hold nothing audible.
const FAINT_SHARE: f32 = 3e-5;

/// Power against the strongest bin, -40 dB, from which on a bin belongs to the sound.
const BAND_SHARE: f32 = 1e-4;
/// Least number of bins that belong to a sound which shows a delay. The few lines of a tone, a dial tone or a
/// siren fit many delays equally well; a vowel has the lines of some ten harmonics, four bins each.
const LEAST_BAND_BINS: usize = 28;

static HANN: [f32; WINDOW] = hann();

/// Power of a window at or below which the microphone is switched off.
const MUTED_POWER: f32 = 1.0;

/// Which of the two signals were present in a hop.
#[derive(Clone, Copy, Debug)]
pub(super) struct ActiveSignals {
    /// Whether the loudspeaker was active.
    pub(super) played: bool,
    /// Whether the microphone was on.
    pub(super) heard: bool,
}

/// Memory of [`Spectra`]: the last spectrum and the average power of each signal.
#[derive(Debug)]
pub(super) struct SpectraMemory {
    scratch: [Complex; WINDOW],
    near: [Complex; BINS],
    far: [Complex; BINS],
    average_near: [f32; BINS],
    average_far: [f32; BINS],
}

impl SpectraMemory {
    pub(super) const fn new() -> Self {
        Self {
            scratch: [Complex::ZERO; WINDOW],
            near: [Complex::ZERO; BINS],
            far: [Complex::ZERO; BINS],
            average_near: [0.0; BINS],
            average_far: [0.0; BINS],
        }
    }

    /// Returns the whitened spectrum of the microphone's last window.
    pub(super) fn near(&self) -> &[Complex; BINS] {
        &self.near
    }

    /// Returns the whitened spectrum of the reference window requested last.
    pub(super) fn far(&self) -> &[Complex; BINS] {
        &self.far
    }

    /// Returns scratch memory for a transform; the next hop overwrites it.
    pub(super) fn scratch(&mut self) -> &mut [Complex; WINDOW] {
        &mut self.scratch
    }
}

/// State of the activity detection and of the averages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spectra {
    loudest: f32,
    far_hops: u32,
    near_hops: u32,
}

impl Spectra {
    pub(super) fn new(memory: &mut SpectraMemory) -> Self {
        memory.average_near.fill(0.0);
        memory.average_far.fill(0.0);
        Self { loudest: 0.0, far_hops: 0, near_hops: 0 }
    }

    /// Computes the spectra of both signals for one hop with one transform, and returns which signals were
    /// present.
    pub(super) fn hop(
        &mut self,
        memory: &mut SpectraMemory,
        past: &LowRateHistory,
        samples: &LowRateMemory,
    ) -> ActiveSignals {
        let end = past.hop_end();
        let both = past.near(samples, end - NEAR_DELAY).zip(past.far(samples, end));
        for ((value, (near, far)), window) in memory.scratch.iter_mut().zip(both).zip(&HANN) {
            *value = Complex { re: f32::from(near) * window, im: f32::from(far) * window };
        }
        transform(&mut memory.scratch);
        for (k, (near, far)) in memory.near.iter_mut().zip(&mut memory.far).enumerate() {
            let bin = FIRST_BIN + k;
            let (Some(&up), Some(&down)) = (memory.scratch.get(bin), memory.scratch.get(WINDOW - bin)) else {
                continue;
            };
            *near = up.plus(down.conj()).scaled(0.5);
            let rest = up.plus(down.conj().scaled(-1.0)).scaled(0.5);
            *far = Complex { re: rest.im, im: -rest.re };
        }
        let heard = memory.near.iter().map(|x| x.power()).sum::<f32>() > MUTED_POWER;
        if heard {
            self.near_hops = (self.near_hops + 1).min(AVERAGE_POWER_HOPS);
            update_average(&mut memory.average_near, &memory.near, self.near_hops);
            whiten(&mut memory.near, &memory.average_near, 0.0);
        }
        let power: f32 = memory.far.iter().map(|x| x.power()).sum();
        self.loudest = (self.loudest * LOUDEST_DECAY).max(power);
        let played = self.is_active(power) && is_wide(&memory.far);
        if !played {
            return ActiveSignals { played, heard };
        }
        self.far_hops = (self.far_hops + 1).min(AVERAGE_POWER_HOPS);
        update_average(&mut memory.average_far, &memory.far, self.far_hops);
        whiten(&mut memory.far, &memory.average_far, FAINT_SHARE);
        ActiveSignals { played, heard }
    }

    /// Computes the spectrum of the reference `lag` samples before the microphone's window of this hop.
    /// Returns false if the loudspeaker was not active there.
    pub(super) fn far_at(
        &self,
        memory: &mut SpectraMemory,
        past: &LowRateHistory,
        samples: &LowRateMemory,
        lag: i64,
    ) -> bool {
        let far = past.far(samples, past.hop_end() - NEAR_DELAY - lag);
        for ((value, far), window) in memory.scratch.iter_mut().zip(far).zip(&HANN) {
            *value = Complex { re: f32::from(far) * window, im: 0.0 };
        }
        transform(&mut memory.scratch);
        for (far, bin) in memory.far.iter_mut().zip(memory.scratch.iter().skip(FIRST_BIN)) {
            *far = *bin;
        }
        let power: f32 = memory.far.iter().map(|x| x.power()).sum();
        let active = self.is_active(power) && is_wide(&memory.far);
        if active {
            whiten(&mut memory.far, &memory.average_far, FAINT_SHARE);
        }
        active
    }

    fn is_active(&self, power: f32) -> bool {
        power > SILENT_POWER && power > self.loudest * QUIET_SHARE
    }
}

/// Returns whether the sound has enough bins to show a delay.
fn is_wide(spectrum: &[Complex; BINS]) -> bool {
    let least = spectrum.iter().map(|x| x.power()).fold(0.0, f32::max) * BAND_SHARE;
    spectrum.iter().filter(|x| x.power() > least).count() >= LEAST_BAND_BINS
}

fn update_average(average: &mut [f32; BINS], spectrum: &[Complex; BINS], hops: u32) {
    let part = 1.0 / hops.max(1) as f32;
    for (average, x) in average.iter_mut().zip(spectrum) {
        *average += (x.power() - *average) * part;
    }
}

fn whiten(spectrum: &mut [Complex; BINS], average: &[f32; BINS], floor: f32) {
    let least = average.iter().copied().fold(0.0, f32::max) * floor + 1e-9;
    for (x, &average) in spectrum.iter_mut().zip(average) {
        *x = x.scaled(fast_inverse_sqrt(x.power() + average + least));
    }
}

/// Adds `from` to `to`, moved earlier by `samples` and scaled by `gain`.
pub(super) fn add_moved(to: &mut [Complex; BINS], from: &[Complex; BINS], samples: f64, gain: f32) {
    for ((to, &from), turn) in to.iter_mut().zip(from).zip(rotator(FIRST_BIN, samples)) {
        *to = to.plus(from.times(turn).scaled(gain));
    }
}

const fn hann() -> [f32; WINDOW] {
    let mut table = [0.0; WINDOW];
    let mut n = 0;
    while n < WINDOW {
        let sine = sin_pi((n as f64 + 0.5) / WINDOW as f64);
        table[n] = (sine * sine) as f32;
        n += 1;
    }
    table
}
