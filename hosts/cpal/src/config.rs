//! Control side: how an audio system is to be used, and what came of it.

use cpal::SampleFormat;

/// How the audio system is to be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpalConfig {
    /// Which audio system, as [`hosts`](crate::hosts()) names them; the first that answers when not said.
    pub host: Option<String>,
    /// Priority of `SCHED_FIFO`, 1 to 99, that the worker asks for on Linux, and with it the callbacks'
    /// threads where they are cpal's own (PulseAudio, ALSA). `None` leaves all as they are.
    pub priority: Option<u8>,
    /// Periods of the microphone that PulseAudio is to keep: it drops what it cannot keep and says nothing, so
    /// more bear a busier machine. It takes that for the length of a period as well, so more cost latency: at
    /// periods of 10 ms a source that nobody else hurries comes 40 ms late with 4, 20 ms with 2 and 16 ms with 1. On
    /// two busy cores, 1 of 10 ms lost 67 ms of half a minute and 2 nothing of ten minutes; 2 of 40 ms lost 20 ms of
    /// some seconds once, and 4 nothing of two times ten minutes. Other systems bring one period at a time, PipeWire's
    /// PulseAudio interface too.
    pub kept_periods: u32,
    /// The only format to open microphones in; otherwise 16 bits, or more where a gain is asked for.
    pub capture_format: Option<SampleFormat>,
    /// The only format to open loudspeakers in; otherwise 16 bits where the device has them.
    pub playback_format: Option<SampleFormat>,
}

impl Default for CpalConfig {
    fn default() -> Self {
        Self { host: None, priority: Some(60), kept_periods: 4, capture_format: None, playback_format: None }
    }
}

/// What a running direction was really granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The device's stable name.
    pub device: String,
    /// Its sample format.
    pub format: SampleFormat,
    /// Its rate in hertz.
    pub rate_hz: u32,
    /// Its channels.
    pub channels: u32,
    /// The period asked for, in sample frames.
    pub period_sample_frames: u32,
    /// The longest callback expected, in sample frames; longer ones are counted in [`CallbackStats`](crate::CallbackStats).
    pub longest_sample_frames: u32,
}
