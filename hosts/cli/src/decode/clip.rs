//! Control side: reads a whole audio file into memory, for commands that process recordings.

use std::path::Path;

use handsfree::failure::Failure;
use handsfree_sim::wav::{self, Clip};

use super::{Decoded, Decoder};

/// Reads an audio file of any kind that [`Decoder`] knows. The clip's notice says how a damaged file was repaired.
///
/// # Errors
/// Returns an error that names the file and what was found instead of audio.
pub fn read_clip(path: impl AsRef<Path>) -> Result<Clip, Failure> {
    let path = path.as_ref();
    let own = match wav::read(path) {
        Ok(clip) => return Ok(clip),
        Err(error) => Failure::from(error),
    };
    let is_other_kind =
        ["is not a WAV file", "is coded as"].iter().any(|found| own.to_string().contains(found));
    if !is_other_kind {
        return Err(own);
    }
    let Ok(mut decoder) = Decoder::open(path) else { return Err(own) };
    let channels = u16::try_from(decoder.channels())
        .map_err(|_| Failure::run(format!("{}: has {} channels", path.display(), decoder.channels())))?;
    let (mut samples, mut part) = (Vec::new(), Vec::new());
    let notice = loop {
        match decoder.next_f32(&mut part) {
            Decoded::Samples => samples.extend_from_slice(&part),
            Decoded::End => break None,
            Decoded::Broken(reason) => break Some(format!("{}: {reason}", path.display())),
        }
    };
    Ok(Clip { rate_hz: decoder.rate_hz(), channels, samples, notice })
}
