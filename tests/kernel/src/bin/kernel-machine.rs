//! Runs a shell script in the kernel machine from the command line; `tools/kernel/run.sh` calls it.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use handsfree_kernel_tests::{Machine, Options, Result};

/// Boots Linux in QEMU, runs a script there and leaves with its exit code.
#[derive(Parser)]
struct Arguments {
    /// Modules to load, separated by commas, or one with its parameters: --modules 'snd-aloop enable=1,1 index=0,1'
    #[arg(long)]
    modules: Vec<String>,
    /// A program to put into the guest's /bin, with its libraries
    #[arg(long)]
    add: Vec<PathBuf>,
    /// A file to put into the guest: here:there
    #[arg(long, value_name = "HERE:THERE")]
    file: Vec<String>,
    /// A file to fetch when the script has ended: there:here
    #[arg(long, value_name = "THERE:HERE")]
    get: Vec<String>,
    /// A device of QEMU: --device qemu-xhci
    #[arg(long)]
    device: Vec<String>,
    /// Any argument for QEMU: --qemu=-audiodev --qemu=none,id=off
    #[arg(long, allow_hyphen_values = true)]
    qemu: Vec<String>,
    /// Processors of the guest
    #[arg(long, default_value_t = 1)]
    processors: u32,
    /// The guest's clock counts its instructions and skips what it sleeps through: nothing is late because this machine is busy
    #[arg(long)]
    own_time: bool,
    /// Seconds until the script is killed
    #[arg(long, default_value_t = 120)]
    timeout: u64,
    /// Shows the kernel's messages as well
    #[arg(long)]
    dmesg: bool,
    /// The script, for busybox's shell
    #[arg(last = true, required = true)]
    script: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        Err(failure) => {
            eprintln!("kernel machine: {failure}");
            // As `timeout` does it, so as not to look like the script's own.
            ExitCode::from(125)
        }
    }
}

fn run(arguments: &Arguments) -> Result<i32> {
    let mut options = Options::new().processors(arguments.processors).qemu(&arguments.qemu);
    if arguments.own_time {
        options = options.own_time();
    }
    for line in &arguments.modules {
        // With parameters the commas are theirs.
        let one_with_parameters = line.contains(' ');
        for module in line.split(|c| c == ',' && !one_with_parameters) {
            options = options.module(module);
        }
    }
    for program in &arguments.add {
        options = options.program(program);
    }
    for pair in &arguments.file {
        let (here, there) = halves(pair)?;
        options = options.file(here, there);
    }
    for device in &arguments.device {
        options = options.qemu(["-device", device]);
    }
    let machine = Machine::boot(&options)?;
    eprintln!("kernel machine: Linux {}, booted in {:.1?}", machine.release(), machine.boot_time());
    let output = machine.run(&arguments.script.join(" "), Duration::from_secs(arguments.timeout))?;
    // Nobody reads: nothing to tell anybody.
    let _ = std::io::stdout().write_all(&output.stdout);
    let _ = std::io::stderr().write_all(&output.stderr);
    if arguments.dmesg {
        eprint!("{}", machine.shell("dmesg")?);
    }
    for pair in &arguments.get {
        let (there, here) = halves(pair)?;
        let contents = machine.get(there)?;
        std::fs::write(here, contents)
            .map_err(|error| handsfree_kernel_tests::Failure::new(error.to_string()))?;
    }
    Ok(output.code)
}

fn halves(pair: &str) -> Result<(&str, &str)> {
    pair.split_once(':')
        .ok_or_else(|| handsfree_kernel_tests::Failure::new(format!("{pair} is not two paths with a colon")))
}
