//! Latency of a session of the ALSA host that plays what it captures, in sample frames, compared with `alsaloop` on the same
//! cards and with the formula in the crate's documentation.
//!
//! Both cables run on the periods of a third card, so that the cards' positions form a common clock and the measurement is
//! exact to the sample frame. The machine has its own time, so that load on this computer has no influence. A slower
//! processor adds at most its computing time, which is less than a period as long as nothing is late.

use std::time::Duration;

use handsfree_kernel_tests::{Machine, MachineFailure, Options, Result};
use serde_json::Value;

use crate::exclusive;

const RATE: u32 = 48_000;
/// Length of the core's frames, in sample frames.
const FRAME: u32 = 480;
/// Number of periods queued for the loudspeaker, the host's default.
const PERIODS: u32 = 2;
/// Time limit for the script, even if the guest's time passes a hundred times slower than here.
const LIMIT: Duration = Duration::from_secs(300);

/// Returns the lower and the upper bound from the section "Latency" of `handsfree-alsa`'s documentation.
fn bounds(period: u32) -> (u32, u32) {
    let ring = period.div_ceil(FRAME) * FRAME;
    let least = FRAME + ring + (PERIODS - 1) * period;
    (least, least + FRAME.max(period))
}

/// Measures our latency and that of `alsaloop` at a period; all clicks must agree. This uses one script because the guest's
/// time passes quickly between scripts.
fn measure(machine: &Machine, period: u32) -> Result<[u32; 2]> {
    // alsaloop starts the playback card only once it has captured sound, so the script waits until the card is open rather
    // than running. The latency that alsaloop takes as an option is the fill of its playback buffer.
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
            until_open B $program && latency_meter --output hw:A,0,0 --input hw:B,1,0 --rate {RATE} --period {period} --clicks 4
            code=$?
            kill $program || code=1
            wait $program
            [ $code = 0 ] || cat /tmp/program
            return $code
        }}
        until_open D $clock || exit
        measure passthrough --input hw:A,1,0 --output hw:B,0,0 --rate {RATE} --period {period} --periods {PERIODS} &&
            measure alsaloop -C hw:A,1,0 -P hw:B,0,0 -r {RATE} -c 1 -f S16_LE -S none -l {latency}
        code=$?
        kill $clock
        exit $code",
        latency = PERIODS * period,
    );
    let text = machine.run(&script, LIMIT)?.success()?;
    let found: Option<Vec<u32>> = text.lines().map(common_latency).collect();
    found
        .and_then(|found| <[u32; 2]>::try_from(found).ok())
        .ok_or_else(|| MachineFailure::new(format!("expected one latency for each of two programs:\n{text}")))
}

/// Returns the latency if it is the same for all clicks.
fn common_latency(line: &str) -> Option<u32> {
    let report: Value = serde_json::from_str(line).ok()?;
    let found: Vec<u64> = report["latencies"].as_array()?.iter().filter_map(Value::as_u64).collect();
    let first = *found.first().filter(|first| found.len() >= 3 && found.iter().all(|one| one == *first))?;
    u32::try_from(first).ok()
}

#[test]
fn the_measured_latency_is_within_the_documented_bounds() -> Result<()> {
    let _exclusive = exclusive();
    let machine = Machine::boot(
        &Options::new()
            .own_time()
            .module("snd-aloop enable=1,1 index=0,1 id=A,B")
            .module("snd-dummy index=2 id=D")
            .program(env!("CARGO_BIN_EXE_passthrough"))
            .program(env!("CARGO_BIN_EXE_latency_meter")),
    )?;
    println!("period   handsfree           documented     alsaloop           ratio");
    for period in [480, 240, 120] {
        let [ours, alsaloop] = measure(&machine, period)?;
        let (least, most) = bounds(period);
        let ms = |sample_frames: u32| f64::from(sample_frames) * 1e3 / f64::from(RATE);
        println!(
            "{:4} ms  {ours} ({:.1} ms)   {least} to {most}   {alsaloop} ({:.1} ms)   {:.1}",
            ms(period),
            ms(ours),
            ms(alsaloop),
            f64::from(ours) / f64::from(alsaloop)
        );
        assert!(
            (least..=most).contains(&ours),
            "{ours} sample frames at periods of {period}, documented are {least} to {most}"
        );
    }
    Ok(())
}
