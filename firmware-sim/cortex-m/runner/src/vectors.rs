//! The recorded orders, here and on the image: the same bits, the same counters.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use handsfree_vectors::{CASES, Outcome, ReplaySession};

use crate::qemu;

pub(crate) fn run(image: &Path) -> Result<()> {
    println!("the recorded orders, here and on the image:");
    let (text, succeeded) = qemu::run_text(image, "")?;
    ensure!(succeeded, "{} failed:\n{text}", image.display());
    let mut said = text.lines();
    let mut session = Box::new(ReplaySession::new());
    for (case, name) in CASES.iter().enumerate() {
        let outcome: Option<Outcome> = handsfree_vectors::replay(case, &mut session)?;
        let here = format!("{name}: {outcome:?}");
        let there = said.next().with_context(|| format!("the image ended before {name}:\n{text}"))?;
        ensure!(here == there, "not the same:\n  here      {here}\n  the image {there}");
        let outcome = outcome.unwrap_or_else(|| unreachable!("every case has an outcome"));
        ensure!(outcome.frames > 200, "{name}: only {} frames", outcome.frames);
        println!("  {name:<20} {:>4} frames, {:016x}, all counters equal", outcome.frames, outcome.hash);
    }
    Ok(())
}
