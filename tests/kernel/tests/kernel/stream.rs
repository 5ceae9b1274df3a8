//! What the kernel says about a running stream.

use std::time::Duration;

use handsfree_kernel_tests::{Failure, Machine, Result};

/// A stream that runs is there after this, or never.
const PROMPT: Duration = Duration::from_secs(20);

/// One direction of one device of a card, by the card's id.
#[derive(Clone, Copy)]
pub(crate) struct Stream {
    pub(crate) card: &'static str,
    /// As in /proc/asound: `pcm0p`, `pcm1c`.
    pub(crate) pcm: &'static str,
}

impl Stream {
    fn status_file(self) -> String {
        format!("/proc/asound/{}/{}/sub0/status", self.card, self.pcm)
    }

    /// Waits until it is in a state: `RUNNING`, `XRUN`, `closed`.
    pub(crate) fn until(self, machine: &Machine, state: &str) -> Result<()> {
        machine.until(&format!("grep -q {state} {}", self.status_file()), PROMPT)
    }

    /// How far the device has come, in sample frames.
    pub(crate) fn position(self, machine: &Machine) -> Result<i64> {
        Ok(positions(machine, &[self])?[0])
    }
}

/// The positions of several streams, as close together as the guest's processor allows.
pub(crate) fn positions(machine: &Machine, streams: &[Stream]) -> Result<Vec<i64>> {
    let files: Vec<String> = streams.iter().map(|stream| stream.status_file()).collect();
    let text = machine.shell(&format!("cat {}", files.join(" ")))?;
    let found: Vec<i64> = text
        .lines()
        .filter_map(|line| line.strip_prefix("hw_ptr"))
        .filter_map(|rest| rest.trim_start_matches([' ', ':']).parse().ok())
        .collect();
    if found.len() == streams.len() {
        return Ok(found);
    }
    Err(Failure::new(format!("not all of {} run:\n{text}", files.join(", "))))
}
