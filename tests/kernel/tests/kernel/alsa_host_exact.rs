//! Full duplex over a loopback cable: a session captures every sample that it plays, in order, in each sample format, at
//! several rates, channel counts and period lengths. The signal follows the initial fill of silence, which has a known length.

use std::time::Duration;

use handsfree_kernel_tests::Result;

use crate::duplex::DuplexOutput;
use crate::{exclusive, shared_in_own_time};

const SECONDS: f64 = 1.5;
/// Time limit for a run, longer than it takes on a busy computer.
const LONG: Duration = Duration::from_secs(40);

/// Shell command that creates an unprivileged user.
const USER: &str = "grep -q '^u:' /etc/passwd || echo 'u:x:1000:1000::/:/bin/sh' >> /etc/passwd";

/// Switches of each run, and the sample format and rate that must be granted.
const CASES: [(&str, &str, u32); 12] = [
    ("--format S16_LE --rate 48000 --period 480 --periods 20", "S16_LE", 48_000),
    ("--format S16_LE --rate 16000 --period 160 --periods 20", "S16_LE", 16_000),
    ("--format S16_LE --rate 8000 --period 160 --periods 10", "S16_LE", 8_000),
    ("--format S24_3LE --rate 48000 --period 512 --periods 20", "S24_3LE", 48_000),
    ("--format S24_LE --rate 32000 --period 320 --periods 20 --channels 2 --channel 1", "S24_LE", 32_000),
    ("--format S32_LE --rate 44100 --period 441 --periods 20", "S32_LE", 44_100),
    ("--format S32_LE --rate 96000 --period 1920 --periods 10", "S32_LE", 96_000),
    ("--format FLOAT_LE --rate 44100 --period 1024 --periods 9", "FLOAT_LE", 44_100),
    ("--format FLOAT_LE --rate 16000 --period 333 --periods 10", "FLOAT_LE", 16_000),
    ("--format S24_3LE --rate 48000 --period 960 --periods 10 --channels 8 --channel 7", "S24_3LE", 48_000),
    ("--format S16_LE --rate 48000 --period 480 --periods 20 --channels 12 --channel 11", "S16_LE", 48_000),
    ("--format S16_LE --rate 48000 --period 480 --periods 20 --no-link", "S16_LE", 48_000),
];

#[test]
fn every_played_sample_is_captured_in_order() -> Result<()> {
    let _exclusive = exclusive();
    let machine = shared_in_own_time()?;
    for kind in ["hw", "plughw"] {
        // For ALSA's conversion plug-in a few cases are enough.
        for (switches, format, rate_hz) in CASES.into_iter().take(if kind == "hw" { CASES.len() } else { 4 })
        {
            let line =
                format!("duplex --input {kind}:A,1 --output {kind}:A,0 --seconds {SECONDS} {switches}");
            let output = DuplexOutput::read(&machine.run(&line, LONG)?.success()?)?;
            let of = |name: &str| output.number(&format!("/listener/{name}"));
            let granted = &output.report["playback"];
            assert_eq!(granted["format"], format, "{line}");
            assert_eq!(granted["rate_hz"], rate_hz, "{line}");
            assert_eq!(
                output.report["listener"]["breaks"].as_array().map(Vec::len),
                Some(0),
                "{line}: {output:#?}"
            );
            assert_eq!(of("silent_before") + of("exact"), of("heard"), "{line}: every sample once, in order");
            assert!(of("exact") > f64::from(rate_hz) * (SECONDS - 0.7), "{line}: {output:#?}");
            assert_eq!(output.number("/xruns"), 0.0, "{line}: {output:#?}");
            if !switches.contains("no-link") {
                // Linked directions start together, so that the round trip equals the fill exactly, or is 4 ms longer if
                // a tick of the kernel, which is the cable's clock, falls between the two starts.
                let late = of("silent_before") - output.number("/playback/fill_sample_frames");
                assert!(late == 0.0 || late == f64::from(rate_hz / 250), "{line}: {late} late: {output:#?}");
            }
            println!(
                "{kind}, {switches}: {} samples, {} of fill before them",
                of("exact"),
                of("silent_before")
            );
        }
    }
    Ok(())
}

#[test]
fn a_refused_real_time_priority_is_reported_once() -> Result<()> {
    let _exclusive = exclusive();
    let machine = shared_in_own_time()?;
    let run = "duplex --input hw:A,1 --output hw:A,0 --periods 20 --seconds 1";
    let allowed = DuplexOutput::read(&machine.run(run, LONG)?.success()?)?;
    assert_eq!(allowed.named("RealTimeRefused").len(), 0, "{allowed:#?}");
    let user = format!("{USER}; chmod 666 /dev/snd/*; su u -c 'ulimit -r 0; ulimit -l 64; {run}'");
    let refused = DuplexOutput::read(&machine.run(&user, LONG)?.success()?)?;
    assert_eq!(refused.named("RealTimeRefused").len(), 1, "{refused:#?}");
    assert!(refused.number("/listener/exact") > 10_000.0, "{refused:#?}");
    Ok(())
}

#[test]
fn another_device_rate_is_converted_without_loss() -> Result<()> {
    let _exclusive = exclusive();
    let machine = shared_in_own_time()?;
    let line =
        "duplex --input hw:A,1 --output hw:A,0 --rate 48000 --device-rate 44100 --period 441 --periods 20";
    let output = DuplexOutput::read(&machine.run(&format!("{line} --seconds 2"), LONG)?.success()?)?;
    assert_eq!(output.report["capture"]["rate_hz"], 44_100);
    assert_eq!(output.number("/xruns"), 0.0, "{output:#?}");
    let heard = output.number("/listener/heard");
    // Each 10 ms of the device give 10 ms at the session's rate.
    assert_eq!(heard % 480.0, 0.0);
    assert!((heard / 48_000.0 - 2.0).abs() < 0.5, "{heard} sample frames heard in 2 s");
    Ok(())
}

#[test]
fn impossible_requests_are_refused_with_the_devices_name() -> Result<()> {
    let _exclusive = exclusive();
    let machine = shared_in_own_time()?;
    let refused = |line: &str| -> Result<String> {
        let output = machine.run(&format!("duplex --seconds 0.1 {line}"), LONG)?;
        assert_ne!(output.code, 0, "{line} was not refused: {}", output.text());
        let output: serde_json::Value =
            serde_json::from_str(output.text().lines().last().unwrap_or_default()).map_err(|error| {
                handsfree_kernel_tests::MachineFailure::new(format!("{line}: {error}: {}", output.text()))
            })?;
        Ok(output["error"].as_str().unwrap_or_default().to_owned())
    };
    let assert_refused = |line: &str, words: &[&str]| -> Result<()> {
        let error = refused(line)?;
        println!("{line}: {error}");
        assert!(words.iter().all(|word| error.contains(word)), "{line}: '{error}' lacks one of {words:?}");
        Ok(())
    };
    assert_refused("--output hw:missing,0", &["no device 'hw:missing,0'"])?;
    assert_refused("--output hw:A,7", &["no device 'hw:A,7'"])?;
    assert_refused("--output usb:0000:99:99.9-1,DEV=0", &["no device 'usb:0000:99:99.9-1,DEV=0'"])?;
    assert_refused("--output hw:D,0 --format S24_3LE", &["hw:D,0", "S24_3LE", "expected", "plughw:"])?;
    assert_refused("--output hw:D,0 --channels 40 --channel 0", &["hw:D,0", "channels", "40"])?;
    assert_refused("--input hw:A,1 --period 400000", &["period"])?;
    // A device that is in use.
    let holder = machine.spawn("exec aplay -q -D hw:A,0,3 -f S16_LE -r 48000 -c 1 -t raw /dev/zero")?;
    machine.until("grep -q RUNNING /proc/asound/A/pcm0p/sub3/status", LONG)?;
    assert_refused("--output hw:A,0,3", &["'hw:A,0,3' is in use"])?;
    holder.signal("KILL")?;
    holder.wait(LONG)?;
    machine.shell(
        "grep -q '^u:' /etc/passwd || echo 'u:x:1000:1000::/:/bin/sh' >> /etc/passwd; chmod 600 /dev/snd/*",
    )?;
    let denied = machine.run("su u -c 'duplex --output hw:A,0 --seconds 0.1'", LONG)?;
    assert!(denied.text().contains("device 'hw:A,0' may not be used"), "{}", denied.text());
    Ok(())
}
