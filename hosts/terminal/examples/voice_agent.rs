//! A voice agent that can be interrupted: when a person speaks over it, it stops. It knows to the sample how
//! much of its speech left the loudspeaker, so that its transcript ends there.
//!
//!     cargo run --release -p handsfree --example voice_agent [auto|cpal|alsa|sim]
//!
//! Speak over the agent to interrupt it. On the host `sim`, a simulated person does so after 10 s.
#![allow(missing_docs)]

mod shared;

use std::error::Error;
use std::time::Duration;

use handsfree::pcm::from_i16;
use handsfree::{HostChoice, InputCapture, InputOptions, MediaDevices, OutputOptions, TrackOptions};

const RATE_HZ: u32 = 16_000;
/// Level above which a frame without echo counts as speech, in dB of full scale.
const SPEECH_DBFS: f32 = -45.0;
/// Number of frames of 10 ms with speech after which a person has started to speak.
const BEGIN_FRAMES: u32 = 8;
/// Number of frames of 10 ms without speech after which the person has finished.
const END_FRAMES: u32 = 60;
/// Number of frames of 10 ms that the echo canceller needs to converge.
const CONVERGED_FRAMES: u32 = 200;

/// A piece of text and the position where its speech ends, in samples, as a speech synthesizer reports it.
struct Piece {
    text: String,
    end: u64,
}

/// Returns the agent's speech, and its text in numbered pieces of 0.4 s.
fn synthesize(seconds: u64) -> (Vec<i16>, Vec<Piece>) {
    let samples = (seconds * u64::from(RATE_HZ)) as usize;
    let speech = shared::voice(RATE_HZ, samples);
    let length = u64::from(RATE_HZ) * 2 / 5;
    let pieces = (1..=samples as u64 / length).map(|n| Piece { text: format!("[{n}]"), end: n * length });
    (speech, pieces.collect())
}

/// Waits for the next 10 ms and returns whether a person speaks in them.
fn is_speech(microphone: &mut InputCapture) -> Result<bool, Box<dyn Error>> {
    let frame = microphone.next_frame(Duration::from_secs(5)).ok_or("no sound for 5 s")?;
    let sum: f32 = from_i16(frame.samples()).iter().map(|sample| sample * sample).sum();
    Ok(10.0 * (sum / frame.samples().len() as f32).log10() > SPEECH_DBFS)
}

fn main() -> Result<(), Box<dyn Error>> {
    let host: HostChoice = std::env::args().nth(1).map_or(Ok(HostChoice::Auto), |name| name.parse())?;
    let devices = MediaDevices::builder().rate_hz(RATE_HZ).host(host).open()?;
    devices.notices().iter().for_each(|notice| eprintln!("{notice}"));
    let mut player = devices.open_output(OutputOptions::default())?;
    let mut track = player.add_track(TrackOptions { rate_hz: RATE_HZ, channels: 1 })?;
    player.start()?;
    let options = InputOptions { auto_gain_control: false, ..InputOptions::default() };
    let mut microphone = devices.open_input(options)?;

    let (speech, pieces) = synthesize(20);
    let (mut pushed, mut frames, mut loud) = (0, 0, 0);
    let is_interrupted = loop {
        pushed += track.push(&speech[pushed..])?;
        frames += 1;
        loud = if is_speech(&mut microphone)? && frames > CONVERGED_FRAMES { loud + 1 } else { 0 };
        if loud == BEGIN_FRAMES {
            track.interrupt()?;
            break true;
        }
        if pushed == speech.len() && track.is_played_out()? {
            break false;
        }
    };
    // The device still plays what it has buffered, so the end is known after its latency.
    let heard = loop {
        is_speech(&mut microphone)?;
        match track.interrupted_at()? {
            Some(position) => break position,
            None if !is_interrupted => break track.played_position()?,
            None => {}
        }
    };
    let heard_pieces: Vec<&str> =
        pieces.iter().take_while(|piece| piece.end <= heard).map(|piece| &*piece.text).collect();
    println!("agent: {}{}", heard_pieces.join(" "), if is_interrupted { " --" } else { "" });
    println!("heard {heard} of {} samples, {} of {} pieces", speech.len(), heard_pieces.len(), pieces.len());

    let (mut spoken, mut quiet) = (loud, 0);
    while is_interrupted && quiet < END_FRAMES {
        spoken += 1;
        quiet = if is_speech(&mut microphone)? { 0 } else { quiet + 1 };
    }
    println!("person: {:.1} s of speech for the agent to answer", f64::from(spoken - quiet) / 100.0);
    Ok(())
}
