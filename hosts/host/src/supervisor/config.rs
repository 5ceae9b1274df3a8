//! Control side: an owned stream configuration of one direction, from which the direction can be restarted.

use handsfree_core::audio_io::DirectionRequest;
use handsfree_core::{ChannelMap, Gain, SampleRate};

/// Configuration of one direction, kept so that the direction can be restarted when its device returns.
#[derive(Clone, Debug, PartialEq)]
pub struct DirectionConfig {
    /// Id of the device; `None` selects the system's default device and follows it when it changes.
    pub device: Option<String>,
    /// Sample rate that the device should run at; see [`DirectionRequest::rate`].
    pub rate: SampleRate,
    /// Channel count that the device should have; see [`DirectionRequest::device_channels`].
    pub device_channels: u32,
    /// Channel map between the device and the terminal; see [`DirectionRequest::map`].
    pub map: Option<ChannelMap>,
    /// Device period in sample frames; see [`DirectionRequest::period_sample_frames`].
    pub period_sample_frames: u32,
    /// Scheduling delay that the worker may have, in sample frames (playback); see
    /// [`DirectionRequest::worker_slack_sample_frames`].
    pub worker_slack_sample_frames: u32,
    /// Gain applied before the conversion to 16 bits (capture); see [`DirectionRequest::gain`].
    pub gain: Gain,
}

impl DirectionConfig {
    /// Creates the configuration of a mono stream on the default device, with periods of 10 ms and 10 ms of slack
    /// for the worker.
    #[must_use]
    pub fn new(rate: SampleRate) -> Self {
        let frame = rate.sample_frames() as u32;
        Self {
            device: None,
            rate,
            device_channels: 1,
            map: None,
            period_sample_frames: frame,
            worker_slack_sample_frames: frame,
            gain: Gain::UNITY,
        }
    }

    pub(super) fn request(&self) -> DirectionRequest<'_> {
        DirectionRequest {
            device: self.device.as_deref(),
            rate: self.rate,
            device_channels: self.device_channels,
            map: self.map,
            period_sample_frames: self.period_sample_frames,
            worker_slack_sample_frames: self.worker_slack_sample_frames,
            gain: self.gain,
        }
    }
}
