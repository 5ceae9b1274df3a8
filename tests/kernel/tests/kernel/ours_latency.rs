//! How long sound takes through a session of the ALSA host that plays what it hears, in sample frames, beside `alsaloop` on the
//! same cards in the same machine; and whether the formula in the crate's documentation holds.
//!
//! Two cables tick together with the periods of a third card, so that the cards' own positions are a common clock: what is
//! measured is exact to the sample frame. The machine has a time of its own and computes as fast as its clock says; what a
//! slower processor adds is at most the time it computes, and less than a period as long as nothing is late.

use std::time::Duration;

use handsfree_kernel_tests::{Failure, Machine, Options, Result};
use serde_json::Value;

use crate::turn;

const RATE: u32 = 48_000;
/// A frame of the core: 10 ms.
const FRAME: u32 = 480;
/// Periods before the loudspeaker, as the host has it by default.
const PERIODS: u32 = 2;
/// The machine may emulate a hundredth of a second each second.
const LIMIT: Duration = Duration::from_secs(300);

/// The least and the most of `handsfree-alsa`'s documentation, section "Latency".
fn bounds(period: u32) -> (u32, u32) {
    let ring = period.div_ceil(FRAME) * FRAME;
    let least = FRAME + ring + (PERIODS - 1) * period;
    (least, least + FRAME.max(period))
}

/// What the meter found of both programs at a period, the same for each click: ours, then `alsaloop`. One script, for the
/// machine's time runs away between two.
fn measure(machine: &Machine, period: u32) -> Result<[u32; 2]> {
    // alsaloop does not start the loudspeaker's card before it heard something: so that one is only waited for to be open.
    // What alsaloop calls its latency is what it keeps before the loudspeaker.
    let script = format!(
        "for card in A B; do echo hw:D,0,0 >/proc/asound/$card/timer_source; done
        aplay -q -D hw:D,0 -f S16_LE -r {RATE} -c 2 -t raw --period-size={period} --buffer-size=3840 /dev/zero &
        clock=$!
        until_open() {{
            while grep -q closed /proc/asound/$1/pcm0p/sub0/status; do kill -0 $2 || return; usleep 10000; done
        }}
        measure() {{
            \"$@\" >/tmp/program 2>&1 &
            program=$!
            until_open B $program && meter --output hw:A,0,0 --input hw:B,1,0 --rate {RATE} --period {period} --clicks 4
            code=$?
            kill $program || code=1
            wait $program
            [ $code = 0 ] || cat /tmp/program
            return $code
        }}
        until_open D $clock || exit
        measure through --input hw:A,1,0 --output hw:B,0,0 --rate {RATE} --period {period} --periods {PERIODS} &&
            measure alsaloop -C hw:A,1,0 -P hw:B,0,0 -r {RATE} -c 1 -f S16_LE -S none -l {latency}
        code=$?
        kill $clock
        exit $code",
        latency = PERIODS * period,
    );
    let text = machine.run(&script, LIMIT)?.success()?;
    let found: Option<Vec<u32>> = text.lines().map(the_one_latency).collect();
    found
        .and_then(|found| <[u32; 2]>::try_from(found).ok())
        .ok_or_else(|| Failure::new(format!("not two programs with one latency each:\n{text}")))
}

/// The latency that all clicks had.
fn the_one_latency(line: &str) -> Option<u32> {
    let report: Value = serde_json::from_str(line).ok()?;
    let found: Vec<u64> = report["latencies"].as_array()?.iter().filter_map(Value::as_u64).collect();
    let first = *found.first().filter(|first| found.len() >= 3 && found.iter().all(|one| one == *first))?;
    u32::try_from(first).ok()
}

#[test]
fn sound_takes_as_long_as_documented() -> Result<()> {
    let _turn = turn();
    let machine = Machine::boot(
        &Options::new()
            .own_time()
            .module("snd-aloop enable=1,1 index=0,1 id=A,B")
            .module("snd-dummy index=2 id=D")
            .program(env!("CARGO_BIN_EXE_through"))
            .program(env!("CARGO_BIN_EXE_meter")),
    )?;
    println!("period   handsfree           documented     alsaloop           ratio");
    for period in [480, 240, 120] {
        let [ours, theirs] = measure(&machine, period)?;
        let (least, most) = bounds(period);
        let ms = |sample_frames: u32| f64::from(sample_frames) * 1e3 / f64::from(RATE);
        println!(
            "{:4} ms  {ours} ({:.1} ms)   {least} to {most}   {theirs} ({:.1} ms)   {:.1}",
            ms(period),
            ms(ours),
            ms(theirs),
            f64::from(ours) / f64::from(theirs)
        );
        assert!(
            (least..=most).contains(&ours),
            "{ours} at periods of {period}, documented are {least} to {most}"
        );
    }
    Ok(())
}
