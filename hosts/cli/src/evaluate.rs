//! Control side: reference results from the same voice processor, called directly.

use handsfree::failure::Failure;
use handsfree::pcm::{from_i16, to_i16};
use handsfree_core::capture::{ProcessError, VoiceProcessor};
use handsfree_core::time::Duration;
use handsfree_core::{Format, PcmMut, PcmRef, SampleRate};
use handsfree_sim::measure;
use handsfree_sim::wav::Clip;

use crate::signal::{SampleSource, fill};
use crate::switches::Switches;

/// Length of the speech that measures the processor's delay, in seconds: enough for a clear correlation peak.
const PROBE_S: usize = 4;

fn processing_failure(error: ProcessError) -> Failure {
    Failure::run(format!("the voice processor failed when called directly: {error}"))
}

/// Processes `mic` with direct calls of the processor, without rings, clocks or interrupts: for each 10 ms frame first the
/// far end, then the microphone. Pads an incomplete last frame with silence. The result has the length of `mic`.
///
/// # Errors
/// Returns an error when the processor fails.
pub fn direct(
    voice: &mut dyn VoiceProcessor,
    rate: SampleRate,
    mut far: &[i16],
    mut mic: &[i16],
) -> Result<Vec<i16>, Failure> {
    let length = mic.len();
    let mut clean = Vec::with_capacity(length + rate.sample_frames());
    direct_with_channels(voice, rate, (&mut far, 1), &mut mic, &mut |frame| {
        clean.extend_from_slice(frame);
        Ok(())
    })?;
    clean.truncate(length);
    Ok(clean)
}

/// Does the same as [`direct`] for samples that come part by part and a far end with several interleaved channels. Calls `take` with
/// each frame, the last one whole.
///
/// # Errors
/// Returns an error when the processor fails, when the number of channels is not supported, and those of the sources and `take`.
pub fn direct_with_channels(
    voice: &mut dyn VoiceProcessor,
    rate: SampleRate,
    (far, far_channels): (&mut dyn SampleSource, u32),
    mic: &mut dyn SampleSource,
    take: &mut dyn FnMut(&[i16]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let format = Format::with_rate(rate, 1)?;
    let far_format = Format::with_rate(rate, far_channels)?;
    let length = rate.sample_frames();
    let mut reference = vec![0; length * far_channels as usize];
    let mut frame = vec![0; length];
    while fill(mic, &mut frame)? > 0 {
        fill(far, &mut reference)?;
        voice
            .process_reverse(PcmRef { format: far_format, samples: &reference })
            .map_err(processing_failure)?;
        voice
            .process_capture(PcmMut { format, samples: &mut frame }, Duration::ZERO)
            .map_err(processing_failure)?;
        take(&frame)?;
    }
    Ok(())
}

/// Measures the delay of a processor with these switches, in samples, by correlating the shipped talker's voice before and
/// after processing.
///
/// # Errors
/// Returns an error when the processor does not support the rate or its output precedes its input.
pub fn processor_delay_samples(switches: &Switches, rate: SampleRate) -> Result<usize, Failure> {
    let format = Format::with_rate(rate, 1)?;
    let mut voice = switches.voice(format, format)?;
    let probe: Vec<f32> =
        Clip::near().to_mono_at(rate.hz()).into_iter().take(PROBE_S * rate.hz() as usize).collect();
    let mic = to_i16(&probe);
    let clean = direct(voice.as_dyn(), rate, &[], &mic)?;
    let offset = measure::best_offset(&from_i16(&mic), &from_i16(&clean), rate.hz() as usize / 20);
    usize::try_from(offset).map_err(|_| {
        Failure::run(format!("the voice processor has a delay of {offset} samples: expected at least 0"))
    })
}

/// Returns the signal shifted earlier by `samples`, with silence appended to keep its length.
#[must_use]
pub fn advanced(signal: &[i16], samples: usize) -> Vec<i16> {
    let mut moved = signal.get(samples..).unwrap_or(&[]).to_vec();
    moved.resize(signal.len(), 0);
    moved
}
