//! The scene of a simulated run: who speaks when, through which room.

use handsfree_core::SampleRate;
use handsfree_sim::acoustics::RoomAcoustics;
use handsfree_sim::convolver::Convolver;
use handsfree_sim::interpolate::resample_to;
use handsfree_sim::noise::{Colour, Noise, Rng};
use handsfree_sim::room::{Loudspeaker, Room, Source};
use handsfree_sim::wav::{self, Clip};

use crate::cli::{NearArg, SimArgs};
use crate::evaluate::to_pcm;
use crate::failure::Failure;

/// Where things stand varies with the seed by at most so much, in metres.
const SCATTER_M: f64 = 0.05;
/// The clips' level at a metre in free air is a whisper. A loudspeaker at a moderate volume is 6 dB
/// louder, somebody who talks to a device 16 dB.
pub(crate) const LOUDSPEAKER_GAIN: f32 = 2.0;
pub(crate) const TALKER_GAIN: f32 = 6.3;
/// The reverberation that is computed, in seconds.
pub(crate) const RESPONSE_S: f64 = 0.3;

/// Everything that sounds in a run.
#[derive(Debug)]
pub struct Stage {
    /// What the application plays, at the terminal's rate.
    pub far: Vec<i16>,
    /// The talker as it reaches the microphone, at the capture device's rate.
    pub near: Vec<f32>,
    /// The air.
    pub air: RoomAcoustics,
    /// What the user should know about the clips.
    pub notices: Vec<String>,
}

impl Stage {
    /// Reads the clips and builds the room.
    ///
    /// # Errors
    /// Names the file that cannot be read and the value that a room cannot have.
    pub fn build(args: &SimArgs, rate: SampleRate, capture: SampleRate) -> Result<Self, Failure> {
        let mut notices = Vec::new();
        let mut load = |clip: Clip| {
            notices.extend(clip.notice.clone());
            clip
        };
        let far_clip = load(args.far.as_ref().map_or_else(|| Ok(Clip::far()), wav::read)?);
        let near_clip = match &args.near {
            None => Some(load(Clip::near())),
            Some(NearArg::None) => None,
            Some(NearArg::File(path)) => Some(load(wav::read(path)?)),
        };
        let response_clip = args.rir.as_ref().map(wav::read).transpose()?.map(load);

        let thirds = near_clip.is_some();
        let far_s = if thirds { args.seconds * 2.0 / 3.0 } else { args.seconds };
        let far = repeated(&far_clip.to_mono_at(rate.hz()), samples(far_s, rate));
        let room = room(args.seed);
        let length = samples(RESPONSE_S, capture);
        let response = match response_clip {
            // A response is a density: at another rate its samples are that much larger or smaller.
            Some(clip) => scaled_response(&clip, capture),
            None => {
                amplified(room.impulse_response(Source::Loudspeaker, capture.hz(), length)?, LOUDSPEAKER_GAIN)
            }
        };
        let near = match near_clip {
            None => Vec::new(),
            Some(clip) => {
                let begin = samples(args.seconds / 3.0, capture);
                let total = samples(args.seconds, capture);
                let mut spoken = vec![0.0; begin];
                spoken.extend(repeated(&clip.to_mono_at(capture.hz()), total - begin));
                let path =
                    amplified(room.impulse_response(Source::Talker, capture.hz(), length)?, TALKER_GAIN);
                let mut near = vec![0.0; spoken.len()];
                Convolver::new(&path).process(&spoken, &mut near);
                near
            }
        };
        let noise = Noise::new(Rng::for_stream(args.seed, "noise"), Colour::Pink, args.noise_dbfs);
        let air = RoomAcoustics::new(Loudspeaker::new(0.0)?, &response, near.clone(), noise);
        Ok(Self { far: to_pcm(&far), near, air, notices })
    }
}

pub(crate) fn samples(seconds: f64, rate: SampleRate) -> usize {
    (seconds * f64::from(rate.hz())).round() as usize
}

pub(crate) fn amplified(mut response: Vec<f32>, gain: f32) -> Vec<f32> {
    response.iter_mut().for_each(|tap| *tap *= gain);
    response
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

/// The default room, things standing a little differently for each seed.
pub(crate) fn room(seed: u64) -> Room {
    let mut rng = Rng::for_stream(seed, "room");
    let mut room = Room::default();
    for place in [&mut room.loudspeaker_m, &mut room.microphone_m, &mut room.talker_m] {
        for coordinate in place {
            *coordinate += (rng.uniform() * 2.0 - 1.0) * SCATTER_M;
        }
    }
    room
}
