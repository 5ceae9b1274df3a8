//! Application side: virtual devices of PipeWire's null sinks, and the programs `parec` and `pacat`, which carry the sound.
//!
//! A null sink has PipeWire's clock, not the devices'. What is too much is dropped, and what is missing is a pause, about every
//! quarter of an hour for clocks that differ by 100 ppm. PipeWire's modules for pipes would need no clock, but lose samples (measured
//! with 0.3.65: 30 ms of 2 s came through).

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command, Stdio};
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

/// Null sink that receives the cleaned microphone. Applications see its monitor as the microphone.
const FEED: &str = "handsfree_feed";
/// Latency that the programs ask for, in ms: a quantum of PipeWire is 21 ms.
const STREAM_LATENCY_MS: u32 = 40;
/// Size of the pipe to `pacat`, in bytes: one page, 43 ms at 48 kHz.
const PIPE_BYTES: u32 = 4_096;
/// Number of blocks of the microphone that wait: what comes while they do is dropped, so that the latency does not grow.
const BLOCKS: usize = 10;
/// Audio that waits in the loudspeaker's track at first, and again after it was empty: twice what comes at once.
const LEAD_MS: u64 = 2 * STREAM_LATENCY_MS as u64;
/// Audio beyond which what comes is dropped.
const MAX_QUEUED_MS: u64 = LEAD_MS + 120;
/// Silence after which silence is no longer played: an idle sink delivers it for ever.
const SILENCE_FRAMES: u32 = 50;

/// Adds the microphone.
pub(super) fn add_microphone(devices: &mut VirtualDevices, state: &Arc<ServiceState>) -> Result<(), Failure> {
    let mut words = words(state.rate_hz, "mono");
    devices.load("module-null-sink", "sink", FEED, "handsfree feed", &words)?;
    words.push(format!("master={FEED}.monitor"));
    devices.load("module-remap-source", "source", SOURCE, SOURCE_TITLE, &words)?;
    let mut program = program("pacat", state.rate_hz, 1, FEED);
    let mut child = started(program.stdin(Stdio::piped()).stdout(Stdio::null()))?;
    let pipe = child.stdin.take().map(|pipe| File::from(OwnedFd::from(pipe)));
    devices.children.push(child);
    let Some(pipe) = pipe else { return Ok(()) };
    // A larger buffer only means more latency.
    _ = limit_buffer(pipe.as_fd(), PIPE_BYTES);
    let state = Arc::clone(state);
    spawn("virtual microphone", move || write_microphone(pipe, &state)).map(|_| ())
}

/// Adds the loudspeaker, which plays on the track.
pub(super) fn add_loudspeaker(
    devices: &mut VirtualDevices,
    track: OutputTrack,
    state: &Arc<ServiceState>,
) -> Result<(), Failure> {
    let words = words(state.rate_hz, "front-left,front-right");
    devices.load("module-null-sink", "sink", SINK, SINK_TITLE, &words)?;
    let mut program = program("parec", state.rate_hz, 2, &format!("{SINK}.monitor"));
    let mut child = started(program.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let pipe = child.stdout.take().map(|pipe| File::from(OwnedFd::from(pipe)));
    devices.children.push(child);
    let Some(pipe) = pipe else { return Ok(()) };
    let format = PcmFormat::of_track(state.rate_hz, 2)?;
    let state = Arc::clone(state);
    spawn("virtual loudspeaker", move || play_loudspeaker(pipe, format, track, &state)).map(|_| ())
}

/// Returns the words of a module for a rate and channels. Without the channels' names PipeWire mixes one channel into two.
fn words(rate_hz: u32, channel_map: &str) -> Vec<String> {
    let channels = channel_map.split(',').count();
    vec![format!("rate={rate_hz}"), format!("channels={channels}"), format!("channel_map={channel_map}")]
}

/// Returns a command that plays to a device or records it.
fn program(name: &str, rate_hz: u32, channels: u32, device: &str) -> Command {
    let mut program = Command::new(name);
    program
        .args(["--raw", "--format=s16le"])
        .args([format!("--rate={rate_hz}"), format!("--channels={channels}")])
        .args([format!("--latency-msec={STREAM_LATENCY_MS}"), format!("--device={device}")])
        .arg("--client-name=handsfree")
        .stderr(Stdio::null());
    program
}

fn started(program: &mut Command) -> Result<Child, Failure> {
    let name = program.get_program().to_string_lossy().into_owned();
    program.spawn().map_err(|error| {
        Failure::run(format!("{name}: {error}: expected the command of the package pulseaudio-utils"))
    })
}

/// Writes the microphone at the pace at which the sound server takes it.
fn write_microphone(mut pipe: File, state: &ServiceState) {
    let reader = state.hub.terminal().subscribe(BLOCKS);
    loop {
        match reader.next(WallDuration::from_millis(100)) {
            MicNext::Block(block) => {
                let bytes: Vec<u8> = block.samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
                if pipe.write_all(&bytes).is_err() {
                    return;
                }
            }
            MicNext::Nothing => {}
            MicNext::End => return,
        }
    }
}

/// Plays what the sound server delivers at its own pace.
fn play_loudspeaker(mut pipe: File, format: PcmFormat, mut track: OutputTrack, state: &ServiceState) {
    let mut frames = FrameBytes::new(format);
    let lead = vec![0; (LEAD_MS as usize * format.rate_hz as usize / 1_000) * format.channels as usize];
    let mut bytes = vec![0; format.frame_bytes() * (format.rate_hz / 100) as usize];
    let mut silent_frames = SILENCE_FRAMES + 1;
    while !state.is_ending() {
        let Ok(count @ 1..) = pipe.read(&mut bytes) else { return };
        let samples = frames.take(bytes.get(..count).unwrap_or(&[]));
        let was_idle = silent_frames > SILENCE_FRAMES;
        let is_silent = samples.iter().all(|&sample| sample == 0);
        silent_frames = if is_silent { silent_frames.saturating_add(1) } else { 0 };
        if silent_frames > SILENCE_FRAMES {
            continue;
        }
        let Ok(queued) = track.queued_duration() else { return };
        let queued_ms = u64::try_from(queued.as_micros() / 1_000).unwrap_or(0);
        if queued_ms > MAX_QUEUED_MS {
            continue;
        }
        if (was_idle || queued_ms == 0) && track.push(&lead).is_err() {
            return;
        }
        let mut rest = samples.as_slice();
        while !rest.is_empty() {
            match track.push(rest) {
                // The track has room for a second.
                Ok(0) => break,
                Err(_) => return,
                Ok(taken) => rest = rest.get(taken..).unwrap_or(&[]),
            }
        }
    }
}
