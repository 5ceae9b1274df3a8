//! Worker side: fades around the silence of a track that has nothing left to play.

use crate::dsp::Ramp;
use crate::format::Format;
use crate::limits::{MAX_CHANNELS, MIN_FADE};
use crate::playback::slot::SlotGains;
use crate::sample::Gain;

/// One sample of each channel, with the track's gain.
pub(crate) type SampleFrame = [i16; MAX_CHANNELS as usize];

/// Pointers to the functions below, so that firmware whose tracks do not fade links none of them.
#[derive(Debug)]
pub(crate) struct StarvationFade {
    /// Keeps the last sample frame of samples that were mixed with these gains.
    pub(crate) keep: fn(&mut SampleFrame, &[i16], usize, &SlotGains),
    /// Adds a fade of the last sample frame to the sums of a frame.
    pub(crate) fade_out: fn(&SampleFrame, &mut [i32], Format),
    /// Lets the next sample frames fade in.
    pub(crate) fade_in: fn(&mut Ramp, Format),
}

pub(crate) static STARVATION_FADE: StarvationFade = StarvationFade { keep, fade_out, fade_in };

fn keep(last: &mut SampleFrame, samples: &[i16], channels: usize, gains: &SlotGains) {
    let gain = gains.now();
    let sample_frame = samples.rchunks_exact(channels.max(1)).next().unwrap_or(&[]);
    for (last, &sample) in last.iter_mut().zip(sample_frame) {
        *last = gain.amplify(sample).clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16;
    }
}

fn fade_out(last: &SampleFrame, sums: &mut [i32], format: Format) {
    let mut fade = Ramp::at(Gain::UNITY);
    let sample_frames = MIN_FADE.in_sample_frames(format.rate());
    fade.move_to(Gain::SILENT, sample_frames);
    for sums in sums.chunks_exact_mut(format.channels().max(1)).take(sample_frames as usize) {
        let gain = fade.next();
        sums.iter_mut().zip(last).for_each(|(sum, &last)| *sum += gain.amplify(last));
    }
}

fn fade_in(fade: &mut Ramp, format: Format) {
    *fade = Ramp::at(Gain::SILENT);
    fade.move_to(Gain::UNITY, MIN_FADE.in_sample_frames(format.rate()));
}
