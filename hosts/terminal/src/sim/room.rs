//! Control side: the room of a simulated terminal.

use std::path::PathBuf;

use handsfree_core::{Duration, SampleRate};
use handsfree_sim::acoustics::{Acoustics, RoomAcoustics};
use handsfree_sim::board::BoardConfig;
use handsfree_sim::convolver::Convolver;
use handsfree_sim::device::{DeviceConfig, Jitter};
use handsfree_sim::noise::{Colour, Noise, Rng};
use handsfree_sim::room::{Loudspeaker, Room, RoomSource};
use handsfree_sim::wav::{self, Clip};

use crate::failure::Failure;

/// Time of the talker's first word, and the time from one first word to the next.
const FIRST_TURN_S: f64 = 10.0;
const TURN_EVERY_S: f64 = 30.0;
/// Level of the noise at the microphone, in dB of full scale.
const NOISE_DBFS: f64 = -75.0;
/// Largest change of a position by the seed, in metres.
const SCATTER_M: f64 = 0.05;
/// The clips' level at a metre in free air is a whisper. A loudspeaker at a moderate volume is 6 dB
/// louder, a person who talks to a device 16 dB.
const LOUDSPEAKER_GAIN: f32 = 2.0;
const TALKER_GAIN: f32 = 6.3;
/// Length of the reverberation that is computed, in seconds.
const RESPONSE_S: f64 = 0.3;

/// Speech of the talker in the simulated room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Talker {
    /// Recorded sentence that is part of the simulator.
    #[default]
    ShippedVoice,
    /// No speech.
    Silent,
    /// A WAV file.
    File(PathBuf),
}

/// Properties of the simulated room and its devices.
#[derive(Clone, Debug, PartialEq)]
pub struct SimRoomConfig {
    /// Speech of the talker, for the first time after 10 s and then every 30 s.
    pub talker: Talker,
    /// How much faster the loudspeaker's clock runs than the microphone's, in ppm.
    pub playback_ppm: f64,
    /// Time from the playback interrupt to the loudspeaker, in milliseconds.
    pub render_latency_ms: f64,
    /// Seed of noise, timestamp jitter and of the positions in the room.
    pub seed: u64,
}

impl Default for SimRoomConfig {
    fn default() -> Self {
        Self { talker: Talker::default(), playback_ppm: 0.0, render_latency_ms: 40.0, seed: 1 }
    }
}

impl SimRoomConfig {
    /// Returns the simulated board of this room, with devices of the given rate and period.
    #[must_use]
    pub fn board(&self, rate: SampleRate, period_sample_frames: u32) -> BoardConfig {
        let device = |ppm: f64, latency_ms: f64| {
            let mut device = DeviceConfig::new(rate, period_sample_frames);
            device.ppm = ppm;
            device.latency = Duration::from_nanos((latency_ms * 1e6).round() as i64);
            device.jitter = Jitter::Uniform { micros: 50.0 };
            device
        };
        BoardConfig {
            capture: device(0.0, 10.0),
            playback: device(self.playback_ppm, self.render_latency_ms),
            worker_delay: Duration::from_micros(200),
            worker_spread: Duration::from_micros(800),
            seed: self.seed,
        }
    }
}

/// A living room by the image-source method, its positions a little different for each seed.
#[derive(Clone, Debug)]
pub struct LivingRoom(Room);

impl LivingRoom {
    /// Returns the room of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::for_stream(seed, "room");
        let mut room = Room::default();
        for place in [&mut room.loudspeaker_m, &mut room.microphone_m, &mut room.talker_m] {
            for coordinate in place {
                *coordinate += (rng.uniform() * 2.0 - 1.0) * SCATTER_M;
            }
        }
        Self(room)
    }

    /// Returns the impulse response from the loudspeaker to a microphone of this rate.
    ///
    /// # Errors
    /// Names an invalid property of the room.
    pub fn loudspeaker_response(&self, rate: SampleRate) -> Result<Vec<f32>, Failure> {
        self.response(RoomSource::Loudspeaker, rate, LOUDSPEAKER_GAIN)
    }

    /// Returns the impulse response from the talker to a microphone of this rate.
    ///
    /// # Errors
    /// Names an invalid property of the room.
    pub fn talker_response(&self, rate: SampleRate) -> Result<Vec<f32>, Failure> {
        self.response(RoomSource::Talker, rate, TALKER_GAIN)
    }

    fn response(&self, source: RoomSource, rate: SampleRate, gain: f32) -> Result<Vec<f32>, Failure> {
        let mut response = self.0.impulse_response(source, rate.hz(), samples(RESPONSE_S, rate))?;
        response.iter_mut().for_each(|tap| *tap *= gain);
        Ok(response)
    }
}

/// Room with echo and noise, in which a talker speaks now and then.
#[derive(Debug)]
pub struct LiveRoom {
    room: RoomAcoustics,
    /// One utterance of the talker as it reaches the microphone.
    turn: Vec<f32>,
    first: u64,
    every: u64,
}

impl LiveRoom {
    /// The living room of this seed, for a microphone of this rate. The talker speaks for the first time after
    /// 10 s and then every 30 s.
    ///
    /// # Errors
    /// Names a file that cannot be read.
    pub fn new(rate: SampleRate, talker: &Talker, seed: u64) -> Result<Self, Failure> {
        let place = LivingRoom::new(seed);
        let response = place.loudspeaker_response(rate)?;
        let spoken = match talker {
            Talker::Silent => Vec::new(),
            Talker::ShippedVoice => Clip::near().to_mono_at(rate.hz()),
            Talker::File(path) => wav::read(path)?.to_mono_at(rate.hz()),
        };
        let path = place.talker_response(rate)?;
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

fn samples(seconds: f64, rate: SampleRate) -> usize {
    (seconds * f64::from(rate.hz())).round() as usize
}
