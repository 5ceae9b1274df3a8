//! Control side: names of devices that stay the same when cards are plugged in and out.
//!
//! A built-in card keeps its id (`hw:CARD=vc4hdmi,DEV=0`). The id of a USB card depends on the cards that were plugged in
//! before it, so a USB card is named after its socket: `usb:0000:00:14.0-2.1,DEV=0`, in the form that the kernel writes
//! after `usb-` in /proc/asound/cards.

use std::ffi::CString;
use std::path::{Component, Path, PathBuf};

use alsa::Card;

const SOUND_CLASS: &str = "/sys/class/sound";
const USB: &str = "usb:";

/// Returns the USB socket of a card, or `None` for other cards.
pub(crate) fn usb_socket(card: i32) -> Option<String> {
    let link = Path::new(SOUND_CLASS).join(format!("card{card}")).join("device");
    socket_in(&std::fs::canonicalize(link).ok()?)
}

/// Extracts the controller and the sockets from a device's path:
/// `.../0000:00:14.0/usb1/1-2/1-2.1/1-2.1:1.0` becomes `0000:00:14.0-2.1`.
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

/// Returns the stable name of a card's device.
pub(crate) fn stable(card: i32, card_id: &str, device: u32) -> String {
    match usb_socket(card) {
        Some(socket) => format!("{USB}{socket},DEV={device}"),
        None => format!("hw:CARD={card_id},DEV={device}"),
    }
}

/// Converts a stable name to ALSA's name; returns any other name unchanged, and `None` when the socket is empty.
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

/// Returns the id or number of the card in a `hw:` or `plughw:` name.
fn card_in(alsa_name: &str) -> Option<&str> {
    let (kind, rest) = alsa_name.split_once(':')?;
    if !kind.ends_with("hw") {
        return None;
    }
    let first = rest.split(',').next()?;
    Some(first.strip_prefix("CARD=").unwrap_or(first))
}

fn card_of(alsa_name: &str) -> Option<i32> {
    let card = card_in(alsa_name)?;
    Card::from_str(&CString::new(card).ok()?).ok().map(|card| card.get_index())
}

/// Returns whether the card of a `hw:` or `plughw:` name exists, but this process lacks the permission to use it.
pub(crate) fn is_forbidden(alsa_name: &str) -> bool {
    let Some(card) = card_in(alsa_name) else { return false };
    // In /proc/asound, a card's id is a link to its number.
    let by_id = std::fs::read_link(Path::new("/proc/asound").join(card)).ok();
    let number =
        by_id.as_deref().and_then(Path::to_str).and_then(|link| link.strip_prefix("card")).unwrap_or(card);
    let opened = std::fs::File::options().read(true).write(true).open(format!("/dev/snd/controlC{number}"));
    opened.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

/// Returns whether the device's node exists. Names of other devices than hardware count as present.
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
    fn the_socket_is_extracted_from_the_device_path() {
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
    fn alsa_names_resolve_to_themselves() {
        for name in ["default", "hw:0,0", "plughw:CARD=Loopback,DEV=1", "sysdefault:CARD=PCH"] {
            assert_eq!(resolve(name).as_deref(), Some(name));
        }
        assert_eq!(resolve("usb:0000:99:99.9-1,DEV=0"), None, "the socket is empty");
    }
}
