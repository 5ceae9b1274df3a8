//! Sound cards without faults: exact loopback, short periods, positions, shared clocks; and xruns of stopped processes.

use std::time::Duration;

use handsfree_kernel_tests::{Machine, MachineFailure, Result, wav::Sound};

use crate::stream::KernelStream;
use crate::{LONG, exclusive, shared, shared_in_own_time};

const RATE: u32 = 48_000;

#[test]
fn a_loopback_cable_carries_every_sample() -> Result<()> {
    let (_exclusive, machine) = (exclusive(), shared()?);
    for (channels, seed) in [(1, 1), (2, 2)] {
        let played = Sound::noise(RATE, channels, 2 * RATE as usize, seed);
        machine.put("/tmp/played.wav", &played.then_silence(RATE as usize / 2).to_wav()?)?;
        let format = format!("-f S16_LE -r {RATE} -c {channels}");
        let recorder =
            machine.spawn(&format!("exec arecord -q -D hw:A,1,0 {format} -d 5 /tmp/recorded.wav"))?;
        KernelStream { card: "A", pcm: "pcm1c" }.until(machine, "RUNNING")?;
        machine.shell("aplay -q -D hw:A,0,0 /tmp/played.wav")?;
        let output = recorder.wait(LONG)?;
        assert_eq!((output.code, output.errors().as_str()), (0, ""), "arecord");
        let recorded = Sound::from_wav(&machine.get("/tmp/recorded.wav")?)?;
        assert_eq!(recorded.samples.len(), 5 * RATE as usize * usize::from(channels));
        let start = Sound::alone_in(&played, &recorded)?;
        println!("{channels} channels: all {} samples, from sample frame {start} on", played.samples.len());
    }
    Ok(())
}

/// The dummy card interrupts at every period of any length, unlike cards that are timed by jiffies.
#[test]
fn a_dummy_card_supports_short_periods() -> Result<()> {
    let (_exclusive, machine) = (exclusive(), shared_in_own_time()?);
    for period in [120, 240, 480] {
        let output = machine.run(
            &format!(
                "start=$(cut -d ' ' -f 1 /proc/uptime)
                aplay -v -D hw:D,0 -f S16_LE -r {RATE} -c 2 -t raw -d 2 --period-size={period} \
                    --buffer-size=1920 /dev/zero || exit
                echo $start $(cut -d ' ' -f 1 /proc/uptime)"
            ),
            LONG,
        )?;
        let times = output.success()?;
        let output_text = output.errors();
        assert!(output_text.contains(&format!("period_size  : {period}\n")), "{output_text}");
        assert!(!output_text.contains("underrun"), "{output_text}");
        let times: Vec<f64> = times.split_whitespace().filter_map(|time| time.parse().ok()).collect();
        let took = times[1] - times[0];
        println!("periods of {period}: 2 s of sound took {took:.2} s");
        assert!((1.9..2.2).contains(&took), "{took}");
    }
    Ok(())
}

/// The position advances between two jiffies, which are 192 sample frames apart.
#[test]
fn a_dummy_cards_position_is_finer_than_a_jiffy() -> Result<()> {
    let (_exclusive, machine) = (exclusive(), shared()?);
    let stream = KernelStream { card: "D", pcm: "pcm0p" };
    let _player = machine.spawn(&format!(
        "exec aplay -q -D hw:D,0 -f S16_LE -r {RATE} -c 2 -t raw --period-size=480 --buffer-size=9600 /dev/zero"
    ))?;
    stream.until(machine, "RUNNING")?;
    let mut between = 0;
    for _ in 0..10 {
        between += u32::from(stream.position(machine)? % 192 != 0);
    }
    println!("{between} of 10 positions between jiffies");
    // By chance, one position in 192 coincides with a jiffy.
    assert!(between >= 8, "{between}");
    Ok(())
}

/// Sets another card as the timer source of card A's cable; dropping it restores the cable's own timer.
struct TimerSource<'m>(&'m Machine);

impl<'m> TimerSource<'m> {
    fn of(machine: &'m Machine, source: &str) -> Result<Self> {
        set_timer_source(machine, source)?;
        Ok(Self(machine))
    }
}

impl Drop for TimerSource<'_> {
    fn drop(&mut self) {
        if let Err(failure) = set_timer_source(self.0, "") {
            eprintln!("{failure}");
        }
    }
}

fn set_timer_source(machine: &Machine, source: &str) -> Result<()> {
    machine.shell(&format!("echo {source} > /proc/asound/A/timer_source"))?;
    Ok(())
}

/// With `timer_source` a loopback cable advances with the periods of the named stream, which must be running. The cable then
/// has short periods on another card's clock.
#[test]
fn a_loopback_cable_can_run_on_another_cards_clock() -> Result<()> {
    let (_exclusive, machine) = (exclusive(), shared()?);
    let (timing, cable) =
        (KernelStream { card: "D", pcm: "pcm0p" }, KernelStream { card: "A", pcm: "pcm0p" });
    // A buffer of a fifth of a second, because an xrun of the timing stream ends the other one.
    let stream = "-f S16_LE -r 48000 -c 2 -t raw --period-size=120 --buffer-size=9600 /dev/zero";
    let _timer_source = TimerSource::of(machine, "hw:D,0,0")?;

    let alone = machine.run(&format!("exec aplay -q -D hw:A,0,0 {stream}"), LONG)?;
    assert!(alone.errors().contains("Input/output error"), "{}", alone.errors());

    let clock = machine.spawn(&format!("exec aplay -q -D hw:D,0 {stream}"))?;
    timing.until(machine, "RUNNING")?;
    let player = machine.spawn(&format!("exec aplay -q -D hw:A,0,0 {stream}"))?;
    cable.until(machine, "RUNNING")?;
    let mut positions = Vec::new();
    for _ in 0..10 {
        positions.push(cable.position(machine)?);
    }
    println!("{positions:?}");
    assert!(positions.iter().all(|position| position % 120 == 0), "{positions:?}");
    assert!(positions.iter().any(|position| position % 192 != 0), "{positions:?}");
    for job in [player, clock] {
        job.signal("TERM")?;
        job.wait(Duration::from_secs(10))?;
    }
    Ok(())
}

#[test]
fn a_stopped_process_has_an_xrun() -> Result<()> {
    let (_exclusive, machine) = (exclusive(), shared()?);
    let cases = [
        ("aplay", "/dev/zero", "underrun", KernelStream { card: "D", pcm: "pcm0p" }),
        ("arecord", "/dev/null", "overrun", KernelStream { card: "D", pcm: "pcm0c" }),
    ];
    for (program, file, complaint, stream) in cases {
        let job = machine.spawn(&format!(
            "exec {program} -D hw:D,0 -f S16_LE -r {RATE} -c 2 -t raw --period-size=480 --buffer-size=9600 {file}"
        ))?;
        stream.until(machine, "RUNNING")?;
        job.signal("STOP")?;
        stream.until(machine, "XRUN")?;
        assert!(!job.written()?.contains(complaint), "the process noticed the xrun while it was stopped");
        job.signal("CONT")?;
        stream.until(machine, "RUNNING")?;
        let output_text = job.written()?;
        if !output_text.contains(complaint) {
            return Err(MachineFailure::new(format!("{program} did not report the xrun: {output_text}")));
        }
        job.signal("TERM")?;
        job.wait(Duration::from_secs(10))?;
    }
    Ok(())
}
