//! Test support: a terminal on the simulated board, stepped in virtual time.
#![allow(dead_code, missing_docs, unreachable_pub)]

use handsfree::pcm::to_i16;
use handsfree::sim::{LiveRoom, Pace, SimClock, SimHandle, SimIo, Talker};
use handsfree::terminal::{
    CAP, CleanedFrames, JournalReaders, Parts, SLOTS, SharedClock, Terminal, TerminalConfig, Track,
};
use handsfree_apm::{ApmConfig, GainControl, NoiseSuppression};
use handsfree_core::audio_io::Direction;
use handsfree_core::{Duration, SampleRate, SessionEvent};
use handsfree_host::supervisor::{DirectionConfig, Notice, StreamSupervisor};
use handsfree_host::worker::Work;
use handsfree_sim::board::BoardConfig;
use handsfree_sim::device::{DeviceConfig, Jitter};
use handsfree_sim::wav::Clip;

/// Returns settings with echo cancellation only, so that level differences show its effect.
pub fn canceller() -> ApmConfig {
    ApmConfig {
        noise_suppression: NoiseSuppression::Off,
        gain_control: GainControl::Off,
        ..ApmConfig::default()
    }
}

/// Rate of the terminal and its devices.
pub const RATE: SampleRate = match SampleRate::new(16_000) {
    Ok(rate) => rate,
    Err(_) => panic!("16 kHz is a valid rate"),
};

/// Terminal in a simulated room with a loudspeaker that plays speech all the time.
pub struct TerminalRig {
    pub supervisor: StreamSupervisor<'static, SimIo, CAP, SLOTS>,
    pub terminal: Terminal,
    pub sim: SimHandle,
    pub frames: CleanedFrames,
    pub notices: Vec<Notice>,
    pub events: Vec<SessionEvent>,
    pub playback_device: DeviceConfig,
    track: Track,
    speech: Vec<i16>,
    speech_position: usize,
    /// Levels of the microphone and the cleaned signal every 10 ms: mean squares over 125 ms, in dBFS.
    pub levels: Vec<(f32, f32)>,
}

pub fn board(rate: SampleRate, playback_ppm: f64) -> BoardConfig {
    let mut capture = DeviceConfig::new(rate, rate.sample_frames() as u32);
    capture.latency = Duration::from_millis(10);
    capture.jitter = Jitter::Uniform { micros: 50.0 };
    let mut playback = capture.clone();
    playback.latency = Duration::from_millis(40);
    playback.ppm = playback_ppm;
    BoardConfig {
        capture,
        playback,
        worker_delay: Duration::from_micros(200),
        worker_spread: Duration::from_micros(800),
        seed: 1,
    }
}

impl TerminalRig {
    pub fn new(playback_ppm: f64) -> Self {
        Self::watched(playback_ppm, |work| work)
    }

    /// Makes a rig with a wrapper around the worker's work.
    pub fn watched(playback_ppm: f64, around: impl FnOnce(Work) -> Work) -> Self {
        Self::made(board(RATE, playback_ppm), around, |config, clock| config.build(clock).unwrap())
    }

    /// Makes a rig with a voice processor that misses the deadline of every frame.
    pub fn too_slow() -> Self {
        Self::made(
            board(RATE, 0.0),
            |work| work,
            |config, clock| {
                // Processing takes no virtual time, so only a negative deadline can be missed.
                let voice_deadline = Duration::from_nanos(-1);
                TerminalConfig { voice_deadline, ..config }.build(clock).unwrap()
            },
        )
    }

    /// Makes a rig with a wrapper around the worker's work, and returns its journals too.
    pub fn with_journals(playback_ppm: f64, around: impl FnOnce(Work) -> Work) -> (Self, JournalReaders) {
        Self::with_journals_on(board(RATE, playback_ppm), around)
    }

    /// Makes a rig on these devices at 16 kHz, and returns its journals too.
    pub fn with_journals_on(board: BoardConfig, around: impl FnOnce(Work) -> Work) -> (Self, JournalReaders) {
        let mut journals = None;
        let rig = Self::made(board, around, |config, clock| {
            let (parts, readers) = config.build_with_journals(clock).unwrap();
            journals = Some(readers);
            parts
        });
        (rig, journals.unwrap())
    }

    fn made(
        board: BoardConfig,
        around: impl FnOnce(Work) -> Work,
        build: impl FnOnce(TerminalConfig, SharedClock) -> Parts,
    ) -> Self {
        let rate = RATE;
        let clock = SimClock::shared();
        let config = TerminalConfig { voice: canceller(), ..TerminalConfig::new(rate) };
        let Parts { mut terminal, halves, work } = build(config, clock.clone());
        let acoustics = LiveRoom::new(rate, &Talker::Silent, 1).unwrap();
        let playback_device = board.playback.clone();
        let (io, sim) =
            SimIo::spawn(board, Box::new(acoustics), around(work), &clock, Pace::Stepped).unwrap();
        let mut supervisor = StreamSupervisor::new(io, halves);
        let device_config = DirectionConfig::new(rate);
        supervisor.open(Some(&device_config), Some(&device_config), terminal.now()).unwrap();
        let speech = to_i16(&Clip::far().to_mono_at(16_000));
        let frames = terminal.take_cleaned().unwrap();
        let track = terminal.tracks().open().unwrap();
        Self {
            supervisor,
            terminal,
            sim,
            frames,
            notices: Vec::new(),
            events: Vec::new(),
            playback_device,
            track,
            speech,
            speech_position: 0,
            levels: Vec::new(),
        }
    }

    /// Advances virtual time by `ms`, keeps the track full, and collects notices, events and levels.
    pub fn pass(&mut self, ms: i64) {
        for _ in 0..ms / 10 {
            // The speech repeats without end.
            loop {
                let rest = &self.speech[self.speech_position..];
                let taken = self.track.push(rest).unwrap();
                self.speech_position = (self.speech_position + taken) % self.speech.len();
                if taken < rest.len() {
                    break;
                }
            }
            self.sim.advance(Duration::from_millis(10)).unwrap();
            let now = self.terminal.now();
            while let Some(notice) = self.supervisor.poll(now) {
                self.notices.push(notice);
            }
            while let Some(event) = self.terminal.poll_event().unwrap() {
                self.events.push(event);
            }
            let meters = self.terminal.meters();
            self.levels.push((meters.microphone.read().rms_dbfs, meters.cleaned.read().rms_dbfs));
        }
    }

    /// Returns the median difference in dB between the microphone and the cleaned signal, over the last `ms`
    /// with echo.
    pub fn reduction_db(&self, ms: usize) -> f32 {
        let last = &self.levels[self.levels.len() - ms / 10..];
        let mut differences: Vec<f32> =
            last.iter().filter(|(heard, _)| *heard > -45.0).map(|(heard, left)| heard - left).collect();
        assert!(differences.len() > ms / 40, "expected more levels with echo than {}", differences.len());
        differences.sort_by(f32::total_cmp);
        differences[differences.len() / 2]
    }

    pub fn unplug(&mut self, direction: Direction) {
        self.sim.unplug(direction).unwrap();
    }

    pub fn plug_in(&mut self, direction: Direction, device: DeviceConfig) {
        self.sim.plug_in(direction, device).unwrap();
    }
}
