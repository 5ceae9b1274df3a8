//! A voice agent that lets itself be interrupted: when somebody speaks over it, it stops, and knows to the sample what
//! was heard of what it said, so that its transcript ends there.
//!
//!     cargo run --release -p handsfree --example voice_agent [auto|cpal|alsa|sim]
//!
//! In the simulated room somebody begins to speak after 10 s.
#![allow(missing_docs)]

use std::error::Error;
use std::time::Duration;

use handsfree::io::{AnyIo, HostChoice, HostConfig};
use handsfree::media_devices::{InputCapture, InputOptions, MediaDevices, OutputOptions, TrackOptions};
use handsfree_core::SampleRate;
use handsfree_sim::wav::Clip;

const RATE_HZ: u32 = 16_000;
/// Somebody speaks who is so loud after the echo is gone, for so many frames of 10 ms.
const SPEECH_DBFS: f32 = -45.0;
const BEGUN_FRAMES: u32 = 8;
const ENDED_FRAMES: u32 = 60;
/// The canceller has heard enough by then.
const ADAPTED_FRAMES: u32 = 200;

/// A piece of text and where its speech ends, in samples: what a synthesizer gives beside the sound.
struct Piece {
    text: String,
    end: u64,
}

/// What the agent says: the voice that is shipped with the simulator, in pieces of 0.4 s that are numbered for want of
/// text.
fn synthesize(seconds: u64) -> (Vec<i16>, Vec<Piece>) {
    let samples = (seconds * u64::from(RATE_HZ)) as usize;
    let voice = Clip::far().to_mono_at(RATE_HZ);
    let speech = voice.iter().cycle().take(samples).map(|s| (s * 32_768.0) as i16).collect();
    let length = u64::from(RATE_HZ) * 2 / 5;
    let pieces = (1..=samples as u64 / length).map(|n| Piece { text: format!("[{n}]"), end: n * length });
    (speech, pieces.collect())
}

/// Waits for the next 10 ms and says whether somebody speaks in them.
fn is_speech(microphone: &mut InputCapture<AnyIo>) -> Result<bool, Box<dyn Error>> {
    let frame = microphone.next_frame(Duration::from_secs(5)).ok_or("no sound for 5 s")?;
    let sum: f32 = frame.samples().iter().map(|&sample| (f32::from(sample) / 32_768.0).powi(2)).sum();
    Ok(10.0 * (sum / frame.samples().len() as f32).log10() > SPEECH_DBFS)
}

fn main() -> Result<(), Box<dyn Error>> {
    let host: HostChoice = std::env::args().nth(1).map_or(Ok(HostChoice::Auto), |name| name.parse())?;
    let (devices, notice) = MediaDevices::of_host(host, &HostConfig::new(SampleRate::new(RATE_HZ)?))?;
    notice.into_iter().for_each(|notice| eprintln!("{notice}"));
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
        loud = if is_speech(&mut microphone)? && frames > ADAPTED_FRAMES { loud + 1 } else { 0 };
        if loud == BEGUN_FRAMES {
            track.interrupt()?;
            break true;
        }
        if pushed == speech.len() && track.is_played_out()? {
            break false;
        }
    };
    // What the device still held was heard as well; after the device's latency it is known.
    let heard = loop {
        is_speech(&mut microphone)?;
        match track.interrupted_at()? {
            Some(position) => break position,
            None if !is_interrupted => break track.played_position()?,
            None => {}
        }
    };
    let said: Vec<&str> =
        pieces.iter().take_while(|piece| piece.end <= heard).map(|piece| &*piece.text).collect();
    println!("agent: {}{}", said.join(" "), if is_interrupted { " --" } else { "" });
    println!("heard {heard} of {} samples, {} of {} pieces", speech.len(), said.len(), pieces.len());

    let (mut spoken, mut quiet) = (loud, 0);
    while is_interrupted && quiet < ENDED_FRAMES {
        spoken += 1;
        quiet = if is_speech(&mut microphone)? { 0 } else { quiet + 1 };
    }
    println!("somebody: {:.1} s of speech for the agent to answer", f64::from(spoken - quiet) / 100.0);
    Ok(())
}
