//! Worker side: where the echo is, over the whole range, to a few milliseconds.
//!
//! Levelled cross-spectra of the microphone's window with each of the reference's last windows are
//! averaged over some seconds in which the loudspeaker is active; their inverse transforms, side by
//! side, are one correlation over the whole range. A peak is believed by how far it stands out from
//! everything else there: a tone gives the same height everywhere, noise and a talker no peak at all.

use super::fft::{Complex, Rotor, transform};
use super::spectrum::{Active, SpectraMemory};
use super::{COARSE_BINS, COARSE_SKIP, FIRST_BIN, HOP, LAG_ROWS, NEAR_DELAY};

/// Points of an inverse transform; its middle half covers a hop.
const POINTS: usize = 128;
/// Low-rate samples from one point to the next.
const POINT: usize = super::WINDOW / POINTS;
/// Cells of lag that one row covers.
const ROW_CELLS: usize = 16;
/// Low-rate samples of a cell, 2 ms.
const CELL: usize = HOP / ROW_CELLS;
const CELLS: usize = LAG_ROWS * ROW_CELLS;

/// Hops in which the loudspeaker is active, over which the correlation is averaged (1.5 s).
const AVERAGE_HOPS: f32 = 47.0;
/// The same while the echo is not where it was: what was there is forgotten sooner.
const HASTY_HOPS: f32 = 12.0;
/// Rows worked on in one frame.
const ROWS_A_FRAME: usize = 12;

/// What surrounds a peak and belongs to it: the reverberation behind, and less before.
const BEFORE_CELLS: usize = 12;
const BEHIND_CELLS: usize = 48;
/// The direct sound may be weaker than a reflection behind it, by so much and so far.
const ONSET_PART: f32 = 0.12;
const ONSET_CELLS: usize = 12;
/// Looks at the whole range that must agree, within so many cells.
const AGREE_CELLS: usize = 4;

#[derive(Debug)]
pub(in crate::timing) struct CoarseMemory {
    rows: [[Complex; COARSE_BINS]; LAG_ROWS],
    played: [[[i8; 2]; COARSE_BINS]; LAG_ROWS],
    cells: [f32; CELLS],
}

impl CoarseMemory {
    pub(in crate::timing) const fn new() -> Self {
        Self {
            rows: [[Complex::ZERO; COARSE_BINS]; LAG_ROWS],
            played: [[[0; 2]; COARSE_BINS]; LAG_ROWS],
            cells: [0.0; CELLS],
        }
    }
}

/// A peak of the whole range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::timing) struct Peak {
    /// Low-rate samples of the direct sound.
    pub(in crate::timing) lag: f32,
    /// 0 to 1.
    pub(in crate::timing) confidence: f32,
}

#[derive(Clone, Copy, Debug)]
pub(in crate::timing) struct Coarse {
    /// Ring index of the newest row of what was played.
    newest: usize,
    active: [bool; LAG_ROWS],
    /// Rows that this hop has still to add.
    row: usize,
    keep: f32,
    scanned: usize,
    cell: usize,
    agreed: u32,
    peak: Option<Peak>,
}

impl Coarse {
    pub(in crate::timing) fn new(memory: &mut CoarseMemory) -> Self {
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

    /// Takes what was played in this hop, if the loudspeaker was active.
    pub(in crate::timing) fn hop(
        &mut self,
        memory: &mut CoarseMemory,
        spectra: &SpectraMemory,
        active: Active,
        hasty: bool,
    ) {
        self.newest = (self.newest + 1) % LAG_ROWS;
        if let (Some(row), Some(flag)) =
            (memory.played.get_mut(self.newest), self.active.get_mut(self.newest))
        {
            *flag = active.played;
            for (place, x) in row.iter_mut().zip(spectra.far().iter().skip(COARSE_SKIP)) {
                *place = if active.played { [small(x.re), small(x.im)] } else { [0, 0] };
            }
        }
        let share = self.active.iter().filter(|&&active| active).count() as f32 / LAG_ROWS as f32;
        self.keep = 1.0 - share / if hasty { HASTY_HOPS } else { AVERAGE_HOPS };
        // From a microphone that is off there is nothing to learn, and nothing to forget.
        self.row = if active.heard { 0 } else { LAG_ROWS };
    }

    /// A frame's share of adding the last hop to all lags.
    pub(in crate::timing) fn accumulate(&mut self, memory: &mut CoarseMemory, spectra: &SpectraMemory) {
        let near = spectra.near();
        for _ in 0..ROWS_A_FRAME {
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

    /// Looks at one row's lags; true when the whole range has been looked at.
    pub(in crate::timing) fn scan(&mut self, memory: &mut CoarseMemory) -> bool {
        if let Some(row) = memory.rows.get(self.scanned) {
            let mut points = [Complex::ZERO; POINTS];
            for (point, x) in points.iter_mut().zip(row) {
                *point = x.conj();
            }
            transform(&mut points);
            // Negative lags are at the transform's end.
            points.rotate_right(POINTS / 4);
            let cells = memory.cells.iter_mut().skip(self.scanned * ROW_CELLS);
            for (cell, points) in cells.zip(points.chunks_exact(CELL / POINT).take(ROW_CELLS)) {
                *cell = points.iter().map(|x| x.power()).sum();
            }
        }
        self.scanned += 1;
        if self.scanned < LAG_ROWS {
            return false;
        }
        self.scanned = 0;
        self.judge(&memory.cells);
        true
    }

    /// The peak that the last looks agreed on.
    pub(in crate::timing) fn peak(&self) -> Option<Peak> {
        self.peak
    }

    fn judge(&mut self, cells: &[f32; CELLS]) {
        let pair = |(index, pair): (usize, &[f32])| (index, pair.iter().sum::<f32>());
        let (mut best, mut height) = (0, 0.0);
        for (index, sum) in cells.windows(2).enumerate().map(pair) {
            if sum > height {
                (best, height) = (index, sum);
            }
        }
        let near = best.saturating_sub(BEFORE_CELLS)..best + BEHIND_CELLS;
        let mut second = 0.0f32;
        for (index, other) in cells.windows(2).enumerate().map(pair) {
            if !near.contains(&index) {
                second = second.max(other);
            }
        }
        let contrast = if second > 0.0 { height / second } else { 0.0 };
        // What the rest reaches by chance is no direct sound either.
        let least = height * f32::max(ONSET_PART, 1.6 / contrast.max(1.6));
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
        let confidence = trust(contrast);
        self.peak = (self.agreed > 0 && confidence > 0.0).then_some(Peak { lag, confidence });
    }

    /// All lags are smaller by `by` samples from now on.
    pub(in crate::timing) fn shift(&mut self, memory: &mut CoarseMemory, by: i64) {
        let hops = (by + HOP as i64 / 2).div_euclid(HOP as i64);
        let rest = by - hops * HOP as i64;
        move_rows(&mut memory.rows, -hops);
        for row in &mut memory.rows {
            for (x, turn) in row.iter_mut().zip(Rotor::new(FIRST_BIN + COARSE_SKIP, rest as f64)) {
                *x = x.times(turn);
            }
        }
        // What was played belongs to later hops now: put the ring in order of age and move it.
        memory.played.rotate_left((self.newest + 1) % LAG_ROWS);
        self.active.rotate_left((self.newest + 1) % LAG_ROWS);
        self.newest = LAG_ROWS - 1;
        move_rows(&mut memory.played, hops);
        move_rows(&mut self.active, hops);
        for row in &mut memory.played {
            for (x, turn) in row.iter_mut().zip(Rotor::new(FIRST_BIN + COARSE_SKIP, -rest as f64)) {
                let whole = Complex { re: f32::from(x[0]), im: f32::from(x[1]) }.times(turn);
                *x = [whole.re as i8, whole.im as i8];
            }
        }
        self.scanned = 0;
        self.peak = self.peak.map(|peak| Peak { lag: peak.lag - by as f32, ..peak });
        self.cell = self.cell.saturating_add_signed(-(by / CELL as i64) as isize);
    }
}

/// Rows move to indices higher by `by`; what is vacated is zero.
fn move_rows<T: Zero + Copy>(rows: &mut [T; LAG_ROWS], by: i64) {
    let distance = by.unsigned_abs().min(LAG_ROWS as u64) as usize;
    if by >= 0 {
        rows.rotate_right(distance);
        rows.iter_mut().take(distance).for_each(|row| *row = T::ZERO);
    } else {
        rows.rotate_left(distance);
        rows.iter_mut().rev().take(distance).for_each(|row| *row = T::ZERO);
    }
}

trait Zero {
    const ZERO: Self;
}

impl Zero for bool {
    const ZERO: Self = false;
}

impl Zero for [Complex; COARSE_BINS] {
    const ZERO: Self = [Complex::ZERO; COARSE_BINS];
}

impl Zero for [[i8; 2]; COARSE_BINS] {
    const ZERO: Self = [[0; 2]; COARSE_BINS];
}

fn small(x: f32) -> i8 {
    (if x < 0.0 { x * 127.0 - 0.5 } else { x * 127.0 + 0.5 }) as i8
}

/// From what stands out of the rest by nothing to what cannot be chance.
fn trust(contrast: f32) -> f32 {
    ((contrast - 2.0) / 3.0).clamp(0.0, 1.0)
}
