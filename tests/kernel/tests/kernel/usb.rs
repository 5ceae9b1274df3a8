//! A USB sound card in a port of QEMU's controller. The card has playback only.

use std::time::Duration;

use handsfree_kernel_tests::{Machine, Result};
use serde_json::json;

/// QEMU arguments for a controller with the card in its first port. The guest needs the module `xhci-pci`.
pub(crate) const QEMU: [&str; 6] = [
    "-audiodev",
    "none,id=off",
    "-device",
    "qemu-xhci,id=xhci",
    "-device",
    "usb-audio,id=usb,bus=xhci.0,port=1,audiodev=off",
];

/// Time limit for the removal of the card, on a busy computer.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(20);

/// Unplugs the card, and waits until it is removed from the bus.
pub(crate) fn unplug(machine: &Machine) -> Result<()> {
    machine.qmp("device_del", &json!({ "id": "usb" }))?;
    machine.qmp_event("DEVICE_DELETED", REMOVAL_TIMEOUT)?;
    Ok(())
}

/// Plugs the same card into the same port.
pub(crate) fn plug(machine: &Machine) -> Result<()> {
    let device =
        json!({ "driver": "usb-audio", "id": "usb", "bus": "xhci.0", "port": "1", "audiodev": "off" });
    machine.qmp("device_add", &device)?;
    Ok(())
}
