//! Both sides: counters that the worker writes and any thread reads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::fault::FilterFault;

/// One counter with one writer at a time.
#[derive(Debug, Default)]
pub(crate) struct FrameCounter(AtomicU64);

impl FrameCounter {
    /// Relaxed: the counter orders no other memory access.
    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters behind [`FilterStats`].
#[derive(Debug, Default)]
pub(crate) struct FilterCounters {
    pub(crate) filtered_frames: FrameCounter,
    pub(crate) passed_frames: FrameCounter,
    pub(crate) update_frames: FrameCounter,
    not_a_number_faults: FrameCounter,
    slow_faults: FrameCounter,
    too_short_faults: FrameCounter,
    too_long_faults: FrameCounter,
    pub(crate) clipped_samples: FrameCounter,
    pub(crate) failed_updates: FrameCounter,
    slowest_ns: AtomicU64,
}

impl FilterCounters {
    pub(crate) fn record_fault(&self, fault: FilterFault) {
        let counter = match fault {
            FilterFault::NotANumber => &self.not_a_number_faults,
            FilterFault::Slow => &self.slow_faults,
            FilterFault::TooShort => &self.too_short_faults,
            FilterFault::TooLong => &self.too_long_faults,
        };
        counter.add(1);
    }

    pub(crate) fn record_time(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        // Relaxed: the maximum orders no other memory access.
        self.slowest_ns.fetch_max(ns, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> FilterStats {
        FilterStats {
            filtered_frames: self.filtered_frames.get(),
            passed_frames: self.passed_frames.get(),
            update_frames: self.update_frames.get(),
            not_a_number_faults: self.not_a_number_faults.get(),
            slow_faults: self.slow_faults.get(),
            too_short_faults: self.too_short_faults.get(),
            too_long_faults: self.too_long_faults.get(),
            clipped_samples: self.clipped_samples.get(),
            failed_updates: self.failed_updates.get(),
            slowest: Duration::from_nanos(self.slowest_ns.load(Ordering::Relaxed)),
        }
    }
}

/// Counters of a processor's filter since the processor was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FilterStats {
    /// Number of frames that the filter processed.
    pub filtered_frames: u64,
    /// Number of frames that passed unfiltered. Frames that pass because the processor is switched off or closed are
    /// not counted.
    pub passed_frames: u64,
    /// Number of those frames that passed because a control was calling the filter.
    pub update_frames: u64,
    /// Number of frames in which the filter wrote NaN or an infinity.
    pub not_a_number_faults: u64,
    /// Number of frames for which the filter took longer than its limit.
    pub slow_faults: u64,
    /// Number of frames that the filter did not write to the end.
    pub too_short_faults: u64,
    /// Number of frames that the filter wrote beyond the end.
    pub too_long_faults: u64,
    /// Number of samples beyond full scale that were clipped.
    pub clipped_samples: u64,
    /// Number of updates (stream information or credentials) that did not reach the filter.
    pub failed_updates: u64,
    /// Longest time that the filter took for one frame, all channels together.
    pub slowest: Duration,
}
