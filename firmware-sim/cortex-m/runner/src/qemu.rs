//! Runs an image in QEMU and decodes its log and figures.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use defmt_decoder::{DecodeError, Table};

/// QEMU's instruction counting: each instruction takes 64 ns and sleep takes no real time, so every run is
/// the same.
const COUNTED: &str = "shift=6,sleep=off";

/// Figure of an image: the instructions of a part with mean, maximum and number of runs, or a single number
/// in `mean`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figure {
    pub(crate) mean: u64,
    pub(crate) most: Option<u64>,
    pub(crate) runs: Option<u64>,
}

/// Output of an image: its figures and whether it exited with success.
#[derive(Debug, Default)]
pub(crate) struct ImageOutput {
    pub(crate) figures: BTreeMap<String, Figure>,
    pub(crate) succeeded: bool,
}

impl ImageOutput {
    pub(crate) fn figure(&self, name: &str) -> Result<Figure> {
        self.figures.get(name).copied().with_context(|| format!("the image reported no figure {name:?}"))
    }
}

/// A processor that QEMU emulates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Processor {
    CortexM4,
    /// With 8 ns for each instruction, which leaves a conversation in real time enough of them.
    FastCortexM4,
    /// On the board's successor, with the same peripherals.
    CortexM7,
    RiscV32,
}

impl Processor {
    pub(crate) fn of_name(name: &str) -> Result<Self> {
        match name {
            "cortex-m4" => Ok(Self::CortexM4),
            "fast-cortex-m4" => Ok(Self::FastCortexM4),
            "cortex-m7" => Ok(Self::CortexM7),
            "riscv32" => Ok(Self::RiscV32),
            _ => bail!("{name:?}: expected cortex-m4, fast-cortex-m4, cortex-m7 or riscv32"),
        }
    }

    /// Returns QEMU's program, the package with it, and the machine.
    fn machine(self) -> (&'static str, &'static str, &'static [&'static str]) {
        match self {
            Self::CortexM4 | Self::FastCortexM4 => {
                ("qemu-system-arm", "qemu-system-arm", &["-M", "mps2-an386", "-cpu", "cortex-m4"])
            }
            Self::CortexM7 => {
                ("qemu-system-arm", "qemu-system-arm", &["-M", "mps2-an500", "-cpu", "cortex-m7"])
            }
            Self::RiscV32 => ("qemu-system-riscv32", "qemu-system-misc", &["-M", "virt", "-bios", "none"]),
        }
    }

    /// Returns how instructions are counted. A RISC-V counts its instructions itself, some versions of QEMU by the time that they
    /// take: 1 ns.
    const fn counted(self) -> &'static str {
        match self {
            Self::CortexM4 | Self::CortexM7 => COUNTED,
            Self::FastCortexM4 => "shift=3,sleep=off",
            Self::RiscV32 => "shift=0,sleep=off",
        }
    }
}

/// Starts QEMU with an image and its argument. QEMU's standard output is piped.
fn start(processor: Processor, elf: &Path, argument: &str) -> Result<std::process::Child> {
    let (program, package, machine) = processor.machine();
    Command::new(program)
        .args(machine)
        .args(["-nographic", "-monitor", "none", "-serial", "none", "-semihosting-config"])
        .arg(format!("enable=on,target=native,arg={argument}"))
        .args(["-icount", processor.counted(), "-kernel"])
        .arg(elf)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| {
            format!("{program} does not start; to install it: apt-get install {package}, or make setup")
        })
}

/// Runs an image that logs by defmt, and prints its log.
pub(crate) fn run(elf: &Path, argument: &str) -> Result<ImageOutput> {
    let bytes = std::fs::read(elf).with_context(|| format!("{}", elf.display()))?;
    let table =
        Table::parse(&bytes)?.with_context(|| format!("{} contains no defmt table", elf.display()))?;
    let mut decoder = table.new_stream_decoder();
    let mut child = start(Processor::CortexM4, elf, argument)?;
    let mut stdout = child.stdout.take().context("QEMU's standard output is missing")?;
    let mut output = ImageOutput::default();
    let mut chunk = [0u8; 4_096];
    loop {
        let count = stdout.read(&mut chunk)?;
        if count == 0 {
            break;
        }
        decoder.received(chunk.get(..count).unwrap_or(&[]));
        loop {
            match decoder.decode() {
                Ok(frame) => handle_message(&mut output, &frame)?,
                Err(DecodeError::UnexpectedEof) => break,
                Err(DecodeError::Malformed) => bail!("the log of {} cannot be decoded", elf.display()),
            }
        }
    }
    output.succeeded = child.wait()?.success();
    Ok(output)
}

/// Runs an image that prints text, and returns it with whether it succeeded.
pub(crate) fn run_text(processor: Processor, elf: &Path, argument: &str) -> Result<(String, bool)> {
    let finished = start(processor, elf, argument)?.wait_with_output()?;
    Ok((String::from_utf8_lossy(&finished.stdout).into_owned(), finished.status.success()))
}

fn handle_message(output: &mut ImageOutput, frame: &defmt_decoder::Frame<'_>) -> Result<()> {
    let message = frame.display_message().to_string();
    let Some(figure) = message.strip_prefix("figure ") else {
        let time = frame.display_timestamp().map(|time| time.to_string()).unwrap_or_default();
        let level = frame.level().map_or("", |level| level.as_str());
        println!("  {time:>14} {level:5} {message}");
        return Ok(());
    };
    let mut words = figure.split_whitespace();
    let name = words.next().context("a figure in the log has no name")?.to_owned();
    let numbers = words.map(str::parse).collect::<Result<Vec<u64>, _>>().with_context(|| message.clone())?;
    ensure!(
        matches!(numbers.len(), 1 | 3),
        "a figure has {} numbers, expected 1 or 3: {message}",
        numbers.len()
    );
    let mean = numbers.first().copied().unwrap_or(0);
    let figure = Figure { mean, most: numbers.get(1).copied(), runs: numbers.get(2).copied() };
    output.figures.insert(name, figure);
    Ok(())
}
