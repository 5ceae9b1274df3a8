//! Control side: a process of its own that removes the virtual devices when the service ends, in whatever way it ends.
//!
//! A killed service cannot remove anything. Its end closes the pipe that is this process's stdin, which is all that this
//! process waits for.

use std::fs;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use handsfree::failure::Failure;

use super::super::sound_server::pactl;
use super::{SINK, SOURCE, folder_of, owners, set_defaults};

/// First word of the guard's command line.
const SUBCOMMAND: &str = "remove-virtual-devices";

/// What has to be removed when a service has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Removal {
    /// Process of the service.
    pub(super) process: u32,
    /// Default source and sink before ours, if ours were made the defaults.
    pub(super) defaults: Option<[String; 2]>,
}

impl Removal {
    /// Gives the defaults back, unless others were chosen meanwhile, and removes the devices and their FIFOs. What cannot be
    /// removed is left: where the sound server is gone, its devices are gone too.
    pub(super) fn carry_out(&self) {
        if let Some([source, sink]) = &self.defaults {
            let is_ours =
                |command: &str, name: &str| pactl(&[command]).is_ok_and(|current| current.trim() == name);
            if is_ours("get-default-source", SOURCE) && is_ours("get-default-sink", SINK) {
                _ = set_defaults(source, sink);
            }
        }
        let modules = pactl(&["list", "short", "modules"]).unwrap_or_default();
        // The later ones depend on the earlier ones.
        for (index, _) in owners(&modules).into_iter().rev().filter(|(_, owner)| *owner == self.process) {
            _ = pactl(&["unload-module", index]);
        }
        _ = fs::remove_dir_all(folder_of(self.process));
    }
}

/// Process that waits for the service's end.
#[derive(Debug)]
pub(super) struct Guard {
    child: Child,
    removal: Removal,
}

impl Guard {
    /// Starts the process.
    ///
    /// # Errors
    /// Returns an error if this program cannot be started again.
    pub(super) fn start(removal: Removal) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::run(format!("the virtual devices' guard: {error}"));
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.args([SUBCOMMAND, &removal.process.to_string()]);
        command.args(removal.defaults.iter().flatten());
        // In a group of its own, Ctrl-C does not reach it.
        let child = command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        Ok(Self { child: child.map_err(failed)?, removal })
    }
}

impl Drop for Guard {
    /// Lets the process remove the devices, and does so itself if the process was killed.
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if !self.child.wait().is_ok_and(|status| status.success()) {
            self.removal.carry_out();
        }
    }
}

/// Is the guard if the command line is the one that `serve` starts its guard with, and returns `None` for any other. No user
/// needs it, so it is in no help text and completion.
///
/// Waits until stdin is closed, then removes the virtual devices.
///
/// # Errors
/// Returns an error if SIGTERM, which a service manager sends to all processes of a service, cannot be ignored.
pub fn run(mut words: impl Iterator<Item = String>) -> Option<Result<(), Failure>> {
    let process = match (words.nth(1)?, words.next()?.parse()) {
        (word, Ok(process)) if word == SUBCOMMAND => process,
        _ => return None,
    };
    let defaults = words.next().zip(words.next()).map(|(source, sink)| [source, sink]);
    if let Err(error) = ctrlc::set_handler(|| {}) {
        return Some(Err(Failure::run(format!("SIGTERM cannot be ignored: {error}"))));
    }
    // An error is an end as well.
    _ = std::io::stdin().read_to_end(&mut Vec::new());
    Removal { process, defaults }.carry_out();
    Some(Ok(()))
}
