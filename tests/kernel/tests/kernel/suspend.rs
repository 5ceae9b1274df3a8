//! Suspend while streams run: with `pm_test` the kernel suspends every device and resumes it, which differs from a real
//! suspend only for the firmware. Streams then return ESTRPIPE. Some devices accept SNDRV_PCM_IOCTL_RESUME afterwards; USB
//! refuses it with ENOSYS and has to be prepared again. The output of aplay shows which one happened.

use std::time::Duration;

use handsfree_kernel_tests::{Machine, Options, Result};

use crate::stream::KernelStream;
use crate::{exclusive, usb};

const FORMAT: &str = "-f S16_LE -r 48000 -c 2 -t raw --period-size=480 --buffer-size=9600";

#[test]
fn alsa_utils_resume_after_a_suspend() -> Result<()> {
    let _exclusive = exclusive();
    let machine = Machine::boot(
        &Options::new()
            .module("snd-aloop index=0 id=A")
            .module("snd-dummy index=1 id=D")
            .module("xhci-pci")
            .module("snd-usb-audio index=2")
            .qemu(usb::QEMU),
    )?;
    machine.until("[ -e /proc/asound/Audio ]", Duration::from_secs(20))?;
    machine
        .shell("echo devices > /sys/power/pm_test; echo 0 > /sys/module/suspend/parameters/pm_test_delay")?;
    let resumed = "Suspended. Trying resume. Done.";
    let restarted = "Suspended. Trying resume. Failed. Restarting stream. Done.";
    let cases = [
        ("aplay", "hw:A,0", "/dev/zero", KernelStream { card: "A", pcm: "pcm0p" }, resumed),
        ("arecord", "hw:A,1", "/dev/null", KernelStream { card: "A", pcm: "pcm1c" }, resumed),
        ("aplay", "hw:D,0", "/dev/zero", KernelStream { card: "D", pcm: "pcm0p" }, resumed),
        ("aplay", "hw:Audio,0", "/dev/zero", KernelStream { card: "Audio", pcm: "pcm0p" }, restarted),
    ];
    let mut jobs = Vec::new();
    for (program, device, file, stream, _) in cases {
        jobs.push(machine.spawn(&format!("exec {program} -D {device} {FORMAT} {file}"))?);
        stream.until(&machine, "RUNNING")?;
    }
    machine.shell("echo mem > /sys/power/state")?;
    for ((program, device, _, stream, wanted), job) in cases.into_iter().zip(jobs) {
        stream.until(&machine, "RUNNING")?;
        let before = stream.position(&machine)?;
        let status = format!("/proc/asound/{}/{}/sub0/status", stream.card, stream.pcm);
        machine.until(
            &format!("[ $(sed -n 's/^hw_ptr *: *//p' {status}) -gt {} ]", before + 9600),
            Duration::from_secs(20),
        )?;
        let output_text = job.written()?;
        println!("{program} on {device}: {}", output_text.lines().last().unwrap_or_default());
        assert!(output_text.contains(wanted), "{program} on {device}: {output_text}");
        job.signal("TERM")?;
        job.wait(Duration::from_secs(10))?;
    }
    Ok(())
}
