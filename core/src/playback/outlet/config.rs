//! Control side: how a playback device is configured.

use crate::format::{ChannelMap, SampleRate};
use crate::time::Duration;

/// Configuration of an [`Outlet`](super::Outlet) for one playback device.
///
/// ```
/// use handsfree_core::playback::OutletConfig;
/// use handsfree_core::{Duration, SampleRate};
///
/// // A mono codec that shares its clock with the microphone and holds 20 ms of audio.
/// let config = OutletConfig {
///     latency: Duration::from_millis(20),
///     clock_domain: 1,
///     ..OutletConfig::new(SampleRate::new(16_000)?)
/// };
/// assert_eq!(config.max_period_sample_frames, 160);
/// # Ok::<(), handsfree_core::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct OutletConfig {
    /// Sample rate of the device. The playback worker makes frames at this rate.
    pub rate: SampleRate,
    /// Mapping from frame channels to device channels.
    pub map: ChannelMap,
    /// Longest period that the device asks for, in sample frames.
    pub max_period_sample_frames: u32,
    /// Longest time that the worker may be late before playback underruns, in sample frames. The period plus
    /// this slack is what the playback ring holds, and so adds to the latency.
    pub worker_slack_sample_frames: u32,
    /// Latency of the device as far as it is known before the device runs. The reference history must be longer
    /// than this latency.
    pub latency: Duration,
    /// Identifier of the clock that drives the device, 0 for a clock of its own. Equal identifiers other than 0
    /// in both directions mean one common clock, which makes the echo reference a bit-exact copy.
    pub clock_domain: u32,
}

impl OutletConfig {
    /// Returns the configuration of a mono device at `rate` with the lowest latency: periods of at most 10 ms, no
    /// worker slack beyond the period itself, a device latency that is not known yet (zero), and a clock of its own
    /// (clock domain 0).
    #[must_use]
    pub const fn new(rate: SampleRate) -> Self {
        Self {
            rate,
            map: ChannelMap::MONO,
            max_period_sample_frames: rate.sample_frames() as u32,
            worker_slack_sample_frames: 0,
            latency: Duration::ZERO,
            clock_domain: 0,
        }
    }
}
