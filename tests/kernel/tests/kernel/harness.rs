//! The kernel machine itself: results of scripts are returned, and a guest that panics or hangs is reported.

use std::time::{Duration, Instant};

use handsfree_kernel_tests::{Machine, Options, Result};

use crate::exclusive;

#[test]
fn the_machine_runs_scripts_moves_files_and_reports_failures() -> Result<()> {
    let _exclusive = exclusive();
    let machine = Machine::boot(&Options::new().program(env!("CARGO_BIN_EXE_kernel-machine")))?;
    println!("Linux {} booted in {:.1?}", machine.release(), machine.boot_time());

    // Exit code and both output streams.
    let output = machine.run("echo out; echo err >&2; exit 7", Duration::from_secs(10))?;
    assert_eq!((output.code, output.text().as_str(), output.errors().as_str()), (7, "out\n", "err\n"));
    assert!(output.success().is_err());

    // A program of this computer, with its libraries.
    assert!(machine.shell("kernel-machine --help")?.contains("--modules"));

    // Files larger than any buffer are copied in both directions.
    let contents: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    machine.put("/tmp/folder/file", &contents)?;
    assert!(machine.get("/tmp/folder/file")? == contents, "the file was changed by copying");
    assert!(machine.get("/tmp/folder/nothing").is_err());

    // Scripts run concurrently, and a signal reaches all processes of a script.
    let first = machine.spawn("until [ -e /tmp/go ]; do usleep 10000; done; echo gone")?;
    let second = machine.spawn("sleep 1000 | cat")?;
    machine.shell("touch /tmp/go")?;
    assert_eq!(first.wait(Duration::from_secs(10))?.text(), "gone\n");
    assert!(!second.has_ended());
    second.signal("TERM")?;
    assert_eq!(second.wait(Duration::from_secs(10))?.code, 128 + 15);

    // A script that hangs is killed, and the failure contains its output.
    let failure = machine.run("echo begun; sleep 1000", Duration::from_secs(1)).err();
    let text = failure.map(|failure| failure.to_string()).unwrap_or_default();
    assert!(text.contains("did not end within 1s, it was killed") && text.contains("begun"), "{text}");
    assert!(machine.shell("pidof sleep || true")?.is_empty(), "the script that hung is still running");

    // A kernel panic ends the machine at once, and the failure contains the reason.
    let before = Instant::now();
    let failure = machine.run("echo c >/proc/sysrq-trigger", Duration::from_secs(60)).err();
    let text = failure.map(|failure| failure.to_string()).unwrap_or_default();
    assert!(text.contains("the machine ended") && text.contains("Kernel panic"), "{text}");
    assert!(before.elapsed() < Duration::from_secs(30));
    assert!(machine.shell("true").is_err());
    Ok(())
}

#[test]
fn a_missing_kernel_module_fails_the_boot() {
    let _exclusive = exclusive();
    let failure = Machine::boot(&Options::new().module("snd-nonsense")).err();
    let text = failure.map(|failure| failure.to_string()).unwrap_or_default();
    assert!(text.contains("modprobe snd-nonsense"), "{text}");
}
