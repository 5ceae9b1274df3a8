//! Runs a shell script in the kernel machine from the command line; `tools/kernel/run.sh` calls it.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use handsfree_kernel_tests::{Machine, Options, Result};

/// Boots Linux in QEMU, runs a script there and exits with its exit code
#[derive(Parser)]
struct MachineArgs {
    /// Modules to load: a comma-separated list, or one module with parameters ('snd-aloop enable=1,1 index=0,1')
    #[arg(long)]
    modules: Vec<String>,
    /// Program to copy into the guest's /bin, with its libraries
    #[arg(long)]
    add: Vec<PathBuf>,
    /// File to copy into the guest: path here, colon, path in the guest
    #[arg(long, value_name = "HERE:THERE")]
    file: Vec<String>,
    /// File to copy out of the guest after the script: path in the guest, colon, path here
    #[arg(long, value_name = "THERE:HERE")]
    get: Vec<String>,
    /// QEMU device to add, for example qemu-xhci
    #[arg(long)]
    device: Vec<String>,
    /// Additional argument for QEMU, for example --qemu=-audiodev --qemu=none,id=off
    #[arg(long, allow_hyphen_values = true)]
    qemu: Vec<String>,
    /// Number of processors of the guest
    #[arg(long, default_value_t = 1)]
    processors: u32,
    /// Let the guest's clock count instructions and skip idle time, so that load on this computer makes nothing late
    #[arg(long)]
    own_time: bool,
    /// Time after which the script is killed, in seconds
    #[arg(long, default_value_t = 120)]
    timeout: u64,
    /// Print the kernel's messages as well
    #[arg(long)]
    dmesg: bool,
    /// Script for busybox's shell
    #[arg(last = true, required = true)]
    script: Vec<String>,
}

fn main() -> ExitCode {
    match run(&MachineArgs::parse()) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        Err(failure) => {
            eprintln!("kernel machine: {failure}");
            // The code that `timeout` uses for its own errors, which differs from the script's exit codes.
            ExitCode::from(125)
        }
    }
}

fn run(arguments: &MachineArgs) -> Result<i32> {
    let mut options = Options::new().processors(arguments.processors).qemu(&arguments.qemu);
    if arguments.own_time {
        options = options.own_time();
    }
    for line in &arguments.modules {
        // In a module with parameters, commas belong to the parameters.
        let one_with_parameters = line.contains(' ');
        for module in line.split(|c| c == ',' && !one_with_parameters) {
            options = options.module(module);
        }
    }
    for program in &arguments.add {
        options = options.program(program);
    }
    for pair in &arguments.file {
        let (here, there) = split_paths(pair)?;
        options = options.file(here, there);
    }
    for device in &arguments.device {
        options = options.qemu(["-device", device]);
    }
    let machine = Machine::boot(&options)?;
    eprintln!("kernel machine: Linux {}, booted in {:.1?}", machine.release(), machine.boot_time());
    let output = machine.run(&arguments.script.join(" "), Duration::from_secs(arguments.timeout))?;
    // Errors are ignored because a closed output has no reader.
    let _ = std::io::stdout().write_all(&output.stdout);
    let _ = std::io::stderr().write_all(&output.stderr);
    if arguments.dmesg {
        eprint!("{}", machine.shell("dmesg")?);
    }
    for pair in &arguments.get {
        let (there, here) = split_paths(pair)?;
        let contents = machine.get(there)?;
        std::fs::write(here, contents)
            .map_err(|error| handsfree_kernel_tests::MachineFailure::new(error.to_string()))?;
    }
    Ok(output.code)
}

fn split_paths(pair: &str) -> Result<(&str, &str)> {
    pair.split_once(':').ok_or_else(|| {
        handsfree_kernel_tests::MachineFailure::new(format!(
            "{pair}: expected two paths separated by a colon"
        ))
    })
}
