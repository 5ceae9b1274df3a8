//! System calls of the ALSA host's audio thread, recorded with strace: no call waits for another thread.

use handsfree_kernel_tests::{Machine, MachineFailure, Options, Result};

use crate::duplex::{self, DuplexOutput};
use crate::{LONG, exclusive};

/// Calls that `Board` documents for its loop while samples flow.
const FLOWING: [&str; 4] =
    ["poll", "SNDRV_PCM_IOCTL_STATUS_EXT", "SNDRV_PCM_IOCTL_READI_FRAMES", "SNDRV_PCM_IOCTL_WRITEI_FRAMES"];
/// Calls that `Board` documents in addition for the start and the end of a stream.
const AT_THE_ENDS: [&str; 6] = [
    "read",
    "SNDRV_PCM_IOCTL_PREPARE",
    "SNDRV_PCM_IOCTL_START",
    "SNDRV_PCM_IOCTL_DROP",
    "SNDRV_PCM_IOCTL_LINK",
    "SNDRV_PCM_IOCTL_UNLINK",
];

/// A system call: its name, or the request of an ioctl, and its arguments.
struct SystemCall<'t> {
    name: &'t str,
    arguments: &'t str,
}

impl<'t> SystemCall<'t> {
    /// Parses a line without the thread id, such as `ioctl(5, SNDRV_PCM_IOCTL_START, 0) = 0`. Returns nothing for the second
    /// part of a call that strace shows in two parts.
    fn of(line: &'t str) -> Option<Self> {
        let line = line.trim_start();
        let (name, arguments) = line.split_once('(').filter(|_| !line.starts_with(['<', '+', '-']))?;
        if name != "ioctl" {
            return Some(Self { name, arguments });
        }
        let request = arguments.split([' ', ',', ')']).filter(|word| !word.is_empty()).nth(1)?;
        Some(Self { name: request, arguments })
    }
}

/// Returns the calls of the thread with a name.
fn calls_of<'t>(trace: &'t str, thread: &str) -> Vec<SystemCall<'t>> {
    let naming = format!("PR_SET_NAME, \"{thread}\"");
    let named = trace.lines().find(|line| line.contains(&naming));
    let Some((id, _)) = named.and_then(|line| line.split_once(' ')) else { return Vec::new() };
    trace
        .lines()
        .filter_map(|line| line.split_once(' ').filter(|(of, _)| *of == id))
        .filter_map(|(_, line)| SystemCall::of(line))
        .collect()
}

/// ALSA configuration of devices without a memory-mapped state, as on ARM.
const NOT_SHARED: &str = "
pcm.capture_unshared { type hw card A device 1 sync_ptr_ioctl 1 }
pcm.playback_unshared { type hw card A device 0 sync_ptr_ioctl 1 }
";

#[test]
fn the_audio_thread_makes_only_documented_system_calls() -> Result<()> {
    let _exclusive = exclusive();
    let machine = Machine::boot(
        &Options::new().own_time().module("snd-aloop enable=1,1 index=0,1 id=A,B").program(duplex::PROGRAM),
    )?;
    machine.put("/etc/asound.conf", NOT_SHARED.as_bytes())?;
    check_calls(&machine, "hw:A,1,0", "hw:A,0,0", &FLOWING)?;
    check_calls(
        &machine,
        "capture_unshared",
        "playback_unshared",
        &[&FLOWING[..], &["SNDRV_PCM_IOCTL_SYNC_PTR"]].concat(),
    )
}

fn check_calls(machine: &Machine, input: &str, output: &str, expected: &[&str]) -> Result<()> {
    let output = machine
        .run(
            &format!(
                "strace -f -o /tmp/trace duplex --input {input} --output {output} --periods 10 --seconds 1.5"
            ),
            LONG,
        )?
        .success()?;
    let output = DuplexOutput::read(&output)?;
    assert_eq!(output.number("/xruns"), 0.0, "{:#}", output.report);
    let trace = machine.get("/tmp/trace")?;
    let trace = String::from_utf8_lossy(&trace);
    let calls = calls_of(&trace, "handsfree-alsa");
    let place = |name: &str| calls.iter().position(|call| call.name == name);
    let last = |name: &str| calls.iter().rposition(|call| call.name == name);

    let nothing = || MachineFailure::new(format!("the trace contains no running stream:\n{trace}"));
    let first_poll = place("poll").ok_or_else(nothing)?;
    let last_poll = last("poll").ok_or_else(nothing)?;
    let (start, drop) = (last("SNDRV_PCM_IOCTL_START"), place("SNDRV_PCM_IOCTL_UNLINK"));
    let (start, drop) = start.zip(drop).ok_or_else(nothing)?;

    let before: Vec<&str> = calls[..first_poll].iter().map(|call| call.name).collect();
    println!("before the loop: {}", before.join(" "));
    assert!(before.contains(&"sched_setscheduler") && before.contains(&"mlockall"));

    // The whole loop, from its first wait to its last.
    for call in &calls[first_poll..=last_poll] {
        let SystemCall { name, arguments } = call;
        assert!(expected.contains(name) || AT_THE_ENDS.contains(name), "{name}({arguments}");
    }
    // While samples flow, the thread only waits and accesses the devices.
    let flowing = &calls[start + 1..drop];
    let count = |name: &str| flowing.iter().filter(|call| call.name == name).count();
    let command_read = flowing.iter().position(|call| call.name == "read");
    assert_eq!(
        command_read,
        Some(flowing.len() - 1),
        "the last call must read the stop command, and no earlier one may read"
    );
    for call in &flowing[..flowing.len() - 1] {
        assert!(expected.contains(&call.name), "{}({}", call.name, call.arguments);
    }
    let made: Vec<String> = expected.iter().map(|name| format!("{} {name}", count(name))).collect();
    println!("while 1.5 s of samples flow: {}", made.join(", "));
    assert!(
        expected.iter().all(|name| count(name) > 100),
        "an expected call is rare: the stream did not run"
    );
    // Only the descriptor that signals commands, the first in each wait, is read.
    let command_descriptor =
        calls[first_poll].arguments.split([',', '}']).next().map(|fd| fd.replace("[{fd=", ""));
    for read in calls.iter().filter(|call| call.name == "read") {
        assert_eq!(read.arguments.split(',').next(), command_descriptor.as_deref());
    }
    Ok(())
}
