//! Control side: the configuration of the ALSA host, and reports on its running streams.

use crate::format::SampleFormat;

/// Requests of the board's thread to the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RealTimeConfig {
    /// Priority of `SCHED_FIFO`, 1 to 99; `None` leaves the scheduling of the thread unchanged.
    pub priority: Option<u8>,
    /// Whether to lock the memory of the process.
    pub lock_memory: bool,
}

impl Default for RealTimeConfig {
    fn default() -> Self {
        Self { priority: Some(70), lock_memory: true }
    }
}

/// Configuration of the ALSA host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlsaConfig {
    /// Requests of the board's thread to the system.
    pub real_time: RealTimeConfig,
    /// Number of periods kept between the application and the loudspeaker, 1 to 255. More periods tolerate more
    /// scheduling delay; fewer reduce latency. The render latency is this number times the period, plus the hardware's
    /// own latency.
    pub playback_periods: u32,
    /// The only sample format in which microphones are opened. `None` chooses 16 bits, or more with a gain.
    pub capture_format: Option<SampleFormat>,
    /// The only sample format in which loudspeakers are opened. `None` chooses 16 bits if the device has them.
    pub playback_format: Option<SampleFormat>,
    /// Whether both directions of one card are linked, so that they start at the same instant.
    pub link: bool,
}

impl Default for AlsaConfig {
    fn default() -> Self {
        Self {
            real_time: RealTimeConfig::default(),
            playback_periods: 2,
            capture_format: None,
            playback_format: None,
            link: true,
        }
    }
}

/// Parameters that the device of a running direction granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedPcm {
    /// Name of the device in the stream request.
    pub device: String,
    /// Current ALSA name of the device.
    pub alsa_name: String,
    /// Sample format of the device.
    pub format: SampleFormat,
    /// Sample rate of the device, in hertz.
    pub rate_hz: u32,
    /// Channel count of the device.
    pub channels: u32,
    /// Period of the device: sample frames between two interrupts.
    pub period_sample_frames: u32,
    /// Capacity of the device's buffer, in sample frames.
    pub buffer_sample_frames: u32,
    /// Fill kept between the application and the converter, in sample frames (playback).
    pub fill_sample_frames: u32,
}

/// Counters of implausible values that drivers reported, and of dropped events. Each counter wraps at 2^32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DriverTimingStats {
    /// Number of implausible timestamps of the microphone's driver, each replaced by the time at which it was read.
    pub capture_times_rejected: u32,
    /// Number of implausible timestamps of the loudspeaker's driver, each replaced by the time at which it was read.
    pub playback_times_rejected: u32,
    /// Number of implausible delays of the microphone's driver, each replaced by the last plausible one.
    pub capture_delays_rejected: u32,
    /// Number of implausible delays of the loudspeaker's driver, each replaced by the last plausible one.
    pub playback_delays_rejected: u32,
    /// Number of events that were dropped because control did not poll them in time.
    pub events_dropped: u32,
}
