//! Control side: names of devices that stay the same when cards come and go.
//!
//! A card on a bus keeps its id (`hw:CARD=vc4hdmi,DEV=0`). A USB card's id depends on what was plugged in
//! before it, so it is named by the socket that it is in: `usb:0000:00:14.0-2.1,DEV=0`, as the kernel
//! writes it behind `usb-` in /proc/asound/cards.

use std::ffi::CString;
use std::path::{Component, Path, PathBuf};

use alsa::Card;

const SOUND_CLASS: &str = "/sys/class/sound";
const USB: &str = "usb:";

/// The USB socket of a card, if it is in one.
pub(crate) fn usb_socket(card: i32) -> Option<String> {
    let link = Path::new(SOUND_CLASS).join(format!("card{card}")).join("device");
    socket_in(&std::fs::canonicalize(link).ok()?)
}

/// The part of a device's path that says which controller and which sockets lead to it: from
/// `.../0000:00:14.0/usb1/1-2/1-2.1/1-2.1:1.0` to `0000:00:14.0-2.1`.
fn socket_in(path: &Path) -> Option<String> {
    let parts: Vec<&str> = path
        .components()
        .filter_map(|part| if let Component::Normal(name) = part { name.to_str() } else { None })
        .collect();
    let is_bus = |part: &&str| {
        part.strip_prefix("usb").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    let bus = parts.iter().position(is_bus)?;
    let controller = parts.get(bus.checked_sub(1)?)?;
    let device = parts.get(bus + 1..)?.iter().rfind(|part| !part.contains(':') && part.contains('-'))?;
    let (_, socket) = device.split_once('-')?;
    Some(format!("{controller}-{socket}"))
}

/// The stable name of a card's device.
pub(crate) fn stable(card: i32, card_id: &str, device: u32) -> String {
    match usb_socket(card) {
        Some(socket) => format!("{USB}{socket},DEV={device}"),
        None => format!("hw:CARD={card_id},DEV={device}"),
    }
}

/// ALSA's name for a stable one; any other name is ALSA's already. `None` when nothing is in the socket.
pub(crate) fn resolve(name: &str) -> Option<String> {
    let Some(rest) = name.strip_prefix(USB) else {
        return Some(name.to_owned());
    };
    let (socket, device) = rest.split_once(",DEV=").unwrap_or((rest, "0"));
    let card = cards().find(|&card| usb_socket(card).as_deref() == Some(socket))?;
    Some(format!("hw:{card},{device}"))
}

fn cards() -> impl Iterator<Item = i32> {
    alsa::card::Iter::new().filter_map(|card| card.ok().map(|card| card.get_index()))
}

/// The card that a `hw:` or `plughw:` name speaks of.
pub(crate) fn card_of(alsa_name: &str) -> Option<i32> {
    let (kind, rest) = alsa_name.split_once(':')?;
    if !kind.ends_with("hw") {
        return None;
    }
    let first = rest.split(',').next()?;
    let card = first.strip_prefix("CARD=").unwrap_or(first);
    Card::from_str(&CString::new(card).ok()?).ok().map(|card| card.get_index())
}

/// Whether the device's node is there; other names than hardware's are taken to be.
pub(crate) fn is_present(name: &str) -> bool {
    resolve(name).is_some_and(|alsa_name| {
        if !alsa_name.starts_with("hw:") && !alsa_name.starts_with("plughw:") {
            return true;
        }
        card_of(&alsa_name).is_some_and(|card| control_node(card).exists())
    })
}

fn control_node(card: i32) -> PathBuf {
    format!("/dev/snd/controlC{card}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_read_from_the_devices_path() {
        for (path, socket) in [
            ("/sys/devices/pci0000:00/0000:00:04.0/usb1/1-1/1-1:1.0", Some("0000:00:04.0-1")),
            (
                "/sys/devices/pci0000:00/0000:00:14.0/usb3/3-2/3-2.1/3-2.1.4/3-2.1.4:1.2",
                Some("0000:00:14.0-2.1.4"),
            ),
            ("/sys/devices/platform/soc/3f980000.usb/usb1/1-1/1-1.3/1-1.3:1.0", Some("3f980000.usb-1.3")),
            ("/sys/devices/pci0000:00/0000:00:1f.3", None),
            ("/sys/devices/platform/snd_aloop.0", None),
        ] {
            assert_eq!(socket_in(Path::new(path)).as_deref(), socket, "{path}");
        }
    }

    #[test]
    fn names_of_alsa_stay_as_they_are() {
        for name in ["default", "hw:0,0", "plughw:CARD=Loopback,DEV=1", "sysdefault:CARD=PCH"] {
            assert_eq!(resolve(name).as_deref(), Some(name));
        }
        assert_eq!(resolve("usb:0000:99:99.9-1,DEV=0"), None, "nothing is in that socket");
    }
}
