//! Simulation of a whole terminal: production code on a simulated board, driven by the board's virtual time.

use std::fmt;
use std::time::Instant as WallInstant;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::audio_io::{AudioIo, Direction, DirectionRequest, StreamHalves, StreamRequest};
use handsfree_core::capture::VoiceProcessor;
use handsfree_core::playback::Track;
use handsfree_core::time::Duration;
use handsfree_core::timing::AcousticMemory;
use handsfree_core::{ConfigError, Frame, Gain, SampleRate, Session, SessionFormat, Stats};

use crate::acoustics::Acoustics;
use crate::board::{BoardConfig, BoardError, Recording, SimulatedBoard, Step};
use crate::device::DeviceConfig;

/// Sample capacity of a simulated frame: 10 ms at 96 kHz, mono.
pub const CAP: usize = 960;
/// Number of track slots of the simulated terminal.
pub const SLOTS: usize = 4;
/// Length of the echo reference's history in samples: 3 s at 48 kHz.
pub const HISTORY: usize = 144_000;
/// Session type of the simulated terminal. Its rings hold 63 capture, 63 playback and 127 reference frames.
pub type SimSession = Session<CAP, SLOTS, 64, 64, 128, 16, HISTORY>;

/// Interval between two points of [`SimOutcome::trace`], in frames.
const TRACE_EVERY_FRAMES: usize = 5;

/// Error of a simulation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SimError {
    /// The terminal's configuration is invalid.
    Config(ConfigError),
    /// The simulated board did not start.
    Board(BoardError),
    /// The board ran without delivering the frames that were expected.
    Stuck {
        /// Virtual time at which the simulation stopped waiting, in seconds.
        after_s: f64,
    },
}

impl fmt::Display for SimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Board(error) => write!(f, "the simulated board did not start: {error}"),
            Self::Stuck { after_s } => {
                write!(f, "captured frames are missing after {after_s} s of virtual time")
            }
        }
    }
}

impl std::error::Error for SimError {}

impl From<ConfigError> for SimError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

/// A change of the render latency during a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatencyStep {
    /// Time of the change, in seconds from the start.
    pub at_s: f64,
    /// Change of the latency; may be negative.
    pub by: Duration,
}

/// A change of the loudspeaker's clock rate during a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DriftStep {
    /// Time of the change, in seconds from the start.
    pub at_s: f64,
    /// Change of the clock error, in parts per million.
    pub by_ppm: f64,
}

/// A jump of the host's clock during a run, as after a laptop's sleep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeJump {
    /// Time of the jump, in seconds from the start.
    pub at_s: f64,
    /// Change of the clock; may be negative.
    pub by: Duration,
}

/// Description of a simulation.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Sample rate of the terminal.
    pub rate: SampleRate,
    /// Length of the run, in seconds.
    pub seconds: f64,
    /// Configuration of the simulated board.
    pub board: BoardConfig,
    /// Far-end signal that the application plays, at the terminal's rate. Silence follows its end.
    pub far: Vec<i16>,
    /// Changes of the render latency, in order of time.
    pub latency_steps: Vec<LatencyStep>,
    /// Changes of the loudspeaker's clock rate, in order of time.
    pub drift_steps: Vec<DriftStep>,
    /// Jumps of the host's clock, in order of time.
    pub time_jumps: Vec<TimeJump>,
    /// Whether each device has a clock domain of its own, also when both have the same clock error.
    pub two_clocks: bool,
    /// Whether acoustic delay estimation corrects the alignment that follows from the devices' timestamps.
    pub acoustic_delay: bool,
    /// Whether to record what is played and captured.
    pub record: bool,
}

/// State of the terminal at one moment of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TracePoint {
    /// Time from the start, in seconds.
    pub at_s: f64,
    /// True render plus capture latency, in milliseconds.
    pub true_delay_ms: f64,
    /// Render plus capture latency as the terminal estimates it, in milliseconds.
    pub estimated_delay_ms: f64,
    /// True drift: clock error of playback minus that of capture, in parts per million.
    pub true_drift_ppm: f64,
    /// Drift as the terminal estimates it, in parts per million; `None` before its first estimate.
    pub estimated_drift_ppm: Option<f64>,
    /// Number of frames in the capture, playback and reference ring, as the worker found them.
    pub fill: [u32; 3],
}

/// Result of a simulation.
#[derive(Clone, Debug, Default)]
pub struct SimOutcome {
    /// What was played and captured, at the capture device's rate; empty unless [`Scenario::record`] is set.
    pub recording: Recording,
    /// Cleaned signal, at the terminal's rate. Each sample is at its stream position, and lost samples are
    /// silence.
    pub clean: Vec<i16>,
    /// State of the terminal over time, in order.
    pub trace: Vec<TracePoint>,
    /// Counters of the session at the end of the run.
    pub stats: Stats,
    /// Delay that rate conversion adds to the cleaned signal.
    pub conversion_latency: Duration,
    /// Estimated drift at the end of the run: clock error of playback minus that of capture, in parts per
    /// million.
    pub drift_ppm: Option<f64>,
    /// Number of times the echo reference jumped to another position, the initial alignment included.
    pub reference_jumps: u32,
    /// Speed of the simulation: simulated time divided by the time it took.
    pub realtime_factor: f64,
}

/// Runs a scenario to its end. Calls `progress` once per simulated second with the completed fraction, 0.0 to
/// 1.0.
///
/// # Errors
/// [`SimError::Config`] or [`SimError::Board`] for an invalid configuration, [`SimError::Stuck`] if the
/// frames do not arrive within 10 s of virtual time after the end of the scenario.
pub fn run<V: VoiceProcessor>(
    scenario: &Scenario,
    acoustics: Box<dyn Acoustics>,
    voice: V,
    progress: &mut dyn FnMut(f64),
) -> Result<SimOutcome, SimError> {
    let started = WallInstant::now();
    let mut session = Box::new(SimSession::new());
    let mut acoustic_memory = Box::new(AcousticMemory::new());
    let terminal = SessionFormat { rate: scenario.rate, near_channels: 1, far_channels: 1 };
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal, voice, ())?;
    if scenario.acoustic_delay {
        halves.capture.use_acoustic_delay(&mut acoustic_memory);
    }
    let mut board = SimulatedBoard::new(scenario.board.clone(), acoustics)?;
    if scenario.two_clocks || !scenario.drift_steps.is_empty() {
        board.separate_clocks();
    }
    if scenario.record {
        board.record();
    }
    let request = request(&scenario.board);
    let stream_halves = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
    board.start(&request, stream_halves).map_err(|failure| SimError::Board(failure.error))?;

    let mut far_end = FarEndPlayer { track: halves.tracks.open().ok(), far: &scenario.far, pushed: 0 };
    far_end.push();
    halves.playback.poll();
    let clock = board.clock();
    let wanted = (scenario.seconds * f64::from(scenario.rate.hz())).round() as usize;
    let timeout_s = scenario.seconds + 10.0;
    let mut outcome = SimOutcome { clean: Vec::with_capacity(wanted + CAP), ..SimOutcome::default() };
    let mut steps = scenario.latency_steps.iter().peekable();
    let mut drift_steps = scenario.drift_steps.iter().peekable();
    let mut time_jumps = scenario.time_jumps.iter().peekable();
    let mut playback_ppm = scenario.board.playback.ppm;
    let mut frames = 0;
    while outcome.clean.len() < wanted {
        if board.step() != Step::Worker {
            continue;
        }
        let now_s = board.now().as_nanos() as f64 / 1e9;
        while let Some(step) = steps.next_if(|step| step.at_s <= now_s) {
            board.step_render_latency(step.by);
        }
        while let Some(step) = drift_steps.next_if(|step| step.at_s <= now_s) {
            playback_ppm += step.by_ppm;
            board.change_ppm(Direction::Playback, playback_ppm);
        }
        while let Some(jump) = time_jumps.next_if(|jump| jump.at_s <= now_s) {
            board.jump_time(jump.by);
        }
        far_end.push();
        halves.playback.poll();
        let clean = &mut outcome.clean;
        let polled = halves.capture.poll(&clock, &mut |frame: &Frame<CAP>| {
            // Lost samples become silence, so that later ones keep their position.
            clean.resize(usize::try_from(frame.stamp.position).unwrap_or(usize::MAX), 0);
            clean.extend_from_slice(frame.samples());
        });
        if frames / TRACE_EVERY_FRAMES != (frames + polled) / TRACE_EVERY_FRAMES {
            let stats = halves.stats.read();
            outcome.trace.push(TracePoint {
                at_s: now_s,
                true_delay_ms: board.true_delay().as_millis_f64(),
                estimated_delay_ms: halves.capture.delay().as_millis_f64(),
                true_drift_ppm: playback_ppm - scenario.board.capture.ppm,
                estimated_drift_ppm: halves.capture.drift_ppm(),
                fill: [stats.capture.ring_fill, stats.playback.ring_fill, stats.capture.reference_fill],
            });
        }
        if frames / 100 != (frames + polled) / 100 {
            progress(outcome.clean.len() as f64 / wanted as f64);
        }
        frames += polled;
        if now_s > timeout_s {
            return Err(SimError::Stuck { after_s: timeout_s });
        }
    }
    outcome.clean.truncate(wanted);
    outcome.stats = halves.stats.read();
    outcome.conversion_latency = halves.capture.conversion_latency();
    outcome.drift_ppm = halves.capture.drift_ppm();
    outcome.reference_jumps = halves.capture.reference_jumps();
    outcome.recording = board.take_recording().unwrap_or_else(Recording::default);
    let captured = (scenario.seconds * f64::from(scenario.board.capture.rate.hz())).round() as usize;
    outcome.recording.far.truncate(captured);
    outcome.recording.mic.truncate(captured);
    outcome.realtime_factor = scenario.seconds / started.elapsed().as_secs_f64().max(1e-9);
    progress(1.0);
    Ok(outcome)
}

/// Returns the request that starts both directions of a board with its own rates, channels and periods.
#[must_use]
pub fn request(board: &BoardConfig) -> StreamRequest<'static> {
    let direction = |device: &DeviceConfig| DirectionRequest {
        device: None,
        rate: device.rate,
        device_channels: device.device_channels,
        map: None,
        period_sample_frames: device.longest_period(),
        worker_slack_sample_frames: worker_slack(device.rate, board)
            + device.burst_periods.saturating_sub(1) * device.longest_period(),
        gain: Gain::UNITY,
    };
    StreamRequest { capture: Some(direction(&board.capture)), playback: Some(direction(&board.playback)) }
}

/// Returns the longest delay of the worker after an interrupt, in sample frames.
fn worker_slack(rate: SampleRate, board: &BoardConfig) -> u32 {
    let longest_delay_ns = board.worker_delay.as_nanos() + board.worker_spread.as_nanos();
    (longest_delay_ns as f64 * f64::from(rate.hz()) / 1e9).ceil() as u32
}

/// Plays the far-end signal: keeps a track's queue filled and finishes the track at the signal's end.
struct FarEndPlayer<'f, 'p, 'a> {
    track: Option<Track<'p, 'a, NoopRawMutex, CAP, SLOTS>>,
    far: &'f [i16],
    pushed: usize,
}

impl FarEndPlayer<'_, '_, '_> {
    fn push(&mut self) {
        let Some(track) = &mut self.track else { return };
        self.pushed += track.push(&self.far[self.pushed..]).expect("the track is open");
        if self.pushed == self.far.len() {
            self.track = self.track.take().and_then(|track| track.finish().err());
        }
    }
}
