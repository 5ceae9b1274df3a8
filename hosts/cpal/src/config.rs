//! Control side: the settings of the host, and the settings that a running stream was granted.

use cpal::SampleFormat;

/// Settings of the audio host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpalConfig {
    /// Name of the audio system, one of [`hosts`](crate::hosts()). `None` selects the first one that answers.
    pub host: Option<String>,
    /// Real-time priority (`SCHED_FIFO`, 1 to 99) that the worker requests on Linux. The callbacks' threads
    /// request it too on PulseAudio and ALSA. `None` requests no real-time scheduling.
    pub priority: Option<u8>,
    /// Sample format in which microphones are opened. `None` prefers 16 bits, or more where a gain is requested.
    pub capture_format: Option<SampleFormat>,
    /// Sample format in which loudspeakers are opened. `None` prefers 16 bits.
    pub playback_format: Option<SampleFormat>,
}

impl Default for CpalConfig {
    fn default() -> Self {
        Self { host: None, priority: Some(60), capture_format: None, playback_format: None }
    }
}

/// Settings that a running stream was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantedStream {
    /// Stable name of the device.
    pub device: String,
    /// Sample format of the stream.
    pub format: SampleFormat,
    /// Sample rate of the stream, in hertz.
    pub rate_hz: u32,
    /// Number of channels of the stream.
    pub channels: u32,
    /// Period that was requested from the audio system, in sample frames.
    pub period_sample_frames: u32,
    /// Length of the longest expected callback, in sample frames. [`CallbackStats`](crate::CallbackStats)
    /// counts longer ones.
    pub longest_sample_frames: u32,
}
