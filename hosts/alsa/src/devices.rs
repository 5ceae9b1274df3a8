//! Control side: lists the devices and their capabilities.

use std::ffi::CString;

use alsa::Ctl;
use alsa::ctl::DeviceIter;
use alsa::device_name::HintIter;
use handsfree_core::audio_io::{Capabilities, DeviceInfo, Direction};
use handsfree_core::limits::MAX_DEVICE_CHANNELS;
use handsfree_host::request::{BOTH_DIRECTIONS, UNKNOWN_CAPABILITIES};

use crate::error::AlsaError;
use crate::messages;
use crate::names;
use crate::params::{self, PcmCapabilities};

/// Device in one direction.
#[derive(Clone, Debug, PartialEq)]
pub struct AlsaDevice {
    /// Id for a stream request. It stays the same when the device is plugged into the same socket again.
    pub id: String,
    /// Current ALSA name of the device, such as `hw:CARD=PCH,DEV=0`.
    pub alsa_name: String,
    /// Human-readable name.
    pub name: String,
    /// Direction of this entry; a duplex device has two entries.
    pub direction: Direction,
    /// Whether a request without a device opens this one.
    pub is_default: bool,
    /// Capabilities of the device, or the reason why they are unknown; a device in use cannot be queried.
    pub capabilities: Result<PcmCapabilities, AlsaError>,
}

impl AlsaDevice {
    /// Calls `visit` with the device's description in the core's types. Unknown capabilities are shown as the widest
    /// possible ones.
    pub fn show(&self, visit: &mut dyn FnMut(&DeviceInfo<'_>)) {
        let formats: Vec<&str> = self
            .capabilities
            .iter()
            .flat_map(|capabilities| &capabilities.formats)
            .map(|format| format.name())
            .collect();
        let capabilities = match &self.capabilities {
            Ok(capabilities) => Capabilities {
                max_channels: capabilities.channels.1.min(MAX_DEVICE_CHANNELS.into()),
                rates: &capabilities.rates,
                formats: &formats,
                period_sample_frames: capabilities.period_sample_frames,
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

/// Lists every device in each of its directions: first the devices of the cards, then the PCMs that only ALSA's
/// configuration defines. Opens each device briefly to query its capabilities, which fails for a device in use.
///
/// # Errors
/// Returns an error when the cards cannot be listed.
pub fn devices() -> Result<Vec<AlsaDevice>, AlsaError> {
    // Many names in ALSA's configuration refer to nothing on this machine, and the library complains about each.
    messages::collect(listed).0
}

fn listed() -> Result<Vec<AlsaDevice>, AlsaError> {
    let listing_error = |error| AlsaError::on("cards", "listing", error);
    let mut found = Vec::new();
    for card in alsa::card::Iter::new() {
        let card = card.map_err(listing_error)?;
        // A card may be unplugged during the listing.
        let Ok(control) = Ctl::from_card(&card, false) else { continue };
        let Ok(info) = control.card_info() else { continue };
        let (Ok(id), Ok(card_name)) = (info.get_id(), info.get_name()) else { continue };
        for device in DeviceIter::new(&control) {
            let Ok(device) = u32::try_from(device) else { continue };
            for direction in BOTH_DIRECTIONS {
                let Ok(pcm) = control.pcm_info(device, 0, params::alsa_direction(direction)) else {
                    continue;
                };
                let alsa_name = format!("hw:CARD={id},DEV={device}");
                let name = format!("{card_name}, {}", pcm.get_name().unwrap_or("unnamed"));
                found.push(AlsaDevice {
                    id: names::stable(card.get_index(), id, device),
                    capabilities: query_capabilities(&alsa_name, direction),
                    alsa_name,
                    name,
                    direction,
                    is_default: false,
                });
            }
        }
    }
    found.extend(configured_pcms()?);
    for direction in BOTH_DIRECTIONS {
        let of_direction = |device: &&mut AlsaDevice| device.direction == direction;
        let named_default = found.iter().position(|d| d.direction == direction && d.id == DEFAULT_PCM);
        let default = match named_default {
            Some(index) => found.get_mut(index),
            None => found.iter_mut().find(of_direction),
        };
        if let Some(device) = default {
            device.is_default = true;
        }
    }
    Ok(found)
}

/// Name of the default PCM in ALSA's configuration.
pub(crate) const DEFAULT_PCM: &str = "default";

/// Name of the PCM that leads to JACK. It is not listed, because JACK's library prints on stderr when no server runs.
const JACK_PCM: &str = "jack";

/// Lists the PCMs that belong to no card, such as `default` and those that asound.conf defines.
fn configured_pcms() -> Result<Vec<AlsaDevice>, AlsaError> {
    let hints = HintIter::new(None, c"pcm").map_err(|error| AlsaError::on("PCMs", "listing", error))?;
    let mut found = Vec::new();
    for hint in hints {
        let Some(id) = hint.name.filter(|name| !name.contains("CARD=") && name != "null" && name != JACK_PCM)
        else {
            continue;
        };
        let Ok(c_name) = CString::new(id.as_str()) else { continue };
        let name = hint.desc.unwrap_or_else(|| id.clone()).replace('\n', ", ");
        for direction in BOTH_DIRECTIONS {
            if hint.direction.is_some_and(|only| only != params::alsa_direction(direction)) {
                continue;
            }
            // Many names of the configuration refer to no device of this machine.
            if crate::pcm::open(&c_name, params::alsa_direction(direction)).is_ok() {
                found.push(AlsaDevice {
                    id: id.clone(),
                    alsa_name: id.clone(),
                    name: name.clone(),
                    direction,
                    is_default: false,
                    capabilities: query_capabilities(&id, direction),
                });
            }
        }
    }
    Ok(found)
}

fn query_capabilities(alsa_name: &str, direction: Direction) -> Result<PcmCapabilities, AlsaError> {
    let pcm = params::open(alsa_name, direction)?;
    params::capabilities(&pcm).map_err(|error| AlsaError::on(alsa_name, "querying", error))
}
