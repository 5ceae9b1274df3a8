//! Both sides: what the outlet needs from the playback worker, in one 32-bit word.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::format::Format;

/// The playback device's format and how many frames the ring should hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) format: Format,
    pub(crate) target_frames: u8,
}

/// Written by whoever configures the outlet, read by the workers. Zero says that nothing plays.
///
/// One word, so that a reader never sees half a change. Relaxed: no other memory depends on it;
/// frames of the old format that are still under way are dropped by the outlet.
#[derive(Debug)]
pub(crate) struct SharedPlan(AtomicU32);

impl SharedPlan {
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    pub(crate) fn set(&self, plan: Plan) {
        let word = plan.format.sample_frames() as u32
            | (plan.format.channels() as u32) << 16
            | u32::from(plan.target_frames) << 24;
        self.0.store(word, Ordering::Relaxed);
    }

    pub(crate) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Option<Plan> {
        let word = self.0.load(Ordering::Relaxed);
        let rate_hz = (word & 0xFFFF) * crate::limits::FRAMES_PER_SECOND;
        let format = Format::new(rate_hz, (word >> 16) & 0xFF).ok()?;
        Some(Plan { format, target_frames: (word >> 24) as u8 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_survives_its_word() {
        let shared = SharedPlan::new();
        assert_eq!(shared.get(), None);
        for (hz, channels, target_frames) in [(8_000, 1, 1), (44_100, 2, 9), (192_000, 8, 255)] {
            let plan = Plan { format: Format::new(hz, channels).unwrap(), target_frames };
            shared.set(plan);
            assert_eq!(shared.get(), Some(plan));
        }
        shared.clear();
        assert_eq!(shared.get(), None);
    }
}
