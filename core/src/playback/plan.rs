//! Both sides: what the workers must know of the devices, in 32-bit words.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::error::ConfigError;
use crate::format::{Format, SampleRate};

/// The playback device's format and how many frames the ring should hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) format: Format,
    pub(crate) target_frames: u8,
}

/// What a round of the capture worker goes by, read once at its begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RoundPlan {
    /// A loudspeaker runs.
    pub(crate) plays: bool,
    /// One clock drives both directions, as the devices say.
    pub(crate) one_clock: bool,
}

/// Written by whoever configures the outlet, read by the workers. Zero says that nothing plays.
///
/// One word, so that a reader never sees half a change. Relaxed: no other memory depends on it;
/// frames of the old format that are still under way are dropped by the outlet.
#[derive(Debug)]
pub(crate) struct SharedPlan {
    word: AtomicU32,
    playback_domain: AtomicU32,
    capture_domain: AtomicU32,
    /// The terminal's rate in hertz, written before the halves exist.
    terminal_hz: AtomicU32,
    /// Of the tracks: 0 while more may be opened, then [`ENDED`] or [`CLOSED`].
    input: AtomicU32,
}

const ENDED: u32 = 1;
const CLOSED: u32 = 2;

impl SharedPlan {
    pub(crate) const fn new() -> Self {
        Self {
            word: AtomicU32::new(0),
            playback_domain: AtomicU32::new(0),
            capture_domain: AtomicU32::new(0),
            terminal_hz: AtomicU32::new(0),
            input: AtomicU32::new(0),
        }
    }

    pub(crate) fn set_terminal(&self, rate: SampleRate) {
        self.terminal_hz.store(rate.hz(), Ordering::Relaxed);
    }

    /// Whether a device of this rate can be used: any, where rates are converted.
    pub(crate) fn check_rate(&self, rate: SampleRate) -> Result<(), ConfigError> {
        let terminal_hz = self.terminal_hz.load(Ordering::Relaxed);
        if cfg!(feature = "rate-conversion") || rate.hz() == terminal_hz {
            return Ok(());
        }
        Err(ConfigError::RateNotTerminal { rate_hz: rate.hz(), terminal_hz })
    }

    /// No more tracks are opened from now on.
    pub(crate) fn end_input(&self) {
        if !self.is_closed() {
            self.input.store(ENDED, Ordering::Release);
        }
    }

    /// And those that are open take nothing more.
    pub(crate) fn close_input(&self) {
        self.input.store(CLOSED, Ordering::Release);
    }

    pub(crate) fn is_input_ended(&self) -> bool {
        self.input.load(Ordering::Acquire) != 0
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.input.load(Ordering::Acquire) == CLOSED
    }

    pub(crate) fn set(&self, plan: Plan, clock_domain: u32) {
        let word = plan.format.sample_frames() as u32
            | (plan.format.channels() as u32) << 16
            | u32::from(plan.target_frames) << 24;
        self.playback_domain.store(clock_domain, Ordering::Relaxed);
        self.word.store(word, Ordering::Relaxed);
    }

    pub(crate) fn clear(&self) {
        self.word.store(0, Ordering::Relaxed);
    }

    /// Which clock drives the microphone, 0 for one of its own.
    pub(crate) fn set_capture_domain(&self, clock_domain: u32) {
        self.capture_domain.store(clock_domain, Ordering::Relaxed);
    }

    /// Whether one clock drives both directions.
    pub(crate) fn is_one_clock(&self) -> bool {
        let domain = self.playback_domain.load(Ordering::Relaxed);
        domain != 0 && domain == self.capture_domain.load(Ordering::Relaxed)
    }

    pub(crate) fn of_round(&self) -> RoundPlan {
        RoundPlan { plays: self.word.load(Ordering::Relaxed) != 0, one_clock: self.is_one_clock() }
    }

    pub(crate) fn get(&self) -> Option<Plan> {
        let word = self.word.load(Ordering::Relaxed);
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
            shared.set(plan, 0);
            assert_eq!(shared.get(), Some(plan));
        }
        shared.clear();
        assert_eq!(shared.get(), None);
    }
}
