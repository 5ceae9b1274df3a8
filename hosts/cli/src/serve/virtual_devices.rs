//! Application side: a microphone and a loudspeaker in PulseAudio, which any application can choose.
//!
//! The sound server's modules "pipe source" and "pipe sink" read and write FIFOs. The service writes the cleaned
//! microphone to one, at the microphone's pace, and plays what comes out of the other, at the loudspeaker's pace, so that
//! no clock is converted.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration as WallDuration;

use handsfree::failure::Failure;
use handsfree::{OutputTrack, TrackOptions};
use handsfree_host::pipe::limit_buffer;

use super::service::{ServiceState, lock};
use super::sound_server::pactl;
use super::spawn;
use crate::pcm::format::{FrameBytes, PcmFormat};
use crate::pcm::mic_hub::MicNext;

/// Name of the microphone in the sound server.
pub const SOURCE: &str = "handsfree_microphone";
/// Name of the loudspeaker in the sound server.
pub const SINK: &str = "handsfree_loudspeaker";
/// Property that tells which process a device belongs to.
const OWNER: &str = "handsfree.process";
/// Part of the name of PulseAudio's interface of PipeWire. Its modules read and write FIFOs at the pace of PipeWire's own
/// clock (measured with 0.3.65: 30 ms of 2 s came through).
const PIPEWIRE: &str = "on PipeWire";
/// Size of a FIFO's buffer, in bytes: one page, 43 ms at 48 kHz.
const PIPE_BYTES: u32 = 4_096;
/// Audio that waits in the loudspeaker's track at most: enough for the sound server's scheduling.
const MAX_QUEUED_MS: u64 = 60;
/// Silence after which silence is no longer played: an idle sink writes it for ever.
const SILENCE_FRAMES: u32 = 50;
/// Number of blocks of the microphone that wait.
const BLOCKS: usize = 20;
/// Pause while the track is full, and while no block of the microphone comes.
const PAUSE: WallDuration = WallDuration::from_millis(5);

/// Virtual devices, which are removed when this is dropped.
#[derive(Debug)]
pub(crate) struct VirtualDevices {
    modules: Vec<String>,
    folder: PathBuf,
    /// Default source and sink before ours, if ours are the defaults.
    defaults: Option<[String; 2]>,
}

impl VirtualDevices {
    /// Removes devices that a killed service left behind, makes new ones, and makes them the defaults on request.
    ///
    /// # Errors
    /// Returns an error if no sound server answers, if it refuses, and if another service has virtual devices.
    pub(crate) fn start(state: &Arc<ServiceState>, are_defaults: bool) -> Result<Self, Failure> {
        if pactl(&["info"])?.contains(PIPEWIRE) {
            return Err(Failure::run(
                "--virtual: found PipeWire, whose pipes lose samples; expected PulseAudio \
                 (docs/recipes/virtual-devices.md has devices for PipeWire)",
            ));
        }
        remove_stale()?;
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty());
        let parent = runtime.map_or_else(std::env::temp_dir, PathBuf::from);
        let folder = parent.join(format!("handsfree-virtual-{}", std::process::id()));
        let failed = |error: std::io::Error| Failure::run(format!("{}: {error}", folder.display()));
        // The sound server makes its FIFOs readable for everybody, so only this user may enter the folder.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed)?;
        // From here on everything is removed by dropping.
        let mut devices = Self { modules: Vec::new(), folder: folder.clone(), defaults: None };
        let (microphone, loudspeaker) = (folder.join("microphone"), folder.join("loudspeaker"));
        if state.has_microphone {
            devices.load("source", SOURCE, "handsfree microphone", &microphone, state.rate_hz, 1)?;
            let fifo = open_fifo(&microphone).map_err(failed)?;
            let state = Arc::clone(state);
            spawn("virtual microphone", move || write_microphone(fifo, &state))?;
        }
        let track = lock(&state.player)
            .as_mut()
            .map(|player| player.add_track(TrackOptions { rate_hz: state.rate_hz, channels: 2 }))
            .transpose()
            .map_err(|error| Failure::run(format!("the virtual loudspeaker: {error}")))?;
        if let Some(track) = track {
            devices.load("sink", SINK, "handsfree loudspeaker", &loudspeaker, state.rate_hz, 2)?;
            let fifo = OpenOptions::new().read(true).write(true).open(&loudspeaker).map_err(failed)?;
            // A larger buffer only means more latency.
            _ = limit_buffer(fifo.as_fd(), 2 * PIPE_BYTES);
            let format = PcmFormat::of_track(state.rate_hz, 2)?;
            let state = Arc::clone(state);
            spawn("virtual loudspeaker", move || play_loudspeaker(fifo, format, track, &state))?;
        }
        if are_defaults {
            let default = |command: &str| pactl(&[command]).map(|name| name.trim().to_owned());
            devices.defaults = Some([default("get-default-source")?, default("get-default-sink")?]);
            set_defaults(SOURCE, SINK)?;
        }
        Ok(devices)
    }

    fn load(
        &mut self,
        kind: &str,
        name: &str,
        description: &str,
        fifo: &Path,
        rate_hz: u32,
        channels: u32,
    ) -> Result<(), Failure> {
        let module = format!("module-pipe-{kind}");
        let words = [
            "load-module".to_owned(),
            module,
            format!("{kind}_name={name}"),
            format!("file={}", fifo.display()),
            "format=s16le".to_owned(),
            format!("rate={rate_hz}"),
            format!("channels={channels}"),
            format!(
                "{kind}_properties=\"device.description='{description}' {OWNER}={}\"",
                std::process::id()
            ),
        ];
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.modules.push(pactl(&words)?.trim().to_owned());
        Ok(())
    }
}

impl Drop for VirtualDevices {
    fn drop(&mut self) {
        // Where the sound server is gone, its devices are gone too.
        if let Some([source, sink]) = &self.defaults {
            _ = set_defaults(source, sink);
        }
        for module in &self.modules {
            _ = pactl(&["unload-module", module]);
        }
        _ = fs::remove_dir_all(&self.folder);
    }
}

fn set_defaults(source: &str, sink: &str) -> Result<(), Failure> {
    pactl(&["set-default-source", source])?;
    pactl(&["set-default-sink", sink])?;
    Ok(())
}

/// Removes devices whose process is gone.
fn remove_stale() -> Result<(), Failure> {
    let modules = pactl(&["list", "short", "modules"])?;
    for (index, owner) in owners(&modules) {
        if Path::new(&format!("/proc/{owner}")).exists() {
            return Err(Failure::run(format!(
                "process {owner} has virtual devices already: expected one service with --virtual"
            )));
        }
        pactl(&["unload-module", index])?;
    }
    Ok(())
}

/// Returns the numbers of our modules with the processes that loaded them.
fn owners(modules: &str) -> Vec<(&str, u32)> {
    modules
        .lines()
        .filter_map(|line| {
            let (index, rest) = line.split_once('\t')?;
            let (_, owner) = rest.split_once(&format!("{OWNER}="))?;
            let digits = owner.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(owner.len());
            Some((index, owner.get(..digits)?.parse().ok()?))
        })
        .collect()
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
    let reader = state.hub.subscribe(BLOCKS);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_modules_are_found_with_their_processes() {
        let modules = "0\tmodule-null-sink\tsink_name=speaker\t\n\
            7\tmodule-pipe-source\tsource_name=handsfree_microphone file=/x source_properties=\"a='b' handsfree.process=123\"\t\n\
            12\tmodule-pipe-sink\tsink_properties=\"handsfree.process=9\"\n";
        assert_eq!(owners(modules), [("7", 123), ("12", 9)]);
    }
}
