//! Replays the recorded schedules and holds the conversations on this machine and on the image, and compares
//! samples and counters.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use handsfree_vectors::cancellers::*;
use handsfree_vectors::conversation::{ConversationMemory, ConversationOutcome, converse};
use handsfree_vectors::meter::NoMeter;
use handsfree_vectors::{CASES, ReplayOutcome, ReplaySession};

use crate::qemu;

pub(crate) fn run(image: &Path) -> Result<()> {
    println!("the recorded schedules, on this machine and on the image:");
    let (text, succeeded) = qemu::run_text(qemu::Processor::CortexM4, image, "")?;
    ensure!(succeeded, "{} failed:\n{text}", image.display());
    let mut output = text.lines();
    let mut session = Box::new(ReplaySession::new());
    for (case, name) in CASES.iter().enumerate() {
        let outcome: Option<ReplayOutcome> = handsfree_vectors::replay(case, &mut session)?;
        let here = format!("{name}: {outcome:?}");
        let on_image = output.next().with_context(|| format!("the image ended before {name}:\n{text}"))?;
        ensure!(here == on_image, "the results differ:\n  this machine {here}\n  the image    {on_image}");
        let outcome = outcome.unwrap_or_else(|| unreachable!("every case has an outcome"));
        ensure!(outcome.frames > 200, "{name}: {} frames, expected more than 200", outcome.frames);
        println!("  {name:<20} {:>4} frames, {:016x}, all counters equal", outcome.frames, outcome.hash);
    }
    conversations(&mut output)
}

/// Holds each conversation on this machine and compares it with the image's.
fn conversations<'a>(output: &mut impl Iterator<Item = &'a str>) -> Result<()> {
    println!();
    println!("a conversation with each canceller at 16 kHz, on this machine and on the image:");
    println!(
        "  {:<14} {:>8} {:>9} {:>9} {:>18} {:>6} {:>6} {:>6} {:>6}",
        "", "bytes", "mean", "most", "bits", "linear", "output", "both", "near"
    );
    let mut session = Box::new(ConversationMemory::new());
    macro_rules! hold {
        ($($name:literal $canceller:ident $frames:literal;)*) => {$({
            let mut canceller = Box::new($canceller::new());
            let here = converse($frames, &mut *canceller, &mut session, &mut NoMeter)?;
            compare($name, &here, output)?;
        })*};
    }
    handsfree_vectors::for_each_canceller!(hold);
    println!(
        "  mean, most: instructions in 10 ms, the session included; then decibels: the echo's reduction by"
    );
    println!(
        "  the filter and by all, the talker's level while both speak, and while only the talker speaks"
    );
    Ok(())
}

fn compare<'a>(
    name: &str,
    here: &ConversationOutcome,
    output: &mut impl Iterator<Item = &'a str>,
) -> Result<()> {
    let mut next = || output.next().with_context(|| format!("the image ended before {name}"));
    let (on_image, figures) = (next()?, next()?);
    let expected = format!("{name}: {here:?}");
    ensure!(
        expected == on_image,
        "the results differ:\n  this machine {expected}\n  the image    {on_image}"
    );
    let decibels = |over: u64, under: u64| 10.0 * (over.max(1) as f64 / under.max(1) as f64).log10();
    let [microphone, linear, output] = here.echo;
    let [talker, product] = here.both.map(|energy| energy.unsigned_abs());
    let [near_in, near_out] = here.near;
    let numbers: Vec<&str> = figures.trim_start_matches(name).split_whitespace().collect();
    let [bytes, mean, most] = numbers.as_slice() else { bail!("{figures:?}: expected three numbers") };
    println!(
        "  {name:<14} {bytes:>8} {mean:>9} {most:>9} {:>18} {:>6.1} {:>6.1} {:>6.1} {:>6.1}",
        format!("{:016x}", here.hash),
        decibels(microphone, linear),
        decibels(microphone, output),
        2.0 * decibels(product, talker),
        decibels(near_out, near_in),
    );
    Ok(())
}
