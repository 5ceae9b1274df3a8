//! Application side: a microphone and a loudspeaker in PulseAudio or PipeWire, which any application can choose.
//!
//! On PulseAudio they read and write FIFOs at the devices' pace, so that no clock is converted (`fifos`). PipeWire's FIFOs lose
//! samples, so there they are null sinks, which have a clock of their own (`streams`).

mod fifos;
pub mod guard;
mod streams;

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration as WallDuration, Instant};

use handsfree::TrackOptions;
use handsfree::failure::Failure;

use self::guard::{Guard, Removal};
use super::service::{ServiceState, lock};
use super::sound_server::pactl;

/// Name of the microphone in the sound server.
pub const SOURCE: &str = "handsfree_microphone";
/// Name of the loudspeaker in the sound server.
pub const SINK: &str = "handsfree_loudspeaker";
/// Names of both for people.
const SOURCE_TITLE: &str = "handsfree microphone";
const SINK_TITLE: &str = "handsfree loudspeaker";
/// Name of the folder that holds the FIFOs, before the number of its process.
const FOLDER: &str = "handsfree-virtual-";
/// Property that tells which process a device belongs to.
const OWNER: &str = "handsfree.process";
/// Part of the name of PulseAudio's interface of PipeWire.
const PIPEWIRE: &str = "on PipeWire";
/// Time in which PipeWire's session manager carries out what `pactl` asked for.
const APPLY_TIMEOUT: WallDuration = WallDuration::from_secs(5);
/// Interval at which that is looked at.
const APPLY_POLL: WallDuration = WallDuration::from_millis(50);

/// Virtual devices, which are removed when this is dropped, and when the process is killed.
#[derive(Debug)]
pub(crate) struct VirtualDevices {
    /// Programs that carry the sound.
    children: Vec<Child>,
    folder: PathBuf,
    _guard: Guard,
}

impl VirtualDevices {
    /// Removes devices that a service left behind when it was killed with its guard, makes new ones, and makes them the defaults on request.
    ///
    /// # Errors
    /// Returns an error if no sound server answers, if it refuses, and if another service has virtual devices.
    pub(crate) fn start(state: &Arc<ServiceState>, are_defaults: bool) -> Result<Self, Failure> {
        let is_pipewire = pactl(&["info"])?.contains(PIPEWIRE);
        remove_stale()?;
        let default = |command: &str| pactl(&[command]).map(|name| name.trim().to_owned());
        let defaults = match are_defaults {
            true => Some([default("get-default-source")?, default("get-default-sink")?]),
            false => None,
        };
        let process = std::process::id();
        let folder = folder_of(process);
        // From here on everything is removed by dropping.
        let guard = Guard::start(Removal { process, defaults })?;
        let mut devices = Self { children: Vec::new(), folder, _guard: guard };
        // The sound server makes its FIFOs readable for everybody, so only this user may enter the folder.
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&devices.folder)
            .map_err(|error| Failure::run(format!("{}: {error}", devices.folder.display())))?;
        if state.has_microphone {
            match is_pipewire {
                true => streams::add_microphone(&mut devices, state)?,
                false => fifos::add_microphone(&mut devices, state)?,
            }
        }
        let track = lock(&state.player)
            .as_mut()
            .map(|player| player.add_track(TrackOptions { rate_hz: state.rate_hz, channels: 2 }))
            .transpose()
            .map_err(|error| Failure::run(format!("the virtual loudspeaker: {error}")))?;
        if let Some(track) = track {
            match is_pipewire {
                true => streams::add_loudspeaker(&mut devices, track, state)?,
                false => fifos::add_loudspeaker(&mut devices, track, state)?,
            }
        }
        if are_defaults {
            set_defaults(SOURCE, SINK)?;
            wait_until("the default devices", || {
                Ok(default("get-default-source")? == SOURCE && default("get-default-sink")? == SINK)
            })?;
        }
        Ok(devices)
    }

    /// Loads a module that makes a device. `kind` is "source" or "sink".
    fn load(
        &self,
        module: &str,
        kind: &str,
        name: &str,
        title: &str,
        words: &[String],
    ) -> Result<(), Failure> {
        let own = [
            "load-module".to_owned(),
            module.to_owned(),
            format!("{kind}_name={name}"),
            format!("{kind}_properties=\"device.description='{title}' {OWNER}={}\"", std::process::id()),
        ];
        let all: Vec<&str> = own.iter().chain(words).map(String::as_str).collect();
        pactl(&all)?;
        wait_until(name, || {
            let listed = pactl(&["list", "short", &format!("{kind}s")])?;
            Ok(listed.lines().any(|line| line.split('\t').nth(1) == Some(name)))
        })
    }
}

impl Drop for VirtualDevices {
    fn drop(&mut self) {
        for child in &mut self.children {
            _ = child.kill();
            _ = child.wait();
        }
    }
}

/// Returns the folder that holds the FIFOs of a service's process.
fn folder_of(process: u32) -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty());
    let parent = runtime.map_or_else(std::env::temp_dir, PathBuf::from);
    parent.join(format!("{FOLDER}{process}"))
}

fn is_running(process: u32) -> bool {
    Path::new(&format!("/proc/{process}")).exists()
}

fn set_defaults(source: &str, sink: &str) -> Result<(), Failure> {
    pactl(&["set-default-source", source])?;
    pactl(&["set-default-sink", sink])?;
    Ok(())
}

/// Waits until the sound server has carried out a request.
fn wait_until(what: &str, is_done: impl Fn() -> Result<bool, Failure>) -> Result<(), Failure> {
    let begun = Instant::now();
    while !is_done()? {
        if begun.elapsed() > APPLY_TIMEOUT {
            let seconds = APPLY_TIMEOUT.as_secs();
            return Err(Failure::run(format!("the sound server did not make {what} within {seconds} s")));
        }
        std::thread::sleep(APPLY_POLL);
    }
    Ok(())
}

/// Removes devices and FIFOs whose process is gone, unless their guard is quicker.
fn remove_stale() -> Result<(), Failure> {
    let folder = folder_of(0);
    let folders = folder.parent().and_then(|parent| fs::read_dir(parent).ok());
    for entry in folders.into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(FOLDER)?.parse::<u32>().ok());
        if owner.is_some_and(|owner| !is_running(owner)) {
            // A folder of another user cannot be removed. It does not disturb this service.
            _ = fs::remove_dir_all(entry.path());
        }
    }
    wait_until("room for its devices", || {
        let modules = pactl(&["list", "short", "modules"])?;
        let found = owners(&modules);
        // The later ones depend on the earlier ones.
        for &(index, owner) in found.iter().rev() {
            if is_running(owner) {
                return Err(Failure::run(format!(
                    "process {owner} has virtual devices already: expected one service with --virtual"
                )));
            }
            // The guard may have removed it meanwhile.
            _ = pactl(&["unload-module", index]);
        }
        Ok(found.is_empty())
    })
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
