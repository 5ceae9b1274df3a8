//! Control side: reads a whole audio file into memory, for commands that process recordings.

use std::path::Path;

use handsfree::failure::Failure;
use handsfree_sim::wav::{self, Clip};

use super::{Decoded, Decoder, RawFormat};

/// Longest recording of raw samples, in seconds, as for WAV files: a device such as /dev/zero has no end.
const MAX_RAW_SECONDS: usize = 4 * 3_600;

/// Reads an audio file of any kind that [`Decoder`] knows. A file that does not begin with the name of its kind is raw
/// samples if `raw` states their format. The clip's notice says how a damaged file was repaired.
///
/// # Errors
/// Returns an error that names the file and what was found instead of audio.
pub fn read_clip(path: impl AsRef<Path>, raw: Option<RawFormat>) -> Result<Clip, Failure> {
    let path = path.as_ref();
    if raw.is_some() {
        let decoder = Decoder::open(path, raw)?;
        // A pipe cannot be opened again.
        if decoder.is_raw() || !path.is_file() {
            return whole(path, decoder);
        }
    }
    let own = match wav::read(path) {
        Ok(clip) => return Ok(clip),
        Err(error) => Failure::from(error),
    };
    let says = |found: &str| own.to_string().contains(found);
    match (says("is not a WAV file"), says("is coded as")) {
        // The decoder's error names every kind that it would have read.
        (true, _) => whole(path, Decoder::open(path, None)?),
        (_, true) => Decoder::open(path, None).map_or(Err(own), |decoder| whole(path, decoder)),
        _ => Err(own),
    }
}

/// Decodes the whole file.
fn whole(path: &Path, mut decoder: Decoder) -> Result<Clip, Failure> {
    let invalid = |found: &str| Failure::run(format!("{}: {found}", path.display()));
    let channels = u16::try_from(decoder.channels())
        .map_err(|_| invalid(&format!("has {} channels", decoder.channels())))?;
    let most = MAX_RAW_SECONDS * decoder.rate_hz() as usize * usize::from(channels);
    let (mut samples, mut part) = (Vec::new(), Vec::new());
    let notice = loop {
        match decoder.next_f32(&mut part) {
            Decoded::Samples => samples.extend_from_slice(&part),
            Decoded::End => break None,
            Decoded::Broken(reason) => break Some(format!("{}: {reason}", path.display())),
        }
        if decoder.is_raw() && samples.len() > most {
            return Err(invalid(&format!("is longer than {MAX_RAW_SECONDS} s: expected at most that")));
        }
    };
    if samples.is_empty() {
        return Err(invalid("contains no samples: expected at least one"));
    }
    Ok(Clip { rate_hz: decoder.rate_hz(), channels, samples, notice })
}
