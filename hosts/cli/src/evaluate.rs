//! The oracle for the figures: the same voice processor, called directly.

use handsfree::failure::Failure;
use handsfree::pcm::{from_i16, to_i16};
use handsfree_core::capture::{ProcessError, VoiceProcessor};
use handsfree_core::time::Duration;
use handsfree_core::{Format, PcmMut, PcmRef, SampleRate};
use handsfree_sim::measure;
use handsfree_sim::wav::Clip;

use crate::switches::Switches;

/// Length of the probe for the processor's delay.
const PROBE_S: usize = 4;

fn failed(error: ProcessError) -> Failure {
    Failure::run(format!("the voice processor failed when called directly: {error}"))
}

/// Calls the processor directly, frame by frame and `far` first, without rings, clocks or interrupts. Pads an incomplete
/// last frame with silence. Returns as many samples as `mic` has.
///
/// # Errors
/// Returns an error when the processor fails.
pub fn direct(
    voice: &mut dyn VoiceProcessor,
    rate: SampleRate,
    far: &[i16],
    mic: &[i16],
) -> Result<Vec<i16>, Failure> {
    let format = Format::with_rate(rate, 1)?;
    let length = rate.sample_frames();
    let mut clean = Vec::with_capacity(mic.len() + length);
    let mut reference = vec![0; length];
    let mut frame = vec![0; length];
    for (k, heard) in mic.chunks(length).enumerate() {
        let played = far.get(k * length..).unwrap_or(&[]);
        copy_padded(played, &mut reference);
        copy_padded(heard, &mut frame);
        voice.process_reverse(PcmRef { format, samples: &reference }).map_err(failed)?;
        voice.process_capture(PcmMut { format, samples: &mut frame }, Duration::ZERO).map_err(failed)?;
        clean.extend_from_slice(&frame);
    }
    clean.truncate(mic.len());
    Ok(clean)
}

/// Fills `to` with the start of `from`, and the rest with silence.
pub fn copy_padded(from: &[i16], to: &mut [i16]) {
    let count = from.len().min(to.len());
    to[..count].copy_from_slice(&from[..count]);
    to[count..].fill(0);
}

/// Returns the delay, in samples, of a processor with these switches: found by correlating the shipped talker's voice
/// with itself after processing.
///
/// # Errors
/// Returns an error when the processor cannot be made for the rate.
pub fn processor_delay_samples(switches: &Switches, rate: SampleRate) -> Result<usize, Failure> {
    let format = Format::with_rate(rate, 1)?;
    let mut voice = switches.voice(format, format)?;
    let probe: Vec<f32> =
        Clip::near().to_mono_at(rate.hz()).into_iter().take(PROBE_S * rate.hz() as usize).collect();
    let mic = to_i16(&probe);
    let clean = direct(voice.as_dyn(), rate, &[], &mic)?;
    let offset = measure::best_offset(&from_i16(&mic), &from_i16(&clean), rate.hz() as usize / 20);
    usize::try_from(offset)
        .map_err(|_| Failure::run(format!("the voice processor answers {} samples before it hears", -offset)))
}

/// Returns the signal moved earlier by `samples`, of equal length, with silence at its end.
#[must_use]
pub fn advanced(signal: &[i16], samples: usize) -> Vec<i16> {
    let mut moved = signal.get(samples..).unwrap_or(&[]).to_vec();
    moved.resize(signal.len(), 0);
    moved
}
