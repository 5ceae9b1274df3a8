//! The configuration of a simulated board, and the check of its values.

use std::ops::RangeInclusive;

use handsfree_core::{Duration, SampleRate};
use handsfree_sim::acoustics::RoomAcoustics;
use handsfree_sim::board::{BoardConfig, SimulatedBoard};
use handsfree_sim::device::{DeviceConfig, Jitter};
use handsfree_sim::noise::{Colour, Noise, Rng};
use handsfree_sim::room::{Loudspeaker, Room, RoomSource};

use crate::BareBoard;

/// Values of `handsfree_status` in `handsfree.h`; `tests/simulator.c` checks that they are equal.
pub(crate) const ERROR_NULL: i32 = -1;
const ERROR_RATE: i32 = -8;
const ERROR_PERIOD: i32 = -11;
const ERROR_VALUE: i32 = -14;

/// Longest accepted period, in sample frames.
const LONGEST_PERIOD: u32 = 8_192;
/// Accepted clock deviations: those of any working crystal and of some defective ones.
const PPM: RangeInclusive<f64> = -10_000.0..=10_000.0;
const LONGEST_LATENCY_US: u32 = 10_000_000;
/// Length of the simulated reverberation, in seconds.
const RESPONSE_S: f64 = 0.3;
const WORKER_DELAY: Duration = Duration::from_micros(200);
const WORKER_SPREAD: Duration = Duration::from_micros(800);

/// Configuration of a simulated board and its room.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct handsfree_board_config {
    /// Sample rate of microphone and loudspeaker, in hertz. Both have one channel of 16 bits.
    pub rate_hz: u32,
    /// Period of microphone and loudspeaker in sample frames, 1 to 8192.
    pub period_sample_frames: u32,
    /// Deviation of the microphone's clock from its nominal rate, -10000 to 10000 ppm; positive values
    /// are fast.
    pub capture_ppm: f64,
    /// Deviation of the loudspeaker's clock from its nominal rate, -10000 to 10000 ppm; positive values
    /// are fast.
    pub playback_ppm: f64,
    /// Delay from the microphone's converter to its interrupt in microseconds, in addition to the
    /// period; at most 10 s.
    pub capture_latency_us: u32,
    /// Delay from the loudspeaker's interrupt to its converter in microseconds; at most 10 s.
    pub render_latency_us: u32,
    /// Largest error of the reported times in either direction, in microseconds; 0 to 1000000.
    pub jitter_us: f64,
    /// Gain of the path through a living room from loudspeaker to microphone, 0 to 64; 1 is the loss
    /// over 0.4 m of air.
    pub echo_gain: f64,
    /// Level of the room's noise, 0 to 1; 1 is an RMS of full scale.
    pub noise_level: f64,
    /// Seed of all randomness. A program with the same seed repeats its run exactly.
    pub seed: u64,
}

/// Creates the board, or returns an error code.
pub(crate) fn create_board(config: &handsfree_board_config) -> Result<BareBoard, i32> {
    let rate = SampleRate::new(config.rate_hz).map_err(|_| ERROR_RATE)?;
    if !(1..=LONGEST_PERIOD).contains(&config.period_sample_frames) {
        return Err(ERROR_PERIOD);
    }
    within(config.jitter_us, 0.0..=1e6)?;
    let side = |ppm: f64, latency_us: u32| {
        within(ppm, PPM)?;
        if latency_us > LONGEST_LATENCY_US {
            return Err(ERROR_VALUE);
        }
        let mut side = DeviceConfig::new(rate, config.period_sample_frames);
        side.ppm = ppm;
        side.latency = Duration::from_micros(i64::from(latency_us));
        side.jitter = Jitter::Uniform { micros: config.jitter_us };
        Ok(side)
    };
    let board = BoardConfig {
        capture: side(config.capture_ppm, config.capture_latency_us)?,
        playback: side(config.playback_ppm, config.render_latency_us)?,
        worker_delay: WORKER_DELAY,
        worker_spread: WORKER_SPREAD,
        seed: config.seed,
    };
    SimulatedBoard::new(board, Box::new(room(config)?)).map_err(|_| ERROR_PERIOD)
}

fn room(config: &handsfree_board_config) -> Result<RoomAcoustics, i32> {
    within(config.echo_gain, 0.0..=64.0)?;
    let noise_dbfs = 20.0 * within(config.noise_level, 0.0..=1.0)?.log10();
    let length = (RESPONSE_S * f64::from(config.rate_hz)).round() as usize;
    let mut response = Room::default()
        .impulse_response(RoomSource::Loudspeaker, config.rate_hz, length)
        .map_err(|_| ERROR_RATE)?;
    response.iter_mut().for_each(|tap| *tap *= config.echo_gain as f32);
    let loudspeaker = Loudspeaker::new(0.0).map_err(|_| ERROR_VALUE)?;
    let noise = Noise::new(Rng::for_stream(config.seed, "noise"), Colour::Pink, noise_dbfs);
    Ok(RoomAcoustics::new(loudspeaker, &response, Vec::new(), noise))
}

fn within(value: f64, range: RangeInclusive<f64>) -> Result<f64, i32> {
    if range.contains(&value) { Ok(value) } else { Err(ERROR_VALUE) }
}
