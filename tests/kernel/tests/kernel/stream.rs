//! Status of a running stream, as the kernel reports it.

use std::time::Duration;

use handsfree_kernel_tests::{Machine, MachineFailure, Result};

/// Time limit for a change of a stream's state.
const STATE_TIMEOUT: Duration = Duration::from_secs(20);

/// Number of attempts to read several positions at one moment.
const MAX_READS: usize = 100;

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

/// Returns the positions of several streams at one moment: the first stream's is the same before and after the others are read.
/// On a busy computer the emulator may pause for many milliseconds between two reads.
pub(crate) fn positions(machine: &Machine, streams: &[KernelStream]) -> Result<Vec<i64>> {
    let files: Vec<String> =
        streams.iter().chain(streams.first()).map(|stream| stream.status_file()).collect();
    for _ in 0..MAX_READS {
        let text = machine.shell(&format!("cat {}", files.join(" ")))?;
        let found: Vec<i64> = text
            .lines()
            .filter_map(|line| line.strip_prefix("hw_ptr"))
            .filter_map(|rest| rest.trim_start_matches([' ', ':']).parse().ok())
            .collect();
        let Some((again, found)) = found.split_last().filter(|(_, found)| found.len() == streams.len())
        else {
            let expected = files.join(", ");
            return Err(MachineFailure::new(format!(
                "expected a running stream for each of {expected}:\n{text}"
            )));
        };
        if found.first() == Some(again) {
            return Ok(found.to_vec());
        }
    }
    let files = files.join(", ");
    Err(MachineFailure::new(format!("{MAX_READS} times, the position changed while it was read: {files}")))
}
