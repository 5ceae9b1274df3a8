//! Control side: the signals and the room of a simulated run.

use std::path::PathBuf;

use handsfree::failure::Failure;
use handsfree::pcm::to_i16;
use handsfree::sim::LivingRoom;
use handsfree_core::SampleRate;
use handsfree_sim::acoustics::RoomAcoustics;
use handsfree_sim::convolver::Convolver;
use handsfree_sim::interpolate::resample_to;
use handsfree_sim::noise::{Colour, Noise, Rng};
use handsfree_sim::reverberation;
use handsfree_sim::room::Loudspeaker;
use handsfree_sim::wav::Clip;

use crate::args::{NearArg, SimArgs};
use crate::decode::read_clip;

/// Distance from the loudspeaker to the microphone in a room of a stated reverberation time, in metres: as in the
/// living room.
const LOUDSPEAKER_M: f64 = 0.4;
/// Distance from the talker to the microphone in such a room, in metres.
const TALKER_M: f64 = 1.0;
/// Gain of the loudspeaker in such a room, 6 dB: as in the living room.
const LOUDSPEAKER_GAIN: f32 = 2.0;
/// Gain of the talker in such a room, 16 dB: as in the living room.
const TALKER_GAIN: f32 = 6.3;

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
        let read = |path: &PathBuf| read_clip(path, args.raw.format());
        let far_clip = collect_notice(args.far.as_ref().map_or_else(|| Ok(Clip::far()), read)?);
        let near_clip = match &args.near {
            None => Some(collect_notice(Clip::near())),
            Some(NearArg::None) => None,
            Some(NearArg::File(path)) => Some(collect_notice(read(path)?)),
        };
        let response_clip = args.rir.as_ref().map(read).transpose()?.map(collect_notice);

        let ends_early = near_clip.is_some() && args.talk.is_empty();
        // A fast loudspeaker takes more samples than the run is long.
        let fastest = 1.0 + fastest_ppm(args).max(0.0) * 1e-6;
        let far_s = if ends_early { args.seconds * 2.0 / 3.0 } else { args.seconds * fastest };
        let far = match &args.far_program {
            Some(program) => program.render(rate.hz(), far_s, args.seed),
            None => repeated(&far_clip.to_mono_at(rate.hz()), samples(far_s, rate)),
        };
        let room = LivingRoom::new(args.seed);
        let response = match response_clip {
            // The gain of an impulse response is the sum of its samples, so resampling must scale them by the rates' ratio.
            Some(clip) => scaled_response(&clip, capture),
            None => match args.rt60_ms {
                Some(rt60_ms) => {
                    reverberant(args.seed, "echo", capture, rt60_ms, LOUDSPEAKER_M, LOUDSPEAKER_GAIN)
                }
                None => room.loudspeaker_response(capture)?,
            },
        };
        let near = match near_clip {
            None => Vec::new(),
            Some(clip) => {
                let spoken = spoken(args, &clip.to_mono_at(capture.hz()), capture);
                let path = match args.rt60_ms {
                    Some(rt60_ms) => {
                        reverberant(args.seed, "talker", capture, rt60_ms, TALKER_M, TALKER_GAIN)
                    }
                    None => room.talker_response(capture)?,
                };
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

/// Returns the largest rate error that the loudspeaker's clock has during the run, in ppm.
fn fastest_ppm(args: &SimArgs) -> f64 {
    let stepped = args.drift_step.iter().map(|step| step.by.max(0.0)).sum::<f64>();
    args.playback_ppm + stepped + args.wander.map_or(0.0, |wander| wander.by)
}

/// Returns the talker's voice at its source: in the stretches of `--talk`, or in the last two thirds of the run.
fn spoken(args: &SimArgs, voice: &[f32], rate: SampleRate) -> Vec<f32> {
    let total = samples(args.seconds, rate);
    if args.talk.is_empty() {
        let begin = samples(args.seconds / 3.0, rate);
        let mut spoken = vec![0.0; begin];
        spoken.extend(repeated(voice, total - begin));
        return spoken;
    }
    let mut spoken = vec![0.0; total];
    for talk in &args.talk {
        let (from, to) = (samples(talk.from_s, rate).min(total), samples(talk.to_s, rate).min(total));
        for (sample, &voiced) in spoken[from..to].iter_mut().zip(voice.iter().cycle()) {
            *sample = voiced;
        }
    }
    spoken
}

/// Returns the impulse response of a room with a stated reverberation time.
fn reverberant(
    seed: u64,
    stream: &str,
    rate: SampleRate,
    rt60_ms: f64,
    distance_m: f64,
    gain: f32,
) -> Vec<f32> {
    let mut rng = Rng::for_stream(seed, stream);
    let mut response = reverberation::response(rate.hz(), rt60_ms / 1e3, distance_m, &mut rng);
    response.iter_mut().for_each(|tap| *tap *= gain);
    response
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
