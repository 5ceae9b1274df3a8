//! Worker side: windows of both signals as spectra whose magnitudes are nearly levelled.
//!
//! Levelling (the phase transform of Knapp and Carter, "The generalized correlation method for
//! estimation of time delay", IEEE TASSP 24(4), 1976) makes the correlation sharp for any speaker's
//! voice and keeps a loud talker near the microphone from outweighing everything. Here a bin is divided
//! by its own magnitude and its usual one together, so that what is far below usual, which is noise
//! rather than signal, stays small.

use super::fft::{Complex, Rotor, inverse_root, transform};
use super::past::{Past, PastMemory};
use super::{BINS, FIRST_BIN, NEAR_DELAY, WINDOW};
use crate::dsp::special::sin_pi;

/// Hops over which a bin's usual power is taken, about 1 s.
const USUAL_HOPS: u32 = 32;
/// Power of a window's bins below which nothing plays: 4 steps of the converter.
const SILENT: f32 = 16.0 * 0.375 * WINDOW as f32 * BINS as f32;
/// And below the loudest of late, 35 dB.
const QUIET: f32 = 3e-4;
/// How fast the loudest of late is forgotten, a hop: 9 dB in 10 s.
const FORGET: f32 = 0.993;

/// Bins of the reference this far below its strongest are not levelled up, 45 dB: beside a tone they hold
/// nothing that could be heard.
const FAINT: f32 = 3e-5;

static HANN: [f32; WINDOW] = hann();

/// Power of a microphone that is switched off.
const MUTE: f32 = 1.0;

/// Which of the two signals there were in a hop.
#[derive(Clone, Copy, Debug)]
pub(in crate::timing) struct Active {
    pub(in crate::timing) played: bool,
    pub(in crate::timing) heard: bool,
}

#[derive(Debug)]
pub(in crate::timing) struct SpectraMemory {
    scratch: [Complex; WINDOW],
    near: [Complex; BINS],
    far: [Complex; BINS],
    usual_near: [f32; BINS],
    usual_far: [f32; BINS],
}

impl SpectraMemory {
    pub(in crate::timing) const fn new() -> Self {
        Self {
            scratch: [Complex::ZERO; WINDOW],
            near: [Complex::ZERO; BINS],
            far: [Complex::ZERO; BINS],
            usual_near: [0.0; BINS],
            usual_far: [0.0; BINS],
        }
    }

    /// The levelled spectrum of the microphone's last window.
    pub(super) fn near(&self) -> &[Complex; BINS] {
        &self.near
    }

    /// The levelled spectrum of the last window of the reference that was asked for.
    pub(super) fn far(&self) -> &[Complex; BINS] {
        &self.far
    }

    /// Room for another transform, until the next hop.
    pub(super) fn scratch(&mut self) -> &mut [Complex; WINDOW] {
        &mut self.scratch
    }
}

#[derive(Clone, Copy, Debug)]
pub(in crate::timing) struct Spectra {
    loudest: f32,
    far_hops: u32,
    near_hops: u32,
}

impl Spectra {
    pub(in crate::timing) fn new(memory: &mut SpectraMemory) -> Self {
        memory.usual_near.fill(0.0);
        memory.usual_far.fill(0.0);
        Self { loudest: 0.0, far_hops: 0, near_hops: 0 }
    }

    /// Both signals' spectra of one hop, with one transform; says which of them there were.
    pub(in crate::timing) fn hop(
        &mut self,
        memory: &mut SpectraMemory,
        past: &Past,
        samples: &PastMemory,
    ) -> Active {
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
        let heard = memory.near.iter().map(|x| x.power()).sum::<f32>() > MUTE;
        if heard {
            self.near_hops = (self.near_hops + 1).min(USUAL_HOPS);
            learn(&mut memory.usual_near, &memory.near, self.near_hops);
            level(&mut memory.near, &memory.usual_near, 0.0);
        }
        let power: f32 = memory.far.iter().map(|x| x.power()).sum();
        self.loudest = (self.loudest * FORGET).max(power);
        let played = self.is_active(power);
        if !played {
            return Active { played, heard };
        }
        self.far_hops = (self.far_hops + 1).min(USUAL_HOPS);
        learn(&mut memory.usual_far, &memory.far, self.far_hops);
        level(&mut memory.far, &memory.usual_far, FAINT);
        Active { played, heard }
    }

    /// The reference's spectrum `lag` samples before the microphone's of this hop; false if nothing
    /// was played there.
    pub(super) fn far_at(
        &self,
        memory: &mut SpectraMemory,
        past: &Past,
        samples: &PastMemory,
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
        let active = self.is_active(power);
        if active {
            level(&mut memory.far, &memory.usual_far, FAINT);
        }
        active
    }

    fn is_active(&self, power: f32) -> bool {
        power > SILENT && power > self.loudest * QUIET
    }
}

fn learn(usual: &mut [f32; BINS], spectrum: &[Complex; BINS], hops: u32) {
    let part = 1.0 / hops.max(1) as f32;
    for (usual, x) in usual.iter_mut().zip(spectrum) {
        *usual += (x.power() - *usual) * part;
    }
}

fn level(spectrum: &mut [Complex; BINS], usual: &[f32; BINS], floor: f32) {
    let least = usual.iter().copied().fold(0.0, f32::max) * floor + 1e-9;
    for (x, &usual) in spectrum.iter_mut().zip(usual) {
        *x = x.scaled(inverse_root(x.power() + usual + least));
    }
}

/// Adds `from`, moved earlier by `samples`, to `to`.
pub(super) fn add_moved(to: &mut [Complex; BINS], from: &[Complex; BINS], samples: f64, gain: f32) {
    for ((to, &from), turn) in to.iter_mut().zip(from).zip(Rotor::new(FIRST_BIN, samples)) {
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
