//! Control side: which devices there are and what they can do.

use cpal::traits::{DeviceTrait, HostTrait};
use cpal::{Device, Host, SupportedStreamConfigRange};
use handsfree_core::audio_io::{Capabilities, DeviceInfo, Direction};
use handsfree_host::request::{BOTH, UNKNOWN_CAPABILITIES};

use crate::agree::{self, Abilities};
use crate::error::CpalError;

/// One device in one direction.
#[derive(Clone, Debug, PartialEq)]
pub struct CpalDevice {
    /// Stays the same when the device is plugged in again, as far as the audio system can tell; to be asked
    /// for in a stream request. The part behind the first colon will do as well.
    pub id: String,
    /// For people.
    pub name: String,
    /// The direction described; a duplex device is there twice.
    pub direction: Direction,
    /// Whether a request without a device means it.
    pub is_default: bool,
    /// What it can do, or why that cannot be said now.
    pub abilities: Result<Abilities, CpalError>,
}

impl CpalDevice {
    /// The device in the core's words; what is not known now is given as wide as it can be.
    pub fn show(&self, visit: &mut dyn FnMut(&DeviceInfo<'_>)) {
        let names: Vec<String> =
            self.abilities.iter().flat_map(|abilities| &abilities.formats).map(ToString::to_string).collect();
        let formats: Vec<&str> = names.iter().map(String::as_str).collect();
        let capabilities = match &self.abilities {
            Ok(abilities) => Capabilities {
                max_channels: abilities.channels.1,
                rates: &abilities.rates,
                formats: &formats,
                period_sample_frames: abilities.period_sample_frames,
            },
            Err(_) => UNKNOWN_CAPABILITIES,
        };
        visit(&DeviceInfo {
            id: &self.id,
            name: &self.name,
            direction: self.direction,
            is_default: self.is_default,
            capabilities,
        });
    }
}

pub(crate) fn default(host: &Host, direction: Direction) -> Option<Device> {
    match direction {
        Direction::Capture => host.default_input_device(),
        Direction::Playback => host.default_output_device(),
    }
}

pub(crate) fn id(device: &Device) -> Option<String> {
    device.id().ok().map(|id| id.to_string())
}

/// What the device offers in a direction; empty when it has nothing there.
pub(crate) fn ranges(
    device: &Device,
    direction: Direction,
) -> Result<Vec<SupportedStreamConfigRange>, cpal::Error> {
    let none = |error: cpal::Error| match error.kind() {
        cpal::ErrorKind::UnsupportedOperation => Ok(Vec::new()),
        _ => Err(error),
    };
    match direction {
        Direction::Capture => device.supported_input_configs().map(Iterator::collect).or_else(none),
        Direction::Playback => device.supported_output_configs().map(Iterator::collect).or_else(none),
    }
}

/// The device of this name, or the default one. The outer error says that the audio system does not answer.
pub(crate) fn find(
    host: &Host,
    direction: Direction,
    name: Option<&str>,
) -> Result<Option<Device>, cpal::Error> {
    // Asked for first: a server that is gone has no default device either.
    let mut all = host.devices()?;
    let Some(name) = name else { return Ok(default(host, direction)) };
    let is_meant = |device: &Device| {
        device.id().is_ok_and(|id| id.id() == name || id.to_string() == name)
            && match direction {
                Direction::Capture => device.supports_input(),
                Direction::Playback => device.supports_output(),
            }
    };
    Ok(all.find(is_meant))
}

/// Every device in every direction that it has.
pub(crate) fn list(host: &Host) -> Result<Vec<CpalDevice>, cpal::Error> {
    let mut found = Vec::new();
    let all: Vec<Device> = host.devices()?.collect();
    for direction in BOTH {
        let default = default(host, direction);
        for device in &all {
            // A device may be pulled out while it is looked at.
            let Some(id) = id(device) else { continue };
            let name = device.description().map_or_else(|_| id.clone(), |about| about.name().to_owned());
            let abilities = match ranges(device, direction) {
                Ok(ranges) if ranges.is_empty() => continue,
                Ok(ranges) => agree::abilities(&ranges).ok_or_else(|| CpalError::Unsupported {
                    device: id.clone(),
                    needed: "a format that is spoken here".to_owned(),
                    offered: format!("{} others", ranges.len()),
                }),
                Err(error) => Err(CpalError::on(&id, direction, "asking", &error)),
            };
            let is_default = default.as_ref() == Some(device);
            found.push(CpalDevice { id, name, direction, is_default, abilities });
        }
    }
    Ok(found)
}
