//! Control side: the simulated room: its acoustics, its talker and its devices.

use std::sync::Arc;

use handsfree_core::{Duration, SampleRate};
use handsfree_sim::acoustics::{Acoustics, RoomAcoustics};
use handsfree_sim::board::BoardConfig;
use handsfree_sim::convolver::Convolver;
use handsfree_sim::device::{DeviceConfig, Jitter};
use handsfree_sim::interpolate::resample_to;
use handsfree_sim::noise::{Colour, Noise, Rng};
use handsfree_sim::room::{Loudspeaker, Room, RoomSource};
use handsfree_sim::wav::Clip;

use crate::failure::Failure;
use crate::pcm::from_i16;

/// Time of the talker's first utterance, in seconds. The echo canceller has converged by then.
const FIRST_UTTERANCE_S: f64 = 10.0;
/// Time from the start of one utterance to the start of the next, in seconds.
const UTTERANCE_INTERVAL_S: f64 = 30.0;
/// Level of the noise at the microphone, in dB of full scale.
const NOISE_DBFS: f64 = -75.0;
/// Largest distance by which the seed moves a position along each axis, in metres.
const SCATTER_M: f64 = 0.05;
/// Gain of the loudspeaker: 6 dB. The clips alone have the level of a whisper at one metre in free air; a
/// loudspeaker at a moderate volume is 6 dB louder.
const LOUDSPEAKER_GAIN: f32 = 2.0;
/// Gain of the talker: 16 dB, because a person who talks to a device is 16 dB louder than a whisper.
const TALKER_GAIN: f32 = 6.3;
/// Length of the reverberation that is computed, in seconds.
const RESPONSE_S: f64 = 0.3;

/// What the talker in the simulated room says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Talker {
    /// A recorded sentence that is part of the simulator.
    #[default]
    ShippedVoice,
    /// No speech.
    Silent,
    /// A recording in memory.
    Speech {
        /// Sample rate, in hertz.
        rate_hz: u32,
        /// Mono samples.
        samples: Arc<[i16]>,
    },
}

/// Properties of the simulated room and its devices.
#[derive(Clone, Debug, PartialEq)]
pub struct SimRoomConfig {
    /// Speech of the talker, who speaks for the first time after 10 s and then every 30 s.
    pub talker: Talker,
    /// Rate of the loudspeaker's clock relative to the microphone's, in ppm; positive when it is faster.
    pub playback_ppm: f64,
    /// Time from the playback interrupt to the loudspeaker, in milliseconds.
    pub render_latency_ms: f64,
    /// Seed of the noise, of the timestamp jitter and of the positions in the room.
    pub seed: u64,
    /// Whether the microphone records exactly the loudspeaker's samples, without room, noise and talker.
    pub wire: bool,
}

impl Default for SimRoomConfig {
    fn default() -> Self {
        Self { talker: Talker::default(), playback_ppm: 0.0, render_latency_ms: 40.0, seed: 1, wire: false }
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

/// Impulse responses of a living room, computed by the image-source method. The positions in the room depend on the
/// seed.
#[derive(Clone, Debug)]
pub struct LivingRoom(Room);

impl LivingRoom {
    /// Returns the living room for this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::for_stream(seed, "room");
        let mut room = Room::default();
        for position in [&mut room.loudspeaker_m, &mut room.microphone_m, &mut room.talker_m] {
            for coordinate in position {
                *coordinate += (rng.uniform() * 2.0 - 1.0) * SCATTER_M;
            }
        }
        Self(room)
    }

    /// Returns the impulse response from the loudspeaker to the microphone, sampled at `rate`.
    ///
    /// # Errors
    /// Returns an error that names an invalid property of the room.
    pub fn loudspeaker_response(&self, rate: SampleRate) -> Result<Vec<f32>, Failure> {
        self.response(RoomSource::Loudspeaker, rate, LOUDSPEAKER_GAIN)
    }

    /// Returns the impulse response from the talker to the microphone, sampled at `rate`.
    ///
    /// # Errors
    /// Returns an error that names an invalid property of the room.
    pub fn talker_response(&self, rate: SampleRate) -> Result<Vec<f32>, Failure> {
        self.response(RoomSource::Talker, rate, TALKER_GAIN)
    }

    fn response(&self, source: RoomSource, rate: SampleRate, gain: f32) -> Result<Vec<f32>, Failure> {
        let mut response = self.0.impulse_response(source, rate.hz(), samples(RESPONSE_S, rate))?;
        response.iter_mut().for_each(|tap| *tap *= gain);
        Ok(response)
    }
}

/// Acoustics of a living room with echo, noise and a talker who speaks at regular times.
#[derive(Debug)]
pub struct LiveRoom {
    room: RoomAcoustics,
    /// One utterance of the talker as it reaches the microphone.
    utterance: Vec<f32>,
    /// Position of the first utterance, in samples.
    first: u64,
    /// Distance from one utterance to the next, in samples.
    interval: u64,
}

impl LiveRoom {
    /// Makes the living room for this seed, with a microphone that samples at `rate`. The talker speaks for the
    /// first time after 10 s and then every 30 s.
    ///
    /// # Errors
    /// Returns an error that names a file that cannot be read.
    pub fn new(rate: SampleRate, talker: &Talker, seed: u64) -> Result<Self, Failure> {
        let room = LivingRoom::new(seed);
        let response = room.loudspeaker_response(rate)?;
        let spoken = match talker {
            Talker::Silent => Vec::new(),
            Talker::ShippedVoice => Clip::near().to_mono_at(rate.hz()),
            Talker::Speech { rate_hz, samples } => resample_to(&from_i16(samples), *rate_hz, rate.hz()),
        };
        let path = room.talker_response(rate)?;
        let mut utterance = vec![0.0; spoken.len()];
        Convolver::new(&path).process(&spoken, &mut utterance);
        let noise = Noise::new(Rng::for_stream(seed, "noise"), Colour::Pink, NOISE_DBFS);
        Ok(Self {
            room: RoomAcoustics::new(Loudspeaker::new(0.0)?, &response, Vec::new(), noise),
            first: samples(FIRST_UTTERANCE_S, rate) as u64,
            interval: (samples(UTTERANCE_INTERVAL_S, rate) as u64).max(utterance.len() as u64),
            utterance,
        })
    }
}

impl Acoustics for LiveRoom {
    fn carry(&mut self, loudspeaker: &[f32], microphone: &mut [f32], position: u64) {
        self.room.carry(loudspeaker, microphone, position);
        for (heard, at) in microphone.iter_mut().zip(position..) {
            let Some(elapsed) = at.checked_sub(self.first) else { continue };
            let spoken =
                usize::try_from(elapsed % self.interval).ok().and_then(|into| self.utterance.get(into));
            *heard += spoken.copied().unwrap_or(0.0);
        }
    }
}

fn samples(seconds: f64, rate: SampleRate) -> usize {
    (seconds * f64::from(rate.hz())).round() as usize
}
