//! What a board is made of, and what cannot be.

use std::ops::RangeInclusive;

use handsfree_core::{Duration, SampleRate};
use handsfree_sim::acoustics::RoomAcoustics;
use handsfree_sim::board::{Board, BoardConfig};
use handsfree_sim::noise::{Colour, Noise, Rng};
use handsfree_sim::room::{Loudspeaker, Room, Source};
use handsfree_sim::side::{Jitter, SideConfig};

use crate::BareBoard;

/// Numbers of `handsfree_status` in `handsfree.h`; `tests/simulator.c` compares them.
pub(crate) const ERROR_NULL: i32 = -1;
const ERROR_RATE: i32 = -8;
const ERROR_PERIOD: i32 = -11;
const ERROR_VALUE: i32 = -14;

/// The longest period, in sample frames.
const LONGEST_PERIOD: u32 = 8_192;
/// Any crystal and some that are broken.
const PPM: RangeInclusive<f64> = -10_000.0..=10_000.0;
const LONGEST_LATENCY_US: u32 = 10_000_000;
/// The reverberation that is computed, in seconds.
const RESPONSE_S: f64 = 0.3;
const WORKER_DELAY: Duration = Duration::from_micros(200);
const WORKER_SPREAD: Duration = Duration::from_micros(800);

/// How a board and its room are.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct handsfree_board_config {
    /// Rate of microphone and loudspeaker, in hertz; both are mono and of 16 bits.
    pub rate_hz: u32,
    /// Their period in sample frames, 1 to 8192.
    pub period_sample_frames: u32,
    /// How much faster than nominal the microphone's clock runs, at most 10000 ppm either way.
    pub capture_ppm: f64,
    /// The same for the loudspeaker's clock.
    pub playback_ppm: f64,
    /// From the microphone's converter to its interrupt, beside the period, at most 10 s.
    pub capture_latency_us: u32,
    /// From the loudspeaker's interrupt to its converter, at most 10 s.
    pub render_latency_us: u32,
    /// Times are wrong by up to so much either way, at most 1000000.
    pub jitter_us: f64,
    /// How loud the microphone hears the loudspeaker through a living room, 0 to 64; 1 is what air does in 0.4 m.
    pub echo_gain: f64,
    /// How loud the room's noise is, 0 to 1, 1 being an RMS of full scale.
    pub noise_level: f64,
    /// The same seed and the same program give the same run.
    pub seed: u64,
}

/// The board, or a code.
pub(crate) fn make(config: &handsfree_board_config) -> Result<BareBoard, i32> {
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
        let mut side = SideConfig::new(rate, config.period_sample_frames);
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
    Board::new(board, Box::new(room(config)?)).map_err(|_| ERROR_PERIOD)
}

fn room(config: &handsfree_board_config) -> Result<RoomAcoustics, i32> {
    within(config.echo_gain, 0.0..=64.0)?;
    let noise_dbfs = 20.0 * within(config.noise_level, 0.0..=1.0)?.log10();
    let length = (RESPONSE_S * f64::from(config.rate_hz)).round() as usize;
    let mut response = Room::default()
        .impulse_response(Source::Loudspeaker, config.rate_hz, length)
        .map_err(|_| ERROR_RATE)?;
    response.iter_mut().for_each(|tap| *tap *= config.echo_gain as f32);
    let loudspeaker = Loudspeaker::new(0.0).map_err(|_| ERROR_VALUE)?;
    let noise = Noise::new(Rng::for_stream(config.seed, "noise"), Colour::Pink, noise_dbfs);
    Ok(RoomAcoustics::new(loudspeaker, &response, Vec::new(), noise))
}

fn within(value: f64, range: RangeInclusive<f64>) -> Result<f64, i32> {
    if range.contains(&value) { Ok(value) } else { Err(ERROR_VALUE) }
}
