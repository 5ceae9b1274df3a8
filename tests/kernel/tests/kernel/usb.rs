//! A USB card in a socket of QEMU's; it only plays.

use std::time::Duration;

use handsfree_kernel_tests::{Machine, Result};
use serde_json::json;

use crate::LONG;

/// QEMU's arguments for a controller with the card in its first socket; wants the module `xhci-pci` in the guest.
pub(crate) const QEMU: [&str; 6] = [
    "-audiodev",
    "none,id=off",
    "-device",
    "qemu-xhci,id=xhci",
    "-device",
    "usb-audio,id=usb,bus=xhci.0,port=1,audiodev=off",
];

/// A card is pulled out within this, on an emulated machine that is busy.
const SOON: Duration = Duration::from_secs(20);

/// Whether QEMU's card plays at all. Where alsa-utils' own player gets an input/output error from it, as with Debian's
/// QEMU 7.2.22 (deb12u18+b2), nothing can be learned of anybody's code, and the tests on it say so and end.
pub(crate) fn plays(machine: &Machine) -> Result<bool> {
    machine.until("[ -e /proc/asound/Audio ]", SOON)?;
    let tried = machine.run("aplay -q -D hw:Audio,0 -f S16_LE -r 48000 -c 2 -t raw -d 1 /dev/zero", LONG)?;
    let is_deaf = tried.errors().contains("Input/output error");
    if is_deaf {
        println!(
            "NOT TESTED: this QEMU's USB card takes no sample from aplay either: {}",
            tried.errors().trim()
        );
    }
    Ok(!is_deaf)
}

/// Pulls the card out; it is gone from the bus when this returns.
pub(crate) fn unplug(machine: &Machine) -> Result<()> {
    machine.qmp("device_del", &json!({ "id": "usb" }))?;
    machine.qmp_event("DEVICE_DELETED", SOON)?;
    Ok(())
}

/// Puts the same card into the same socket.
pub(crate) fn plug(machine: &Machine) -> Result<()> {
    let device =
        json!({ "driver": "usb-audio", "id": "usb", "bus": "xhci.0", "port": "1", "audiodev": "off" });
    machine.qmp("device_add", &device)?;
    Ok(())
}
