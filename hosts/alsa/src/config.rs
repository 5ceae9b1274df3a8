//! Control side: how devices are to be used, and what came of it.

use crate::board::RealTime;
use crate::format::SampleFormat;

/// How devices are to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlsaConfig {
    /// What the board's thread asks of the system.
    pub real_time: RealTime,
    /// Periods kept between the application and the loudspeaker, 1 to 255. More bear a later thread and
    /// cost latency: render latency is this times the period, plus what the hardware adds.
    pub playback_periods: u32,
    /// The only format to open microphones in; otherwise 16 bits, or more where a gain is asked for.
    pub capture_format: Option<SampleFormat>,
    /// The only format to open loudspeakers in; otherwise 16 bits where the device has them.
    pub playback_format: Option<SampleFormat>,
    /// Whether both directions of one card start in one instant.
    pub link: bool,
}

impl Default for AlsaConfig {
    fn default() -> Self {
        Self {
            real_time: RealTime::default(),
            playback_periods: 2,
            capture_format: None,
            playback_format: None,
            link: true,
        }
    }
}

/// What a running direction was really granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The device as it was asked for.
    pub device: String,
    /// ALSA's name for it at present.
    pub alsa_name: String,
    /// Its sample format.
    pub format: SampleFormat,
    /// Its rate in hertz.
    pub rate_hz: u32,
    /// Its channels.
    pub channels: u32,
    /// Sample frames between two interrupts.
    pub period_sample_frames: u32,
    /// Sample frames that the device can hold.
    pub buffer_sample_frames: u32,
    /// Sample frames kept between the application and the converter (playback).
    pub fill_sample_frames: u32,
}

/// What the board counted; each number wraps at 2^32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Timestamps of the microphone's driver that could not be and were replaced by the clock.
    pub capture_times_disbelieved: u32,
    /// The same for the loudspeaker's.
    pub playback_times_disbelieved: u32,
    /// Delays of the microphone's driver that could not be; the last good one was kept.
    pub capture_delays_disbelieved: u32,
    /// The same for the loudspeaker's.
    pub playback_delays_disbelieved: u32,
    /// Events that nobody polled in time.
    pub events_dropped: u32,
}
