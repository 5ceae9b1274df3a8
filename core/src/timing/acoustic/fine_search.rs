//! Worker side: tracks the lag of the echo to a few microseconds, and its drift.
//!
//! Around a known lag the whitened cross-spectrum of 0.1 to 0.3 s, a block, is an estimate of the echo path.
//! The average of earlier blocks is the template. The phases of all bins together tell by how much a block is
//! later than the template: the shift of a whole path, reflections included, is measured far finer than the
//! position of any peak. A Kalman filter turns these shifts into lag and drift. Each window is moved back by
//! the lag that the filter predicts, so that the average stands still at any drift. After M. Pawig, G. Enzner
//! and P. Vary, "Adaptive sampling rate correction for acoustic echo control in voice-over-IP", IEEE TSP
//! 58(1), 2010, and S. Markovich-Golan, S. Gannot and I. Cohen, "Blind sampling rate offset estimation and
//! compensation in wireless acoustic sensor networks", IWAENC 2012.

use super::coarse_search::CorrelationPeak;
use super::lag_filter::LagFilter;
use super::low_rate_history::{LowRateHistory, LowRateMemory};
use super::path_shift::{PathShift, compare};
use super::spectrum::{Spectra, SpectraMemory, add_moved};
use super::{BINS, FIRST_BIN, HOP, MAX_LAG, NEAR_DELAY, WINDOW, rotator};
use crate::dsp::fft::{Complex, transform};

/// Active hops of a block while an unknown drift would smear a longer one.
const SHORT_BLOCK: u32 = 4;
/// Active hops of a block once the drift is known.
const LONG_BLOCK: u32 = 8;
/// Standard deviation of the slope up to which a long block is not smeared, in samples per sample.
const LONG_BLOCK_SLOPE_SIGMA: f64 = 60e-6;
/// Hops after which a block that is not full is measured, or dropped if it is too short.
const MAX_BLOCK_HOPS: u32 = 40;
/// Number of blocks that the template averages.
const TEMPLATE_BLOCKS: u32 = 24;
/// Agreement with the template below which a block is not used.
const LEAST_AGREEMENT: f32 = 0.4;
/// Blocks without agreement after which the template is discarded, because the echo path is another one.
const LOST_BLOCKS: u32 = 10;
/// Blocks without agreement after which the coarse search shortens its average.
const DOUBTFUL_BLOCKS: u32 = 1;
/// Blocks in the template from which on the fine search reports a lag.
const SETTLED_BLOCKS: u32 = 4;
/// Blocks in the template from which on it is fully trusted.
const MATURE_BLOCKS: f32 = 8.0;
/// Distance of the direct sound from the middle of the template, in samples (4 ms), beyond which the template
/// is moved to bring it back.
const OFF_CENTRE: f32 = 32.0;
/// Least amplitude of the direct sound against the strongest peak of the path.
const ONSET: f32 = 0.35;
/// Least amplitude of the direct sound where it was found before: lower, so that the answer does not flicker.
const ONSET_HELD: f32 = 0.25;
/// Additional amplitude required in a template of one block; it falls to 0 as the template matures. One or
/// two vowels have side lobes a pitch period away.
const ONSET_YOUNG: f32 = 0.4;
/// Least power of the direct sound against the mean power well before the path, which is noise.
const ABOVE_NOISE: f32 = 10.0;
/// Points at the start of the impulse response that are taken for noise.
const NOISE_POINTS: usize = 96;
/// Longest jump that the fine search follows, in samples (20 ms). The coarse search finds longer ones: a
/// correlation that far off may be the reverberation of an echo that is elsewhere now.
const NEAR_JUMP: f64 = 160.0;
/// Hops after a sign of a jump during which the coarse search averages over a shorter time, 1.5 s.
const MOVING_HOPS: u32 = 47;
/// Active hops without agreement after which the path counts as lost (1 s).
const LOST_HOPS: u32 = 31;
/// Distance beyond which a coarse peak is another echo, in samples.
const ANOTHER_ECHO: f64 = 200.0;

/// Memory of a [`FineSearch`]: the block in the making and the template.

#[derive(Debug)]
pub(super) struct FineSearchMemory {
    block: [Complex; BINS],
    template: [Complex; BINS],
}

impl FineSearchMemory {
    pub(super) const fn new() -> Self {
        Self { block: [Complex::ZERO; BINS], template: [Complex::ZERO; BINS] }
    }
}

/// State of the tracking around one lag.
#[derive(Clone, Copy, Debug)]
pub(super) struct FineSearch {
    filter: LagFilter,
    /// Whether there is a lag to track.
    tracking: bool,
    /// Number of active hops in the block.
    active_hops: u32,
    /// Number of hops since the block began.
    hops: u32,
    /// Sum of the active hops' numbers within the block, from which the mean age of the block follows.
    hop_numbers: u32,
    /// Number of blocks in the template.
    blocks: u32,
    /// Samples from the tracked lag to the direct sound.
    onset: f32,
    /// Smoothed agreement of blocks with the template, 0 to 1.
    agreement: f32,
    /// Number of successive blocks without agreement.
    lost_blocks: u32,
    /// Shift of the last block that disagreed, in samples.
    outlier: Option<f64>,
    /// Number of hops for which the echo path is taken to be moving.
    moving_hops: u32,
    /// Active hops since the last block that agreed.
    hops_since_agreement: u32,
    /// Steering that has not reached the windows yet: the index from which it acts, and the change of the
    /// slope.
    steering: [(i64, f64); 8],
}

impl FineSearch {
    pub(super) fn new(memory: &mut FineSearchMemory) -> Self {
        memory.template.fill(Complex::ZERO);
        memory.block.fill(Complex::ZERO);
        Self {
            filter: LagFilter::new(0.0),
            tracking: false,
            active_hops: 0,
            hops: 0,
            hop_numbers: 0,
            blocks: 0,
            onset: 0.0,
            agreement: 0.0,
            lost_blocks: 0,
            outlier: None,
            moving_hops: 0,
            hops_since_agreement: 0,
            steering: [(0, 0.0); 8],
        }
    }

    /// Returns whether the template has enough blocks to report a lag.
    pub(super) fn is_settled(&self) -> bool {
        self.tracking && self.blocks >= SETTLED_BLOCKS
    }

    /// Returns whether the echo path seems to be moving.
    pub(super) fn path_moves(&self) -> bool {
        self.tracking && self.moving_hops > 0
    }

    /// Returns whether the tracked path has not been confirmed for [`LOST_HOPS`].
    pub(super) fn has_lost_path(&self) -> bool {
        !self.is_settled() || self.hops_since_agreement > LOST_HOPS
    }

    /// Returns how far the template can be relied on, 0 to 1.
    pub(super) fn maturity(&self) -> f32 {
        let trust = if self.lost_blocks > DOUBTFUL_BLOCKS { 0.4 } else { 1.0 };
        trust * (self.blocks as f32 / MATURE_BLOCKS).min(1.0)
    }

    /// Returns the lag of the direct sound at the newest window, in samples.
    pub(super) fn lag(&self) -> f64 {
        self.filter.lag + f64::from(self.onset)
    }

    /// Takes a peak of the coarse search and tracks it, unless it is the echo that is tracked already.
    pub(super) fn on_coarse_peak(&mut self, memory: &mut FineSearchMemory, peak: CorrelationPeak) {
        let same = (f64::from(peak.lag) - self.lag()).abs() < ANOTHER_ECHO;
        let firm = self.is_settled() && self.lost_blocks <= DOUBTFUL_BLOCKS;
        if self.tracking && (same || firm && peak.confidence < 0.5) {
            return;
        }
        self.restart(memory, f64::from(peak.lag));
    }

    /// Starts tracking anew at `lag`. Keeps the slope, because the clocks have most likely not changed.
    fn restart(&mut self, memory: &mut FineSearchMemory, lag: f64) {
        let mut filter = LagFilter::new(lag);
        if self.filter.taken > 4 {
            filter.slope = self.filter.slope;
        }
        self.filter = filter;
        self.tracking = true;
        self.blocks = 0;
        self.lost_blocks = 0;
        self.onset = 0.0;
        self.agreement = 0.0;
        self.outlier = None;
        memory.template.fill(Complex::ZERO);
        self.clear_block(memory);
    }

    fn clear_block(&mut self, memory: &mut FineSearchMemory) {
        memory.block.fill(Complex::ZERO);
        (self.active_hops, self.hops, self.hop_numbers) = (0, 0, 0);
    }

    /// Advances by a hop and adds its window to the block, if the microphone was on (`heard`).
    pub(super) fn hop(
        &mut self,
        memory: &mut FineSearchMemory,
        spectra: &mut SpectraMemory,
        state: &Spectra,
        past: &LowRateHistory,
        samples: &LowRateMemory,
        heard: bool,
    ) {
        if !self.tracking {
            return;
        }
        for (at, slope) in &mut self.steering {
            if past.hop_end() >= *at {
                self.filter.slope -= core::mem::take(slope);
            }
        }
        self.filter.advance(HOP as f64);
        self.filter.lag = self.filter.lag.clamp(-(NEAR_DELAY as f64), MAX_LAG as f64);
        self.hops += 1;
        self.moving_hops = self.moving_hops.saturating_sub(1);
        if !heard {
            return;
        }
        self.hops_since_agreement = self.hops_since_agreement.saturating_add(1);
        let whole = libm::round(self.filter.lag);
        if state.far_at(spectra, past, samples, whole as i64) {
            let turns = rotator(FIRST_BIN, self.filter.lag - whole);
            let both = spectra.near().iter().zip(spectra.far());
            for ((sum, (near, far)), turn) in memory.block.iter_mut().zip(both).zip(turns) {
                *sum = sum.plus(near.times(far.conj()).times(turn));
            }
            self.active_hops += 1;
            self.hop_numbers += self.hops;
        }
    }

    /// Returns whether the block is complete and can be measured.
    pub(super) fn is_due(&self) -> bool {
        let full = if self.filter.slope_sigma() > LONG_BLOCK_SLOPE_SIGMA { SHORT_BLOCK } else { LONG_BLOCK };
        self.active_hops >= full || self.hops >= MAX_BLOCK_HOPS
    }

    /// Measures the block against the template and updates lag, drift and template.
    pub(super) fn measure(&mut self, memory: &mut FineSearchMemory, spectra: &mut SpectraMemory) {
        if self.active_hops < SHORT_BLOCK {
            self.clear_block(memory);
            return;
        }
        let age = f64::from(self.hops * self.active_hops - self.hop_numbers) / f64::from(self.active_hops)
            * HOP as f64;
        if self.blocks == 0 {
            self.merge(memory, 0.0);
        } else {
            let shift = compare(&memory.block, &memory.template, spectra.scratch());
            self.agreement += (shift.agreement - self.agreement) * 0.3;
            if shift.agreement < LEAST_AGREEMENT {
                self.lost_blocks += 1;
            } else if self.take_shift(memory, shift, age) {
                self.lost_blocks = 0;
                self.merge(memory, shift.samples);
            }
            if self.lost_blocks > DOUBTFUL_BLOCKS {
                self.moving_hops = MOVING_HOPS;
            }
            if self.lost_blocks > LOST_BLOCKS {
                let lag = self.filter.lag;
                self.restart(memory, lag);
            }
        }
        self.clear_block(memory);
        self.find_onset(memory, spectra.scratch());
    }

    /// Takes a measured shift. Returns whether it belongs to the tracked path.
    fn take_shift(&mut self, memory: &mut FineSearchMemory, shift: PathShift, age: f64) -> bool {
        let expected = self.filter.spread(age) + shift.variance;
        if shift.samples.abs() < f64::max(6.0 * libm::sqrt(expected), 0.05) {
            self.filter.correct(shift.samples, age, shift.variance);
            self.outlier = None;
            self.hops_since_agreement = 0;
            return true;
        }
        let before = self.outlier.replace(shift.samples);
        self.lost_blocks += 1;
        if before.is_none_or(|before| (before - shift.samples).abs() > 1.0 + 0.5 * before.abs()) {
            return false;
        }
        self.outlier = None;
        if shift.samples.abs() < 8.0 {
            // The shift is too large for noise and too small for a jump, so the rate has changed.
            let slope = shift.samples / f64::from(self.hops_since_agreement.max(8) * HOP as u32);
            self.filter.doubt_slope(slope);
            self.filter.doubt_lag(shift.samples);
            self.filter.correct(shift.samples, age, shift.variance);
            return true;
        }
        if shift.samples.abs() > NEAR_JUMP {
            return false;
        }
        self.moving_hops = MOVING_HOPS;
        self.filter.lag += shift.samples;
        self.filter.doubt_lag(1.0);
        self.filter.doubt_slope(50e-6);
        // All earlier blocks are estimates of the old path.
        memory.template.fill(Complex::ZERO);
        self.blocks = 0;
        true
    }

    /// Averages the block into the template, moved earlier by `late` samples.
    fn merge(&mut self, memory: &mut FineSearchMemory, late: f64) {
        self.blocks = (self.blocks + 1).min(TEMPLATE_BLOCKS);
        let part = 1.0 / self.blocks as f32;
        for x in &mut memory.template {
            *x = x.scaled(1.0 - part);
        }
        add_moved(&mut memory.template, &memory.block, late, part / self.active_hops.max(1) as f32);
    }

    /// Finds the direct sound in the template and keeps it near the middle.
    fn find_onset(&mut self, memory: &mut FineSearchMemory, scratch: &mut [Complex; WINDOW]) {
        scratch.fill(Complex::ZERO);
        for (k, (point, x)) in scratch.iter_mut().skip(FIRST_BIN).zip(&memory.template).enumerate() {
            // Tapered, so that no side lobe of a peak is taken for an earlier peak.
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
            let [before, at, after] = three else { continue };
            let (before, at, after) = (before.power(), at.power(), after.power());
            let position = index as f32 + 1.0 - middle;
            let held = self.blocks > SETTLED_BLOCKS && (position - self.onset).abs() < 3.0;
            let part = if held { ONSET_HELD } else { ONSET + young };
            if at < before || at < after || at < f32::max(highest * part * part, least) {
                continue;
            }
            let curve = before + after - 2.0 * at;
            let rest = if curve < 0.0 { 0.5 * (before - after) / curve } else { 0.0 };
            self.onset = position + rest;
            break;
        }
        if self.onset.abs() > OFF_CENTRE && self.active_hops == 0 {
            let whole = libm::roundf(self.onset);
            self.onset -= whole;
            self.filter.lag += f64::from(whole);
            for (x, turn) in memory.template.iter_mut().zip(rotator(FIRST_BIN, f64::from(whole))) {
                *x = x.times(turn);
            }
        }
    }

    /// Moves everything learned to lags that are smaller by `by` samples.
    pub(super) fn shift(&mut self, memory: &mut FineSearchMemory, by: f64) {
        self.filter.lag -= by;
        self.tracking &= self.filter.lag >= -(NEAR_DELAY as f64) && self.filter.lag <= MAX_LAG as f64;
        // A fraction of a sample changes the lag at once but reaches the windows only later.
        self.filter.doubt_lag(0.3 * by.abs().min(1.0));
        self.clear_block(memory);
    }

    /// Notes that the reference is read slower by `slope` from index `now` on.
    pub(super) fn steer(&mut self, slope: f64, now: i64) {
        let at = now + NEAR_DELAY + (self.filter.lag.max(0.0) as i64);
        match self.steering.iter_mut().find(|(_, slope)| *slope == 0.0) {
            Some(free) => *free = (at, slope),
            None => {
                self.filter.slope -= slope;
                self.filter.doubt_lag(slope * (at - now) as f64);
            }
        }
    }

    /// Returns the slope at the newest window, in samples per sample.
    pub(super) fn current_slope(&self) -> f64 {
        self.filter.slope
    }

    pub(super) fn lag_sigma(&self) -> f64 {
        self.filter.lag_sigma()
    }

    pub(super) fn slope_sigma(&self) -> f64 {
        self.filter.slope_sigma()
    }

    pub(super) fn measurements(&self) -> u32 {
        self.filter.taken
    }

    pub(super) fn agreement(&self) -> f32 {
        self.agreement
    }

    /// Returns the slope that remains once all steering has reached the windows.
    pub(super) fn remaining_slope(&self) -> f64 {
        self.filter.slope - self.steering.iter().map(|(_, slope)| slope).sum::<f64>()
    }
}
