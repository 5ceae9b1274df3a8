//! Worker side: when a processor that failed is tried again, and when it is not any more.

use crate::limits::{PROCESSOR_BACKOFF_FRAMES, PROCESSOR_RETRIES};

/// Frames without a fault after which earlier faults are forgiven (10 minutes).
const FORGIVEN_AFTER_FRAMES: u32 = 60_000;

/// What the worker does with a processor that is guarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum BreakerState {
    /// Every frame goes through it.
    #[default]
    Active,
    /// It failed; frames pass unprocessed until it is tried again.
    Backoff {
        /// Frames left to pass.
        frames: u16,
    },
    /// It failed too often and stays bypassed until it is armed again from outside.
    Disabled,
}

/// Whose the next frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum BreakerDecision {
    /// The processor's.
    Process,
    /// The processor's, for the first time after a rest.
    Retry,
    /// Nobody's: it passes as it came.
    Bypass,
}

/// When a processor that failed is tried again: a fault blows the breaker, a rest of a second mends it,
/// and after three rests the next fault leaves it blown. Ten minutes without a fault forgive the
/// earlier ones.
///
/// The core's guards have one each; a processor on a host that guards itself uses the same. Worker
/// side; costs a few comparisons a frame.
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
    /// A breaker that holds.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: BreakerState::Active, faults: 0, healthy_frames: 0 }
    }

    /// What becomes of the next frame, as far as it is known.
    #[must_use]
    pub const fn state(&self) -> BreakerState {
        self.state
    }

    /// Forgets all faults.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    /// To be asked once a frame.
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

    /// A frame went well.
    pub fn record_success(&mut self) {
        if self.faults > 0 {
            self.healthy_frames += 1;
            if self.healthy_frames >= FORGIVEN_AFTER_FRAMES {
                self.faults = 0;
            }
        }
    }

    /// A frame did not. The fault's number, or `None` when it was the last one.
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

    /// A fault after which no further try is to be risked.
    pub fn disable(&mut self) {
        self.state = BreakerState::Disabled;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_rests_and_no_more() {
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
    fn ten_good_minutes_forgive_and_a_frame_less_does_not() {
        for (good_frames, fault) in [(FORGIVEN_AFTER_FRAMES - 1, 2), (FORGIVEN_AFTER_FRAMES, 1)] {
            let mut breaker = CircuitBreaker::new();
            breaker.record_fault();
            (0..good_frames).for_each(|_| breaker.record_success());
            assert_eq!(breaker.record_fault(), Some(fault));
        }
    }
}
