//! What the ALSA host does when devices go away in mid-stream, sleep, or are not served in time: shared faults 1, 4, 5, 8.

use std::time::{Duration, Instant};

use handsfree_kernel_tests::{Failure, Job, Machine, Options, Result};
use serde_json::json;

use crate::duplex::{PROGRAM, Said};
use crate::stream::Stream;
use crate::{turn, usb};

/// Something that happens at once happens within this on an emulated machine that is busy.
const SOON: Duration = Duration::from_secs(20);
/// A lost device is told within this, by the guest's own clock.
const TOLD_WITHIN_S: f64 = 0.1;
/// The hearing end of the cable.
const MICROPHONE: Stream = Stream { card: "A", pcm: "pcm1c" };
/// Ends the program.
const END: &str = "touch /end";

/// Starts the program and waits until samples move.
fn start<'m>(machine: &'m Machine, switches: &str) -> Result<Job<'m>> {
    machine.shell("rm -f /end")?;
    let job = machine.spawn(&format!("exec duplex --until /end --seconds 100 {switches}"))?;
    until_said(&job, "\"Started\"", 1)?;
    Ok(job)
}

/// Waits until the program has said `words` so many times.
fn until_said(job: &Job<'_>, words: &str, times: usize) -> Result<()> {
    let deadline = Instant::now() + SOON;
    loop {
        // Before its first word there is nothing to read.
        let text = job.written().unwrap_or_else(|failure| failure.to_string());
        if text.matches(words).count() >= times {
            return Ok(());
        }
        if Instant::now() > deadline || job.has_ended() {
            return Err(Failure::new(format!("duplex did not say {words} {times} times: {text}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Lets a device go on for so many sample frames.
fn let_run(machine: &Machine, stream: Stream, sample_frames: i64) -> Result<()> {
    let deadline = Instant::now() + SOON;
    let from = stream.position(machine)?;
    while stream.position(machine)? < from + sample_frames {
        if Instant::now() > deadline {
            return Err(Failure::new(format!("{} {} stands still", stream.card, stream.pcm)));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn end(machine: &Machine, job: Job<'_>) -> Result<Said> {
    machine.shell(END)?;
    Said::read(&job.wait(SOON)?.success()?)
}

/// When the kernel last wrote a message with these words, in seconds since it was booted.
fn kernel_said_at(machine: &Machine, words: &str) -> Result<f64> {
    let line = machine.shell(&format!("dmesg | grep '{words}' | tail -n 1"))?;
    let stamp = line.trim_start_matches(['[', ' ']).split(']').next().unwrap_or_default();
    stamp.parse().map_err(|_| Failure::new(format!("no time in the kernel's message: {line}")))
}

fn listed(machine: &Machine) -> Result<String> {
    machine.shell("duplex --list")
}

#[test]
fn an_unplugged_loudspeaker_is_told_once_at_once_and_plays_again_by_its_socket() -> Result<()> {
    let _turn = turn();
    let machine = Machine::boot(
        &Options::new()
            .module("snd-aloop index=0 id=A")
            .module("xhci-pci")
            .module("snd-usb-audio index=1")
            .program(PROGRAM)
            .qemu(usb::QEMU),
    )?;
    machine.until("[ -e /proc/asound/Audio ]", SOON)?;
    let devices: serde_json::Value = serde_json::from_str(&listed(&machine)?)
        .map_err(|error| Failure::new(format!("duplex --list: {error}")))?;
    let id = devices["devices"]
        .as_array()
        .and_then(|list| {
            list.iter().find_map(|device| device["id"].as_str().filter(|id| id.starts_with("usb:")))
        })
        .ok_or_else(|| Failure::new(format!("no USB device in {devices:#}")))?
        .to_owned();
    println!("{id}");

    let job = start(&machine, &format!("--input hw:A,1 --output {id} --periods 4 --reopen"))?;
    let loudspeaker = Stream { card: "Audio", pcm: "pcm0p" };
    let mut unplugged_s = Vec::new();
    for round in 1..=2 {
        loudspeaker.until(&machine, "RUNNING")?;
        usb::unplug(&machine)?;
        until_said(&job, "DeviceLost", round)?;
        unplugged_s.push(kernel_said_at(&machine, "USB disconnect")?);
        usb::plug(&machine)?;
        until_said(&job, "\"Reopened\"", round)?;
    }
    loudspeaker.until(&machine, "RUNNING")?;
    let said = end(&machine, job)?;
    assert_eq!(said.named("DeviceLost").len(), 2, "{said:#?}");
    assert_eq!(said.named("DeviceReturned").len(), 2, "{said:#?}");
    for reopened in said.named("Reopened") {
        assert_eq!(reopened["direction"], "Playback");
        assert!(reopened["error"].is_null(), "{reopened}");
    }
    let told_s = said.named("DeviceLost").into_iter().filter_map(|event| event["at_s"].as_f64());
    let delays_s: Vec<f64> =
        told_s.zip(&unplugged_s).map(|(told_s, unplugged_s)| told_s - unplugged_s).collect();
    println!("told {delays_s:.3?} s after the kernel");
    // The machine's one processor is emulated and may be held up; both times it is not.
    assert!(delays_s.iter().any(|delay_s| *delay_s < TOLD_WITHIN_S), "{delays_s:?}");
    assert_eq!(said.report["ends_back"], json!([true, true]));
    assert!(said.number("/outlet/discarded_sample_frames") > 0.0, "what it held was never played: {said:#?}");
    assert_eq!(said.number("/intake/gaps"), 0.0, "the microphone went on: {said:#?}");
    Ok(())
}

#[test]
fn a_microphone_and_its_loudspeaker_go_together_and_come_back() -> Result<()> {
    let _turn = turn();
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
    until_said(&job, "DeviceLost", 2)?;
    removal.wait(SOON)?.success()?;
    machine.until("[ ! -e /proc/asound/Intel ]", SOON)?;
    machine.shell("echo 1 > /sys/bus/pci/rescan")?;
    until_said(&job, "\"Reopened\"", 2)?;
    Stream { card: "Intel", pcm: "pcm0c" }.until(&machine, "RUNNING")?;
    Stream { card: "Intel", pcm: "pcm0p" }.until(&machine, "RUNNING")?;
    let said = end(&machine, job)?;
    let directions: Vec<_> = said.named("DeviceLost").iter().map(|event| event["event"].clone()).collect();
    assert_eq!(directions.len(), 2, "{said:#?}");
    assert_ne!(directions[0], directions[1], "one for each direction");
    let heard_when_lost = said.named("Reopened")[1]["heard"].as_u64();
    assert!(heard_when_lost.is_none_or(|heard| (heard as f64) < said.number("/listener/heard")));
    assert_eq!(said.report["ends_back"], json!([true, true]));
    Ok(())
}

#[test]
fn after_a_suspend_everything_runs_on() -> Result<()> {
    let _turn = turn();
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
    // USB cannot resume; it is prepared anew.
    let usb = machine.spawn("exec duplex --until /end --seconds 100 --output hw:Audio,0 --periods 20")?;
    until_said(&usb, "\"Started\"", 1)?;
    let_run(&machine, MICROPHONE, 48_000)?;
    machine.shell("echo mem > /sys/power/state")?;
    until_said(&cable, "Xrun { direction: Capture", 1)?;
    until_said(&cable, "Xrun { direction: Playback", 1)?;
    until_said(&usb, "Xrun { direction: Playback", 1)?;
    // Some of the signal after it, so that there is something to have been heard.
    let_run(&machine, MICROPHONE, 48_000)?;
    let said = end(&machine, cable)?;
    let usb_said = Said::read(&usb.wait(SOON)?.success()?)?;
    assert_eq!(
        said.named("DeviceLost").len() + usb_said.named("DeviceLost").len(),
        0,
        "{said:#?} {usb_said:#?}"
    );
    let breaks = said.report["listener"]["breaks"].as_array().map_or(0, Vec::len);
    assert!((1..=3).contains(&breaks), "the signal was found again: {said:#?}");
    assert!(said.number("/listener/exact") > 0.5 * said.number("/listener/heard"), "{said:#?}");
    Ok(())
}

#[test]
fn a_process_that_was_stopped_counts_what_it_missed() -> Result<()> {
    let _turn = turn();
    let machine = Machine::boot(&Options::new().module("snd-aloop index=0 id=A").program(PROGRAM))?;
    let job = start(&machine, "--input hw:A,1 --output hw:A,0 --periods 20")?;
    for xrun in 1..=2 {
        let_run(&machine, MICROPHONE, 48_000)?;
        job.signal("STOP")?;
        MICROPHONE.until(&machine, "XRUN")?;
        Stream { card: "A", pcm: "pcm0p" }.until(&machine, "XRUN")?;
        job.signal("CONT")?;
        until_said(&job, "Xrun { direction: Capture", xrun)?;
        until_said(&job, "Xrun { direction: Playback", xrun)?;
    }
    let_run(&machine, MICROPHONE, 48_000)?;
    let said = end(&machine, job)?;
    assert_eq!(said.number("/intake/gaps"), 2.0, "one gap for each stop: {said:#?}");
    assert_eq!(said.number("/outlet/gaps"), 2.0, "{said:#?}");
    assert_eq!(said.named("DeviceLost").len(), 0);
    // The timeline is kept: what was heard and what was missed make up the time that passed.
    let timeline_s = (said.number("/listener/heard") + said.number("/intake/gap_sample_frames")) / 48_000.0;
    let passed_s = said.number("/seconds");
    println!(
        "{timeline_s:.3} s of timeline in {passed_s:.3} s, {} missed",
        said.number("/intake/gap_sample_frames")
    );
    assert!((timeline_s - passed_s).abs() < 0.3, "{timeline_s} s of timeline in {passed_s} s: {said:#?}");
    let breaks = said.report["listener"]["breaks"].as_array().map_or(0, Vec::len);
    assert_eq!(breaks, 2, "the signal was found again after each: {said:#?}");
    Ok(())
}
