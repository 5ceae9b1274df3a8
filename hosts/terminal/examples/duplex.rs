//! Plays a voice, and records the microphone without the echo of that voice.
//!
//!     cargo run --release -p handsfree --example duplex [auto|cpal|alsa|sim] [SECONDS]
#![allow(missing_docs)]

mod shared;

use std::error::Error;
use std::time::Duration;

use handsfree::{HostChoice, InputOptions, MediaDevices, OutputOptions, TrackOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let host: HostChoice = args.next().map_or(Ok(HostChoice::Auto), |name| name.parse())?;
    let seconds: usize = args.next().map_or(Ok(10), |text| text.parse())?;
    let devices = MediaDevices::builder().rate_hz(16_000).host(host).open()?;
    let mut player = devices.open_output(OutputOptions::default());
    let mut track = player.add_track(TrackOptions { rate_hz: 16_000, channels: 1 })?;
    player.start()?;
    let mut microphone = devices.open_input(InputOptions::default())?;

    let voice = shared::voice(16_000, seconds * 16_000);
    let mut pushed = 0;
    for count in 1..=seconds * 100 {
        // A track's queue holds one second, so each call takes only a part of the samples.
        pushed += track.push(&voice[pushed..])?;
        let frame = microphone.next_frame(Duration::from_secs(5)).ok_or("no sound for 5 s")?;
        // `frame.samples()` are 10 ms of the microphone without the echo.
        if count % 100 == 0 {
            let (erle_db, delay) = (microphone.erle_db().unwrap_or(0.0), microphone.delay().as_millis_f64());
            let loudest = frame.samples().iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(0);
            println!(
                "{} s: loudest sample {loudest}, echo reduced by {erle_db:.0} dB, {delay:.1} ms from loudspeaker to microphone",
                count / 100
            );
        }
    }
    Ok(())
}
