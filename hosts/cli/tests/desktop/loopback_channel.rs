//! Device of six channels, one of which records what is played: the switches of docs/recipes/loopback-channel.md on PulseAudio.

use std::time::{Duration as Span, Instant as Moment};

use crate::samples::bytes_of;
use crate::server::{ServerKind, with};
use crate::service::Service;

/// Rate of the device and of the service, in hertz.
const RATE_HZ: u32 = 16_000;
/// Echo reduction that is reached, in dB, and the time for it.
const REDUCTION_DB: f64 = 30.0;
const LIMIT: Span = Span::from_secs(25);

#[test]
fn a_loopback_channel_is_the_echo_reference() {
    with(ServerKind::PulseAudio, "loopback_channel::a_loopback_channel_is_the_echo_reference", |server| {
        // All six channels record the loudspeaker: the microphone hears an echo without delay.
        server.pactl(&[
            "load-module",
            "module-remap-source",
            "source_name=array",
            "master=phone.monitor",
            "channels=6",
            "channel_map=surround-51",
            "master_channel_map=mono,mono,mono,mono,mono,mono",
            "remix=no",
        ]);
        let recipe = include_str!("../../../../docs/recipes/loopback-channel.md");
        let switches = "--input-channels 6 --input-channel 1 --input-loopback 5";
        assert!(recipe.contains(switches));
        let words = format!(
            "serve --io cpal --no-ns --no-agc --rate {RATE_HZ} --input pulseaudio:array --output pulseaudio:phone {switches} \
             --voice-deadline-ms 500"
        );
        let service = Service::start_with("array", &words);
        let clip = handsfree_sim::wav::Clip::far();
        let speech = handsfree::pcm::to_i16(&clip.to_mono_at(RATE_HZ)).repeat(3);
        let file = service.folder.join("speech");
        std::fs::write(&file, bytes_of(&speech)).unwrap();
        let words = format!("speak -t raw -r {RATE_HZ} {}", file.display());
        let mut speaker = service.command(&words).spawn().unwrap();
        let begun = Moment::now();
        let mut best_db = f64::NEG_INFINITY;
        while best_db < REDUCTION_DB {
            let status = service.status();
            best_db = best_db.max(status["erle_db"].as_f64().unwrap_or(best_db));
            assert!(begun.elapsed() < LIMIT, "reduced by {best_db:.1} dB: expected {REDUCTION_DB}; {status}");
            std::thread::sleep(Span::from_millis(200));
        }
        println!("reduced by {best_db:.1} dB {:.1} s after the begin", begun.elapsed().as_secs_f64());
        speaker.kill().unwrap();
        speaker.wait().unwrap();
        service.stop();
    });
}
