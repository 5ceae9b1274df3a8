//! Status of a running stream, as the kernel reports it.

use std::time::Duration;

use handsfree_kernel_tests::{Machine, MachineFailure, Result};

/// Time limit for a change of a stream's state.
const STATE_TIMEOUT: Duration = Duration::from_secs(20);

/// One direction of one device of a card.
#[derive(Clone, Copy)]
pub(crate) struct KernelStream {
    /// Id of the card.
    pub(crate) card: &'static str,
    /// Device and direction, named as in /proc/asound: `pcm0p`, `pcm1c`.
    pub(crate) pcm: &'static str,
}

impl KernelStream {
    fn status_file(self) -> String {
        format!("/proc/asound/{}/{}/sub0/status", self.card, self.pcm)
    }

    /// Waits until the stream is in a state, such as `RUNNING`, `XRUN` or `closed`.
    pub(crate) fn until(self, machine: &Machine, state: &str) -> Result<()> {
        machine.until(&format!("grep -q {state} {}", self.status_file()), STATE_TIMEOUT)
    }

    /// Returns the device's position, in sample frames.
    pub(crate) fn position(self, machine: &Machine) -> Result<i64> {
        Ok(positions(machine, &[self])?[0])
    }
}

/// Returns the positions of several streams, read in quick succession.
pub(crate) fn positions(machine: &Machine, streams: &[KernelStream]) -> Result<Vec<i64>> {
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
    Err(MachineFailure::new(format!("expected a running stream for each of {}:\n{text}", files.join(", "))))
}
