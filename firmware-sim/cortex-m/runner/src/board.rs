//! Figures of the board image and their bounds.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::qemu::{self, ImageOutput};
use crate::{parts, symbols};

/// Largest number of instructions of one interrupt, per period of 10 ms.
const MAX_INTERRUPT_INSTRUCTIONS: u64 = 6_000;
/// Largest number of instructions of both pipelines together, per 10 ms.
const MAX_PIPELINE_INSTRUCTIONS: u64 = 22_000;
/// Largest static RAM of the bare image.
const MAX_RAM_BYTES: u64 = 32 * 1_024;
/// Largest flash of the whole bare image at `opt-level = 3`, including the compiler's routines that the core
/// needs.
const MAX_FLASH_BYTES: u64 = 32 * 1_024;

/// Line of the table: a figure and its bound, if it has one.
struct FigureRow {
    what: String,
    found: u64,
    most: Option<u64>,
}

pub(crate) fn run(seconds: u32, directory: &Path) -> Result<()> {
    let (board, bare) = (directory.join("board"), directory.join("bare"));
    println!("the board, {seconds} s:");
    let output = qemu::run(&board, &seconds.to_string())?;
    ensure!(output.succeeded, "the board's own checks failed");
    let rows = rows(&output, &board, &bare)?;
    println!();
    println!(
        "  {:<66} {:>9} {:>9}",
        "16 kHz mono, 10 ms, 250 ms of reference, 2 track slots", "found", "at most"
    );
    for FigureRow { what, found, most } in &rows {
        println!("  {what:<66} {found:>9} {:>9}", most.map_or(String::new(), |most| most.to_string()));
    }
    println!();
    println!("  {:<66} {:>9}", "flash of the bare image, by source of the code", "bytes");
    for (part, bytes) in parts::flash(&bare, symbols::sizes(&bare)?.flash)? {
        println!("  {part:<66} {bytes:>9}");
    }
    for FigureRow { what, found, most } in &rows {
        ensure!(
            most.is_none_or(|most| *found <= most),
            "{what}: found {found}, expected at most {}",
            most.unwrap_or_default()
        );
    }
    let forbidden = symbols::forbidden(&bare)?;
    ensure!(
        forbidden.is_empty(),
        "the bare image contains {}; expected no panic and no allocation",
        forbidden.join(", ")
    );
    println!("  no panic and no allocation in the bare image");
    Ok(())
}

fn rows(output: &ImageOutput, board: &Path, bare: &Path) -> Result<Vec<FigureRow>> {
    let bare_sizes = symbols::sizes(bare)?;
    let board_sizes = symbols::sizes(board)?;
    let mut rows = vec![
        FigureRow {
            what: "core: session and interrupt halves, bytes of RAM".to_owned(),
            found: bare_sizes.ram,
            most: Some(MAX_RAM_BYTES),
        },
        FigureRow {
            what: "core with two interrupts and a loop, bytes of flash".to_owned(),
            found: bare_sizes.flash,
            most: Some(MAX_FLASH_BYTES),
        },
        FigureRow { what: "board: static RAM, bytes".to_owned(), found: board_sizes.ram, most: None },
        FigureRow { what: "board: flash, bytes".to_owned(), found: board_sizes.flash, most: None },
        FigureRow {
            what: "board: stack high-water mark, bytes".to_owned(),
            found: output.figure("stack_used_bytes")?.mean,
            most: None,
        },
    ];
    instructions(&mut rows, output, "one_track", "one track", true)?;
    instructions(&mut rows, output, "two_tracks", "two tracks, one ducked", false)?;
    let light = output.figure("light_voice")?;
    rows.push(FigureRow {
        what: "light voice path, instructions per frame, maximum".to_owned(),
        found: light.most.unwrap_or(light.mean),
        most: None,
    });
    for (what, name) in [
        ("overruns, underruns and gaps", "xruns"),
        ("nested interrupts", "nested_interrupts"),
        ("latest interrupt, us", "latest_interrupt_us"),
        ("echo that the reference does not explain, parts per million", "echo_remainder_ppm"),
    ] {
        rows.push(FigureRow { what: what.to_owned(), found: output.figure(name)?.mean, most: None });
    }
    Ok(rows)
}

/// Adds the instructions of each part. The bounds apply to one track.
fn instructions(
    rows: &mut Vec<FigureRow>,
    output: &ImageOutput,
    phase: &str,
    title: &str,
    bound: bool,
) -> Result<()> {
    let figure = |name: &str| output.figure(&format!("{phase}_{name}"));
    let [microphone, loudspeaker] = [figure("capture_interrupt")?, figure("playback_interrupt")?];
    let [capture, playback] = [figure("capture_pipeline")?, figure("playback_pipeline")?];
    let frames = microphone.runs.unwrap_or(1).max(1);
    // The worker may run more often than once a frame.
    let each = |figure: qemu::Figure| figure.mean * figure.runs.unwrap_or(0) / frames;
    let most = |most: u64| bound.then_some(most);
    let worst = |figure: qemu::Figure| figure.most.unwrap_or(figure.mean);
    rows.extend([
        FigureRow {
            what: format!("{title}: capture interrupt, instructions"),
            found: worst(microphone),
            most: most(MAX_INTERRUPT_INSTRUCTIONS),
        },
        FigureRow {
            what: format!("{title}: playback interrupt, instructions"),
            found: worst(loudspeaker),
            most: most(MAX_INTERRUPT_INSTRUCTIONS),
        },
        FigureRow {
            what: format!("{title}: capture pipeline, instructions"),
            found: each(capture),
            most: None,
        },
        FigureRow {
            what: format!("{title}: playback pipeline, instructions"),
            found: each(playback),
            most: None,
        },
        FigureRow {
            what: format!("{title}: both pipelines, instructions"),
            found: each(capture) + each(playback),
            most: most(MAX_PIPELINE_INSTRUCTIONS),
        },
    ]);
    Ok(())
}
