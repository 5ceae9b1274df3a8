//! A voice agent that can be interrupted: when a person speaks over it, it pauses at once; after a cough it goes on,
//! and otherwise it stops. It knows to the sample how much of its speech left the loudspeaker, so that its
//! transcript ends there, and it has the person's words from their first syllable on.
//!
//!     cargo run --release -p handsfree --example voice_agent [auto|cpal|alsa|sim]
//!
//! Speak over the agent to interrupt it. On the host `sim`, a simulated person does so after 10 s.
#![allow(missing_docs)]

mod shared;

use std::error::Error;
use std::time::Duration;

use handsfree::speech::{BargeIn, BargeInAction, SpeechEvent};
use handsfree::terminal::CancellerChoice;
use handsfree::{HostChoice, InputOptions, MediaDevices, OutputOptions, Speech, TrackOptions};
use handsfree_core::canceller::CancellerSettings;

const RATE_HZ: u32 = 16_000;
/// Time for which the agent waits for speech before it looks after its own voice.
const POLL: Duration = Duration::from_millis(10);

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

fn main() -> Result<(), Box<dyn Error>> {
    let host: HostChoice = std::env::args().nth(1).map_or(Ok(HostChoice::Auto), |name| name.parse())?;
    // This canceller knows how likely a person speaks, which makes the detection of speech better.
    let canceller = CancellerChoice::Native(CancellerSettings::DEFAULT);
    let devices = MediaDevices::builder().rate_hz(RATE_HZ).host(host).canceller(canceller).open()?;
    devices.notices().iter().for_each(|notice| eprintln!("{notice}"));
    let mut player = devices.open_output(OutputOptions::default());
    let mut track = player.add_track(TrackOptions { rate_hz: RATE_HZ, channels: 1 })?;
    player.start()?;
    let mut microphone = devices.open_input(InputOptions::default())?;

    let (speech, pieces) = synthesize(20);
    let mut barge_in = BargeIn::pausing();
    let (mut pushed, mut coughs, mut heard_at) = (0, 0, None);
    // The person's words, from 300 ms before the first one on.
    let mut words: Vec<i16> = Vec::new();
    let is_interrupted = loop {
        pushed += track.push(&speech[pushed..])?;
        match microphone.next_speech(POLL) {
            Some(Speech::Event(event)) => {
                if let SpeechEvent::Started(_) = event {
                    words.clear();
                }
                let action = barge_in.observe(event, true);
                if let Some(action) = action {
                    track.follow(action)?;
                }
                match action {
                    Some(BargeInAction::Interrupt) => break true,
                    Some(BargeInAction::Resume) => coughs += 1,
                    _ => {}
                }
            }
            Some(Speech::Audio(frame)) => words.extend(frame.samples()),
            None => {}
        }
        if pushed == speech.len() && track.is_played_out()? {
            break false;
        }
    };
    // The person goes on to speak, and the device still plays what it has buffered.
    let mut is_speaking = is_interrupted;
    while is_speaking || heard_at.is_none() {
        match microphone.next_speech(POLL) {
            Some(Speech::Audio(frame)) => words.extend(frame.samples()),
            Some(Speech::Event(SpeechEvent::Ended(_))) => is_speaking = false,
            _ => {}
        }
        heard_at = if is_interrupted { track.interrupted_at()? } else { Some(track.played_position()?) };
    }
    let heard = heard_at.unwrap_or(0);
    let heard_pieces: Vec<&str> =
        pieces.iter().take_while(|piece| piece.end <= heard).map(|piece| &*piece.text).collect();
    println!("agent: {}{}", heard_pieces.join(" "), if is_interrupted { " --" } else { "" });
    println!("heard {heard} of {} samples, {} of {} pieces", speech.len(), heard_pieces.len(), pieces.len());
    println!(
        "person: {:.1} s of speech for the agent to answer, {coughs} coughs",
        words.len() as f64 / f64::from(RATE_HZ)
    );
    Ok(())
}
