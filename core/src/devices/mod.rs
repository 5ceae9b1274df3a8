//! Both sides: what the halves and workers of a session must know of its audio devices.

mod playback_target;

use crate::atomics::{AtomicU32, Ordering};

use crate::error::ConfigError;
use crate::format::{Format, SampleRate};
use crate::limits::MAX_REFERENCE_WAIT;
use crate::time::Duration;

pub(crate) use playback_target::{PlaybackTarget, SharedPlaybackTarget};

/// The clock domain of each direction's device, 0 for a device with a clock of its own.
///
/// Relaxed throughout: no other memory depends on the two words.
#[derive(Debug)]
pub(crate) struct ClockDomains {
    /// Written by the control side of the outlet.
    playback: AtomicU32,
    /// Written by the control side of the intake.
    capture: AtomicU32,
}

impl ClockDomains {
    /// Returns two devices with clocks of their own, all zero bytes.
    pub(crate) const fn new() -> Self {
        Self { playback: AtomicU32::new(0), capture: AtomicU32::new(0) }
    }

    pub(crate) fn set_playback(&self, clock_domain: u32) {
        self.playback.store(clock_domain, Ordering::Relaxed);
    }

    pub(crate) fn set_capture(&self, clock_domain: u32) {
        self.capture.store(clock_domain, Ordering::Relaxed);
    }

    /// Returns whether one clock drives both directions.
    pub(crate) fn is_one_clock(&self) -> bool {
        let domain = self.playback.load(Ordering::Relaxed);
        domain != 0 && domain == self.capture.load(Ordering::Relaxed)
    }
}

/// What the control sides of intake and outlet state about their devices, for the workers.
#[derive(Debug)]
pub(crate) struct DeviceState {
    pub(crate) playback_target: SharedPlaybackTarget,
    pub(crate) clock_domains: ClockDomains,
}

impl DeviceState {
    /// Returns the state before any device is configured, all zero bytes.
    pub(crate) const fn new() -> Self {
        Self { playback_target: SharedPlaybackTarget::new(), clock_domains: ClockDomains::new() }
    }

    pub(crate) fn snapshot(&self) -> DeviceSnapshot {
        DeviceSnapshot { plays: self.playback_target.is_set(), one_clock: self.clock_domains.is_one_clock() }
    }
}

/// State of the devices that a round of the capture worker relies on. The worker reads it once, at the begin of
/// the round, so that a replay can repeat the round with the same values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeviceSnapshot {
    /// Whether a playback stream runs.
    pub(crate) plays: bool,
    /// Whether both devices say that one clock drives them.
    pub(crate) one_clock: bool,
}

/// Refuses a device whose rate would have to be converted where the feature `rate-conversion` is off.
pub(crate) fn check_rate(device: SampleRate, terminal: SampleRate) -> Result<(), ConfigError> {
    if cfg!(feature = "rate-conversion") || device == terminal {
        return Ok(());
    }
    Err(ConfigError::RateNotTerminal { rate_hz: device.hz(), terminal_hz: terminal.hz() })
}

/// Refuses a period that is empty or that the ring cannot hold beside the frame by which the worker may be late.
pub(crate) fn check_period(
    period_sample_frames: u32,
    format: Format,
    ring_frames: usize,
) -> Result<(), ConfigError> {
    if period_sample_frames == 0 {
        return Err(ConfigError::EmptyPeriod);
    }
    let longest_sample_frames =
        u32::try_from(ring_frames.saturating_sub(1) * format.sample_frames()).unwrap_or(u32::MAX);
    if period_sample_frames > longest_sample_frames {
        return Err(ConfigError::PeriodTooLong { period_sample_frames, longest_sample_frames });
    }
    Ok(())
}

/// Refuses a playback latency that the reference history cannot hold beside what a late capture frame may still
/// ask for.
pub(crate) fn check_latency(latency: Duration, history: Duration) -> Result<(), ConfigError> {
    let longest = (history - MAX_REFERENCE_WAIT).max(Duration::ZERO);
    if latency > longest {
        return Err(ConfigError::LatencyTooLong {
            latency_ms: latency.as_micros() / 1_000,
            longest_ms: longest.as_micros() / 1_000,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_leaves_a_frame_of_the_ring() {
        let format = Format::new(8_000, 1).unwrap();
        assert_eq!(check_period(160, format, 3), Ok(()));
        let too_long = ConfigError::PeriodTooLong { period_sample_frames: 161, longest_sample_frames: 160 };
        assert_eq!(check_period(161, format, 3), Err(too_long));
        assert_eq!(check_period(0, format, 3), Err(ConfigError::EmptyPeriod));
    }
}
