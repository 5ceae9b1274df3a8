//! What the ALSA host's audio thread asks of the kernel, by strace: nothing that waits for anybody else.

use handsfree_kernel_tests::{Failure, Machine, Options, Result};

use crate::duplex::{self, Said};
use crate::{LONG, turn};

/// What `Board` documents for its loop while samples flow.
const FLOWING: [&str; 4] =
    ["poll", "SNDRV_PCM_IOCTL_STATUS_EXT", "SNDRV_PCM_IOCTL_READI_FRAMES", "SNDRV_PCM_IOCTL_WRITEI_FRAMES"];
/// What it documents beside that for where a stream begins and ends.
const AT_THE_ENDS: [&str; 6] = [
    "read",
    "SNDRV_PCM_IOCTL_PREPARE",
    "SNDRV_PCM_IOCTL_START",
    "SNDRV_PCM_IOCTL_DROP",
    "SNDRV_PCM_IOCTL_LINK",
    "SNDRV_PCM_IOCTL_UNLINK",
];

/// A system call of one thread: its name, or what is asked of a device, and the descriptor it is about.
struct Call<'t> {
    name: &'t str,
    arguments: &'t str,
}

impl<'t> Call<'t> {
    /// A line without the thread: `ioctl(5, SNDRV_PCM_IOCTL_START, 0) = 0`. The second half of a call that another thread
    /// interrupted is none of its own.
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

/// The calls of the thread that gave itself a name.
fn calls_of<'t>(trace: &'t str, thread: &str) -> Vec<Call<'t>> {
    let naming = format!("PR_SET_NAME, \"{thread}\"");
    let named = trace.lines().find(|line| line.contains(&naming));
    let Some((id, _)) = named.and_then(|line| line.split_once(' ')) else { return Vec::new() };
    trace
        .lines()
        .filter_map(|line| line.split_once(' ').filter(|(of, _)| *of == id))
        .filter_map(|(_, line)| Call::of(line))
        .collect()
}

/// Devices as the library opens them where the kernel does not share their state in memory, as on ARM.
const NOT_SHARED: &str = "
pcm.ears { type hw card A device 1 sync_ptr_ioctl 1 }
pcm.mouth { type hw card A device 0 sync_ptr_ioctl 1 }
";

#[test]
fn the_audio_thread_makes_only_the_calls_that_are_documented() -> Result<()> {
    let _turn = turn();
    let machine = Machine::boot(
        &Options::new().own_time().module("snd-aloop enable=1,1 index=0,1 id=A,B").program(duplex::PROGRAM),
    )?;
    machine.put("/etc/asound.conf", NOT_SHARED.as_bytes())?;
    look_at(&machine, "hw:A,1,0", "hw:A,0,0", &FLOWING)?;
    look_at(&machine, "ears", "mouth", &[&FLOWING[..], &["SNDRV_PCM_IOCTL_SYNC_PTR"]].concat())
}

fn look_at(machine: &Machine, input: &str, output: &str, expected: &[&str]) -> Result<()> {
    let said = machine
        .run(
            &format!(
                "strace -f -o /tmp/trace duplex --input {input} --output {output} --periods 10 --seconds 1.5"
            ),
            LONG,
        )?
        .success()?;
    let said = Said::read(&said)?;
    assert_eq!(said.number("/xruns"), 0.0, "{:#}", said.report);
    let trace = machine.get("/tmp/trace")?;
    let trace = String::from_utf8_lossy(&trace);
    let calls = calls_of(&trace, "handsfree-alsa");
    let place = |name: &str| calls.iter().position(|call| call.name == name);
    let last = |name: &str| calls.iter().rposition(|call| call.name == name);

    let nothing = || Failure::new(format!("no stream in the trace:\n{trace}"));
    let first_poll = place("poll").ok_or_else(nothing)?;
    let last_poll = last("poll").ok_or_else(nothing)?;
    let (start, drop) = (last("SNDRV_PCM_IOCTL_START"), place("SNDRV_PCM_IOCTL_UNLINK"));
    let (start, drop) = start.zip(drop).ok_or_else(nothing)?;

    let before: Vec<&str> = calls[..first_poll].iter().map(|call| call.name).collect();
    println!("before the loop: {}", before.join(" "));
    assert!(before.contains(&"sched_setscheduler") && before.contains(&"mlockall"));

    // The loop, from its first wait to its last, whatever happens in it.
    for call in &calls[first_poll..=last_poll] {
        let Call { name, arguments } = call;
        assert!(expected.contains(name) || AT_THE_ENDS.contains(name), "{name}({arguments}");
    }
    // While samples flow: the waits and the devices, and nobody rings.
    let flowing = &calls[start + 1..drop];
    let count = |name: &str| flowing.iter().filter(|call| call.name == name).count();
    let bell = flowing.iter().position(|call| call.name == "read");
    assert_eq!(bell, Some(flowing.len() - 1), "the order to stop is the last that is heard");
    for call in &flowing[..flowing.len() - 1] {
        assert!(expected.contains(&call.name), "{}({}", call.name, call.arguments);
    }
    let made: Vec<String> = expected.iter().map(|name| format!("{} {name}", count(name))).collect();
    println!("while 1.5 s of samples flow: {}", made.join(", "));
    assert!(expected.iter().all(|name| count(name) > 100), "it did not run");
    // A read is of the descriptor that orders ring, the first that is waited for, and of nothing else.
    let bell = calls[first_poll].arguments.split([',', '}']).next().map(|fd| fd.replace("[{fd=", ""));
    for read in calls.iter().filter(|call| call.name == "read") {
        assert_eq!(read.arguments.split(',').next(), bell.as_deref());
    }
    Ok(())
}
