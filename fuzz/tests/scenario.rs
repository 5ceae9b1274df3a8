//! The reader of scenario files takes any bytes.
#![cfg(feature = "cli")]

use std::ffi::OsString;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Parser as _;
use handsfree_cli::args::{Cli, Command};
use handsfree_cli::scenario_file::merged;
use handsfree_fuzz::{InputFile, fuzz};

/// Files with every type of value, and with what is refused.
const SAMPLES: [&str; 4] = [
    "rate = 16000\nseed = 7\nseconds = 9.5\nplayback-ppm = -200\n",
    "near = \"none\"\nno-ns = true\nno-agc = false\nlatency-step = [\"150@30\", \"-40@40\"]\n",
    "# a room\nrt60-ms = 300\nnoise-dbfs = -70\ntwo-clocks = true\nout = \"elsewhere\"\n",
    "scenario = \"other.toml\"\n[table]\nrate = 8000\n",
];

/// Scenarios that were not refused, over all executions.
static READ: AtomicU64 = AtomicU64::new(0);

#[test]
fn any_bytes_are_a_scenario_or_refused() {
    let file = InputFile::create("scenario");
    let name = file.path().file_name().unwrap().to_str().unwrap();
    let arguments: Vec<OsString> =
        ["handsfree", "sim", "--scenario", file.path().to_str().unwrap(), "--seconds", "3", "--seed=5"]
            .iter()
            .map(OsString::from)
            .collect();
    let Command::Sim(args) = Cli::try_parse_from(&arguments).unwrap().command else {
        panic!("not a simulation")
    };
    let samples: Vec<Vec<u8>> = SAMPLES.iter().map(|sample| sample.as_bytes().to_vec()).collect();
    let executions = fuzz("scenario", 3_000, &samples, |bytes| {
        file.set(bytes);
        match merged(&args, &arguments) {
            Ok(merged) => {
                READ.fetch_add(1, Ordering::Relaxed);
                assert_eq!((merged.seconds, merged.seed), (3.0, 5), "the command line goes before the file");
                assert_eq!(merged.scenario, args.scenario, "a file names no other one");
                // What was accepted is text in TOML, whose keys are names of switches.
                let table: toml::Table = std::str::from_utf8(bytes).unwrap().parse().unwrap();
                for key in table.keys() {
                    let is_name =
                        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
                    assert!(
                        key.bytes().all(is_name) && !["scenario", "help", "version"].contains(&key.as_str())
                    );
                }
            }
            Err(failure) => {
                let message = failure.to_string();
                assert!(message.contains(name), "the message names the file: {message}");
            }
        }
    });
    let read = READ.load(Ordering::Relaxed);
    println!("scenario: {read} files read");
    assert!(executions < 1_000 || read > executions / 40, "{executions} executions read {read} files");
}
