//! An image in QEMU: its decoded log, and the figures it tells.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use defmt_decoder::{DecodeError, Table};

/// Each instruction takes 64 ns, and time passes at once while the processor sleeps: the same run
/// every time.
const COUNTED: &str = "shift=6,sleep=off";

/// What a part took, in instructions, or another figure in `mean` alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figure {
    pub(crate) mean: u64,
    pub(crate) most: Option<u64>,
    pub(crate) runs: Option<u64>,
}

/// What an image said.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) figures: BTreeMap<String, Figure>,
    pub(crate) succeeded: bool,
}

impl Said {
    pub(crate) fn figure(&self, name: &str) -> Result<Figure> {
        self.figures.get(name).copied().with_context(|| format!("the image told no figure {name:?}"))
    }
}

/// Whatever QEMU writes to its output, of an image that is given an argument.
fn start(elf: &Path, argument: &str) -> Result<std::process::Child> {
    Command::new("qemu-system-arm")
        .args(["-M", "mps2-an386", "-cpu", "cortex-m4", "-nographic", "-monitor", "none", "-serial", "none"])
        .arg("-semihosting-config")
        .arg(format!("enable=on,target=native,arg={argument}"))
        .args(["-icount", COUNTED, "-kernel"])
        .arg(elf)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context(
            "qemu-system-arm does not start; to install it: apt-get install qemu-system-arm, or make setup",
        )
}

/// Runs an image that logs by defmt, and prints its log.
pub(crate) fn run(elf: &Path, argument: &str) -> Result<Said> {
    let bytes = std::fs::read(elf).with_context(|| format!("{}", elf.display()))?;
    let table = Table::parse(&bytes)?.with_context(|| format!("{} holds no defmt table", elf.display()))?;
    let mut decoder = table.new_stream_decoder();
    let mut child = start(elf, argument)?;
    let mut output = child.stdout.take().context("QEMU's output")?;
    let mut said = Said::default();
    let mut chunk = [0u8; 4_096];
    loop {
        let count = output.read(&mut chunk)?;
        if count == 0 {
            break;
        }
        decoder.received(chunk.get(..count).unwrap_or(&[]));
        loop {
            match decoder.decode() {
                Ok(frame) => take(&mut said, &frame)?,
                Err(DecodeError::UnexpectedEof) => break,
                Err(DecodeError::Malformed) => bail!("the log of {} cannot be decoded", elf.display()),
            }
        }
    }
    said.succeeded = child.wait()?.success();
    Ok(said)
}

/// Runs an image that prints text, and returns it with whether it succeeded.
pub(crate) fn run_text(elf: &Path, argument: &str) -> Result<(String, bool)> {
    let output = start(elf, argument)?.wait_with_output()?;
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success()))
}

fn take(said: &mut Said, frame: &defmt_decoder::Frame<'_>) -> Result<()> {
    let message = frame.display_message().to_string();
    let Some(figure) = message.strip_prefix("figure ") else {
        let time = frame.display_timestamp().map(|time| time.to_string()).unwrap_or_default();
        let level = frame.level().map_or("", |level| level.as_str());
        println!("  {time:>14} {level:5} {message}");
        return Ok(());
    };
    let mut words = figure.split_whitespace();
    let name = words.next().context("a figure without a name")?.to_owned();
    let numbers = words.map(str::parse).collect::<Result<Vec<u64>, _>>().with_context(|| message.clone())?;
    ensure!(matches!(numbers.len(), 1 | 3), "a figure has one number or three: {message}");
    let mean = numbers.first().copied().unwrap_or(0);
    let figure = Figure { mean, most: numbers.get(1).copied(), runs: numbers.get(2).copied() };
    said.figures.insert(name, figure);
    Ok(())
}
