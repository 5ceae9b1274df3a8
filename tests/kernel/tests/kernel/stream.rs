//! Status of a running stream, as the kernel reports it.

use std::time::Duration;

use handsfree_kernel_tests::{Machine, MachineFailure, Result};

/// Time limit for a change of a stream's state.
const STATE_TIMEOUT: Duration = Duration::from_secs(20);

/// Number of attempts to read two positions at one moment.
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
        Ok(read_positions(machine, &[self])?[0])
    }
}

/// Reads the positions of running streams one after another.
fn read_positions(machine: &Machine, streams: &[KernelStream]) -> Result<Vec<i64>> {
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

/// Returns the positions of two streams at one moment: the first one's is the same before and after the second's is read. Its card
/// has to count in jiffies. On a busy computer the emulator may pause for many milliseconds between two reads.
pub(crate) fn positions(machine: &Machine, streams: [KernelStream; 2]) -> Result<[i64; 2]> {
    let [first, second] = streams;
    for _ in 0..MAX_READS {
        if let [before, position, after] = read_positions(machine, &[first, second, first])?[..]
            && before == after
        {
            return Ok([before, position]);
        }
    }
    let file = first.status_file();
    Err(MachineFailure::new(format!(
        "{MAX_READS} times, the position changed while another one was read: {file}"
    )))
}
