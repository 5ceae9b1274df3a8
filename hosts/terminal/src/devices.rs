//! `handsfree devices`: what there is to play and record with.

use std::fmt::Write as _;

use handsfree_core::SampleRate;
use handsfree_core::audio_io::{AudioIo, DeviceInfo, Direction};
use serde::Serialize;

use crate::cli::DevicesArgs;
use crate::failure::Failure;
use crate::io::HostConfig;

/// One device in one direction, owned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Device {
    /// Names it in a request, and stays the same when it is plugged in again.
    pub id: String,
    /// For people.
    pub name: String,
    /// "capture" or "playback".
    pub direction: &'static str,
    /// Whether it is the system's default for its direction.
    pub is_default: bool,
    /// Most channels.
    pub max_channels: u32,
    /// Rates it takes, in hertz; empty when it takes any.
    pub rates_hz: Vec<u32>,
    /// Sample formats it takes; empty when that is not known.
    pub formats: Vec<String>,
    /// Shortest and longest period, in sample frames.
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

/// The devices of the host that `args` name, and a sentence for the user if there is one.
///
/// # Errors
/// When the host does not answer.
pub fn list(args: &DevicesArgs) -> Result<(Vec<Device>, Option<&'static str>), Failure> {
    let (host, notice) = args.io.resolve();
    let rate = SampleRate::new(48_000)?;
    let config = HostConfig::new(rate);
    let open = host.open(&config, Box::new(|| {}))?;
    let mut devices = Vec::new();
    open.io.devices(&mut |info| devices.push(Device::from(info)))?;
    Ok((devices, notice))
}

/// A table for people.
#[must_use]
pub fn table(devices: &[Device]) -> String {
    let mut text = String::new();
    for device in devices {
        let rates: Vec<String> = device.rates_hz.iter().map(ToString::to_string).collect();
        let rates = if rates.is_empty() { "any".to_owned() } else { rates.join(", ") };
        let formats =
            if device.formats.is_empty() { String::new() } else { format!(", {}", device.formats.join(" ")) };
        let [shortest, longest] = device.period_sample_frames;
        // Writing to a String cannot fail.
        _ = writeln!(
            text,
            "{} {:<8}  {}\n    {}\n    up to {} channels, {rates} Hz{formats}, periods of {shortest} to {longest} sample frames",
            if device.is_default { '*' } else { ' ' },
            device.direction,
            device.id,
            device.name,
            device.max_channels,
        );
    }
    text
}
