//! Figures of the canceller's image and their bounds.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use handsfree_vectors::cancellers::{Lean64, Lean128};
use handsfree_vectors::conversation::{ConversationMemory, OUTPUT_ONLY, converse};
use handsfree_vectors::meter::NoMeter;

use crate::{parts, qemu, symbols};

/// Length of the conversation in frames of 10 ms: 12 s.
const FRAMES: u32 = 1_200;
/// Largest number of instructions in 10 ms: both interrupts, both pipelines and the canceller of 128 ms, in any
/// frame. A Cortex-M4F at 80 MHz then has a third of its time left at 1.2 cycles an instruction.
const MAX_INSTRUCTIONS: u32 = 450_000;
/// Largest memory of the canceller of 128 ms, scratch included.
const MAX_BYTES: u32 = 64 * 1_024;
/// Largest memory of the canceller of 64 ms, scratch included.
const MAX_BYTES_64: u32 = 48 * 1_024;
/// Largest stack of the canceller: its first frame, later frames and a reset.
const MAX_CANCELLER_STACK_BYTES: u32 = 2_048;
/// Largest stack of the whole program, most of it while the session is split.
const MAX_STACK_BYTES: u32 = 12 * 1_024;
/// Largest flash of the image, of which the conversation itself takes 14 KiB.
const MAX_FLASH_BYTES: u32 = 92 * 1_024;

pub(crate) fn run(image: &Path) -> Result<()> {
    println!("a conversation of {} s with the canceller of 128 ms, lean:", FRAMES / 100);
    let (text, succeeded) = qemu::run_text(qemu::Processor::CortexM4, image, &FRAMES.to_string())?;
    ensure!(succeeded, "{} failed:\n{text}", image.display());
    let figures = figures(&text)?;
    let figure = |name: &str| {
        figures.get(name).copied().with_context(|| format!("the image reported no figure {name:?}:\n{text}"))
    };

    let mut memory = Box::new(ConversationMemory::new());
    let mut canceller = Box::new(Lean128::new());
    canceller.configure(OUTPUT_ONLY);
    let here = converse(FRAMES, &mut *canceller, &mut memory, &mut NoMeter)?;
    let hash = u64::from(figure("hash_high")?) << 32 | u64::from(figure("hash_low")?);
    ensure!(
        (here.frames, here.hash) == (figure("frames")?, hash),
        "the results differ: this machine {} frames, {:016x}, the image {} frames, {hash:016x}",
        here.frames,
        here.hash,
        figure("frames")?
    );

    let sizes = symbols::sizes(image)?;
    let instructions = "instructions in 10 ms";
    let rows = [
        (format!("{instructions}: capture interrupt"), figure("capture_interrupt")?, None),
        (format!("{instructions}: playback interrupt"), figure("playback_interrupt")?, None),
        (format!("{instructions}: capture pipeline with the canceller"), figure("capture_pipeline")?, None),
        (format!("{instructions}: playback pipeline"), figure("playback_pipeline")?, None),
        (format!("{instructions}: all, mean"), figure("mean")?, None),
        (format!("{instructions}: all, most of any frame"), figure("most")?, Some(MAX_INSTRUCTIONS)),
        ("canceller of 128 ms, bytes of RAM".to_owned(), figure("canceller_bytes")?, Some(MAX_BYTES)),
        ("canceller of 64 ms, bytes of RAM".to_owned(), size_of::<Lean64>() as u32, Some(MAX_BYTES_64)),
        (
            "stack of the canceller, bytes".to_owned(),
            figure("canceller_stack_bytes")?,
            Some(MAX_CANCELLER_STACK_BYTES),
        ),
        ("stack of the whole program, bytes".to_owned(), figure("stack_bytes")?, Some(MAX_STACK_BYTES)),
        ("image, bytes of flash".to_owned(), sizes.flash as u32, Some(MAX_FLASH_BYTES)),
        ("image, bytes of static RAM".to_owned(), sizes.ram as u32, None),
    ];
    println!("  {:<66} {:>9} {:>9}", "16 kHz mono, two clocks 100 ppm apart", "found", "at most");
    for (what, found, most) in &rows {
        println!("  {what:<66} {found:>9} {:>9}", most.map_or(String::new(), |most| most.to_string()));
    }
    println!();
    println!("  {:<66} {:>9}", "flash of the canceller's image, by source of the code", "bytes");
    for (part, bytes) in parts::flash(image, sizes.flash)? {
        println!("  {part:<66} {bytes:>9}");
    }
    for (what, found, most) in &rows {
        ensure!(
            most.is_none_or(|most| *found <= most),
            "{what}: found {found}, expected at most {}",
            most.unwrap_or_default()
        );
    }
    let forbidden = symbols::forbidden(image)?;
    ensure!(
        forbidden.is_empty(),
        "the canceller's image contains {}; expected no panic and no allocation",
        forbidden.join(", ")
    );
    println!("  no panic and no allocation in the canceller's image; its samples are those of this machine");
    Ok(())
}

/// Reads lines of a name and a number.
pub(crate) fn figures(text: &str) -> Result<BTreeMap<&str, u32>> {
    text.lines()
        .map(|line| {
            let (name, value) =
                line.split_once(' ').with_context(|| format!("{line:?}: expected a figure"))?;
            Ok((name, value.parse().with_context(|| format!("{line:?}: expected a number"))?))
        })
        .collect()
}
