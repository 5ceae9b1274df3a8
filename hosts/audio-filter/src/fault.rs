//! Worker side: the faults of a filter, and the circuit breaker that decides what follows from them.

use std::fmt;

use handsfree_core::capture::{BreakerDecision, BreakerState, CircuitBreaker, ProcessorFault};

/// Fault of a filter in one frame. The frame passed unfiltered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FilterFault {
    /// The filter wrote NaN or an infinity.
    NotANumber,
    /// The filter took longer than the session's limit.
    Slow,
    /// The filter wrote fewer samples than requested.
    TooShort,
    /// The filter wrote more samples than requested. That corrupts memory, so the filter is disabled without a retry.
    TooLong,
}

impl FilterFault {
    const ALL: [Self; 4] = [Self::NotANumber, Self::Slow, Self::TooShort, Self::TooLong];

    /// Returns the fault's number in [`ProcessError::Backend`](handsfree_core::capture::ProcessError::Backend), counted
    /// from 1.
    #[must_use]
    pub const fn code(self) -> i32 {
        match self {
            Self::NotANumber => 1,
            Self::Slow => 2,
            Self::TooShort => 3,
            Self::TooLong => 4,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.code() == i32::from(code))
    }
}

impl fmt::Display for FilterFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotANumber => "the filter wrote NaN or infinite samples: expected finite ones",
            Self::Slow => "the filter took longer for a frame than its limit",
            Self::TooShort => "the filter wrote fewer samples than requested",
            Self::TooLong => "the filter wrote more samples than requested",
        })
    }
}

/// State of a processor's filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FilterState {
    /// Every frame goes through the filter.
    Active,
    /// The filter failed. Frames pass unfiltered until it is retried one second after the fault.
    Backoff,
    /// The filter failed too often, or wrote beyond its buffer. Frames pass unfiltered until
    /// [`FilterControl::reset_breaker`](crate::FilterControl::reset_breaker) or
    /// [`restart`](crate::FilterControl::restart).
    Disabled,
    /// The processor was closed or dropped.
    Closed,
}

impl FilterState {
    const ALL: [Self; 4] = [Self::Active, Self::Backoff, Self::Disabled, Self::Closed];

    pub(crate) const fn number(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_number(number: u8) -> Self {
        Self::ALL.into_iter().find(|state| state.number() == number).unwrap_or(Self::Closed)
    }
}

/// Circuit breaker of a filter: decides for each frame whether the filter is called, and keeps the last fault that is
/// still to be reported.
#[derive(Debug, Default)]
pub(crate) struct FilterBreaker {
    breaker: CircuitBreaker,
    pending_fault: Option<ProcessorFault>,
}

impl FilterBreaker {
    pub(crate) fn state(&self) -> FilterState {
        match self.breaker.state() {
            BreakerState::Disabled => FilterState::Disabled,
            BreakerState::Backoff { frames: 1.. } => FilterState::Backoff,
            BreakerState::Backoff { frames: 0 } | BreakerState::Active => FilterState::Active,
        }
    }

    pub(crate) fn reset(&mut self) {
        self.breaker.reset();
    }

    /// Returns whether this frame passes unfiltered. Called once a frame, because it counts the backoff down.
    pub(crate) fn must_bypass(&mut self) -> bool {
        self.breaker.decide() == BreakerDecision::Bypass
    }

    pub(crate) fn record_success(&mut self) {
        self.breaker.record_success();
    }

    pub(crate) fn record_fault(&mut self, fault: FilterFault) {
        let tripped = if fault == FilterFault::TooLong {
            self.breaker.disable();
            None
        } else {
            self.breaker.record_fault()
        };
        self.pending_fault = Some(match tripped {
            Some(fault) => ProcessorFault::Tripped { step: 0, fault },
            None => ProcessorFault::Disabled { step: 0 },
        });
    }

    pub(crate) fn take_fault(&mut self) -> Option<ProcessorFault> {
        self.pending_fault.take()
    }
}

#[cfg(test)]
mod tests {
    use handsfree_core::limits::{PROCESSOR_BACKOFF_FRAMES, PROCESSOR_RETRIES};

    use super::*;

    fn bypassed_frames(breaker: &mut FilterBreaker) -> u32 {
        (0..).take_while(|_| breaker.must_bypass()).count() as u32
    }

    #[test]
    fn a_failing_filter_is_retried_three_times_a_second_apart() {
        let mut breaker = FilterBreaker::default();
        for _ in 0..PROCESSOR_RETRIES {
            breaker.record_fault(FilterFault::NotANumber);
            assert_eq!(breaker.state(), FilterState::Backoff);
            assert_eq!(bypassed_frames(&mut breaker), u32::from(PROCESSOR_BACKOFF_FRAMES));
            assert_eq!(breaker.state(), FilterState::Active);
            breaker.record_success();
        }
        breaker.record_fault(FilterFault::NotANumber);
        assert_eq!(breaker.state(), FilterState::Disabled);
        assert!((0..100_000).all(|_| breaker.must_bypass()));
        breaker.reset();
        assert!(!breaker.must_bypass());
    }

    #[test]
    fn writing_too_much_disables_the_filter_at_once() {
        let mut breaker = FilterBreaker::default();
        breaker.record_fault(FilterFault::TooLong);
        assert_eq!(breaker.state(), FilterState::Disabled);
        assert_eq!(breaker.take_fault(), Some(ProcessorFault::Disabled { step: 0 }));
        assert_eq!(breaker.take_fault(), None, "a fault is reported once");
    }

    #[test]
    fn states_and_faults_keep_their_numbers() {
        for state in FilterState::ALL {
            assert_eq!(FilterState::from_number(state.number()), state);
        }
        for fault in FilterFault::ALL {
            assert_eq!(FilterFault::from_code(fault.code() as u8), Some(fault));
        }
        assert_eq!(FilterFault::from_code(0), None);
    }
}
