//! Devices that go in mid-stream and come back: USB by QEMU, PCI and platform drivers by the kernel's own files.
//!
//! QEMU's usb-audio only plays. Capture goes away with the PCI card (HDA, a microphone that hears silence) and, without any
//! hardware, with a driver that is unbound: to the process that records, all are the same.

use std::time::Duration;

use handsfree_kernel_tests::{Job, Machine, Options, Result};

use crate::stream::Stream;
use crate::{LONG, turn, usb};

/// A process whose device is gone notices at once.
const NOTICED: Duration = Duration::from_secs(10);
const FORMAT: &str = "-f S16_LE -r 48000 -c 2 -t raw --period-size=480 --buffer-size=9600";

/// The ways in which libasound says that the device is gone: ENODEV, or EBADFD where the state was seen first.
fn assert_gone(job: Job<'_>, what: &str) -> Result<()> {
    let said = job.wait(NOTICED)?.errors();
    println!("{what}: {}", said.lines().last().unwrap_or_default());
    assert!(
        said.contains("No such device") || said.contains("File descriptor in bad state"),
        "{what}: {said}"
    );
    Ok(())
}

/// What a card is known by: its id, and where it is plugged in.
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
fn a_usb_card_goes_and_comes_back() -> Result<()> {
    let _turn = turn();
    let machine = Machine::boot(&Options::new().module("xhci-pci").module("snd-usb-audio").qemu(usb::QEMU))?;
    let before = identity(&machine, "Audio")?;
    let stream = Stream { card: "Audio", pcm: "pcm0p" };
    assert_plays(&machine, "Audio")?;

    for _ in 0..2 {
        let player = machine.spawn(&format!("exec aplay -q -D hw:Audio,0 {FORMAT} /dev/zero"))?;
        stream.until(&machine, "RUNNING")?;
        usb::unplug(&machine)?;
        assert_gone(player, "aplay on USB")?;
        machine.until("[ ! -e /proc/asound/Audio ]", NOTICED)?;

        usb::plug(&machine)?;
        assert_eq!(identity(&machine, "Audio")?, before, "another id or path");
        assert_plays(&machine, "Audio")?;
    }
    println!("{before}");
    Ok(())
}

#[test]
fn a_pci_card_with_a_microphone_goes_and_comes_back() -> Result<()> {
    let _turn = turn();
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
    Stream { card: "Intel", pcm: "pcm0c" }.until(&machine, "RUNNING")?;
    Stream { card: "Intel", pcm: "pcm0p" }.until(&machine, "RUNNING")?;
    // Waits until the device is closed, so it must not be what the test waits for.
    let removal = machine.spawn(&format!("echo 1 > {path}/remove"))?;
    assert_gone(recorder, "arecord on PCI")?;
    assert_gone(player, "aplay on PCI")?;
    removal.wait(NOTICED)?.success()?;
    machine.until("[ ! -e /proc/asound/Intel ]", NOTICED)?;

    machine.shell("echo 1 > /sys/bus/pci/rescan")?;
    assert_eq!(identity(&machine, "Intel")?, before, "another id or path");
    assert_plays(&machine, "Intel")?;
    machine.shell(&format!("arecord -q -D hw:Intel,0 {FORMAT} -d 1 /dev/null"))?;
    Ok(())
}

#[test]
fn an_unbound_driver_takes_its_streams_along() -> Result<()> {
    let _turn = turn();
    let machine = Machine::boot(&Options::new().module("snd-aloop id=A").module("snd-dummy id=D"))?;
    for (card, driver, capture) in [("A", "snd_aloop", 1), ("D", "snd_dummy", 0)] {
        let before = identity(&machine, card)?;
        let recorder =
            machine.spawn(&format!("exec arecord -q -D hw:{card},{capture} {FORMAT} /dev/null"))?;
        let player = machine.spawn(&format!("exec aplay -q -D hw:{card},0 {FORMAT} /dev/zero"))?;
        Stream { card, pcm: if capture == 1 { "pcm1c" } else { "pcm0c" } }.until(&machine, "RUNNING")?;
        Stream { card, pcm: "pcm0p" }.until(&machine, "RUNNING")?;
        let files = format!("/sys/bus/platform/drivers/{driver}");
        let removal = machine.spawn(&format!("echo {driver}.0 > {files}/unbind"))?;
        assert_gone(recorder, "arecord")?;
        assert_gone(player, "aplay")?;
        removal.wait(NOTICED)?.success()?;
        machine.until(&format!("[ ! -e /proc/asound/{card} ]"), NOTICED)?;

        machine.shell(&format!("echo {driver}.0 > {files}/bind"))?;
        assert_eq!(identity(&machine, card)?, before, "another id or path");
        assert_plays(&machine, card)?;
    }
    Ok(())
}
