//! Worker side: finds the echo over the whole range of lags, to a few milliseconds.
//!
//! Whitened cross-spectra of the microphone's window with each of the reference's last windows are averaged
//! over some seconds in which the loudspeaker is active. Their inverse transforms, side by side, are one
//! correlation over the whole range. The confidence in a peak is how far it stands out from the rest of the
//! correlation: a tone gives the same height everywhere, noise and a talker give no peak at all.

use super::spectrum::{ActiveSignals, SpectraMemory};
use super::{COARSE_BINS, COARSE_SKIP, FIRST_BIN, HOP, LAG_ROWS, NEAR_DELAY, rotator};
use crate::dsp::fft::{Complex, transform};

/// Points of an inverse transform. Its middle half covers a hop.
const POINTS: usize = 128;
/// Low-rate samples from one point to the next.
const POINT_SAMPLES: usize = super::WINDOW / POINTS;
/// Number of cells of lag that one row covers.
const ROW_CELLS: usize = 16;
/// Low-rate samples of a cell, 2 ms.
const CELL: usize = HOP / ROW_CELLS;
const CELLS: usize = LAG_ROWS * ROW_CELLS;

/// Averaging length of the correlation, in hops in which the loudspeaker is active (1.5 s).
const AVERAGE_HOPS: f32 = 47.0;
/// Averaging length while the echo path is moving, in hops. Shorter, so that the old place is forgotten sooner.
const FAST_AVERAGE_HOPS: f32 = 12.0;
/// Rows updated in one frame, so that the work spreads evenly over the frames of a hop.
const ROWS_PER_FRAME: usize = 12;

/// Cells before a peak that belong to it.
const BEFORE_CELLS: usize = 12;
/// Cells after a peak that belong to it: the reverberation.
const AFTER_CELLS: usize = 48;
/// Least height of the direct sound against the highest peak: a reflection may be stronger than the direct
/// sound.
const ONSET_SHARE: f32 = 0.12;
/// Cells before the highest peak in which the direct sound is looked for.
const ONSET_CELLS: usize = 12;
/// Distance within which two successive scans of the whole range agree on a peak, in cells.
const AGREE_CELLS: usize = 4;

/// Memory of a [`CoarseSearch`]: averaged cross-spectra by lag, spectra of the reference by age, and the
/// correlation.

#[derive(Debug)]
pub(super) struct CoarseSearchMemory {
    rows: [[Complex; COARSE_BINS]; LAG_ROWS],
    played: [[[i8; 2]; COARSE_BINS]; LAG_ROWS],
    cells: [f32; CELLS],
}

impl CoarseSearchMemory {
    pub(super) const fn new() -> Self {
        Self {
            rows: [[Complex::ZERO; COARSE_BINS]; LAG_ROWS],
            played: [[[0; 2]; COARSE_BINS]; LAG_ROWS],
            cells: [0.0; CELLS],
        }
    }
}

/// The highest peak of the correlation over the whole range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct CorrelationPeak {
    /// Lag of the direct sound, in low-rate samples.
    pub(super) lag: f32,
    /// Confidence from 0 to 1.
    pub(super) confidence: f32,
}

/// State of the search over the whole range of lags.
#[derive(Clone, Copy, Debug)]
pub(super) struct CoarseSearch {
    /// Ring index of the newest row of reference spectra.
    newest: usize,
    /// Whether the loudspeaker was active in each row of reference spectra.
    active: [bool; LAG_ROWS],
    /// Next row to which the last hop is added; `LAG_ROWS` when none is left.
    row: usize,
    /// Factor by which the averages decay in this hop.
    keep: f32,
    /// Next row to scan for a peak.
    scanned: usize,
    /// Cell of the last scan's highest peak.
    cell: usize,
    /// Number of successive scans that agreed with the one before.
    agreed: u32,
    peak: Option<CorrelationPeak>,
}

impl CoarseSearch {
    pub(super) fn new(memory: &mut CoarseSearchMemory) -> Self {
        memory.rows.fill([Complex::ZERO; COARSE_BINS]);
        memory.played.fill([[0; 2]; COARSE_BINS]);
        memory.cells.fill(0.0);
        Self {
            newest: 0,
            active: [false; LAG_ROWS],
            row: LAG_ROWS,
            keep: 1.0,
            scanned: 0,
            cell: 0,
            agreed: 0,
            peak: None,
        }
    }

    /// Begins a hop: takes the reference spectrum, if the loudspeaker was active. `path_moves` shortens the
    /// average.
    pub(super) fn hop(
        &mut self,
        memory: &mut CoarseSearchMemory,
        spectra: &SpectraMemory,
        active: ActiveSignals,
        path_moves: bool,
    ) {
        self.newest = (self.newest + 1) % LAG_ROWS;
        if let (Some(row), Some(flag)) =
            (memory.played.get_mut(self.newest), self.active.get_mut(self.newest))
        {
            *flag = active.played;
            for (stored, x) in row.iter_mut().zip(spectra.far().iter().skip(COARSE_SKIP)) {
                *stored = if active.played { [quantise(x.re), quantise(x.im)] } else { [0, 0] };
            }
        }
        let share = self.active.iter().filter(|&&active| active).count() as f32 / LAG_ROWS as f32;
        self.keep = 1.0 - share / if path_moves { FAST_AVERAGE_HOPS } else { AVERAGE_HOPS };
        // A microphone that is switched off teaches nothing and must not let the averages decay.
        self.row = if active.heard { 0 } else { LAG_ROWS };
    }

    /// Adds the last hop to the averages of some lags: one frame's share of the work.
    pub(super) fn accumulate(&mut self, memory: &mut CoarseSearchMemory, spectra: &SpectraMemory) {
        let near = spectra.near();
        for _ in 0..ROWS_PER_FRAME {
            let age = (self.newest + LAG_ROWS - self.row.min(LAG_ROWS)) % LAG_ROWS;
            let (Some(row), Some(played)) = (memory.rows.get_mut(self.row), memory.played.get(age)) else {
                return;
            };
            let keep = self.keep;
            for ((sum, far), near) in row.iter_mut().zip(played).zip(near.iter().skip(COARSE_SKIP)) {
                let (re, im) = (f32::from(far[0]), f32::from(far[1]));
                sum.re = sum.re * keep + near.re * re + near.im * im;
                sum.im = sum.im * keep + near.im * re - near.re * im;
            }
            self.row += 1;
        }
    }

    /// Scans the lags of one row. Returns true when that completes a scan of the whole range.
    pub(super) fn scan(&mut self, memory: &mut CoarseSearchMemory) -> bool {
        if let Some(row) = memory.rows.get(self.scanned) {
            let mut points = [Complex::ZERO; POINTS];
            for (point, x) in points.iter_mut().zip(row) {
                *point = x.conj();
            }
            transform(&mut points);
            // The transform puts negative lags at its end.
            points.rotate_right(POINTS / 4);
            let cells = memory.cells.iter_mut().skip(self.scanned * ROW_CELLS);
            for (cell, points) in cells.zip(points.chunks_exact(CELL / POINT_SAMPLES).take(ROW_CELLS)) {
                *cell = points.iter().map(|x| x.power()).sum();
            }
        }
        self.scanned += 1;
        if self.scanned < LAG_ROWS {
            return false;
        }
        self.scanned = 0;
        self.evaluate(&memory.cells);
        true
    }

    /// Returns the peak that the last scans agreed on.
    pub(super) fn peak(&self) -> Option<CorrelationPeak> {
        self.peak
    }

    fn evaluate(&mut self, cells: &[f32; CELLS]) {
        let pair = |(index, pair): (usize, &[f32])| (index, pair.iter().sum::<f32>());
        let (mut best, mut height) = (0, 0.0);
        for (index, sum) in cells.windows(2).enumerate().map(pair) {
            if sum > height {
                (best, height) = (index, sum);
            }
        }
        let near = best.saturating_sub(BEFORE_CELLS)..best + AFTER_CELLS;
        let mut second = 0.0f32;
        for (index, other) in cells.windows(2).enumerate().map(pair) {
            if !near.contains(&index) {
                second = second.max(other);
            }
        }
        let contrast = if second > 0.0 { height / second } else { 0.0 };
        // A height that the rest of the range reaches by chance is no direct sound either.
        let least = height * f32::max(ONSET_SHARE, 1.6 / contrast.max(1.6));
        let onset_from = best.saturating_sub(ONSET_CELLS);
        let onset = cells
            .windows(2)
            .enumerate()
            .skip(onset_from)
            .map(pair)
            .find(|&(_, sum)| sum >= least)
            .map_or(best, |(index, _)| index);
        self.agreed = if best.abs_diff(self.cell) <= AGREE_CELLS { self.agreed + 1 } else { 0 };
        self.cell = best;
        let lag = ((onset + 1) * CELL) as f32 - (NEAR_DELAY as f32 + HOP as f32 / 2.0);
        let confidence = confidence_of(contrast);
        self.peak = (self.agreed > 0 && confidence > 0.0).then_some(CorrelationPeak { lag, confidence });
    }

    /// Moves everything learned to lags that are smaller by `by` samples.
    pub(super) fn shift(&mut self, memory: &mut CoarseSearchMemory, by: i64) {
        let hops = (by + HOP as i64 / 2).div_euclid(HOP as i64);
        let rest = by - hops * HOP as i64;
        move_rows(&mut memory.rows, -hops);
        for row in &mut memory.rows {
            for (x, turn) in row.iter_mut().zip(rotator(FIRST_BIN + COARSE_SKIP, rest as f64)) {
                *x = x.times(turn);
            }
        }
        // The reference spectra belong to later hops now: put the ring in order of age, then move it.
        memory.played.rotate_left((self.newest + 1) % LAG_ROWS);
        self.active.rotate_left((self.newest + 1) % LAG_ROWS);
        self.newest = LAG_ROWS - 1;
        move_rows(&mut memory.played, hops);
        move_rows(&mut self.active, hops);
        for row in &mut memory.played {
            for (x, turn) in row.iter_mut().zip(rotator(FIRST_BIN + COARSE_SKIP, -rest as f64)) {
                let whole = Complex { re: f32::from(x[0]), im: f32::from(x[1]) }.times(turn);
                *x = [whole.re as i8, whole.im as i8];
            }
        }
        self.scanned = 0;
        self.peak = self.peak.map(|peak| CorrelationPeak { lag: peak.lag - by as f32, ..peak });
        self.cell = self.cell.saturating_add_signed(-(by / CELL as i64) as isize);
    }
}

/// Moves rows to indices higher by `by` and zeroes the rows left behind.
fn move_rows<T: ZeroRow + Copy>(rows: &mut [T; LAG_ROWS], by: i64) {
    let distance = by.unsigned_abs().min(LAG_ROWS as u64) as usize;
    if by >= 0 {
        rows.rotate_right(distance);
        rows.iter_mut().take(distance).for_each(|row| *row = T::ZERO);
    } else {
        rows.rotate_left(distance);
        rows.iter_mut().rev().take(distance).for_each(|row| *row = T::ZERO);
    }
}

trait ZeroRow {
    const ZERO: Self;
}

impl ZeroRow for bool {
    const ZERO: Self = false;
}

impl ZeroRow for [Complex; COARSE_BINS] {
    const ZERO: Self = [Complex::ZERO; COARSE_BINS];
}

impl ZeroRow for [[i8; 2]; COARSE_BINS] {
    const ZERO: Self = [[0; 2]; COARSE_BINS];
}

fn quantise(x: f32) -> i8 {
    (if x < 0.0 { x * 127.0 - 0.5 } else { x * 127.0 + 0.5 }) as i8
}

/// Returns the confidence in a peak from its height against the rest: 0 up to twice, 1 from five times on.
fn confidence_of(contrast: f32) -> f32 {
    ((contrast - 2.0) / 3.0).clamp(0.0, 1.0)
}
