//! Instructions of a conversation on other processors than the Cortex-M4F, and the comparison of its samples with this machine's.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use handsfree_core::capture::{LightConfig, LightVoice};
use handsfree_vectors::cancellers::Lean128;
use handsfree_vectors::conversation::{
    ConversationCanceller, ConversationMemory, ConversationOutcome, OUTPUT_ONLY, converse,
};
use handsfree_vectors::meter::NoMeter;

use crate::canceller::figures;
use crate::qemu::{self, Processor};

/// Runs an image that holds a conversation of `frames` frames with the voice processor `voice`, and prints its figures.
pub(crate) fn run(processor: &str, voice: &str, frames: &str, image: &Path) -> Result<()> {
    let count = frames.parse().with_context(|| format!("{frames:?}: expected a number of frames"))?;
    let here = match voice {
        "light" => hold(count, &mut LightVoice::new(LightConfig::default()))?,
        "canceller" => {
            let mut canceller = Box::new(Lean128::new());
            canceller.configure(OUTPUT_ONLY);
            hold(count, &mut *canceller)?
        }
        _ => bail!("{voice:?}: expected light or canceller"),
    };
    let argument = format!("{frames},arg={voice}");
    let (text, succeeded) = qemu::run_text(Processor::of_name(processor)?, image, &argument)?;
    ensure!(succeeded, "{} failed:\n{text}", image.display());
    let figures = figures(&text)?;
    let figure = |name: &str| {
        figures.get(name).copied().with_context(|| format!("the image reported no figure {name:?}:\n{text}"))
    };
    let hash = u64::from(figure("hash_high")?) << 32 | u64::from(figure("hash_low")?);
    ensure!(
        (here.frames, here.hash) == (figure("frames")?, hash),
        "the results differ: this machine {} frames, {:016x}, the image {} frames, {hash:016x}",
        here.frames,
        here.hash,
        figure("frames")?
    );
    println!(
        "  {:<60} {voice:<10} {:>11} {:>11}",
        image
            .iter()
            .filter_map(|part| part.to_str())
            .find(|part| part.contains("-none-"))
            .unwrap_or(processor),
        figure("mean")?,
        figure("most")?
    );
    Ok(())
}

fn hold(frames: u32, voice: &mut impl ConversationCanceller) -> Result<ConversationOutcome> {
    let mut memory = Box::new(ConversationMemory::new());
    Ok(converse(frames, voice, &mut memory, &mut NoMeter)?)
}
