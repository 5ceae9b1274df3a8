//! Plays and listens in two asynchronous tasks. The futures work in any executor; this example uses tokio.
//!
//!     cargo run --release -p handsfree --example tokio [auto|cpal|alsa|sim] [SECONDS]
#![allow(missing_docs)]

mod shared;

use std::error::Error;
use std::time::Duration;

use handsfree::{
    HostChoice, InputCapture, InputOptions, MediaDevices, MediaError, OutputOptions, OutputTrack,
    TrackOptions,
};

const RATE_HZ: u32 = 24_000;

/// Plays all of the speech, and returns how many samples left the loudspeaker.
async fn speak(mut track: OutputTrack, speech: Vec<i16>) -> Result<u64, MediaError> {
    for sentence in speech.chunks(RATE_HZ as usize) {
        track.push_all(sentence).await?;
    }
    track.wait_for_playout().await?;
    track.played_position()
}

/// Counts frames, and the samples lost between them, until the task is aborted.
async fn listen(mut microphone: InputCapture, counts: tokio::sync::watch::Sender<(u64, u64)>) {
    loop {
        let frame = microphone.frame().await;
        counts.send_modify(|(frames, lost)| {
            *frames += 1;
            *lost += u64::from(frame.stamp.lost);
        });
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let host: HostChoice = args.next().map_or(Ok(HostChoice::Auto), |name| name.parse())?;
    let seconds: usize = args.next().map_or(Ok(10), |text| text.parse())?;

    // Opening devices may block; inside a task, use `spawn_blocking` for it.
    let devices = MediaDevices::builder().rate_hz(48_000).host(host).open()?;
    devices.notices().iter().for_each(|notice| eprintln!("{notice}"));
    let mut player = devices.open_output(OutputOptions::default());
    let track = player.add_track(TrackOptions { rate_hz: RATE_HZ, channels: 1 })?;
    let microphone = devices.open_input(InputOptions::default())?;
    player.start()?;

    let speech = shared::voice(RATE_HZ, seconds * RATE_HZ as usize);
    let (counts, heard) = tokio::sync::watch::channel((0, 0));
    let listening = tokio::spawn(listen(microphone, counts));
    let speaking = tokio::spawn(speak(track, speech));
    let timeout = Duration::from_secs(60 + 2 * seconds as u64);
    let played = tokio::time::timeout(timeout, speaking).await???;
    // Ending the task closes the microphone.
    listening.abort();
    let (frames, lost) = *heard.borrow();
    println!(
        "{played} samples were heard at the loudspeaker, {frames} frames of the microphone meanwhile, {lost} samples lost"
    );
    Ok(())
}
