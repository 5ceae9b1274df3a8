//! Full duplex over a loopback cable: every sample that a session plays is heard by the same session, in order, in each
//! sample format, at several rates, channel counts and period lengths; first the known fill of silence, then the signal.

use std::time::Duration;

use handsfree_kernel_tests::Result;

use crate::duplex::Said;
use crate::{shared_in_own_time, turn};

const SECONDS: f64 = 1.5;
/// Longer than a run takes in a machine that is busy.
const LONG: Duration = Duration::from_secs(40);

/// Makes a user with no rights.
const USER: &str = "grep -q '^u:' /etc/passwd || echo 'u:x:1000:1000::/:/bin/sh' >> /etc/passwd";

/// What differs from run to run: switches of the program, and what must have been granted.
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
fn what_is_played_is_heard_sample_by_sample() -> Result<()> {
    let _turn = turn();
    let machine = shared_in_own_time()?;
    for kind in ["hw", "plughw"] {
        // Conversion in ALSA's plug-in is one more case, not twice as many.
        for (switches, format, rate_hz) in CASES.into_iter().take(if kind == "hw" { CASES.len() } else { 4 })
        {
            let line =
                format!("duplex --input {kind}:A,1 --output {kind}:A,0 --seconds {SECONDS} {switches}");
            let said = Said::read(&machine.run(&line, LONG)?.success()?)?;
            let of = |name: &str| said.number(&format!("/listener/{name}"));
            let granted = &said.report["playback"];
            assert_eq!(granted["format"], format, "{line}");
            assert_eq!(granted["rate_hz"], rate_hz, "{line}");
            assert_eq!(
                said.report["listener"]["breaks"].as_array().map(Vec::len),
                Some(0),
                "{line}: {said:#?}"
            );
            assert_eq!(of("silent_before") + of("exact"), of("heard"), "{line}: every sample once, in order");
            assert!(of("exact") > f64::from(rate_hz) * (SECONDS - 0.7), "{line}: {said:#?}");
            assert_eq!(said.number("/xruns"), 0.0, "{line}: {said:#?}");
            if !switches.contains("no-link") {
                // Both directions began in one instant, so the round trip is the fill, to the sample; but the
                // cable's clock is the kernel's tick of 4 ms, and one may fall between the two beginnings.
                let late = of("silent_before") - said.number("/playback/fill_sample_frames");
                assert!(late == 0.0 || late == f64::from(rate_hz / 250), "{line}: {late} late: {said:#?}");
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
fn without_the_right_to_real_time_it_runs_and_says_so_once() -> Result<()> {
    let _turn = turn();
    let machine = shared_in_own_time()?;
    let run = "duplex --input hw:A,1 --output hw:A,0 --periods 20 --seconds 1";
    let allowed = Said::read(&machine.run(run, LONG)?.success()?)?;
    assert_eq!(allowed.named("RealTimeRefused").len(), 0, "{allowed:#?}");
    let user = format!("{USER}; chmod 666 /dev/snd/*; su u -c 'ulimit -r 0; ulimit -l 64; {run}'");
    let refused = Said::read(&machine.run(&user, LONG)?.success()?)?;
    assert_eq!(refused.named("RealTimeRefused").len(), 1, "{refused:#?}");
    assert!(refused.number("/listener/exact") > 10_000.0, "{refused:#?}");
    Ok(())
}

#[test]
fn another_rate_of_the_device_is_converted_without_loss() -> Result<()> {
    let _turn = turn();
    let machine = shared_in_own_time()?;
    let line =
        "duplex --input hw:A,1 --output hw:A,0 --rate 48000 --device-rate 44100 --period 441 --periods 20";
    let said = Said::read(&machine.run(&format!("{line} --seconds 2"), LONG)?.success()?)?;
    assert_eq!(said.report["capture"]["rate_hz"], 44_100);
    assert_eq!(said.number("/xruns"), 0.0, "{said:#?}");
    let heard = said.number("/listener/heard");
    // 10 ms for 10 ms: as many frames of the terminal's rate as there were of the device's.
    assert_eq!(heard % 480.0, 0.0);
    assert!((heard / 48_000.0 - 2.0).abs() < 0.5, "{heard} sample frames heard in 2 s");
    Ok(())
}

#[test]
fn what_cannot_be_is_refused_by_name() -> Result<()> {
    let _turn = turn();
    let machine = shared_in_own_time()?;
    let refused = |line: &str| -> Result<String> {
        let output = machine.run(&format!("duplex --seconds 0.1 {line}"), LONG)?;
        assert_ne!(output.code, 0, "{line} was not refused: {}", output.text());
        let said: serde_json::Value = serde_json::from_str(output.text().lines().last().unwrap_or_default())
            .map_err(|error| {
                handsfree_kernel_tests::Failure::new(format!("{line}: {error}: {}", output.text()))
            })?;
        Ok(said["error"].as_str().unwrap_or_default().to_owned())
    };
    let says = |line: &str, words: &[&str]| -> Result<()> {
        let error = refused(line)?;
        println!("{line}: {error}");
        assert!(words.iter().all(|word| error.contains(word)), "{line}: '{error}' lacks one of {words:?}");
        Ok(())
    };
    says("--output hw:nobody,0", &["no device 'hw:nobody,0'"])?;
    says("--output hw:A,7", &["no device 'hw:A,7'"])?;
    says("--output usb:0000:99:99.9-1,DEV=0", &["no device 'usb:0000:99:99.9-1,DEV=0'"])?;
    says("--output hw:D,0 --format S24_3LE", &["hw:D,0", "S24_3LE", "expected", "plughw:"])?;
    says("--output hw:D,0 --channels 40 --channel 0", &["hw:D,0", "channels", "40"])?;
    says("--input hw:A,1 --period 400000", &["period"])?;
    // Dummies take what comes.
    let holder = machine.spawn("exec aplay -q -D hw:A,0,3 -f S16_LE -r 48000 -c 1 -t raw /dev/zero")?;
    machine.until("grep -q RUNNING /proc/asound/A/pcm0p/sub3/status", LONG)?;
    says("--output hw:A,0,3", &["'hw:A,0,3' is in use"])?;
    holder.signal("KILL")?;
    holder.wait(LONG)?;
    machine.shell(
        "grep -q '^u:' /etc/passwd || echo 'u:x:1000:1000::/:/bin/sh' >> /etc/passwd; chmod 600 /dev/snd/*",
    )?;
    let denied = machine.run("su u -c 'duplex --output hw:A,0 --seconds 0.1'", LONG)?;
    assert!(denied.text().contains("device 'hw:A,0' may not be used"), "{}", denied.text());
    Ok(())
}
