//! A whole terminal in a simulated room: the production halves, driven by the board's virtual time.

use std::fmt;
use std::time::Instant as WallInstant;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::audio_io::{AudioIo, Direction, DirectionRequest, StreamHalves, StreamRequest};
use handsfree_core::capture::VoiceProcessor;
use handsfree_core::playback::Track;
use handsfree_core::time::Clock;
use handsfree_core::time::Duration;
use handsfree_core::timing::AcousticMemory;
use handsfree_core::{ConfigError, Frame, Gain, SampleRate, Session, SessionFormat, Stats};

use crate::acoustics::Acoustics;
use crate::board::{Board, BoardConfig, BoardError, Recording, Step};

/// Samples a simulated frame holds: 10 ms at 96 kHz, mono.
pub const CAP: usize = 960;
/// Track slots of the simulated terminal.
pub const SLOTS: usize = 4;
/// Samples of what was played that are kept: 3 s at 48 kHz.
pub const HISTORY: usize = 144_000;
/// The simulated terminal's memory: 63 frames of capture and playback, 127 of reference.
pub type SimSession = Session<CAP, SLOTS, 64, 64, 128, 16, HISTORY>;

/// How often the curves of the report are sampled, in frames.
const TRACE_EVERY_FRAMES: usize = 5;

/// Why a simulation could not run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SimError {
    /// The terminal's configuration is wrong.
    Config(ConfigError),
    /// The board refused to start.
    Board(BoardError),
    /// The board ran on without delivering frames: no stream, or nothing drains.
    Stuck {
        /// Seconds of virtual time after which it was given up.
        after_s: f64,
    },
}

impl fmt::Display for SimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Board(error) => write!(f, "the simulated board refused to start: {error}"),
            Self::Stuck { after_s } => {
                write!(f, "no captured frame arrived any more within {after_s} s of virtual time")
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

/// A change of the render latency in mid-run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatencyStep {
    /// When, in seconds from the start.
    pub at_s: f64,
    /// By how much; may be negative.
    pub by: Duration,
}

/// A change of the loudspeaker's clock in mid-run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DriftStep {
    /// When, in seconds from the start.
    pub at_s: f64,
    /// By how much, in ppm.
    pub by_ppm: f64,
}

/// What is to be simulated.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Rate of the terminal.
    pub rate: SampleRate,
    /// How long.
    pub seconds: f64,
    /// The board.
    pub board: BoardConfig,
    /// What the application plays, at the terminal's rate; silence after its end.
    pub far: Vec<i16>,
    /// Changes of the render latency, in order.
    pub latency_steps: Vec<LatencyStep>,
    /// Changes of the loudspeaker's clock, in order.
    pub drift_steps: Vec<DriftStep>,
    /// Whether to listen for the echo and correct what the devices' times say.
    pub acoustic_delay: bool,
    /// Whether to keep what was played and heard.
    pub record: bool,
}

/// One point of the curves over time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TracePoint {
    /// Seconds from the start.
    pub at_s: f64,
    /// Render plus capture latency as it is.
    pub true_delay_ms: f64,
    /// The same as estimated.
    pub estimated_delay_ms: f64,
    /// Clock of playback minus clock of capture, in ppm.
    pub true_drift_ppm: f64,
    /// The same as estimated so far.
    pub estimated_drift_ppm: Option<f64>,
    /// Frames in the capture, playback and reference ring when the worker came.
    pub fill: [u32; 3],
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What was played and heard, at the capture device's rate; empty when not recorded.
    pub recording: Recording,
    /// What left the terminal, at its rate, each sample at its stream position.
    pub clean: Vec<i16>,
    /// The curves.
    pub trace: Vec<TracePoint>,
    /// The counters at the end.
    pub stats: Stats,
    /// How much later the rate conversions make the clean signal.
    pub conversion_latency: Duration,
    /// Clock of playback minus clock of capture as estimated, in ppm.
    pub drift_ppm: Option<f64>,
    /// How often the reference jumped to another place, the first time included.
    pub reference_jumps: u32,
    /// How many times faster than real time it ran.
    pub realtime_factor: f64,
}

/// Runs a scenario to its end. `progress` hears the part done, from 0 to 1, once a simulated second.
///
/// # Errors
/// Names what is wrong with the configuration.
pub fn run<V: VoiceProcessor>(
    scenario: &Scenario,
    air: Box<dyn Acoustics>,
    voice: V,
    progress: &mut dyn FnMut(f64),
) -> Result<Outcome, SimError> {
    let begun = WallInstant::now();
    let mut session = Box::new(SimSession::new());
    let mut ear = Box::new(AcousticMemory::new());
    let terminal = SessionFormat { rate: scenario.rate, near_channels: 1, far_channels: 1 };
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal, voice, ())?;
    if scenario.acoustic_delay {
        halves.capture.use_acoustic_delay(&mut ear);
    }
    let mut board = Board::new(scenario.board.clone(), air)?;
    if !scenario.drift_steps.is_empty() {
        board.separate_clocks();
    }
    if scenario.record {
        board.record();
    }
    let request = request(&scenario.board);
    let stream_halves = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
    board.start(&request, stream_halves).map_err(|refused| SimError::Board(refused.error))?;

    let mut feeder = Feeder { track: halves.tracks.open().ok(), far: &scenario.far, done: 0 };
    feeder.feed();
    halves.playback.poll();
    let clock = board.clock();
    let wanted = (scenario.seconds * f64::from(scenario.rate.hz())).round() as usize;
    let give_up_s = scenario.seconds + 10.0;
    let mut outcome = Outcome { clean: Vec::with_capacity(wanted + CAP), ..Outcome::default() };
    let mut steps = scenario.latency_steps.iter().peekable();
    let mut drift_steps = scenario.drift_steps.iter().peekable();
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
        feeder.feed();
        halves.playback.poll();
        let clean = &mut outcome.clean;
        let polled = halves.capture.poll(&clock, &mut |frame: &Frame<CAP>| {
            // Samples lost on the way stay silent, so that the rest keeps its place.
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
        if clock.now().as_nanos() as f64 / 1e9 > give_up_s {
            return Err(SimError::Stuck { after_s: give_up_s });
        }
    }
    outcome.clean.truncate(wanted);
    outcome.stats = halves.stats.read();
    outcome.conversion_latency = halves.capture.conversion_latency();
    outcome.drift_ppm = halves.capture.drift_ppm();
    outcome.reference_jumps = halves.capture.reference_jumps();
    outcome.recording = board.take_recording().unwrap_or_else(Recording::default);
    let heard = (scenario.seconds * f64::from(scenario.board.capture.rate.hz())).round() as usize;
    outcome.recording.far.truncate(heard);
    outcome.recording.mic.truncate(heard);
    outcome.realtime_factor = scenario.seconds / begun.elapsed().as_secs_f64().max(1e-9);
    progress(1.0);
    Ok(outcome)
}

/// Both directions of the board, as it is made.
#[must_use]
pub fn request(board: &BoardConfig) -> StreamRequest<'static> {
    let end = |side: &crate::side::SideConfig| DirectionRequest {
        device: None,
        rate: side.rate,
        device_channels: side.device_channels,
        map: None,
        period_sample_frames: side.longest_period(),
        worker_slack_sample_frames: slack(side.rate, board),
        gain: Gain::UNITY,
    };
    StreamRequest { capture: Some(end(&board.capture)), playback: Some(end(&board.playback)) }
}

/// How late the worker may be: its own delay, and the wait for a capture interrupt to wake it.
fn slack(rate: SampleRate, board: &BoardConfig) -> u32 {
    let late_ns = board.worker_delay.as_nanos() + board.worker_spread.as_nanos();
    (late_ns as f64 * f64::from(rate.hz()) / 1e9).ceil() as u32
}

/// Keeps a track's queue filled from a clip, and ends it with the clip.
struct Feeder<'f, 'p, 'a> {
    track: Option<Track<'p, 'a, NoopRawMutex, CAP, SLOTS>>,
    far: &'f [i16],
    done: usize,
}

impl Feeder<'_, '_, '_> {
    fn feed(&mut self) {
        let Some(track) = &mut self.track else { return };
        self.done += track.push(&self.far[self.done..]).expect("an open input");
        if self.done == self.far.len() {
            self.track = self.track.take().and_then(|track| track.finish().err());
        }
    }
}
