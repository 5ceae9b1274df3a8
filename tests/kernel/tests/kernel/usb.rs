//! A USB card in a socket of QEMU's; it only plays.

use std::time::Duration;

use handsfree_kernel_tests::{Machine, Result};
use serde_json::json;

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
