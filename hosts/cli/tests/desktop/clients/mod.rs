//! Programs of others as clients of `handsfree serve`: on a wire every sample arrives, and in a room with echo and a talker
//! they record what `handsfree run` would.

mod programs;
mod room;

use crate::samples::noise;
use crate::server::{ServerKind, alone, with};
use crate::service::{WIRE, find};
use programs::{ClientRig, Programs};
use room::Room;

/// Rate of the service where a sound server or PortAudio takes part, in hertz.
const RATE_HZ: u32 = 48_000;

/// Plays samples that nothing else resembles, and finds all of them in what is recorded meanwhile.
fn carries_every_sample(rig: ClientRig<'_>) {
    let rate_hz = rig.recorded_hz();
    let said = noise(2 * rate_hz as usize, 7);
    let heard = rig.record_and_play(5.0, 1.5, &said);
    let begin = find(&heard, &said).unwrap_or_else(|| panic!("{}", first_difference(&heard, &said)));
    println!(
        "all {} samples, {:.2} s after the recording's begin",
        said.len(),
        begin as f64 / f64::from(rate_hz)
    );
    for client in rig.service.clients("mic") {
        assert_eq!(client["dropped_sample_frames"], 0, "{client}");
    }
    rig.stop();
}

/// Says where a recording first differs from what was played.
fn first_difference(heard: &[i16], said: &[i16]) -> String {
    let Some(begin) = (0..heard.len()).find(|&at| heard[at..].starts_with(&said[..8])) else {
        let loudest = heard.iter().map(|sample| sample.unsigned_abs()).max();
        return format!("the begin is missing in {} samples; the largest is {loudest:?}", heard.len());
    };
    let equal = heard[begin..].iter().zip(said).take_while(|(a, b)| a == b).count();
    format!("sample {equal} of {} differs, found from {begin} on", said.len())
}

#[test]
#[ignore = "needs Python's packages: `make test-desktop` runs it"]
fn sounddevice_carries_every_sample() {
    let _alone = alone();
    carries_every_sample(ClientRig::start(Programs::SoundDevice, None, RATE_HZ, WIRE));
}

#[test]
#[ignore = "needs Python's packages: `make test-desktop` runs it"]
fn a_wyoming_satellite_carries_every_sample() {
    let _alone = alone();
    carries_every_sample(ClientRig::start(Programs::Satellite, None, 16_000, WIRE));
}

#[test]
#[ignore = "seconds of real time: `make test-desktop` runs it"]
fn pw_record_and_pw_play_carry_every_sample() {
    with(ServerKind::PipeWire, "clients::pw_record_and_pw_play_carry_every_sample", |server| {
        carries_every_sample(ClientRig::start(Programs::PipeWire, Some(&server), RATE_HZ, WIRE));
    });
}

#[test]
#[ignore = "half a minute of real time: `make test-desktop` runs it"]
fn alsas_programs_hear_what_run_hears() {
    let _alone = alone();
    Room::make("alsa", RATE_HZ).compare(Programs::Alsa, None);
}

#[test]
#[ignore = "half a minute of real time: `make test-desktop` runs it"]
fn sounddevice_hears_what_run_hears() {
    let _alone = alone();
    Room::make("sounddevice", RATE_HZ).compare(Programs::SoundDevice, None);
}

#[test]
#[ignore = "half a minute of real time: `make test-desktop` runs it"]
fn a_wyoming_satellite_hears_what_run_hears() {
    let _alone = alone();
    Room::make("satellite", 16_000).compare(Programs::Satellite, None);
}

#[test]
#[ignore = "half a minute of real time: `make test-desktop` runs it"]
fn pulseaudios_programs_hear_what_run_hears() {
    with(ServerKind::PulseAudio, "clients::pulseaudios_programs_hear_what_run_hears", |server| {
        Room::make("pulseaudio", RATE_HZ).compare(Programs::PulseAudio, Some(&server));
    });
}

#[test]
#[ignore = "needs Python's packages: `make test-desktop` runs it"]
fn linux_voice_assistants_recorder_hears_what_run_hears() {
    with(ServerKind::PulseAudio, "clients::linux_voice_assistants_recorder_hears_what_run_hears", |server| {
        Room::make("assistant", RATE_HZ).compare(Programs::VoiceAssistant, Some(&server));
    });
}

#[test]
#[ignore = "half a minute of real time: `make test-desktop` runs it"]
fn pipewires_programs_hear_what_run_hears() {
    with(ServerKind::PipeWire, "clients::pipewires_programs_hear_what_run_hears", |server| {
        Room::make("pipewire", RATE_HZ).compare(Programs::PipeWire, Some(&server));
    });
}
