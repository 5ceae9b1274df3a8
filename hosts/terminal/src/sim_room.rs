//! Control side: the room of a simulated terminal that runs until somebody ends it.

use handsfree_core::SampleRate;
use handsfree_sim::acoustics::{Acoustics, RoomAcoustics};
use handsfree_sim::convolver::Convolver;
use handsfree_sim::noise::{Colour, Noise, Rng};
use handsfree_sim::room::{Loudspeaker, Source};
use handsfree_sim::wav::{self, Clip};

use crate::cli::NearArg;
use crate::failure::Failure;
use crate::stage::{LOUDSPEAKER_GAIN, RESPONSE_S, TALKER_GAIN, amplified, room, samples};

/// The talker's first word, and from one first word to the next.
const FIRST_TURN_S: f64 = 10.0;
const TURN_EVERY_S: f64 = 30.0;
/// Noise at the microphone.
const NOISE_DBFS: f64 = -75.0;

/// A room with echo and noise, in which somebody speaks now and then.
#[derive(Debug)]
pub struct LiveRoom {
    room: RoomAcoustics,
    /// One turn of the talker as it reaches the microphone.
    turn: Vec<f32>,
    first: u64,
    every: u64,
}

impl LiveRoom {
    /// The living room of `handsfree sim`, for a microphone of this rate. The talker says the shipped
    /// sentence, a file's, or nothing, for the first time after 10 s and then every 30 s.
    ///
    /// # Errors
    /// Names a file that cannot be read.
    pub fn new(rate: SampleRate, near: Option<&NearArg>, seed: u64) -> Result<Self, Failure> {
        let length = samples(RESPONSE_S, rate);
        let place = room(seed);
        let response =
            amplified(place.impulse_response(Source::Loudspeaker, rate.hz(), length)?, LOUDSPEAKER_GAIN);
        let spoken = match near {
            Some(NearArg::None) => Vec::new(),
            None => Clip::near().to_mono_at(rate.hz()),
            Some(NearArg::File(path)) => wav::read(path)?.to_mono_at(rate.hz()),
        };
        let path = amplified(place.impulse_response(Source::Talker, rate.hz(), length)?, TALKER_GAIN);
        let mut turn = vec![0.0; spoken.len()];
        Convolver::new(&path).process(&spoken, &mut turn);
        let noise = Noise::new(Rng::for_stream(seed, "noise"), Colour::Pink, NOISE_DBFS);
        Ok(Self {
            room: RoomAcoustics::new(Loudspeaker::new(0.0)?, &response, Vec::new(), noise),
            first: samples(FIRST_TURN_S, rate) as u64,
            every: (samples(TURN_EVERY_S, rate) as u64).max(turn.len() as u64),
            turn,
        })
    }
}

impl Acoustics for LiveRoom {
    fn carry(&mut self, loudspeaker: &[f32], microphone: &mut [f32], position: u64) {
        self.room.carry(loudspeaker, microphone, position);
        for (heard, at) in microphone.iter_mut().zip(position..) {
            let Some(into) = at.checked_sub(self.first) else { continue };
            let spoken = usize::try_from(into % self.every).ok().and_then(|into| self.turn.get(into));
            *heard += spoken.copied().unwrap_or(0.0);
        }
    }
}
