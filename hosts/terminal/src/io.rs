//! Control side: which hosts there are, and any of them as one type. A new host is plugged in here and
//! nowhere else.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use clap::ValueEnum;
use handsfree_core::audio_io::{
    AudioIo, DeviceInfo, Directions, ErrorKind, Event, HostError, StartError, StreamInfo, StreamRequest,
};
use handsfree_core::{Duration, SampleRate};
use handsfree_host::worker::Work;
use handsfree_sim::board::BoardConfig;
use handsfree_sim::side::{Jitter, SideConfig};

#[cfg(target_os = "linux")]
use crate::alsa_io::{self, AlsaArgs};
use crate::cli::SimRoomArgs;
use crate::cpal_io::{self, CpalArgs};
use crate::failure::Failure;
use crate::sim_io::{Pace, SimClock, SimHandle, SimIo};
use crate::sim_room::LiveRoom;
use crate::terminal::{CAP, HostStreamHalves, SLOTS, SharedClock};

/// What `--io` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum HostChoice {
    /// The desktop's sound server where one answers, else sound cards, else the simulated room
    #[default]
    Auto,
    /// The desktop's audio system: PulseAudio, PipeWire, Core Audio, WASAPI
    Cpal,
    /// Linux sound cards, without a sound server
    #[cfg(target_os = "linux")]
    Alsa,
    /// The simulated room, in real time
    Sim,
}

/// A host that was chosen and does not run yet.
#[derive(Debug)]
pub enum Host {
    /// The desktop's audio system.
    Cpal,
    /// Direct ALSA.
    #[cfg(target_os = "linux")]
    Alsa,
    /// The simulated room.
    Sim {
        /// Its virtual clock.
        clock: Arc<SimClock>,
    },
}

/// What a host needs to know beside the streams' requests.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// The rate that devices are asked for.
    pub rate: SampleRate,
    /// The period that devices are asked for, in sample frames.
    pub period_sample_frames: u32,
    /// What the simulated room is like.
    pub sim: SimRoomArgs,
    /// Which audio system of the desktop's.
    pub cpal: CpalArgs,
    /// How ALSA's devices are used.
    #[cfg(target_os = "linux")]
    pub alsa: AlsaArgs,
}

impl HostConfig {
    /// Devices at this rate with periods of 10 ms, everything else as the command has it when nothing is said.
    #[must_use]
    pub fn new(rate: SampleRate) -> Self {
        Self {
            rate,
            period_sample_frames: rate.sample_frames() as u32,
            sim: SimRoomArgs::default(),
            cpal: CpalArgs::default(),
            #[cfg(target_os = "linux")]
            alsa: AlsaArgs::default(),
        }
    }
}

impl FromStr for HostChoice {
    type Err = Failure;

    /// By the names that `--io` takes.
    fn from_str(name: &str) -> Result<Self, Failure> {
        let names = || {
            let all = Self::value_variants().iter().filter_map(Self::to_possible_value);
            all.map(|value| value.get_name().to_owned()).collect::<Vec<_>>().join(", ")
        };
        <Self as ValueEnum>::from_str(name, false)
            .map_err(|_| Failure::usage(format!("host '{name}': expected one of {}", names())))
    }
}

/// A host that runs.
#[derive(Debug)]
pub struct OpenHost {
    /// Its control plane.
    pub io: AnyIo,
    /// For whoever wants to unplug the simulated devices.
    pub sim: Option<SimHandle>,
}

impl HostChoice {
    /// The host meant, and a sentence for the user where that was not said.
    #[must_use]
    pub fn resolve(self) -> (Host, Option<&'static str>) {
        let sim = Host::Sim { clock: SimClock::shared() };
        match self {
            Self::Sim => (sim, None),
            Self::Cpal => (Host::Cpal, None),
            #[cfg(target_os = "linux")]
            Self::Alsa => (Host::Alsa, None),
            Self::Auto if cpal_io::has_devices() => (Host::Cpal, Some("this is the desktop's audio system")),
            #[cfg(target_os = "linux")]
            Self::Auto if alsa_io::has_devices() => (Host::Alsa, Some("these are ALSA's devices")),
            Self::Auto => (sim, Some("there are no real devices: this is the simulated room")),
        }
    }
}

impl Host {
    /// For people and programs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Cpal => "cpal",
            #[cfg(target_os = "linux")]
            Self::Alsa => "alsa",
            Self::Sim { .. } => "sim",
        }
    }

    /// Whether something is to be played even when nobody asked for it.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        matches!(self, Self::Sim { .. })
    }

    /// The clock that its periods are stamped with: the terminal's.
    #[must_use]
    pub fn clock(&self) -> SharedClock {
        match self {
            Self::Cpal => Arc::new(handsfree_host::clock::now),
            #[cfg(target_os = "linux")]
            Self::Alsa => Arc::new(handsfree_host::clock::now),
            Self::Sim { clock } => Arc::clone(clock) as SharedClock,
        }
    }

    /// Starts the host, which calls `work` on its worker from now on.
    ///
    /// # Errors
    /// Says what the host lacks.
    pub fn open(self, config: &HostConfig, work: Work) -> Result<OpenHost, Failure> {
        match self {
            Self::Cpal => cpal_io::open(config.cpal.clone(), work),
            #[cfg(target_os = "linux")]
            Self::Alsa => alsa_io::open(config.alsa, work),
            Self::Sim { clock } => {
                let board = sim_board(config);
                let air = LiveRoom::new(board.capture.rate, config.sim.near.as_ref(), config.sim.seed)?;
                let (io, handle) = SimIo::spawn(board, Box::new(air), work, &clock, Pace::RealTime)?;
                Ok(OpenHost { io: AnyIo::new(io), sim: Some(handle) })
            }
        }
    }
}

pub(crate) fn sim_board(config: &HostConfig) -> BoardConfig {
    let side = |ppm: f64, latency_ms: f64| {
        let mut side = SideConfig::new(config.rate, config.period_sample_frames);
        side.ppm = ppm;
        side.latency = Duration::from_nanos((latency_ms * 1e6).round() as i64);
        side.jitter = Jitter::Uniform { micros: 50.0 };
        side
    };
    BoardConfig {
        capture: side(0.0, 10.0),
        playback: side(config.sim.playback_ppm, config.sim.render_latency_ms),
        worker_delay: Duration::from_micros(200),
        worker_spread: Duration::from_micros(800),
        seed: config.sim.seed,
    }
}

/// A host's error, whichever host it is.
#[derive(Clone, Debug, PartialEq)]
pub struct IoFailure {
    kind: ErrorKind,
    message: String,
}

impl fmt::Display for IoFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for IoFailure {}

impl HostError for IoFailure {
    fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl IoFailure {
    fn of(error: &impl HostError) -> Self {
        Self { kind: error.kind(), message: error.to_string() }
    }
}

impl From<IoFailure> for Failure {
    /// A request that cannot work on any host is the user's, everything else is the world's.
    fn from(error: IoFailure) -> Self {
        match error.kind {
            ErrorKind::Config(_) => Self::usage(error.message),
            _ => Self::run(error.message),
        }
    }
}

type DynIo = dyn AudioIo<'static, CAP, SLOTS, Error = IoFailure> + Send;

/// Any host.
pub struct AnyIo(Box<DynIo>);

impl fmt::Debug for AnyIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnyIo").finish()
    }
}

impl AnyIo {
    /// Hides which host it is.
    pub fn new(io: impl AudioIo<'static, CAP, SLOTS> + Send + 'static) -> Self {
        Self(Box::new(Hidden(io)))
    }
}

impl AudioIo<'static, CAP, SLOTS> for AnyIo {
    type Error = IoFailure;

    fn devices(&self, visit: &mut dyn FnMut(&DeviceInfo<'_>)) -> Result<(), IoFailure> {
        self.0.devices(visit)
    }

    fn start(
        &mut self,
        request: &StreamRequest<'_>,
        halves: HostStreamHalves,
    ) -> Result<StreamInfo, StartError<'static, CAP, SLOTS, IoFailure>> {
        self.0.start(request, halves)
    }

    fn stop(&mut self, directions: Directions) -> HostStreamHalves {
        self.0.stop(directions)
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.0.poll_event()
    }
}

/// A host with its error translated.
struct Hidden<Io>(Io);

impl<Io: AudioIo<'static, CAP, SLOTS>> AudioIo<'static, CAP, SLOTS> for Hidden<Io> {
    type Error = IoFailure;

    fn devices(&self, visit: &mut dyn FnMut(&DeviceInfo<'_>)) -> Result<(), IoFailure> {
        self.0.devices(visit).map_err(|error| IoFailure::of(&error))
    }

    fn start(
        &mut self,
        request: &StreamRequest<'_>,
        halves: HostStreamHalves,
    ) -> Result<StreamInfo, StartError<'static, CAP, SLOTS, IoFailure>> {
        self.0
            .start(request, halves)
            .map_err(|refused| StartError { halves: refused.halves, error: IoFailure::of(&refused.error) })
    }

    fn stop(&mut self, directions: Directions) -> HostStreamHalves {
        self.0.stop(directions)
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.0.poll_event()
    }
}
