//! Worker side: when a processor that failed is tried again, and when it is not any more.

use crate::limits::{PROCESSOR_REARMS, PROCESSOR_REST_FRAMES};

/// Frames without a fault after which earlier faults are forgiven (10 minutes).
const FORGIVEN_AFTER_FRAMES: u32 = 60_000;

/// What the worker does with a processor that is guarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum GuardState {
    /// Every frame goes through it.
    #[default]
    Armed,
    /// It failed; frames pass unprocessed until it is tried again.
    Resting {
        /// Frames left to pass.
        frames: u16,
    },
    /// It failed too often and stays bypassed until it is armed again from outside.
    GivenUp,
}

/// Whose the next frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Turn {
    /// The processor's.
    Process,
    /// The processor's, for the first time after a rest.
    ProcessAgain,
    /// Nobody's: it passes as it came.
    Pass,
}

/// When a processor that failed is tried again: a fault blows the fuse, a rest of a second mends it,
/// and after three rests the next fault leaves it blown. Ten minutes without a fault forgive the
/// earlier ones.
///
/// The core's guards have one each; a processor on a host that guards itself uses the same. Worker
/// side; costs a few comparisons a frame.
///
/// ```
/// use handsfree_core::capture::{Fuse, GuardState, Turn};
///
/// let mut fuse = Fuse::new();
/// assert_eq!(fuse.turn(), Turn::Process);
/// assert_eq!(fuse.blow(), Some(1), "the first fault");
/// assert_eq!(fuse.turn(), Turn::Pass);
/// fuse.give_up();
/// assert_eq!(fuse.state(), GuardState::GivenUp);
/// ```
#[derive(Debug, Default)]
pub struct Fuse {
    state: GuardState,
    faults: u8,
    healthy_frames: u32,
}

impl Fuse {
    /// A fuse that holds.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: GuardState::Armed, faults: 0, healthy_frames: 0 }
    }

    /// What becomes of the next frame, as far as it is known.
    #[must_use]
    pub const fn state(&self) -> GuardState {
        self.state
    }

    /// Forgets all faults.
    pub fn rearm(&mut self) {
        *self = Self::new();
    }

    /// To be asked once a frame.
    pub fn turn(&mut self) -> Turn {
        match self.state {
            GuardState::Armed => Turn::Process,
            GuardState::GivenUp => Turn::Pass,
            GuardState::Resting { frames: 0 } => {
                self.state = GuardState::Armed;
                Turn::ProcessAgain
            }
            GuardState::Resting { frames } => {
                self.state = GuardState::Resting { frames: frames - 1 };
                Turn::Pass
            }
        }
    }

    /// A frame went well.
    pub fn hold(&mut self) {
        if self.faults > 0 {
            self.healthy_frames += 1;
            if self.healthy_frames >= FORGIVEN_AFTER_FRAMES {
                self.faults = 0;
            }
        }
    }

    /// A frame did not. The fault's number, or `None` when it was the last one.
    pub fn blow(&mut self) -> Option<u8> {
        self.healthy_frames = 0;
        if self.faults >= PROCESSOR_REARMS {
            self.state = GuardState::GivenUp;
            return None;
        }
        self.faults += 1;
        self.state = GuardState::Resting { frames: PROCESSOR_REST_FRAMES };
        Some(self.faults)
    }

    /// A fault after which no further try is to be risked.
    pub fn give_up(&mut self) {
        self.state = GuardState::GivenUp;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_rests_and_no_more() {
        let mut fuse = Fuse::new();
        for fault in 1..=PROCESSOR_REARMS {
            assert_eq!(fuse.blow(), Some(fault));
            (0..PROCESSOR_REST_FRAMES).for_each(|_| assert_eq!(fuse.turn(), Turn::Pass));
            assert_eq!(fuse.turn(), Turn::ProcessAgain);
            assert_eq!(fuse.turn(), Turn::Process);
        }
        assert_eq!(fuse.blow(), None);
        (0..1_000).for_each(|_| assert_eq!(fuse.turn(), Turn::Pass));
        assert_eq!(fuse.state(), GuardState::GivenUp);
        fuse.rearm();
        assert_eq!((fuse.turn(), fuse.blow()), (Turn::Process, Some(1)));
    }

    #[test]
    fn ten_good_minutes_forgive_and_a_frame_less_does_not() {
        for (good_frames, fault) in [(FORGIVEN_AFTER_FRAMES - 1, 2), (FORGIVEN_AFTER_FRAMES, 1)] {
            let mut fuse = Fuse::new();
            fuse.blow();
            (0..good_frames).for_each(|_| fuse.hold());
            assert_eq!(fuse.blow(), Some(fault));
        }
    }
}
