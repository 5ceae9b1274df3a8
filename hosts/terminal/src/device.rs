//! Control side: description of an audio device.

use handsfree_core::audio_io::{DeviceInfo, Direction};

/// Description of an audio device in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Device {
    /// Identifier for opening the device. It stays the same when the device is plugged in again.
    pub id: String,
    /// Name to show to a user.
    pub name: String,
    /// Direction: "capture" or "playback".
    pub direction: &'static str,
    /// Whether the device is the system's default for its direction.
    pub is_default: bool,
    /// Largest number of channels that the device supports.
    pub max_channels: u32,
    /// Sample rates that the device supports, in hertz; empty when it supports any rate.
    pub rates_hz: Vec<u32>,
    /// Names of the sample formats that the device supports; empty when they are not known.
    pub formats: Vec<String>,
    /// Shortest and longest period that the device supports, in sample frames.
    pub period_sample_frames: [u32; 2],
}

impl From<&DeviceInfo<'_>> for Device {
    fn from(info: &DeviceInfo<'_>) -> Self {
        let (shortest, longest) = info.capabilities.period_sample_frames;
        Self {
            id: info.id.to_owned(),
            name: info.name.to_owned(),
            direction: match info.direction {
                Direction::Capture => "capture",
                Direction::Playback => "playback",
            },
            is_default: info.is_default,
            max_channels: info.capabilities.max_channels,
            rates_hz: info.capabilities.rates.iter().map(|rate| rate.hz()).collect(),
            formats: info.capabilities.formats.iter().map(ToString::to_string).collect(),
            period_sample_frames: [shortest, longest],
        }
    }
}
