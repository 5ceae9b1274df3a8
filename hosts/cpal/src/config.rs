//! Control side: the settings of the host, and the settings that a running stream was granted.

use cpal::SampleFormat;

/// Settings of the audio host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpalConfig {
    /// Name of the audio system, one of [`hosts`](crate::hosts()). `None` selects the first one that answers.
    pub host: Option<String>,
    /// Real-time priority (`SCHED_FIFO`, 1 to 99) that the worker requests on Linux. The callbacks' threads
    /// request it too where cpal owns them (PulseAudio, ALSA). `None` requests no real-time scheduling.
    pub priority: Option<u8>,
    /// Number of microphone periods that PulseAudio may buffer. It drops what exceeds the buffer without a
    /// report.
    ///
    /// More periods tolerate a busier machine. PulseAudio also takes the buffer for the length of a period, so
    /// more periods add latency: with periods of 10 ms and no other client that requests a lower latency,
    /// samples of a source arrive after 40 ms for 4 periods, 20 ms for 2 and 16 ms for 1.
    ///
    /// Measured losses with two busy cores: 1 period of 10 ms lost 67 ms within half a minute and 2 periods
    /// lost nothing within ten minutes; 2 periods of 40 ms lost 20 ms within a few seconds once and 4 periods
    /// lost nothing in two runs of ten minutes.
    ///
    /// Other systems ignore this value and deliver one period at a time, and so does PipeWire's PulseAudio
    /// interface.
    pub capture_buffer_periods: u32,
    /// Sample format in which microphones are opened. `None` prefers 16 bits, or more where a gain is requested.
    pub capture_format: Option<SampleFormat>,
    /// Sample format in which loudspeakers are opened. `None` prefers 16 bits.
    pub playback_format: Option<SampleFormat>,
}

impl Default for CpalConfig {
    fn default() -> Self {
        Self {
            host: None,
            priority: Some(60),
            capture_buffer_periods: 4,
            capture_format: None,
            playback_format: None,
        }
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
