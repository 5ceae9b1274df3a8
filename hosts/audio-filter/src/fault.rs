//! Worker side: what a filter did wrong in a frame, and what becomes of it.

use std::fmt;

use handsfree_core::capture::{BreakerDecision, BreakerState, CircuitBreaker, ProcessorFault};

/// What a filter did wrong in a frame. The frame passed as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It gave NaN or an infinity.
    NotANumber,
    /// It took longer than the session's limit.
    Slow,
    /// It wrote fewer samples than asked for.
    TooShort,
    /// It wrote more samples than asked for. That spoils memory, so it is not tried again.
    TooLong,
}

impl Fault {
    const ALL: [Self; 4] = [Self::NotANumber, Self::Slow, Self::TooShort, Self::TooLong];

    /// The number that the fault has in [`ProcessError::Backend`](handsfree_core::capture::ProcessError::Backend),
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

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotANumber => "the filter gave samples that are not numbers",
            Self::Slow => "the filter took longer for a frame than it may",
            Self::TooShort => "the filter wrote fewer samples than asked for",
            Self::TooLong => "the filter wrote more samples than asked for",
        })
    }
}

/// What a processor does with its filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FilterState {
    /// Every frame goes through it.
    Active,
    /// It failed; frames pass as they come until it is tried again after a second.
    Backoff,
    /// It failed too often, or wrote where it may not. Frames pass as they come until
    /// [`FilterControl::reset_breaker`](crate::FilterControl::reset_breaker) or [`restart`](crate::FilterControl::restart).
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

/// Decides from frame to frame whether the filter is called, and keeps what is to be reported.
#[derive(Debug, Default)]
pub(crate) struct Health {
    breaker: CircuitBreaker,
    untold: Option<ProcessorFault>,
}

impl Health {
    pub(crate) fn state(&self) -> FilterState {
        match self.breaker.state() {
            BreakerState::Disabled => FilterState::Disabled,
            BreakerState::Backoff { frames: 1.. } => FilterState::Backoff,
            BreakerState::Backoff { frames: 0 } | BreakerState::Active => FilterState::Active,
        }
    }

    pub(crate) fn reset_breaker(&mut self) {
        self.breaker.reset();
    }

    /// Whether this frame passes; counts the rest down.
    pub(crate) fn rests(&mut self) -> bool {
        self.breaker.decide() == BreakerDecision::Bypass
    }

    pub(crate) fn on_good_frame(&mut self) {
        self.breaker.record_success();
    }

    pub(crate) fn on_fault(&mut self, fault: Fault) {
        let tripped = if fault == Fault::TooLong {
            self.breaker.disable();
            None
        } else {
            self.breaker.record_fault()
        };
        self.untold = Some(match tripped {
            Some(fault) => ProcessorFault::Tripped { step: 0, fault },
            None => ProcessorFault::Disabled { step: 0 },
        });
    }

    pub(crate) fn take_fault(&mut self) -> Option<ProcessorFault> {
        self.untold.take()
    }
}

#[cfg(test)]
mod tests {
    use handsfree_core::limits::{PROCESSOR_BACKOFF_FRAMES, PROCESSOR_RETRIES};

    use super::*;

    fn rest(health: &mut Health) -> u32 {
        (0..).take_while(|_| health.rests()).count() as u32
    }

    #[test]
    fn a_filter_is_tried_again_three_times_a_second_apart() {
        let mut health = Health::default();
        for _ in 0..PROCESSOR_RETRIES {
            health.on_fault(Fault::NotANumber);
            assert_eq!(health.state(), FilterState::Backoff);
            assert_eq!(rest(&mut health), u32::from(PROCESSOR_BACKOFF_FRAMES));
            assert_eq!(health.state(), FilterState::Active);
            health.on_good_frame();
        }
        health.on_fault(Fault::NotANumber);
        assert_eq!(health.state(), FilterState::Disabled);
        assert!((0..100_000).all(|_| health.rests()));
        health.reset_breaker();
        assert!(!health.rests());
    }

    #[test]
    fn writing_too_much_is_not_tried_again() {
        let mut health = Health::default();
        health.on_fault(Fault::TooLong);
        assert_eq!(health.state(), FilterState::Disabled);
        assert_eq!(health.take_fault(), Some(ProcessorFault::Disabled { step: 0 }));
        assert_eq!(health.take_fault(), None, "said once");
    }

    #[test]
    fn states_and_faults_keep_their_numbers() {
        for state in FilterState::ALL {
            assert_eq!(FilterState::from_number(state.number()), state);
        }
        for fault in Fault::ALL {
            assert_eq!(Fault::from_code(fault.code() as u8), Some(fault));
        }
        assert_eq!(Fault::from_code(0), None);
    }
}
