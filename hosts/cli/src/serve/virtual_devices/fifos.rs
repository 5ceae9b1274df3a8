//! Application side: virtual devices of PulseAudio's modules "pipe source" and "pipe sink", which read and write FIFOs.
//!
//! The service writes the cleaned microphone to one, at the microphone's pace, and plays what comes out of the other, at the
//! loudspeaker's pace.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration as WallDuration;

use handsfree::OutputTrack;
use handsfree::failure::Failure;
use handsfree_host::pipe::limit_buffer;

use super::super::service::ServiceState;
use super::super::spawn;
use super::{SINK, SINK_TITLE, SOURCE, SOURCE_TITLE, VirtualDevices};
use crate::pcm::format::{FrameBytes, PcmFormat};
use crate::pcm::mic_hub::MicNext;

/// Size of a FIFO's buffer, in bytes: one page, 43 ms at 48 kHz.
const PIPE_BYTES: u32 = 4_096;
/// Audio that waits in the loudspeaker's track at most: enough for the sound server's scheduling.
const MAX_QUEUED_MS: u64 = 60;
/// Silence after which silence is no longer played: an idle sink writes it for ever.
const SILENCE_FRAMES: u32 = 50;
/// Number of blocks of the microphone that wait.
const BLOCKS: usize = 20;
/// Pause while the track is full.
const PAUSE: WallDuration = WallDuration::from_millis(5);

/// Adds the microphone.
pub(super) fn add_microphone(devices: &mut VirtualDevices, state: &Arc<ServiceState>) -> Result<(), Failure> {
    let path = devices.folder.join("microphone");
    devices.load("module-pipe-source", "source", SOURCE, SOURCE_TITLE, &words(&path, state.rate_hz, 1))?;
    let fifo = open_fifo(&path).map_err(|error| failed(&path, &error))?;
    let state = Arc::clone(state);
    spawn("virtual microphone", move || write_microphone(fifo, &state)).map(|_| ())
}

/// Adds the loudspeaker, which plays on the track.
pub(super) fn add_loudspeaker(
    devices: &mut VirtualDevices,
    track: OutputTrack,
    state: &Arc<ServiceState>,
) -> Result<(), Failure> {
    let path = devices.folder.join("loudspeaker");
    devices.load("module-pipe-sink", "sink", SINK, SINK_TITLE, &words(&path, state.rate_hz, 2))?;
    let fifo =
        OpenOptions::new().read(true).write(true).open(&path).map_err(|error| failed(&path, &error))?;
    // A larger buffer only means more latency.
    _ = limit_buffer(fifo.as_fd(), 2 * PIPE_BYTES);
    let format = PcmFormat::of_track(state.rate_hz, 2)?;
    let state = Arc::clone(state);
    spawn("virtual loudspeaker", move || play_loudspeaker(fifo, format, track, &state)).map(|_| ())
}

fn words(fifo: &Path, rate_hz: u32, channels: u32) -> Vec<String> {
    vec![
        format!("file={}", fifo.display()),
        "format=s16le".to_owned(),
        format!("rate={rate_hz}"),
        format!("channels={channels}"),
    ]
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::run(format!("{}: {error}", path.display()))
}

fn open_fifo(path: &Path) -> std::io::Result<File> {
    // Opened for reading too, it never fails for lack of a reader.
    let fifo = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    // A larger buffer only means more latency.
    _ = limit_buffer(fifo.as_fd(), PIPE_BYTES);
    Ok(fifo)
}

/// Writes the microphone. While no application records, the FIFO is full, and its content is at most a page old.
fn write_microphone(mut fifo: File, state: &ServiceState) {
    let reader = state.hub.terminal().subscribe(BLOCKS);
    loop {
        match reader.next(WallDuration::from_millis(100)) {
            MicNext::Block(block) => {
                let bytes: Vec<u8> = block.samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
                // Less than a page is written whole or not at all; without a recorder it is not wanted.
                _ = fifo.write(&bytes);
            }
            MicNext::Nothing => {}
            MicNext::End => return,
        }
    }
}

/// Plays what the sound server writes, as fast as the loudspeaker plays it.
fn play_loudspeaker(mut fifo: File, format: PcmFormat, mut track: OutputTrack, state: &ServiceState) {
    let mut frames = FrameBytes::new(format);
    let mut bytes = vec![0; format.frame_bytes() * (format.rate_hz / 100) as usize];
    let mut silent_frames = SILENCE_FRAMES + 1;
    while !state.is_ending() {
        let Ok(count @ 1..) = fifo.read(&mut bytes) else { return };
        let samples = frames.take(bytes.get(..count).unwrap_or(&[]));
        let is_silent = samples.iter().all(|&sample| sample == 0);
        if !is_silent && silent_frames > SILENCE_FRAMES {
            // The queue is filled at once, because the sound server could not deliver its length faster than it plays.
            let lead = vec![
                0;
                (MAX_QUEUED_MS as usize * format.rate_hz as usize / 1_000)
                    * format.channels as usize
            ];
            if track.push(&lead).is_err() {
                return;
            }
        }
        silent_frames = if is_silent { silent_frames.saturating_add(1) } else { 0 };
        let mut rest = samples.as_slice();
        while !rest.is_empty() && !state.is_ending() {
            let Ok(queued) = track.queued_duration() else { return };
            if u64::try_from(queued.as_micros() / 1_000).unwrap_or(0) >= MAX_QUEUED_MS {
                std::thread::sleep(PAUSE);
                continue;
            }
            if silent_frames > SILENCE_FRAMES {
                // The pace is kept, so that the sound server's clock goes on.
                std::thread::sleep(WallDuration::from_millis(10));
                break;
            }
            match track.push(rest) {
                Ok(taken) => rest = rest.get(taken..).unwrap_or(&[]),
                Err(_) => return,
            }
        }
    }
}
