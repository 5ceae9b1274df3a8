//! The board's figures and their bounds.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::qemu::{self, Said};
use crate::symbols;

/// Instructions in 10 ms.
const MOST_INTERRUPT: u64 = 6_000;
const MOST_PIPELINES: u64 = 22_000;
const MOST_RAM: u64 = 32 * 1_024;

/// A line of the table, and whether it is within its bound.
struct Row {
    what: &'static str,
    found: u64,
    most: Option<u64>,
}

pub(crate) fn run(seconds: u32, directory: &Path) -> Result<()> {
    let (board, bare) = (directory.join("board"), directory.join("bare"));
    println!("the board, {seconds} s:");
    let said = qemu::run(&board, &seconds.to_string())?;
    ensure!(said.succeeded, "the board's own checks failed");
    let rows = rows(&said, &board, &bare)?;
    println!();
    println!("  {:<66} {:>9} {:>9}", "16 kHz mono, 10 ms, 250 ms of reference, 2 track slots", "found", "at most");
    for Row { what, found, most } in &rows {
        println!("  {what:<66} {found:>9} {:>9}", most.map_or(String::new(), |most| most.to_string()));
    }
    for Row { what, found, most } in &rows {
        ensure!(most.is_none_or(|most| *found <= most), "{what}: {found}, more than {most:?}");
    }
    let forbidden = symbols::forbidden(&bare)?;
    ensure!(forbidden.is_empty(), "the bare image holds {}", forbidden.join(", "));
    println!("  no panic and no allocation in the bare image");
    Ok(())
}

fn rows(said: &Said, board: &Path, bare: &Path) -> Result<Vec<Row>> {
    let bare_sizes = symbols::sizes(bare)?;
    let board_sizes = symbols::sizes(board)?;
    let mut rows = vec![
        Row { what: "core: session and interrupt halves, bytes of RAM", found: bare_sizes.ram, most: Some(MOST_RAM) },
        Row { what: "core with two interrupts and a loop, bytes of flash", found: bare_sizes.flash, most: None },
        Row { what: "board: static RAM, bytes", found: board_sizes.ram, most: None },
        Row { what: "board: flash, bytes", found: board_sizes.flash, most: None },
        Row { what: "board: stack high-water mark, bytes", found: said.figure("stack_used_bytes")?.mean, most: None },
    ];
    for (what, name) in [
        ("capture interrupt, instructions in 10 ms", "capture_interrupt"),
        ("playback interrupt, instructions in 10 ms", "playback_interrupt"),
    ] {
        let figure = said.figure(name)?;
        rows.push(Row { what, found: figure.most.unwrap_or(figure.mean), most: Some(MOST_INTERRUPT) });
    }
    let [capture, playback] = [said.figure("capture_pipeline")?, said.figure("playback_pipeline")?];
    let frames = said.figure("capture_interrupt")?.runs.unwrap_or(1).max(1);
    let each = |figure: qemu::Figure| figure.mean * figure.runs.unwrap_or(0) / frames;
    rows.push(Row { what: "capture pipeline, instructions a frame", found: each(capture), most: None });
    rows.push(Row { what: "playback pipeline, instructions a frame", found: each(playback), most: None });
    let both = each(capture) + each(playback);
    rows.push(Row { what: "both pipelines, instructions a frame", found: both, most: Some(MOST_PIPELINES) });
    for (what, name) in [
        ("overruns, underruns and gaps", "xruns"),
        ("interrupts that nested", "nested_interrupts"),
        ("latest interrupt, us", "latest_interrupt_us"),
        ("echo that the reference does not explain, parts per million", "echo_remainder_ppm"),
    ] {
        rows.push(Row { what, found: said.figure(name)?.mean, most: None });
    }
    Ok(rows)
}
