//! Devices that disappear while streams run, and return: USB by QEMU, PCI and platform drivers by the kernel's sysfs files.
//!
//! QEMU's usb-audio has playback only. Loss of capture is tested with the PCI card (HDA, with a silent microphone) and by
//! unbinding a driver without hardware; to the recording process all of these look the same.

use std::time::Duration;

use handsfree_kernel_tests::{Job, Machine, Options, Result};

use crate::stream::KernelStream;
use crate::{LONG, exclusive, usb};

/// Time limit until a process notices that its device has disappeared.
const LOSS_TIMEOUT: Duration = Duration::from_secs(10);
const FORMAT: &str = "-f S16_LE -r 48000 -c 2 -t raw --period-size=480 --buffer-size=9600";

/// Checks that a process ended because its device disappeared. libasound reports ENODEV, or EBADFD if it checked the stream's
/// state first.
fn assert_gone(job: Job<'_>, what: &str) -> Result<()> {
    let errors = job.wait(LOSS_TIMEOUT)?.errors();
    println!("{what}: {}", errors.lines().last().unwrap_or_default());
    assert!(
        errors.contains("No such device") || errors.contains("File descriptor in bad state"),
        "{what}: {errors}"
    );
    Ok(())
}

/// Returns the identity of a card: its device path and its id.
fn identity(machine: &Machine, card: &str) -> Result<String> {
    machine.until(&format!("[ -e /proc/asound/{card} ]"), LONG)?;
    machine.shell(&format!(
        "readlink -f /sys/class/sound/$(readlink /proc/asound/{card})/device; cat /proc/asound/{card}/id"
    ))
}

fn assert_plays(machine: &Machine, card: &str) -> Result<()> {
    machine.shell(&format!("aplay -q -D hw:{card},0 {FORMAT} -d 1 /dev/zero"))?;
    Ok(())
}

#[test]
fn a_replugged_usb_card_keeps_its_id_and_path() -> Result<()> {
    let _exclusive = exclusive();
    let machine = Machine::boot(&Options::new().module("xhci-pci").module("snd-usb-audio").qemu(usb::QEMU))?;
    let before = identity(&machine, "Audio")?;
    let stream = KernelStream { card: "Audio", pcm: "pcm0p" };
    assert_plays(&machine, "Audio")?;

    for _ in 0..2 {
        let player = machine.spawn(&format!("exec aplay -q -D hw:Audio,0 {FORMAT} /dev/zero"))?;
        stream.until(&machine, "RUNNING")?;
        usb::unplug(&machine)?;
        assert_gone(player, "aplay on USB")?;
        machine.until("[ ! -e /proc/asound/Audio ]", LOSS_TIMEOUT)?;

        usb::plug(&machine)?;
        assert_eq!(identity(&machine, "Audio")?, before, "the id or the path changed");
        assert_plays(&machine, "Audio")?;
    }
    println!("{before}");
    Ok(())
}

#[test]
fn a_removed_pci_card_ends_its_streams_and_returns() -> Result<()> {
    let _exclusive = exclusive();
    let machine =
        Machine::boot(&Options::new().module("snd-hda-codec-generic").module("snd-hda-intel").qemu([
            "-audiodev",
            "none,id=off",
            "-device",
            "pcie-root-port,id=rp",
            "-device",
            "ich9-intel-hda,id=hda,bus=rp",
            "-device",
            "hda-duplex,bus=hda.0,audiodev=off",
        ]))?;
    let before = identity(&machine, "Intel")?;
    let path = before.lines().next().unwrap_or_default();
    assert_plays(&machine, "Intel")?;

    let recorder = machine.spawn(&format!("exec arecord -q -D hw:Intel,0 {FORMAT} /dev/null"))?;
    let player = machine.spawn(&format!("exec aplay -q -D hw:Intel,0 {FORMAT} /dev/zero"))?;
    KernelStream { card: "Intel", pcm: "pcm0c" }.until(&machine, "RUNNING")?;
    KernelStream { card: "Intel", pcm: "pcm0p" }.until(&machine, "RUNNING")?;
    // The removal blocks until the device is closed, so it runs concurrently.
    let removal = machine.spawn(&format!("echo 1 > {path}/remove"))?;
    assert_gone(recorder, "arecord on PCI")?;
    assert_gone(player, "aplay on PCI")?;
    removal.wait(LOSS_TIMEOUT)?.success()?;
    machine.until("[ ! -e /proc/asound/Intel ]", LOSS_TIMEOUT)?;

    machine.shell("echo 1 > /sys/bus/pci/rescan")?;
    assert_eq!(identity(&machine, "Intel")?, before, "the id or the path changed");
    assert_plays(&machine, "Intel")?;
    machine.shell(&format!("arecord -q -D hw:Intel,0 {FORMAT} -d 1 /dev/null"))?;
    Ok(())
}

#[test]
fn unbinding_a_driver_ends_its_streams() -> Result<()> {
    let _exclusive = exclusive();
    let machine = Machine::boot(&Options::new().module("snd-aloop id=A").module("snd-dummy id=D"))?;
    for (card, driver, capture) in [("A", "snd_aloop", 1), ("D", "snd_dummy", 0)] {
        let before = identity(&machine, card)?;
        let recorder =
            machine.spawn(&format!("exec arecord -q -D hw:{card},{capture} {FORMAT} /dev/null"))?;
        let player = machine.spawn(&format!("exec aplay -q -D hw:{card},0 {FORMAT} /dev/zero"))?;
        KernelStream { card, pcm: if capture == 1 { "pcm1c" } else { "pcm0c" } }
            .until(&machine, "RUNNING")?;
        KernelStream { card, pcm: "pcm0p" }.until(&machine, "RUNNING")?;
        let files = format!("/sys/bus/platform/drivers/{driver}");
        let removal = machine.spawn(&format!("echo {driver}.0 > {files}/unbind"))?;
        assert_gone(recorder, "arecord")?;
        assert_gone(player, "aplay")?;
        removal.wait(LOSS_TIMEOUT)?.success()?;
        machine.until(&format!("[ ! -e /proc/asound/{card} ]"), LOSS_TIMEOUT)?;

        machine.shell(&format!("echo {driver}.0 > {files}/bind"))?;
        assert_eq!(identity(&machine, card)?, before, "the id or the path changed");
        assert_plays(&machine, card)?;
    }
    Ok(())
}
