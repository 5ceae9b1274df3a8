//! The board's figures and their bounds.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::qemu::{self, Said};
use crate::{parts, symbols};

/// Instructions in 10 ms.
const MOST_INTERRUPT: u64 = 6_000;
const MOST_PIPELINES: u64 = 22_000;
const MOST_RAM: u64 = 32 * 1_024;
/// At `opt-level = 3`: of the whole bare image, with what the core needs of the compiler's routines.
const MOST_FLASH: u64 = 32 * 1_024;

/// A line of the table, and whether it is within its bound.
struct Row {
    what: String,
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
    println!(
        "  {:<66} {:>9} {:>9}",
        "16 kHz mono, 10 ms, 250 ms of reference, 2 track slots", "found", "at most"
    );
    for Row { what, found, most } in &rows {
        println!("  {what:<66} {found:>9} {:>9}", most.map_or(String::new(), |most| most.to_string()));
    }
    println!();
    println!("  {:<66} {:>9}", "the bare image's flash, by where the code was written", "bytes");
    for (part, bytes) in parts::flash(&bare, symbols::sizes(&bare)?.flash)? {
        println!("  {part:<66} {bytes:>9}");
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
        Row {
            what: "core: session and interrupt halves, bytes of RAM".to_owned(),
            found: bare_sizes.ram,
            most: Some(MOST_RAM),
        },
        Row {
            what: "core with two interrupts and a loop, bytes of flash".to_owned(),
            found: bare_sizes.flash,
            most: Some(MOST_FLASH),
        },
        Row { what: "board: static RAM, bytes".to_owned(), found: board_sizes.ram, most: None },
        Row { what: "board: flash, bytes".to_owned(), found: board_sizes.flash, most: None },
        Row {
            what: "board: stack high-water mark, bytes".to_owned(),
            found: said.figure("stack_used_bytes")?.mean,
            most: None,
        },
    ];
    instructions(&mut rows, said, "one_track", "one track", true)?;
    instructions(&mut rows, said, "two_tracks", "two tracks, one ducked", false)?;
    let light = said.figure("light_voice")?;
    rows.push(Row {
        what: "light voice path, instructions a frame, the most".to_owned(),
        found: light.most.unwrap_or(light.mean),
        most: None,
    });
    for (what, name) in [
        ("overruns, underruns and gaps", "xruns"),
        ("interrupts that nested", "nested_interrupts"),
        ("latest interrupt, us", "latest_interrupt_us"),
        ("echo that the reference does not explain, parts per million", "echo_remainder_ppm"),
    ] {
        rows.push(Row { what: what.to_owned(), found: said.figure(name)?.mean, most: None });
    }
    Ok(rows)
}

/// What each part takes; the bounds are those of one track.
fn instructions(rows: &mut Vec<Row>, said: &Said, phase: &str, title: &str, bound: bool) -> Result<()> {
    let figure = |name: &str| said.figure(&format!("{phase}_{name}"));
    let [microphone, loudspeaker] = [figure("capture_interrupt")?, figure("playback_interrupt")?];
    let [capture, playback] = [figure("capture_pipeline")?, figure("playback_pipeline")?];
    let frames = microphone.runs.unwrap_or(1).max(1);
    // The worker may run more often than once a frame.
    let each = |figure: qemu::Figure| figure.mean * figure.runs.unwrap_or(0) / frames;
    let most = |most: u64| bound.then_some(most);
    let worst = |figure: qemu::Figure| figure.most.unwrap_or(figure.mean);
    rows.extend([
        Row {
            what: format!("{title}: capture interrupt, instructions"),
            found: worst(microphone),
            most: most(MOST_INTERRUPT),
        },
        Row {
            what: format!("{title}: playback interrupt, instructions"),
            found: worst(loudspeaker),
            most: most(MOST_INTERRUPT),
        },
        Row { what: format!("{title}: capture pipeline, instructions"), found: each(capture), most: None },
        Row { what: format!("{title}: playback pipeline, instructions"), found: each(playback), most: None },
        Row {
            what: format!("{title}: both pipelines, instructions"),
            found: each(capture) + each(playback),
            most: most(MOST_PIPELINES),
        },
    ]);
    Ok(())
}
