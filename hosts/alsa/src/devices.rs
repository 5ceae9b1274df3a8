//! Control side: which devices there are and what they can do.

use std::ffi::CString;

use alsa::Ctl;
use alsa::ctl::DeviceIter;
use alsa::device_name::HintIter;
use handsfree_core::audio_io::{Capabilities, DeviceInfo, Direction};
use handsfree_core::limits::MAX_DEVICE_CHANNELS;
use handsfree_host::request::{BOTH, UNKNOWN_CAPABILITIES};

use crate::error::AlsaError;
use crate::names;
use crate::params::{self, Abilities};

/// One device in one direction.
#[derive(Clone, Debug, PartialEq)]
pub struct AlsaDevice {
    /// Stays the same when the device is plugged in again into the same socket; to be asked for in a
    /// stream request.
    pub id: String,
    /// ALSA's own name at present, such as `hw:CARD=PCH,DEV=0`.
    pub alsa_name: String,
    /// For people.
    pub name: String,
    /// The direction described; a duplex device is there twice.
    pub direction: Direction,
    /// Whether a request without a device means it.
    pub is_default: bool,
    /// What it can do, or why that cannot be said now; a device in use does not tell.
    pub abilities: Result<Abilities, AlsaError>,
}

impl AlsaDevice {
    /// The device in the core's words; what is not known now is given as wide as it can be.
    pub fn show(&self, visit: &mut dyn FnMut(&DeviceInfo<'_>)) {
        let formats: Vec<&str> = self
            .abilities
            .iter()
            .flat_map(|abilities| &abilities.formats)
            .map(|format| format.name())
            .collect();
        let capabilities = match &self.abilities {
            Ok(abilities) => Capabilities {
                max_channels: abilities.channels.1.min(MAX_DEVICE_CHANNELS.into()),
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

/// Every device in every direction that it has: those of the cards, then the PCMs that the
/// configuration defines beside them. Asking opens each for a moment, which a device in use refuses.
///
/// # Errors
/// When the cards cannot be listed.
pub fn devices() -> Result<Vec<AlsaDevice>, AlsaError> {
    let told = |error| AlsaError::on("cards", "listing", error);
    let mut found = Vec::new();
    for card in alsa::card::Iter::new() {
        let card = card.map_err(told)?;
        // A card may be pulled out while it is looked at.
        let Ok(control) = Ctl::from_card(&card, false) else { continue };
        let Ok(info) = control.card_info() else { continue };
        let (Ok(id), Ok(card_name)) = (info.get_id(), info.get_name()) else { continue };
        for device in DeviceIter::new(&control) {
            let Ok(device) = u32::try_from(device) else { continue };
            for direction in BOTH {
                let Ok(pcm) = control.pcm_info(device, 0, params::way(direction)) else { continue };
                let alsa_name = format!("hw:CARD={id},DEV={device}");
                let name = format!("{card_name}, {}", pcm.get_name().unwrap_or("unnamed"));
                found.push(AlsaDevice {
                    id: names::stable(card.get_index(), id, device),
                    abilities: probe(&alsa_name, direction),
                    alsa_name,
                    name,
                    direction,
                    is_default: false,
                });
            }
        }
    }
    found.extend(named()?);
    for direction in BOTH {
        let of_direction = |device: &&mut AlsaDevice| device.direction == direction;
        let named_default = found.iter().position(|d| d.direction == direction && d.id == DEFAULT);
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

/// The PCM that ALSA's configuration calls the default.
pub(crate) const DEFAULT: &str = "default";

/// PCMs that belong to no card, such as `default` and what asound.conf defines.
fn named() -> Result<Vec<AlsaDevice>, AlsaError> {
    let hints = HintIter::new(None, c"pcm").map_err(|error| AlsaError::on("PCMs", "listing", error))?;
    let mut found = Vec::new();
    for hint in hints {
        let Some(id) = hint.name.filter(|name| !name.contains("CARD=") && name != "null") else { continue };
        let Ok(c_name) = CString::new(id.as_str()) else { continue };
        let name = hint.desc.unwrap_or_else(|| id.clone()).replace('\n', ", ");
        for direction in BOTH {
            if hint.direction.is_some_and(|only| only != params::way(direction)) {
                continue;
            }
            // Many names of the configuration lead nowhere on this machine.
            if crate::pcm::open(&c_name, params::way(direction)).is_ok() {
                found.push(AlsaDevice {
                    id: id.clone(),
                    alsa_name: id.clone(),
                    name: name.clone(),
                    direction,
                    is_default: false,
                    abilities: probe(&id, direction),
                });
            }
        }
    }
    Ok(found)
}

fn probe(alsa_name: &str, direction: Direction) -> Result<Abilities, AlsaError> {
    let pcm = params::open(alsa_name, direction)?;
    params::abilities(&pcm).map_err(|error| AlsaError::on(alsa_name, "asking", error))
}
