//! Worker side: the echo's lag to a few microseconds, and how it moves.
//!
//! Around a known lag the levelled cross-spectrum of some 0.1 to 0.3 s is an estimate of the echo
//! path. By how much it is later than the average of all before, the template, is found from all its
//! phases together: a shift of a whole path, reflections included, is measured far finer than any
//! peak's place. A Kalman filter makes lag and drift of it. Each window is turned back by the lag
//! that the filter predicts, so that what is averaged stands still at any drift. After M. Pawig,
//! G. Enzner and P. Vary, "Adaptive sampling rate correction for acoustic echo control in
//! voice-over-IP", IEEE TSP 58(1), 2010, and S. Markovich-Golan, S. Gannot and I. Cohen, "Blind
//! sampling rate offset estimation and compensation in wireless acoustic sensor networks", IWAENC 2012.

use super::coarse::Peak;
use super::drift::Drift;
use super::fft::{Complex, Rotor, transform};
use super::past::{Past, PastMemory};
use super::shift::{Shift, compare};
use super::spectrum::{Spectra, SpectraMemory, add_moved};
use super::{BINS, FIRST_BIN, HOP, MAX_LAG, NEAR_DELAY, WINDOW};

/// Active hops of a block: few while the drift would smear it, more later.
const SHORT_BLOCK: u32 = 4;
const LONG_BLOCK: u32 = 8;
/// A drift known better than this, in parts, does not smear a long block.
const SMEAR: f64 = 60e-6;
/// Hops after which a block that is not full is done or given up.
const PATIENCE_HOPS: u32 = 40;
/// Blocks the template is averaged over.
const TEMPLATE_BLOCKS: u32 = 24;
/// Agreement of a block with the template below which it says nothing.
const LEAST_AGREEMENT: f32 = 0.4;
/// Blocks without agreement after which the template is no longer this path's.
const LOST_BLOCKS: u32 = 10;
/// Blocks without agreement after which the coarse search looks elsewhere more eagerly.
const DOUBTFUL_BLOCKS: u32 = 1;
/// Blocks that make a template to go by.
const SETTLED_BLOCKS: u32 = 4;
/// Blocks from which on it is believed.
const MATURE_BLOCKS: f32 = 8.0;
/// The template's peak this far from its middle (4 ms) brings it back there.
const OFF_CENTRE: f32 = 32.0;
/// The direct sound against the strongest peak of the path, amplitudes; the lower one holds what
/// was found before.
const ONSET: f32 = 0.35;
const ONSET_HELD: f32 = 0.25;
/// So much more is asked of a template of the first block: a vowel or two have side lobes a pitch period away.
const ONSET_YOUNG: f32 = 0.4;
/// Power of a peak against the mean of what is well before the path, noise that is.
const ABOVE_NOISE: f32 = 10.0;
const NOISE_POINTS: usize = 96;
/// A jump further than this (20 ms) is the coarse search's to find: what correlates so far off may be
/// the reverberation of an echo that is elsewhere now.
const NEAR_JUMP: f64 = 160.0;
/// Hops after a sign of a jump for which the coarse search forgets faster, 1.5 s.
const UNREST_HOPS: u32 = 47;
/// A coarse peak further away than this is another echo.
const ELSEWHERE: f64 = 200.0;

#[derive(Debug)]
pub(in crate::timing) struct FineMemory {
    block: [Complex; BINS],
    template: [Complex; BINS],
}

impl FineMemory {
    pub(in crate::timing) const fn new() -> Self {
        Self { block: [Complex::ZERO; BINS], template: [Complex::ZERO; BINS] }
    }
}

#[derive(Clone, Copy, Debug)]
pub(in crate::timing) struct Fine {
    pub(in crate::timing) drift: Drift,
    tracking: bool,
    /// Active hops in the block, all hops since it began, and the sum of the active ones' places.
    filled: u32,
    hops: u32,
    places: u32,
    pub(in crate::timing) blocks: u32,
    /// From the tracked lag to the direct sound, in samples.
    pub(in crate::timing) onset: f32,
    pub(in crate::timing) agreement: f32,
    lost: u32,
    outlier: Option<f64>,
    /// Hops for which the echo may be elsewhere.
    unrest: u32,
    since_good: u32,
    /// Steering that has not reached the windows yet: at which index it will, and how much.
    steering: [(i64, f64); 8],
}

impl Fine {
    pub(in crate::timing) fn new(memory: &mut FineMemory) -> Self {
        memory.template.fill(Complex::ZERO);
        memory.block.fill(Complex::ZERO);
        Self {
            drift: Drift::new(0.0),
            tracking: false,
            filled: 0,
            hops: 0,
            places: 0,
            blocks: 0,
            onset: 0.0,
            agreement: 0.0,
            lost: 0,
            outlier: None,
            unrest: 0,
            since_good: 0,
            steering: [(0, 0.0); 8],
        }
    }

    pub(in crate::timing) fn is_settled(&self) -> bool {
        self.tracking && self.blocks >= SETTLED_BLOCKS
    }

    /// Whether the echo seems to have left its place.
    pub(in crate::timing) fn is_lost(&self) -> bool {
        self.tracking && self.unrest > 0
    }

    /// How far the template is from one to rely on, 0 to 1.
    pub(in crate::timing) fn maturity(&self) -> f32 {
        let doubt = if self.lost > DOUBTFUL_BLOCKS { 0.4 } else { 1.0 };
        doubt * (self.blocks as f32 / MATURE_BLOCKS).min(1.0)
    }

    /// Lag of the direct sound at the newest window, in samples.
    pub(in crate::timing) fn lag(&self) -> f64 {
        self.drift.lag + f64::from(self.onset)
    }

    /// The coarse search found a peak: follow it, if it is not what is followed already.
    pub(in crate::timing) fn found(&mut self, memory: &mut FineMemory, peak: Peak) {
        let same = (f64::from(peak.lag) - self.lag()).abs() < ELSEWHERE;
        let firm = self.is_settled() && self.lost <= DOUBTFUL_BLOCKS;
        if self.tracking && (same || firm && peak.confidence < 0.5) {
            return;
        }
        self.restart(memory, f64::from(peak.lag));
    }

    /// Begins anew at `lag`. The clocks are what they were, most likely, so the slope stays.
    fn restart(&mut self, memory: &mut FineMemory, lag: f64) {
        let mut drift = Drift::new(lag);
        if self.drift.taken > 4 {
            drift.slope = self.drift.slope;
        }
        self.drift = drift;
        self.tracking = true;
        self.blocks = 0;
        self.lost = 0;
        self.onset = 0.0;
        self.agreement = 0.0;
        self.outlier = None;
        memory.template.fill(Complex::ZERO);
        self.clear_block(memory);
    }

    fn clear_block(&mut self, memory: &mut FineMemory) {
        memory.block.fill(Complex::ZERO);
        (self.filled, self.hops, self.places) = (0, 0, 0);
    }

    /// Adds the hop's window to the block, if the microphone `heard` anything.
    pub(in crate::timing) fn hop(
        &mut self,
        memory: &mut FineMemory,
        spectra: &mut SpectraMemory,
        state: &Spectra,
        past: &Past,
        samples: &PastMemory,
        heard: bool,
    ) {
        if !self.tracking {
            return;
        }
        for (at, slope) in &mut self.steering {
            if past.hop_end() >= *at {
                self.drift.slope -= core::mem::take(slope);
            }
        }
        self.drift.advance(HOP as f64);
        self.drift.lag = self.drift.lag.clamp(-(NEAR_DELAY as f64), MAX_LAG as f64);
        self.hops += 1;
        self.unrest = self.unrest.saturating_sub(1);
        if !heard {
            return;
        }
        self.since_good = self.since_good.saturating_add(1);
        let whole = libm::round(self.drift.lag);
        if state.far_at(spectra, past, samples, whole as i64) {
            let turns = Rotor::new(FIRST_BIN, self.drift.lag - whole);
            let both = spectra.near().iter().zip(spectra.far());
            for ((sum, (near, far)), turn) in memory.block.iter_mut().zip(both).zip(turns) {
                *sum = sum.plus(near.times(far.conj()).times(turn));
            }
            self.filled += 1;
            self.places += self.hops;
        }
    }

    /// Whether a block waits to be measured.
    pub(in crate::timing) fn is_due(&self) -> bool {
        let full = if self.drift.slope_sigma() > SMEAR { SHORT_BLOCK } else { LONG_BLOCK };
        self.filled >= full || self.hops >= PATIENCE_HOPS
    }

    /// Measures the block against the template and learns from it.
    pub(in crate::timing) fn measure(&mut self, memory: &mut FineMemory, spectra: &mut SpectraMemory) {
        if self.filled < SHORT_BLOCK {
            self.clear_block(memory);
            return;
        }
        let age = f64::from(self.hops * self.filled - self.places) / f64::from(self.filled) * HOP as f64;
        if self.blocks == 0 {
            self.merge(memory, 0.0);
        } else {
            let shift = compare(&memory.block, &memory.template, spectra.scratch());
            self.agreement += (shift.agreement - self.agreement) * 0.3;
            if shift.agreement < LEAST_AGREEMENT {
                self.lost += 1;
            } else if self.take(memory, shift, age) {
                self.lost = 0;
                self.merge(memory, shift.samples);
            }
            if self.lost > DOUBTFUL_BLOCKS {
                self.unrest = UNREST_HOPS;
            }
            if self.lost > LOST_BLOCKS {
                let lag = self.drift.lag;
                self.restart(memory, lag);
            }
        }
        self.clear_block(memory);
        self.find_onset(memory, spectra.scratch());
    }

    /// Whether the measured shift belongs to the path that is followed.
    fn take(&mut self, memory: &mut FineMemory, shift: Shift, age: f64) -> bool {
        let expected = self.drift.spread(age) + shift.variance;
        if shift.samples.abs() < f64::max(6.0 * libm::sqrt(expected), 0.05) {
            self.drift.correct(shift.samples, age, shift.variance);
            self.outlier = None;
            self.since_good = 0;
            return true;
        }
        let before = self.outlier.replace(shift.samples);
        self.lost += 1;
        if before.is_none_or(|before| (before - shift.samples).abs() > 1.0 + 0.5 * before.abs()) {
            return false;
        }
        self.outlier = None;
        if shift.samples.abs() < 8.0 {
            // Too much for chance, too little for a jump: the rate has changed.
            let slope = shift.samples / f64::from(self.since_good.max(8) * HOP as u32);
            self.drift.doubt_slope(slope);
            self.drift.doubt_lag(shift.samples);
            self.drift.correct(shift.samples, age, shift.variance);
            return true;
        }
        if shift.samples.abs() > NEAR_JUMP {
            return false;
        }
        self.unrest = UNREST_HOPS;
        self.drift.lag += shift.samples;
        self.drift.doubt_lag(1.0);
        self.drift.doubt_slope(50e-6);
        // The block is the new path's only estimate that is not of before.
        memory.template.fill(Complex::ZERO);
        self.blocks = 0;
        true
    }

    /// Averages the block, moved earlier by `late` samples, into the template.
    fn merge(&mut self, memory: &mut FineMemory, late: f64) {
        self.blocks = (self.blocks + 1).min(TEMPLATE_BLOCKS);
        let part = 1.0 / self.blocks as f32;
        for x in &mut memory.template {
            *x = x.scaled(1.0 - part);
        }
        add_moved(&mut memory.template, &memory.block, late, part / self.filled.max(1) as f32);
    }

    /// Finds the direct sound in the template and keeps it near its middle.
    fn find_onset(&mut self, memory: &mut FineMemory, scratch: &mut [Complex; WINDOW]) {
        scratch.fill(Complex::ZERO);
        for (k, (point, x)) in scratch.iter_mut().skip(FIRST_BIN).zip(&memory.template).enumerate() {
            // Tapered, so that a peak has no side lobes to be taken for an earlier one.
            let across = (k as f32 + 0.5) / BINS as f32;
            *point = x.conj().scaled(4.0 * across * (1.0 - across));
        }
        transform(scratch);
        scratch.rotate_right(WINDOW / 2);
        let middle = (WINDOW / 2) as f32;
        let highest = scratch.iter().map(|x| x.power()).fold(0.0, f32::max);
        let noise: f32 = scratch.iter().take(NOISE_POINTS).map(|x| x.power()).sum();
        let least = f32::min(highest, noise * ABOVE_NOISE / NOISE_POINTS as f32);
        let young = ONSET_YOUNG * (1.0 - (self.blocks as f32 / MATURE_BLOCKS).min(1.0));
        for (index, three) in scratch.windows(3).enumerate() {
            let [before, at, behind] = three else { continue };
            let (before, at, behind) = (before.power(), at.power(), behind.power());
            let place = index as f32 + 1.0 - middle;
            let held = self.blocks > SETTLED_BLOCKS && (place - self.onset).abs() < 3.0;
            let part = if held { ONSET_HELD } else { ONSET + young };
            if at < before || at < behind || at < f32::max(highest * part * part, least) {
                continue;
            }
            let curve = before + behind - 2.0 * at;
            let rest = if curve < 0.0 { 0.5 * (before - behind) / curve } else { 0.0 };
            self.onset = place + rest;
            break;
        }
        if self.onset.abs() > OFF_CENTRE && self.filled == 0 {
            let whole = libm::roundf(self.onset);
            self.onset -= whole;
            self.drift.lag += f64::from(whole);
            for (x, turn) in memory.template.iter_mut().zip(Rotor::new(FIRST_BIN, f64::from(whole))) {
                *x = x.times(turn);
            }
        }
    }

    /// All lags are smaller by `by` samples from now on.
    pub(in crate::timing) fn shift(&mut self, memory: &mut FineMemory, by: f64) {
        self.drift.lag -= by;
        self.tracking &= self.drift.lag >= -(NEAR_DELAY as f64) && self.drift.lag <= MAX_LAG as f64;
        // What is less than a sample is seen at once in lags, but only later in the windows.
        self.drift.doubt_lag(0.3 * by.abs().min(1.0));
        self.clear_block(memory);
    }

    /// The reference is read slower by `slope` from index `now` on.
    pub(in crate::timing) fn steer(&mut self, slope: f64, now: i64) {
        let at = now + NEAR_DELAY + (self.drift.lag.max(0.0) as i64);
        match self.steering.iter_mut().find(|(_, slope)| *slope == 0.0) {
            Some(free) => *free = (at, slope),
            None => {
                self.drift.slope -= slope;
                self.drift.doubt_lag(slope * (at - now) as f64);
            }
        }
    }

    pub(in crate::timing) fn drift_slope(&self) -> f64 {
        self.drift.slope
    }

    pub(in crate::timing) fn lag_sigma(&self) -> f64 {
        self.drift.lag_sigma()
    }

    pub(in crate::timing) fn slope_sigma(&self) -> f64 {
        self.drift.slope_sigma()
    }

    pub(in crate::timing) fn measurements(&self) -> u32 {
        self.drift.taken
    }

    pub(in crate::timing) fn agreement(&self) -> f32 {
        self.agreement
    }

    /// What is left of the slope once all steering has had its effect.
    pub(in crate::timing) fn slope(&self) -> f64 {
        self.drift.slope - self.steering.iter().map(|(_, slope)| slope).sum::<f64>()
    }
}
