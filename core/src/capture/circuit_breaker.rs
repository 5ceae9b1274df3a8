//! Worker side: decides when a processor that failed is retried, and when it stays disabled.

use crate::limits::{PROCESSOR_BACKOFF_FRAMES, PROCESSOR_RETRIES};

/// Number of frames without a fault after which earlier faults no longer count (10 minutes).
const FORGIVEN_AFTER_FRAMES: u32 = 60_000;

/// State of a guarded processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum BreakerState {
    /// The processor gets every frame.
    #[default]
    Active,
    /// The processor failed; frames pass unprocessed until it is retried.
    Backoff {
        /// Frames that still pass unprocessed before the retry.
        frames: u16,
    },
    /// The processor failed too often and stays bypassed until the breaker is reset from outside.
    Disabled,
}

/// Decision of a [`CircuitBreaker`] about the next frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum BreakerDecision {
    /// The processor gets the frame.
    Process,
    /// The processor gets the frame, for the first time after a backoff.
    Retry,
    /// The frame passes unprocessed.
    Bypass,
}

/// A circuit breaker for processors. A fault bypasses the processor for one second (backoff), then it is
/// retried; after three retries the next fault disables it. Earlier faults no longer count after ten minutes
/// without a fault.
///
/// Each guard in the core has one; a processor on a host that guards itself can use it too. Worker side;
/// costs a few comparisons a frame.
///
/// ```
/// use handsfree_core::capture::{CircuitBreaker, BreakerState, BreakerDecision};
///
/// let mut breaker = CircuitBreaker::new();
/// assert_eq!(breaker.decide(), BreakerDecision::Process);
/// assert_eq!(breaker.record_fault(), Some(1), "the first fault");
/// assert_eq!(breaker.decide(), BreakerDecision::Bypass);
/// breaker.disable();
/// assert_eq!(breaker.state(), BreakerState::Disabled);
/// ```
#[derive(Debug, Default)]
pub struct CircuitBreaker {
    state: BreakerState,
    faults: u8,
    healthy_frames: u32,
}

impl CircuitBreaker {
    /// Returns a breaker in the state [`BreakerState::Active`].
    #[must_use]
    pub const fn new() -> Self {
        Self { state: BreakerState::Active, faults: 0, healthy_frames: 0 }
    }

    /// Returns the present state.
    #[must_use]
    pub const fn state(&self) -> BreakerState {
        self.state
    }

    /// Forgets all faults and makes the processor active.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    /// Decides what happens to the next frame. To be called exactly once a frame.
    pub fn decide(&mut self) -> BreakerDecision {
        match self.state {
            BreakerState::Active => BreakerDecision::Process,
            BreakerState::Disabled => BreakerDecision::Bypass,
            BreakerState::Backoff { frames: 0 } => {
                self.state = BreakerState::Active;
                BreakerDecision::Retry
            }
            BreakerState::Backoff { frames } => {
                self.state = BreakerState::Backoff { frames: frames - 1 };
                BreakerDecision::Bypass
            }
        }
    }

    /// Records a frame that was processed without a fault.
    pub fn record_success(&mut self) {
        if self.faults > 0 {
            self.healthy_frames += 1;
            if self.healthy_frames >= FORGIVEN_AFTER_FRAMES {
                self.faults = 0;
            }
        }
    }

    /// Records a frame with a fault. Returns the number of the fault, or `None` if it disabled the processor.
    pub fn record_fault(&mut self) -> Option<u8> {
        self.healthy_frames = 0;
        if self.faults >= PROCESSOR_RETRIES {
            self.state = BreakerState::Disabled;
            return None;
        }
        self.faults += 1;
        self.state = BreakerState::Backoff { frames: PROCESSOR_BACKOFF_FRAMES };
        Some(self.faults)
    }

    /// Disables the processor at once, after a fault that makes a retry unsafe.
    pub fn disable(&mut self) {
        self.state = BreakerState::Disabled;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fault_after_three_retries_disables() {
        let mut breaker = CircuitBreaker::new();
        for fault in 1..=PROCESSOR_RETRIES {
            assert_eq!(breaker.record_fault(), Some(fault));
            (0..PROCESSOR_BACKOFF_FRAMES).for_each(|_| assert_eq!(breaker.decide(), BreakerDecision::Bypass));
            assert_eq!(breaker.decide(), BreakerDecision::Retry);
            assert_eq!(breaker.decide(), BreakerDecision::Process);
        }
        assert_eq!(breaker.record_fault(), None);
        (0..1_000).for_each(|_| assert_eq!(breaker.decide(), BreakerDecision::Bypass));
        assert_eq!(breaker.state(), BreakerState::Disabled);
        breaker.reset();
        assert_eq!((breaker.decide(), breaker.record_fault()), (BreakerDecision::Process, Some(1)));
    }

    #[test]
    fn ten_minutes_without_a_fault_clear_the_count() {
        for (good_frames, fault) in [(FORGIVEN_AFTER_FRAMES - 1, 2), (FORGIVEN_AFTER_FRAMES, 1)] {
            let mut breaker = CircuitBreaker::new();
            breaker.record_fault();
            (0..good_frames).for_each(|_| breaker.record_success());
            assert_eq!(breaker.record_fault(), Some(fault));
        }
    }
}
