//! `handsfree doctor` and `handsfree devices` on a loopback card with an exactly known latency.

use std::time::Duration;

use handsfree_kernel_tests::{Machine, MachineFailure, Options, Result};
use serde_json::Value;

/// Timeout in real time, as for the room.
const LIMIT: Duration = Duration::from_secs(600);

pub(crate) fn run() -> Result<()> {
    let machine = Machine::boot(
        &Options::new().own_time().module("snd-aloop id=A").program(env!("CARGO_BIN_EXE_handsfree")),
    )?;
    let devices = "--input hw:CARD=A,DEV=1 --output hw:CARD=A,DEV=0";
    let script = format!(
        "handsfree devices --io alsa --json && \\
         handsfree doctor --io alsa --rate 16000 {devices} --periods 10 --json"
    );
    let output = machine.run(&script, LIMIT)?.success()?;
    let json = |line: Option<&str>| -> Result<Value> {
        serde_json::from_str(line.unwrap_or_default())
            .map_err(|error| MachineFailure::new(format!("{error}: {output}")))
    };
    let mut lines = output.lines();
    let (listed, found) = (json(lines.next())?, json(lines.next())?);
    let ids: Vec<&str> =
        listed.as_array().into_iter().flatten().filter_map(|device| device["id"].as_str()).collect();
    assert!(ids.contains(&"hw:CARD=A,DEV=0") && ids.contains(&"hw:CARD=A,DEV=1"), "{listed:#}");
    let formats = listed[0]["formats"].as_array().map_or(0, Vec::len);
    assert_eq!(formats, 5, "a loopback card supports every format: {listed:#}");
    println!("{found:#}");
    let trip = &found["round_trip"];
    assert_eq!(trip["heard"], 5);
    let (sound_ms, times_ms) = (trip["by_sound_ms"].as_f64(), trip["by_times_ms"].as_f64());
    let (sound_ms, times_ms) = sound_ms.zip(times_ms).unwrap_or_default();
    // The latency is a buffer of ten periods minus the samples that were already played when the kernel reported it.
    assert!((80.0..=100.0).contains(&sound_ms), "{sound_ms} ms");
    assert!((sound_ms - times_ms).abs() < 1.0, "{sound_ms} ms measured, {times_ms} ms from the timestamps");
    assert_eq!(
        found["drift_ppm"].as_f64().map(f64::abs),
        Some(0.0),
        "both directions have one clock: {found:#}"
    );
    assert_eq!(found["safe_period_ms"], 5.0);
    assert!(found["scheduling"]["real_time_refused"].is_null(), "{found:#}");
    Ok(())
}
