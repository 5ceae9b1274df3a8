//! Replays the recorded schedules on this machine and on the image and compares samples and counters.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use handsfree_vectors::{CASES, ReplayOutcome, ReplaySession};

use crate::qemu;

pub(crate) fn run(image: &Path) -> Result<()> {
    println!("the recorded schedules, on this machine and on the image:");
    let (text, succeeded) = qemu::run_text(image, "")?;
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
    Ok(())
}
