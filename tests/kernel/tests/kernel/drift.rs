//! Cards with different clocks: the loopback's control `PCM Rate Shift 100000`, and sound carried between two cables.
//!
//! The control with device number 1 belongs to the cable from device 0 (playback) to device 1 (capture). Its value is
//! proportional to the card's period, not to its rate: with 102000 a second takes 1.02 s, so that the card is slow.

use std::time::Duration;

use handsfree_kernel_tests::{Job, Machine, Result, wav::Sound};

use crate::stream::{KernelStream, positions};
use crate::{LONG, exclusive, shared};

const RATE: u32 = 48_000;
const UNSHIFTED: i64 = 100_000;

/// Changes a card's clock; dropping it restores the clock.
struct RateShift<'m>(&'m Machine, &'static str);

impl<'m> RateShift<'m> {
    fn new(machine: &'m Machine, card: &'static str, shift: i64) -> Result<Self> {
        set_shift(machine, card, shift)?;
        Ok(Self(machine, card))
    }
}

impl Drop for RateShift<'_> {
    fn drop(&mut self) {
        if let Err(failure) = set_shift(self.0, self.1, UNSHIFTED) {
            eprintln!("{failure}");
        }
    }
}

fn set_shift(machine: &Machine, card: &str, shift: i64) -> Result<()> {
    let control = "iface=PCM,name='PCM Rate Shift 100000',device=1,subdevice=0";
    machine.shell(&format!("amixer -q -c {card} cset {control} {shift}"))?;
    Ok(())
}

/// Returns the ratio of the second stream's rate to the first's, measured over a number of sample frames of the first.
fn ratio(machine: &Machine, streams: [KernelStream; 2], sample_frames: i64) -> Result<f64> {
    let before = positions(machine, streams)?;
    loop {
        let now = positions(machine, streams)?;
        if now[0] - before[0] >= sample_frames {
            return Ok((now[1] - before[1]) as f64 / (now[0] - before[0]) as f64);
        }
        machine.shell("usleep 100000")?;
    }
}

#[test]
fn a_loopback_cables_clock_can_be_slow_or_fast() -> Result<()> {
    let (_exclusive, machine) = (exclusive(), shared()?);
    let streams = [KernelStream { card: "A", pcm: "pcm0p" }, KernelStream { card: "B", pcm: "pcm0p" }];
    for shift in [UNSHIFTED, 102_000, 80_000] {
        let _shifted = RateShift::new(machine, "B", shift)?;
        let mut players: Vec<Job<'_>> = Vec::new();
        for stream in streams {
            players.push(machine.spawn(&format!(
                "exec aplay -q -D hw:{},0,0 -f S16_LE -r {RATE} -c 1 -t raw /dev/zero",
                stream.card
            ))?);
            stream.until(machine, "RUNNING")?;
        }
        let wanted = UNSHIFTED as f64 / shift as f64;
        let found = ratio(machine, streams, 4 * i64::from(RATE))?;
        println!("shift {shift}: {found:.4} of the other card's rate, {wanted:.4} wanted");
        // Both positions of the second card may be a jiffy old, 192 of 192000 sample frames.
        assert!((found - wanted).abs() < 0.003, "{found}");
        for player in players {
            player.signal("TERM")?;
            player.wait(Duration::from_secs(10))?;
        }
    }
    Ok(())
}

/// Carries sound from loudspeaker A to microphone B, which have different clocks, through a pipe with a buffer.
#[test]
fn sound_is_carried_between_cables_with_different_clocks() -> Result<()> {
    let (_exclusive, machine) = (exclusive(), shared()?);
    let _a = RateShift::new(machine, "A", 99_000)?;
    let _b = RateShift::new(machine, "B", 101_000)?;
    let format = format!("-f S16_LE -r {RATE} -c 1");
    let played = Sound::noise(RATE, 1, 2 * RATE as usize, 3);
    machine.put("/tmp/played.wav", &played.then_silence(2 * RATE as usize).to_wav()?)?;

    // The buffer of half a second exceeds the drift of the clocks during the test.
    let carrier = machine.spawn(&format!(
        "arecord -q -D hw:A,1,0 {format} -t raw | aplay -q -D hw:B,0,0 {format} -t raw --buffer-time=500000"
    ))?;
    let microphone = KernelStream { card: "B", pcm: "pcm1c" };
    KernelStream { card: "B", pcm: "pcm0p" }.until(machine, "RUNNING")?;
    let recorder = machine.spawn(&format!("exec arecord -q -D hw:B,1,0 {format} -d 6 /tmp/recorded.wav"))?;
    microphone.until(machine, "RUNNING")?;
    let player = machine.spawn("exec aplay -q -D hw:A,0,0 /tmp/played.wav")?;
    let loudspeaker = KernelStream { card: "A", pcm: "pcm0p" };
    loudspeaker.until(machine, "RUNNING")?;
    let found = ratio(machine, [loudspeaker, microphone], 2 * i64::from(RATE))?;
    println!("the microphone runs at {found:.3} of the loudspeaker's rate");
    assert!((found - 99.0 / 101.0).abs() < 0.008, "{found}");

    for (job, name) in [(player, "the application's aplay"), (recorder, "the application's arecord")] {
        let output = job.wait(LONG)?;
        assert_eq!((output.code, output.errors().as_str()), (0, ""), "{name}");
    }
    assert_eq!(carrier.written()?, "", "the process that carries the sound reported an error");
    let recorded = Sound::from_wav(&machine.get("/tmp/recorded.wav")?)?;
    let start = Sound::alone_in(&played, &recorded)?;
    println!("every sample arrived, from {:.2} s on", start as f64 / f64::from(RATE));
    carrier.signal("TERM")?;
    carrier.wait(Duration::from_secs(10))?;
    Ok(())
}
