//! Both directions at once: a voice from the loudspeaker, and the microphone without that voice.
//!
//!     cargo run --release -p handsfree --example duplex [auto|cpal|alsa|sim] [SECONDS]
#![allow(missing_docs)]

use std::error::Error;
use std::time::Duration;

use handsfree::io::{HostChoice, HostConfig};
use handsfree::media_devices::{InputOptions, MediaDevices, OutputOptions, TrackOptions};
use handsfree_core::SampleRate;
use handsfree_sim::wav::Clip;

const RATE_HZ: u32 = 16_000;
const FRAMES_PER_S: u64 = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let host: HostChoice = args.next().map_or(Ok(HostChoice::Auto), |name| name.parse())?;
    let seconds: u64 = args.next().map_or(Ok(10), |text| text.parse())?;

    let (devices, notice) = MediaDevices::of_host(host, &HostConfig::new(SampleRate::new(RATE_HZ)?))?;
    notice.into_iter().for_each(|notice| eprintln!("{notice}"));
    let mut player = devices.open_output(OutputOptions::default())?;
    let mut track = player.add_track(TrackOptions { rate_hz: RATE_HZ, channels: 1 })?;
    player.start()?;
    let mut microphone = devices.open_input(InputOptions::default())?;

    let voice: Vec<i16> = Clip::far().to_mono_at(RATE_HZ).iter().map(|s| (s * 32_768.0) as i16).collect();
    let mut said = 0;
    for count in 1..=seconds * FRAMES_PER_S {
        // As much as the track's queue of a second takes, round and round.
        said = (said + track.push(&voice[said..])?) % voice.len();
        let frame = microphone.next_frame(Duration::from_secs(5)).ok_or("no sound for 5 s")?;
        // `frame.samples()` are 10 ms of the room: send them wherever they are wanted.
        if count % FRAMES_PER_S == 0 {
            let loudest = frame.samples().iter().map(|sample| sample.unsigned_abs()).max();
            println!(
                "{} s: loudest sample {}, echo reduced by {:.0} dB, {:.1} ms from loudspeaker to microphone",
                count / FRAMES_PER_S,
                loudest.unwrap_or(0),
                microphone.erle_db().unwrap_or(0.0),
                microphone.delay().as_millis_f64(),
            );
        }
    }
    while let Some(event) = devices.poll_event() {
        println!("{event:?}");
    }
    Ok(())
}
