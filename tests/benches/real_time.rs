//! Benchmark: speed of simulated sessions relative to real time. Promised are 50 times real time with the APM and room
//! acoustics, and 1000 times with the core alone; the benchmark fails below that.
#![allow(missing_docs)]

use std::process::ExitCode;

use handsfree_apm::{ApmConfig, ApmProcessor, GainControl};
use handsfree_core::capture::{Bypass, VoiceProcessor};
use handsfree_core::{Format, SampleRate};
use handsfree_sim::acoustics::{Acoustics, RoomAcoustics, Wire};
use handsfree_sim::noise::{Colour, Noise, Rng};
use handsfree_sim::room::{Loudspeaker, Room, RoomSource};
use handsfree_sim::scenario::{Scenario, run};
use handsfree_tests::{far_speech, plain_board, to_pcm, uneventful};

/// Number of runs, of which the fastest counts, since other load on the machine only makes a run slower.
const RUNS: usize = 3;

fn room(rate: SampleRate) -> RoomAcoustics {
    let length = rate.hz() as usize * 3 / 10;
    let response = Room::default().impulse_response(RoomSource::Loudspeaker, rate.hz(), length).unwrap();
    let noise = Noise::new(Rng::new(1), Colour::Pink, -75.0);
    RoomAcoustics::new(Loudspeaker::new(0.0).unwrap(), &response, far_speech(rate, 60.0), noise)
}

/// Returns the speed relative to real time, without the creation of the voice processor and the acoustics.
fn factor<V: VoiceProcessor>(
    rate_hz: u32,
    seconds: f64,
    record: bool,
    air: impl Fn(SampleRate) -> Box<dyn Acoustics>,
    voice: impl Fn() -> V,
    change: impl Fn(&mut Scenario),
) -> f64 {
    let rate = SampleRate::new(rate_hz).unwrap();
    let mut scenario = uneventful(plain_board(rate, 1), seconds, to_pcm(&far_speech(rate, seconds)));
    scenario.record = record;
    change(&mut scenario);
    (0..RUNS)
        .map(|_| run(&scenario, air(rate), voice(), &mut |_| {}).unwrap().realtime_factor)
        .fold(0.0, f64::max)
}

fn everything(rate_hz: u32) -> ApmProcessor {
    let format = Format::new(rate_hz, 1).unwrap();
    let config = ApmConfig { gain_control: GainControl::Adaptive, ..ApmConfig::default() };
    ApmProcessor::new(format, format, config).unwrap()
}

fn main() -> ExitCode {
    // `cargo test --benches` only checks that it runs.
    let seconds = if std::env::args().any(|arg| arg == "--test") { 1.0 } else { 60.0 };
    let same = |_: &mut Scenario| {};
    let boxed_room = |rate| Box::new(room(rate)) as Box<dyn Acoustics>;
    let wire = |_| Box::new(Wire) as Box<dyn Acoustics>;
    let drifting = |scenario: &mut Scenario| scenario.board.playback.ppm = 200.0;
    let cases = [
        (
            "APM, room, recorded, 48 kHz",
            Some(50.0),
            factor(48_000, seconds, true, boxed_room, || everything(48_000), same),
        ),
        (
            "APM, room, two clocks, 48 kHz",
            None,
            factor(48_000, seconds, true, boxed_room, || everything(48_000), drifting),
        ),
        (
            "APM, room, recorded, 16 kHz",
            Some(50.0),
            factor(16_000, seconds, true, boxed_room, || everything(16_000), same),
        ),
        (
            "bypass, wire, nothing recorded, 48 kHz",
            Some(1_000.0),
            factor(48_000, seconds * 10.0, false, wire, || Bypass, same),
        ),
        (
            "bypass, wire, nothing recorded, 16 kHz",
            Some(1_000.0),
            factor(16_000, seconds * 10.0, false, wire, || Bypass, same),
        ),
        ("bypass, wire, two clocks, 48 kHz", None, factor(48_000, seconds, false, wire, || Bypass, drifting)),
    ];
    let mut kept = true;
    println!("{:<44}{:>16}{:>12}", "times real time", "measured", "promised");
    for (name, promised, measured) in cases {
        let broken = promised.is_some_and(|promised| measured < promised);
        kept &= !broken;
        let promise = promised.map_or_else(String::new, |factor| format!("{factor:.0}"));
        println!("{name:<44}{measured:>16.0}{promise:>12}{}", if broken { "  too slow" } else { "" });
    }
    if kept || seconds < 2.0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
