//! Runs the images in QEMU, prints their logs and figures, and checks the bounds.
//!
//!     handsfree-runner board SECONDS DIRECTORY     the figures of the images in a directory
//!     handsfree-runner log ELF ARGUMENT            one image and its log
//!     handsfree-runner text PROCESSOR ELF          one image and its printed text, on cortex-m4, fast-cortex-m4 or cortex-m7
//!     handsfree-runner vectors ELF                 the recorded schedules and conversations, on this machine and on
//!                                                  an image
//!     handsfree-runner canceller ELF               the figures of the canceller's image
//!     handsfree-runner counts PROCESSOR VOICE FRAMES ELF
//!                                                  the instructions of a conversation on cortex-m4, cortex-m7 or riscv32,
//!                                                  with the voice processor light or canceller
//!     handsfree-runner panics FILE...              check of images and libraries for panics and allocation

mod board;
mod canceller;
mod counts;
mod parts;
mod qemu;
mod symbols;
mod vectors;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};

const USAGE: &str = "expected: board SECONDS DIRECTORY, log ELF ARGUMENT, text PROCESSOR ELF, vectors ELF, canceller ELF, counts PROCESSOR VOICE FRAMES ELF, or panics FILE...";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("firmware: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["board", seconds, directory] => {
            let seconds =
                seconds.parse().with_context(|| format!("{seconds:?}: expected a number of seconds"))?;
            board::run(seconds, Path::new(directory))
        }
        ["log", elf, argument] => {
            let output = qemu::run(Path::new(elf), argument)?;
            for (name, figure) in &output.figures {
                println!("  {name}: {figure:?}");
            }
            ensure!(output.succeeded, "{elf} failed");
            Ok(())
        }
        ["text", processor, elf] => {
            let processor = qemu::Processor::of_name(processor)?;
            let (text, succeeded) = qemu::run_text(processor, Path::new(elf), "")?;
            text.lines().for_each(|line| println!("  {line}"));
            ensure!(succeeded, "{elf} failed");
            Ok(())
        }
        ["vectors", elf] => vectors::run(Path::new(elf)),
        ["canceller", elf] => canceller::run(Path::new(elf)),
        ["counts", processor, voice, frames, elf] => counts::run(processor, voice, frames, Path::new(elf)),
        ["panics", files @ ..] if !files.is_empty() => {
            for file in files {
                let found = symbols::forbidden(Path::new(file))?;
                ensure!(
                    found.is_empty(),
                    "{file} contains {}; expected no panic and no allocation",
                    found.join(", ")
                );
                println!("{file}: no panic, no allocation");
            }
            Ok(())
        }
        _ => bail!(USAGE),
    }
}
