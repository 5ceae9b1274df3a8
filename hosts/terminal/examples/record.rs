//! Plays a voice and records the microphone without its echo, as a WAV file of the given length.
//!
//!     cargo run --release -p handsfree --example record [FILE.wav] [auto|cpal|alsa|sim] [SECONDS]
#![allow(missing_docs)]

mod shared;

use std::error::Error;
use std::time::Duration;

use handsfree::recording::{OutputFile, WavRecording};
use handsfree::{HostChoice, InputOptions, MediaDevices, OutputOptions, TrackOptions};

const RATE_HZ: u32 = 48_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().unwrap_or_else(|| "cleaned.wav".into());
    let host: HostChoice = args.next().map_or(Ok(HostChoice::Auto), |name| name.parse())?;
    let seconds: u64 = args.next().map_or(Ok(10), |text| text.parse())?;

    let devices = MediaDevices::builder().rate_hz(RATE_HZ).host(host).open()?;
    devices.notices().iter().for_each(|notice| eprintln!("{notice}"));
    let mut player = devices.open_output(OutputOptions::default());
    let mut music = player.add_track(TrackOptions { rate_hz: RATE_HZ, channels: 1 })?;
    // The file takes its name when it is whole; until then an older recording stays.
    let mut file = WavRecording::new(OutputFile::create(path.as_ref())?, RATE_HZ, 1)?;
    player.start()?;
    let options = InputOptions { auto_gain_control: false, queue_capacity: 200, ..InputOptions::default() };
    let mut microphone = devices.open_input(options)?;

    let playing = shared::voice(RATE_HZ, 10 * RATE_HZ as usize);
    let (mut played, mut left, mut lost) = (0, seconds * u64::from(RATE_HZ), 0);
    while left > 0 {
        played = (played + music.push(&playing[played..])?) % playing.len();
        let frame = microphone.next_frame(Duration::from_secs(5)).ok_or("no sound for 5 s")?;
        // Lost samples become silence in the file, so that later samples keep their position.
        let gap = u64::from(frame.stamp.lost).min(left);
        file.write_silence(gap)?;
        left -= gap;
        lost += gap;
        let samples = &frame.samples()[..frame.samples().len().min(left as usize)];
        file.write(samples)?;
        left -= samples.len() as u64;
    }
    file.finish()?.commit()?;
    let erle_db = microphone.erle_db().unwrap_or(0.0);
    println!("{path}: {seconds} s, {lost} samples lost, echo reduced by {erle_db:.0} dB");
    Ok(())
}
