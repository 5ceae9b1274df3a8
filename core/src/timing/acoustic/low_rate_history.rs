//! Worker side: keeps the last second of both signals at the low rate.

use super::{HOP, WINDOW};

/// Samples of the reference: enough for the delay of the microphone, the longest lag and a window.
const FAR_LEN: usize = 9_728;
/// Samples of the microphone: enough for its delay and a window.
const NEAR_LEN: usize = 1_664;

/// Rings of low-rate samples.
#[derive(Debug)]
pub(super) struct LowRateMemory {
    far: [i16; FAR_LEN],
    near: [i16; NEAR_LEN],
}

impl LowRateMemory {
    pub(super) const fn new() -> Self {
        Self { far: [0; FAR_LEN], near: [0; NEAR_LEN] }
    }
}

/// Positions in the rings. Both signals are written at the same index. The reference is re-indexed when the
/// position it is read at moves.
#[derive(Clone, Copy, Debug)]
pub(super) struct LowRateHistory {
    far_end: i64,
    near_end: i64,
    /// Ring position of index 0 of the reference.
    far_base: i64,
    /// Index of the end of the last window.
    hop_end: i64,
}

impl LowRateHistory {
    pub(super) fn new(memory: &mut LowRateMemory) -> Self {
        memory.far.fill(0);
        memory.near.fill(0);
        Self { far_end: 0, near_end: 0, far_base: 0, hop_end: 0 }
    }

    pub(super) fn push_far(&mut self, memory: &mut LowRateMemory, sample: i16) {
        if let Some(stored) = memory.far.get_mut(ring_index(self.far_end + self.far_base, FAR_LEN)) {
            *stored = sample;
        }
        self.far_end += 1;
    }

    pub(super) fn push_near(&mut self, memory: &mut LowRateMemory, sample: i16) {
        if let Some(stored) = memory.near.get_mut(ring_index(self.near_end, NEAR_LEN)) {
            *stored = sample;
        }
        self.near_end += 1;
    }

    /// Returns whether another hop is complete, and if so moves [`Self::hop_end`] to its end.
    pub(super) fn next_hop(&mut self) -> bool {
        let due = self.near_end.min(self.far_end) - self.hop_end >= HOP as i64;
        if due {
            self.hop_end += HOP as i64;
        }
        due
    }

    pub(super) const fn hop_end(&self) -> i64 {
        self.hop_end
    }

    /// Moves the reference to indices later by `by`, because it is now read that much later.
    pub(super) fn shift(&mut self, memory: &mut LowRateMemory, by: i64) {
        if by.unsigned_abs() >= (FAR_LEN - WINDOW) as u64 {
            memory.far.fill(0);
            return;
        }
        self.far_base -= by;
        // If it is read earlier, the samples skipped are unknown.
        for index in self.far_end + by..self.far_end {
            if let Some(stored) = memory.far.get_mut(ring_index(index + self.far_base, FAR_LEN)) {
                *stored = 0;
            }
        }
    }

    pub(super) fn far<'a>(&self, memory: &'a LowRateMemory, end: i64) -> impl Iterator<Item = i16> + 'a {
        window(&memory.far, end + self.far_base)
    }

    pub(super) fn near<'a>(&self, memory: &'a LowRateMemory, end: i64) -> impl Iterator<Item = i16> + 'a {
        window(&memory.near, end)
    }
}

fn ring_index(index: i64, len: usize) -> usize {
    index.rem_euclid(len as i64) as usize
}

/// Returns the [`WINDOW`] samples before `end`.
fn window(ring: &[i16], end: i64) -> impl Iterator<Item = i16> + '_ {
    let start = ring_index(end - WINDOW as i64, ring.len());
    let (before, from) = ring.split_at_checked(start).unwrap_or((&[], ring));
    from.iter().chain(before).take(WINDOW).copied()
}
