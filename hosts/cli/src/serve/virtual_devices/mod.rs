//! Application side: a microphone and a loudspeaker in PulseAudio or PipeWire, which any application can choose.
//!
//! On PulseAudio they read and write FIFOs at the devices' pace, so that no clock is converted (`fifos`). PipeWire's FIFOs lose
//! samples, so there they are null sinks, which have a clock of their own (`streams`).

mod fifos;
mod streams;

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration as WallDuration, Instant};

use handsfree::TrackOptions;
use handsfree::failure::Failure;

use super::service::{ServiceState, lock};
use super::sound_server::pactl;

/// Name of the microphone in the sound server.
pub const SOURCE: &str = "handsfree_microphone";
/// Name of the loudspeaker in the sound server.
pub const SINK: &str = "handsfree_loudspeaker";
/// Names of both for people.
const SOURCE_TITLE: &str = "handsfree microphone";
const SINK_TITLE: &str = "handsfree loudspeaker";
/// Property that tells which process a device belongs to.
const OWNER: &str = "handsfree.process";
/// Part of the name of PulseAudio's interface of PipeWire.
const PIPEWIRE: &str = "on PipeWire";
/// Time in which PipeWire's session manager carries out what `pactl` asked for.
const APPLY_TIMEOUT: WallDuration = WallDuration::from_secs(5);
/// Interval at which that is looked at.
const APPLY_POLL: WallDuration = WallDuration::from_millis(50);

/// Virtual devices, which are removed when this is dropped.
#[derive(Debug)]
pub(crate) struct VirtualDevices {
    modules: Vec<String>,
    /// Programs that carry the sound.
    children: Vec<Child>,
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
        let is_pipewire = pactl(&["info"])?.contains(PIPEWIRE);
        remove_stale()?;
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty());
        let parent = runtime.map_or_else(std::env::temp_dir, PathBuf::from);
        let folder = parent.join(format!("handsfree-virtual-{}", std::process::id()));
        // The sound server makes its FIFOs readable for everybody, so only this user may enter the folder.
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|error| Failure::run(format!("{}: {error}", folder.display())))?;
        // From here on everything is removed by dropping.
        let mut devices = Self { modules: Vec::new(), children: Vec::new(), folder, defaults: None };
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
            let default = |command: &str| pactl(&[command]).map(|name| name.trim().to_owned());
            devices.defaults = Some([default("get-default-source")?, default("get-default-sink")?]);
            set_defaults(SOURCE, SINK)?;
            wait_until("the default devices", || {
                Ok(default("get-default-source")? == SOURCE && default("get-default-sink")? == SINK)
            })?;
        }
        Ok(devices)
    }

    /// Loads a module that makes a device. `kind` is "source" or "sink".
    fn load(
        &mut self,
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
        self.modules.push(pactl(&all)?.trim().to_owned());
        wait_until(name, || {
            let listed = pactl(&["list", "short", &format!("{kind}s")])?;
            Ok(listed.lines().any(|line| line.split('\t').nth(1) == Some(name)))
        })
    }
}

impl Drop for VirtualDevices {
    fn drop(&mut self) {
        // Where the sound server is gone, its devices are gone too.
        if let Some([source, sink]) = &self.defaults {
            _ = set_defaults(source, sink);
        }
        for child in &mut self.children {
            _ = child.kill();
            _ = child.wait();
        }
        // The later ones depend on the earlier ones.
        for module in self.modules.iter().rev() {
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

/// Removes devices whose process is gone.
fn remove_stale() -> Result<(), Failure> {
    let modules = pactl(&["list", "short", "modules"])?;
    // The later ones depend on the earlier ones.
    for (index, owner) in owners(&modules).into_iter().rev() {
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
