//! The same asynchronously: one task speaks, another one hears. The futures belong to no executor; here it is tokio.
//!
//!     cargo run --release -p handsfree --example tokio [auto|cpal|alsa|sim] [SECONDS]
#![allow(missing_docs)]

use std::error::Error;
use std::time::Duration;

use handsfree::io::{AnyIo, HostChoice, HostConfig};
use handsfree::media_devices::{
    InputCapture, InputOptions, MediaDevices, MediaError, OutputOptions, OutputTrack, TrackOptions,
};
use handsfree_core::SampleRate;
use handsfree_sim::wav::Clip;

const RATE_HZ: u32 = 24_000;

/// Says it all and returns how many samples were heard.
async fn speak(mut track: OutputTrack, speech: Vec<i16>) -> Result<u64, MediaError> {
    for sentence in speech.chunks(RATE_HZ as usize) {
        track.push_all(sentence).await?;
    }
    track.wait_for_playout().await?;
    track.played_position()
}

/// Counts frames, and what is missing between them, for ever.
async fn hear(mut microphone: InputCapture<AnyIo>, heard: tokio::sync::watch::Sender<(u64, u64)>) {
    loop {
        let frame = microphone.frame().await;
        heard.send_modify(|(frames, lost)| {
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

    // What opens devices may wait for the system: elsewhere than here it would be for `spawn_blocking`.
    let (devices, notice) = MediaDevices::of_host(host, &HostConfig::new(SampleRate::new(48_000)?))?;
    notice.into_iter().for_each(|notice| eprintln!("{notice}"));
    let mut player = devices.open_output(OutputOptions::default())?;
    let track = player.add_track(TrackOptions { rate_hz: RATE_HZ, channels: 1 })?;
    let microphone = devices.open_input(InputOptions::default())?;
    player.start()?;

    let voice = Clip::far().to_mono_at(RATE_HZ);
    let speech = voice.iter().cycle().take(seconds * RATE_HZ as usize).map(|s| (s * 32_768.0) as i16);
    let (tell, heard) = tokio::sync::watch::channel((0, 0));
    let hearing = tokio::spawn(hear(microphone, tell));
    let speaking = tokio::spawn(speak(track, speech.collect()));
    let patience = Duration::from_secs(60 + 2 * seconds as u64);
    let said = tokio::time::timeout(patience, speaking).await???;
    // Ending the task closes the microphone.
    hearing.abort();
    let (frames, lost) = *heard.borrow();
    println!(
        "{said} samples were heard at the loudspeaker, {frames} frames of the room meanwhile, {lost} samples lost"
    );
    Ok(())
}
