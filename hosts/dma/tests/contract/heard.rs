//! Checks what the loudspeaker played.

use crate::fake::Line;

/// Number of different samples that are played, one after the other.
pub(crate) const VALUES: i64 = 30_000;

/// Samples that were heard, as they come.
pub(crate) struct Heard {
    slot: usize,
    /// Last new sample, counted from the first one.
    last: i64,
    pub(crate) sample_frames: u64,
    /// Samples that were heard again, because the DMA was not refilled in time.
    pub(crate) repeated: u64,
    /// Samples that were never heard.
    pub(crate) skipped: u64,
}

impl Heard {
    pub(crate) fn new(slot: usize) -> Self {
        Self { slot, last: -1, sample_frames: 0, repeated: 0, skipped: 0 }
    }

    /// Takes what the loudspeaker has played since.
    pub(crate) fn take(&mut self, line: &mut Line, context: &str) {
        for (frame, slots) in line.heard.drain(..) {
            for (slot, &sample) in slots.iter().enumerate() {
                assert!(
                    slot == self.slot || sample == 0,
                    "{context}: frame {frame} has {sample} in slot {slot}"
                );
            }
            let sample = i64::from(slots[self.slot]);
            assert!(sample >= 0, "{context}: frame {frame} is {sample}, which was in the memory before");
            if sample == 0 {
                continue;
            }
            // The nearest number that has this sample.
            let ahead = (sample - 1 - self.last - 1 + VALUES / 2).rem_euclid(VALUES) - VALUES / 2;
            if ahead < 0 {
                self.repeated += 1;
                continue;
            }
            self.skipped += ahead as u64;
            self.last += 1 + ahead;
            self.sample_frames += 1;
        }
    }
}

/// Returns the sample with a number.
pub(crate) fn value(number: u64) -> i16 {
    (1 + number % VALUES as u64) as i16
}
