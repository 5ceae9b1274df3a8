//! Worker side: both signals' last second at the low rate.

use super::{HOP, WINDOW};

/// Reaches from the newest sample over the microphone's delay, the longest lag and a window.
const FAR_LEN: usize = 9_728;
const NEAR_LEN: usize = 1_664;

/// Rings of low-rate samples.
#[derive(Debug)]
pub(in crate::timing) struct PastMemory {
    far: [i16; FAR_LEN],
    near: [i16; NEAR_LEN],
}

impl PastMemory {
    pub(in crate::timing) const fn new() -> Self {
        Self { far: [0; FAR_LEN], near: [0; NEAR_LEN] }
    }
}

/// Where the rings are. Both signals are written at the same index; what far holds is re-indexed
/// when the reading of the reference moves.
#[derive(Clone, Copy, Debug)]
pub(in crate::timing) struct Past {
    far_end: i64,
    near_end: i64,
    /// Where on its ring far has index 0.
    far_base: i64,
    /// End of the last window.
    hop_end: i64,
}

impl Past {
    pub(in crate::timing) fn new(memory: &mut PastMemory) -> Self {
        memory.far.fill(0);
        memory.near.fill(0);
        Self { far_end: 0, near_end: 0, far_base: 0, hop_end: 0 }
    }

    pub(in crate::timing) fn push_far(&mut self, memory: &mut PastMemory, sample: i16) {
        if let Some(place) = memory.far.get_mut(place(self.far_end + self.far_base, FAR_LEN)) {
            *place = sample;
        }
        self.far_end += 1;
    }

    pub(in crate::timing) fn push_near(&mut self, memory: &mut PastMemory, sample: i16) {
        if let Some(place) = memory.near.get_mut(place(self.near_end, NEAR_LEN)) {
            *place = sample;
        }
        self.near_end += 1;
    }

    /// Whether a hop is complete; its end is then [`Self::hop_end`].
    pub(in crate::timing) fn hop(&mut self) -> bool {
        let due = self.near_end.min(self.far_end) - self.hop_end >= HOP as i64;
        if due {
            self.hop_end += HOP as i64;
        }
        due
    }

    pub(in crate::timing) const fn hop_end(&self) -> i64 {
        self.hop_end
    }

    /// Moves what was played to indices later by `by`, as the reference is now read so much later.
    pub(in crate::timing) fn shift(&mut self, memory: &mut PastMemory, by: i64) {
        if by.unsigned_abs() >= (FAR_LEN - WINDOW) as u64 {
            memory.far.fill(0);
            return;
        }
        self.far_base -= by;
        // Read earlier: what was skipped is not known.
        for index in self.far_end + by..self.far_end {
            if let Some(place) = memory.far.get_mut(place(index + self.far_base, FAR_LEN)) {
                *place = 0;
            }
        }
    }

    pub(in crate::timing) fn far<'a>(
        &self,
        memory: &'a PastMemory,
        end: i64,
    ) -> impl Iterator<Item = i16> + 'a {
        window(&memory.far, end + self.far_base)
    }

    pub(in crate::timing) fn near<'a>(
        &self,
        memory: &'a PastMemory,
        end: i64,
    ) -> impl Iterator<Item = i16> + 'a {
        window(&memory.near, end)
    }
}

fn place(index: i64, len: usize) -> usize {
    index.rem_euclid(len as i64) as usize
}

/// The [`WINDOW`] samples before `end`.
fn window(ring: &[i16], end: i64) -> impl Iterator<Item = i16> + '_ {
    let start = place(end - WINDOW as i64, ring.len());
    let (before, from) = ring.split_at_checked(start).unwrap_or((&[], ring));
    from.iter().chain(before).take(WINDOW).copied()
}
