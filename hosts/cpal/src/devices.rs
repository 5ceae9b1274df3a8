//! Control side: the devices of an audio system and their capabilities.

use cpal::traits::{DeviceTrait, HostTrait};
use cpal::{Device, Host, SupportedStreamConfigRange};
use handsfree_core::audio_io::{Capabilities, DeviceInfo, Direction};
use handsfree_host::request::{BOTH_DIRECTIONS, UNKNOWN_CAPABILITIES};

use crate::error::CpalError;
use crate::negotiation::{self, CpalCapabilities};
use crate::pulse;
use crate::quiet;

/// A device in one direction.
#[derive(Clone, Debug, PartialEq)]
pub struct CpalDevice {
    /// Identifier for a stream request. It stays the same when the device is plugged in again, as far as the
    /// audio system recognizes the device. A request may omit the part up to and including the first colon.
    pub id: String,
    /// Name of the device to show to users.
    pub name: String,
    /// Direction that this entry describes. A duplex device has one entry for each direction.
    pub direction: Direction,
    /// Whether this is the default device, which a request without a device name selects.
    pub is_default: bool,
    /// Capabilities of the device, or the reason why they are not known at this moment.
    pub capabilities: Result<CpalCapabilities, CpalError>,
}

impl CpalDevice {
    /// Calls `visit` with the device's description as the core defines it. Unknown capabilities are described
    /// as the widest possible ones.
    pub fn show(&self, visit: &mut dyn FnMut(&DeviceInfo<'_>)) {
        let names: Vec<String> =
            self.capabilities.iter().flat_map(|known| &known.formats).map(ToString::to_string).collect();
        let formats: Vec<&str> = names.iter().map(String::as_str).collect();
        let capabilities = match &self.capabilities {
            Ok(known) => Capabilities {
                max_channels: known.channels.1,
                rates: &known.rates,
                formats: &formats,
                period_sample_frames: known.period_sample_frames,
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
    quiet::silence_alsa();
    match direction {
        Direction::Capture => host.default_input_device(),
        Direction::Playback => host.default_output_device(),
    }
}

pub(crate) fn id(device: &Device) -> Option<String> {
    device.id().ok().map(|id| id.to_string())
}

/// Returns the configurations that the device offers in a direction; empty if it has no streams in that
/// direction.
pub(crate) fn ranges(
    device: &Device,
    direction: Direction,
) -> Result<Vec<SupportedStreamConfigRange>, cpal::Error> {
    quiet::silence_alsa();
    let empty_if_unsupported = |error: cpal::Error| match error.kind() {
        cpal::ErrorKind::UnsupportedOperation => Ok(Vec::new()),
        _ => Err(error),
    };
    let mut ranges: Vec<_> = match direction {
        Direction::Capture => {
            device.supported_input_configs().map(Iterator::collect).or_else(empty_if_unsupported)
        }
        Direction::Playback => {
            device.supported_output_configs().map(Iterator::collect).or_else(empty_if_unsupported)
        }
    }?;
    if pulse::is_on_pulseaudio(device) {
        ranges.retain(|range| pulse::FORMATS.contains(&range.sample_format()));
    }
    Ok(ranges)
}

/// Returns the device of this name, or for `None` the default device. The result is `Ok(None)` if there is no
/// such device and an error if the audio system does not answer.
pub(crate) fn find(
    host: &Host,
    direction: Direction,
    name: Option<&str>,
) -> Result<Option<Device>, cpal::Error> {
    // Enumerated first, because this fails if the server is gone, whereas the default device would only be
    // missing.
    let mut all = host.devices()?;
    let Some(name) = name else { return Ok(default(host, direction)) };
    let is_requested = |device: &Device| {
        device.id().is_ok_and(|id| id.id() == name || id.to_string() == name)
            && match direction {
                Direction::Capture => device.supports_input(),
                Direction::Playback => device.supports_output(),
            }
    };
    Ok(all.find(is_requested))
}

/// Identifier of ALSA's PCM that leads to JACK. It is not listed, because JACK's library prints on stderr when no
/// server runs.
const JACK_PCM: &str = "alsa:jack";

/// Lists every device once for each direction that it supports.
pub(crate) fn list(host: &Host) -> Result<Vec<CpalDevice>, cpal::Error> {
    let mut found = Vec::new();
    let all: Vec<Device> = host.devices()?.collect();
    for direction in BOTH_DIRECTIONS {
        let default = default(host, direction);
        for device in &all {
            // A device without an identifier was unplugged during the enumeration.
            let Some(id) = id(device).filter(|id| id != JACK_PCM) else { continue };
            let name =
                device.description().map_or_else(|_| id.clone(), |description| description.name().to_owned());
            let capabilities = match ranges(device, direction) {
                Ok(ranges) if ranges.is_empty() => continue,
                Ok(ranges) => negotiation::capabilities(&ranges).ok_or_else(|| CpalError::Unsupported {
                    device: id.clone(),
                    needed: "a supported sample format, rate and channel count".to_owned(),
                    offered: format!("{} unsupported configurations", ranges.len()),
                }),
                Err(error) => Err(CpalError::on(&id, direction, "querying", &error)),
            };
            let is_default = default.as_ref() == Some(device);
            found.push(CpalDevice { id, name, direction, is_default, capabilities });
        }
    }
    Ok(found)
}
