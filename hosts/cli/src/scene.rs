//! Control side: the signals and the room of a simulated run.

use handsfree::failure::Failure;
use handsfree::pcm::to_i16;
use handsfree::sim::LivingRoom;
use handsfree_core::SampleRate;
use handsfree_sim::acoustics::RoomAcoustics;
use handsfree_sim::convolver::Convolver;
use handsfree_sim::interpolate::resample_to;
use handsfree_sim::noise::{Colour, Noise, Rng};
use handsfree_sim::room::Loudspeaker;
use handsfree_sim::wav::{self, Clip};

use crate::args::{NearArg, SimArgs};

/// Signals and room acoustics of a simulated run.
#[derive(Debug)]
pub struct Scene {
    /// Signal that the application plays, at the terminal's rate.
    pub far: Vec<i16>,
    /// Talker's signal at the microphone, at the capture device's rate.
    pub near: Vec<f32>,
    /// Acoustics from the loudspeaker to the microphone, with the talker and noise.
    pub acoustics: RoomAcoustics,
    /// Messages for the user about the clips.
    pub notices: Vec<String>,
}

impl Scene {
    /// Reads the clips and builds the room.
    ///
    /// # Errors
    /// Returns an error that names a file that cannot be read or an invalid property of the room.
    pub fn build(args: &SimArgs, rate: SampleRate, capture: SampleRate) -> Result<Self, Failure> {
        let mut notices = Vec::new();
        let mut collect_notice = |clip: Clip| {
            notices.extend(clip.notice.clone());
            clip
        };
        let far_clip = collect_notice(args.far.as_ref().map_or_else(|| Ok(Clip::far()), wav::read)?);
        let near_clip = match &args.near {
            None => Some(collect_notice(Clip::near())),
            Some(NearArg::None) => None,
            Some(NearArg::File(path)) => Some(collect_notice(wav::read(path)?)),
        };
        let response_clip = args.rir.as_ref().map(wav::read).transpose()?.map(collect_notice);

        let has_talker = near_clip.is_some();
        let far_s = if has_talker { args.seconds * 2.0 / 3.0 } else { args.seconds };
        let far = repeated(&far_clip.to_mono_at(rate.hz()), samples(far_s, rate));
        let room = LivingRoom::new(args.seed);
        let response = match response_clip {
            // The gain of an impulse response is the sum of its samples, so resampling must scale them by the rates' ratio.
            Some(clip) => scaled_response(&clip, capture),
            None => room.loudspeaker_response(capture)?,
        };
        let near = match near_clip {
            None => Vec::new(),
            Some(clip) => {
                let begin = samples(args.seconds / 3.0, capture);
                let total = samples(args.seconds, capture);
                let mut spoken = vec![0.0; begin];
                spoken.extend(repeated(&clip.to_mono_at(capture.hz()), total - begin));
                let path = room.talker_response(capture)?;
                let mut near = vec![0.0; spoken.len()];
                Convolver::new(&path).process(&spoken, &mut near);
                near
            }
        };
        let noise = Noise::new(Rng::for_stream(args.seed, "noise"), Colour::Pink, args.noise_dbfs);
        let acoustics = RoomAcoustics::new(Loudspeaker::new(0.0)?, &response, near.clone(), noise);
        Ok(Self { far: to_i16(&far), near, acoustics, notices })
    }
}

fn samples(seconds: f64, rate: SampleRate) -> usize {
    (seconds * f64::from(rate.hz())).round() as usize
}

fn repeated(clip: &[f32], length: usize) -> Vec<f32> {
    clip.iter().copied().cycle().take(length).collect()
}

fn scaled_response(clip: &Clip, rate: SampleRate) -> Vec<f32> {
    let scale = clip.rate_hz as f32 / rate.hz() as f32;
    resample_to(&clip.to_mono_at(clip.rate_hz), clip.rate_hz, rate.hz())
        .iter()
        .map(|tap| tap * scale)
        .collect()
}
