//! The ALSA host when devices disappear, are suspended or are not served in time while streams run (faults 1, 4, 5, 8).

use std::time::{Duration, Instant};

use handsfree_kernel_tests::{Job, Machine, MachineFailure, Options, Result};
use serde_json::json;

use crate::duplex::{DuplexOutput, PROGRAM};
use crate::stream::KernelStream;
use crate::{exclusive, usb};

/// Time limit for immediate effects, on a busy computer.
const SOON: Duration = Duration::from_secs(20);
/// Maximum time until a lost device is reported, in seconds of the guest's clock.
const REPORTED_WITHIN_S: f64 = 0.1;
/// Capture end of the cable.
const MICROPHONE: KernelStream = KernelStream { card: "A", pcm: "pcm1c" };
/// Shell command that ends the program.
const END: &str = "touch /end";

/// Starts the program and waits until samples move.
fn start<'m>(machine: &'m Machine, switches: &str) -> Result<Job<'m>> {
    machine.shell("rm -f /end")?;
    let job = machine.spawn(&format!("exec duplex --until /end --seconds 100 {switches}"))?;
    wait_for_output(&job, "\"Started\"", 1)?;
    Ok(job)
}

/// Waits until the program's output contains `words` the given number of times.
fn wait_for_output(job: &Job<'_>, words: &str, times: usize) -> Result<()> {
    let deadline = Instant::now() + SOON;
    loop {
        // The output file does not exist before the program has started.
        let text = job.written().unwrap_or_else(|failure| failure.to_string());
        if text.matches(words).count() >= times {
            return Ok(());
        }
        if Instant::now() > deadline || job.has_ended() {
            return Err(MachineFailure::new(format!(
                "the output of duplex does not contain {words} {times} times: {text}"
            )));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until a device has advanced by a number of sample frames.
fn wait_for_progress(machine: &Machine, stream: KernelStream, sample_frames: i64) -> Result<()> {
    let deadline = Instant::now() + SOON;
    let from = stream.position(machine)?;
    while stream.position(machine)? < from + sample_frames {
        if Instant::now() > deadline {
            return Err(MachineFailure::new(format!("{} {} does not advance", stream.card, stream.pcm)));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn end(machine: &Machine, job: Job<'_>) -> Result<DuplexOutput> {
    machine.shell(END)?;
    DuplexOutput::read(&job.wait(SOON)?.success()?)
}

/// Returns the time of the kernel's last message with these words, in seconds since boot.
fn kernel_message_time_s(machine: &Machine, words: &str) -> Result<f64> {
    let line = machine.shell(&format!("dmesg | grep '{words}' | tail -n 1"))?;
    let stamp = line.trim_start_matches(['[', ' ']).split(']').next().unwrap_or_default();
    stamp
        .parse()
        .map_err(|_| MachineFailure::new(format!("expected a kernel message with a time, found: {line}")))
}

fn list_devices(machine: &Machine) -> Result<String> {
    machine.shell("duplex --list")
}

#[test]
fn an_unplugged_usb_loudspeaker_is_reported_and_reopened() -> Result<()> {
    let _exclusive = exclusive();
    let machine = Machine::boot(
        &Options::new()
            .module("snd-aloop index=0 id=A")
            .module("xhci-pci")
            .module("snd-usb-audio index=1")
            .program(PROGRAM)
            .qemu(usb::QEMU),
    )?;
    machine.until("[ -e /proc/asound/Audio ]", SOON)?;
    let devices: serde_json::Value = serde_json::from_str(&list_devices(&machine)?)
        .map_err(|error| MachineFailure::new(format!("duplex --list: {error}")))?;
    let id = devices["devices"]
        .as_array()
        .and_then(|list| {
            list.iter().find_map(|device| device["id"].as_str().filter(|id| id.starts_with("usb:")))
        })
        .ok_or_else(|| MachineFailure::new(format!("no USB device in {devices:#}")))?
        .to_owned();
    println!("{id}");

    let job = start(&machine, &format!("--input hw:A,1 --output {id} --periods 4 --reopen"))?;
    let loudspeaker = KernelStream { card: "Audio", pcm: "pcm0p" };
    let mut unplugged_s = Vec::new();
    for round in 1..=2 {
        loudspeaker.until(&machine, "RUNNING")?;
        usb::unplug(&machine)?;
        wait_for_output(&job, "DeviceLost", round)?;
        unplugged_s.push(kernel_message_time_s(&machine, "USB disconnect")?);
        usb::plug(&machine)?;
        wait_for_output(&job, "\"Reopened\"", round)?;
    }
    loudspeaker.until(&machine, "RUNNING")?;
    let output = end(&machine, job)?;
    assert_eq!(output.named("DeviceLost").len(), 2, "{output:#?}");
    assert_eq!(output.named("DeviceReturned").len(), 2, "{output:#?}");
    for reopened in output.named("Reopened") {
        assert_eq!(reopened["direction"], "Playback");
        assert!(reopened["error"].is_null(), "{reopened}");
    }
    let reported_s = output.named("DeviceLost").into_iter().filter_map(|event| event["at_s"].as_f64());
    let delays_s: Vec<f64> =
        reported_s.zip(&unplugged_s).map(|(reported_s, unplugged_s)| reported_s - unplugged_s).collect();
    println!("reported {delays_s:.3?} s after the kernel's message");
    // The emulated processor may be delayed once, so one of the two reports has to be in time.
    assert!(delays_s.iter().any(|delay_s| *delay_s < REPORTED_WITHIN_S), "{delays_s:?}");
    assert_eq!(output.report["halves_returned"], json!([true, true]));
    assert!(
        output.number("/outlet/discarded_sample_frames") > 0.0,
        "the samples held by the lost device are not counted: {output:#?}"
    );
    assert_eq!(output.number("/intake/gaps"), 0.0, "the microphone was interrupted: {output:#?}");
    Ok(())
}

#[test]
fn a_removed_card_is_reported_for_both_directions_and_reopened() -> Result<()> {
    let _exclusive = exclusive();
    let machine = Machine::boot(
        &Options::new().module("snd-hda-codec-generic").module("snd-hda-intel").program(PROGRAM).qemu([
            "-audiodev",
            "none,id=off",
            "-device",
            "pcie-root-port,id=rp",
            "-device",
            "ich9-intel-hda,id=hda,bus=rp",
            "-device",
            "hda-duplex,bus=hda.0,audiodev=off",
        ]),
    )?;
    machine.until("[ -e /proc/asound/Intel ]", SOON)?;
    let path = machine.shell("readlink -f /sys/class/sound/$(readlink /proc/asound/Intel)/device")?;
    let card = "hw:CARD=Intel,DEV=0";
    let job = start(&machine, &format!("--input {card} --output {card} --periods 4 --reopen"))?;
    let removal = machine.spawn(&format!("echo 1 > {}/remove", path.trim()))?;
    wait_for_output(&job, "DeviceLost", 2)?;
    removal.wait(SOON)?.success()?;
    machine.until("[ ! -e /proc/asound/Intel ]", SOON)?;
    machine.shell("echo 1 > /sys/bus/pci/rescan")?;
    wait_for_output(&job, "\"Reopened\"", 2)?;
    KernelStream { card: "Intel", pcm: "pcm0c" }.until(&machine, "RUNNING")?;
    KernelStream { card: "Intel", pcm: "pcm0p" }.until(&machine, "RUNNING")?;
    let output = end(&machine, job)?;
    let directions: Vec<_> = output.named("DeviceLost").iter().map(|event| event["event"].clone()).collect();
    assert_eq!(directions.len(), 2, "{output:#?}");
    assert_ne!(directions[0], directions[1], "each direction is reported lost once");
    let heard_when_lost = output.named("Reopened")[1]["heard"].as_u64();
    assert!(heard_when_lost.is_none_or(|heard| (heard as f64) < output.number("/listener/heard")));
    assert_eq!(output.report["halves_returned"], json!([true, true]));
    Ok(())
}

#[test]
fn streams_continue_after_a_suspend() -> Result<()> {
    let _exclusive = exclusive();
    let machine = Machine::boot(
        &Options::new()
            .module("snd-aloop index=0 id=A")
            .module("xhci-pci")
            .module("snd-usb-audio index=1")
            .program(PROGRAM)
            .qemu(usb::QEMU),
    )?;
    machine.until("[ -e /proc/asound/Audio ]", SOON)?;
    machine
        .shell("echo devices > /sys/power/pm_test; echo 0 > /sys/module/suspend/parameters/pm_test_delay")?;
    let cable = start(&machine, "--input hw:A,1 --output hw:A,0 --periods 20")?;
    // A USB device cannot resume; its stream is prepared again.
    let usb = machine.spawn("exec duplex --until /end --seconds 100 --output hw:Audio,0 --periods 20")?;
    wait_for_output(&usb, "\"Started\"", 1)?;
    wait_for_progress(&machine, MICROPHONE, 48_000)?;
    machine.shell("echo mem > /sys/power/state")?;
    wait_for_output(&cable, "Xrun { direction: Capture", 1)?;
    wait_for_output(&cable, "Xrun { direction: Playback", 1)?;
    wait_for_output(&usb, "Xrun { direction: Playback", 1)?;
    // Let some of the signal pass after the suspend.
    wait_for_progress(&machine, MICROPHONE, 48_000)?;
    let output = end(&machine, cable)?;
    let usb_output = DuplexOutput::read(&usb.wait(SOON)?.success()?)?;
    assert_eq!(
        output.named("DeviceLost").len() + usb_output.named("DeviceLost").len(),
        0,
        "{output:#?} {usb_output:#?}"
    );
    let breaks = output.report["listener"]["breaks"].as_array().map_or(0, Vec::len);
    assert!((1..=3).contains(&breaks), "the signal was not found again: {output:#?}");
    assert!(output.number("/listener/exact") > 0.5 * output.number("/listener/heard"), "{output:#?}");
    Ok(())
}

#[test]
fn a_stopped_process_counts_the_samples_it_missed() -> Result<()> {
    let _exclusive = exclusive();
    let machine = Machine::boot(&Options::new().module("snd-aloop index=0 id=A").program(PROGRAM))?;
    let job = start(&machine, "--input hw:A,1 --output hw:A,0 --periods 20")?;
    for xrun in 1..=2 {
        wait_for_progress(&machine, MICROPHONE, 48_000)?;
        job.signal("STOP")?;
        MICROPHONE.until(&machine, "XRUN")?;
        KernelStream { card: "A", pcm: "pcm0p" }.until(&machine, "XRUN")?;
        job.signal("CONT")?;
        wait_for_output(&job, "Xrun { direction: Capture", xrun)?;
        wait_for_output(&job, "Xrun { direction: Playback", xrun)?;
    }
    wait_for_progress(&machine, MICROPHONE, 48_000)?;
    let output = end(&machine, job)?;
    assert_eq!(output.number("/intake/gaps"), 2.0, "expected one gap for each stop: {output:#?}");
    assert_eq!(output.number("/outlet/gaps"), 2.0, "{output:#?}");
    assert_eq!(output.named("DeviceLost").len(), 0);
    // Captured and missed sample frames add up to the elapsed time.
    let timeline_s =
        (output.number("/listener/heard") + output.number("/intake/gap_sample_frames")) / 48_000.0;
    let passed_s = output.number("/seconds");
    println!(
        "{timeline_s:.3} s of timeline in {passed_s:.3} s, {} missed",
        output.number("/intake/gap_sample_frames")
    );
    assert!((timeline_s - passed_s).abs() < 0.3, "{timeline_s} s of timeline in {passed_s} s: {output:#?}");
    let breaks = output.report["listener"]["breaks"].as_array().map_or(0, Vec::len);
    assert_eq!(breaks, 2, "the signal was not found again after each stop: {output:#?}");
    Ok(())
}
