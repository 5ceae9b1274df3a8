//! A complete terminal on the cpal host under a supervisor, which plays the test signal and records it.

use std::sync::{Arc, Mutex};
use std::time::{Duration as Span, Instant as Moment};

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use handsfree_core::audio_io::{Direction, StreamHalves};
use handsfree_core::capture::Bypass;
use handsfree_core::playback::{Track, TrackPool};
use handsfree_core::{Frame, SampleRate, Session, SessionFormat, StatsReader};
use handsfree_cpal::{CpalConfig, CpalIo};
use handsfree_host::clock;
use handsfree_host::supervisor::{DirectionConfig, Notice, StreamSupervisor};

use crate::signal_checker::{SignalChecker, sample};
use crate::{BOTH_DIRECTIONS, malloc_counter};

pub(crate) const CAP: usize = 480;
type DesktopSession = Session<CAP, 2, 64, 64, 128, 64, 192_000>;
type DesktopIo = CpalIo<CAP, 2>;

pub(crate) struct DesktopRig {
    pub(crate) supervisor: StreamSupervisor<'static, DesktopIo, CAP, 2>,
    pub(crate) stats: StatsReader<'static>,
    pub(crate) checker: SignalChecker,
    pub(crate) rate: SampleRate,
    tracks: &'static TrackPool<'static, CriticalSectionRawMutex, CAP, 2>,
    track: Track<'static, 'static, CriticalSectionRawMutex, CAP, 2>,
    recorded: Arc<Mutex<Vec<i16>>>,
    position: u64,
}

/// Returns the configuration of a direction at the terminal's rate. The periods of 40 ms tolerate a machine
/// that is busy with other tests.
pub(crate) fn direction_config(rate_hz: u32, device: Option<&str>) -> DirectionConfig {
    let rate = SampleRate::new(rate_hz).unwrap();
    DirectionConfig {
        device: device.map(str::to_owned),
        period_sample_frames: rate_hz / 25,
        worker_slack_sample_frames: rate_hz / 25,
        ..DirectionConfig::new(rate)
    }
}

impl DesktopRig {
    /// Creates a terminal without opening its streams.
    pub(crate) fn new(rate_hz: u32, config: CpalConfig) -> Self {
        let rate = SampleRate::new(rate_hz).unwrap();
        let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
        let session: &'static mut DesktopSession = Box::leak(Box::new(Session::new()));
        let halves = session.split::<CriticalSectionRawMutex, _, _>(terminal, Bypass, ()).unwrap();
        let (mut capture, mut playback) = (halves.capture, halves.playback);
        let recorded = Arc::new(Mutex::new(Vec::with_capacity(rate_hz as usize)));
        let sink = Arc::clone(&recorded);
        let work = move || {
            playback.poll();
            capture.poll(&clock::now, &mut |frame: &Frame<CAP>| {
                sink.lock().unwrap().extend_from_slice(frame.samples());
            });
        };
        let config = CpalConfig { host: Some("pulseaudio".to_owned()), ..config };
        let io = handsfree_cpal::open(config, Box::new(work)).unwrap();
        let tracks: &'static _ = Box::leak(Box::new(halves.tracks));
        let stream_halves = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
        Self {
            supervisor: StreamSupervisor::new(io, stream_halves),
            stats: halves.stats,
            checker: SignalChecker::default(),
            rate,
            track: TrackPool::open(tracks).unwrap(),
            tracks,
            recorded,
            position: 0,
        }
    }

    /// Starts both directions.
    pub(crate) fn open(&mut self, capture: &DirectionConfig, playback: &DirectionConfig) {
        self.supervisor.open(Some(capture), Some(playback), clock::now()).unwrap();
    }

    /// Runs the application once: feeds the track, checks the recorded samples and polls the supervisor.
    pub(crate) fn step(&mut self) -> Option<Notice> {
        let mut block = [0_i16; 480];
        loop {
            for (value, at) in block.iter_mut().zip(self.position..) {
                *value = sample(at);
            }
            match self.track.push(&block) {
                Ok(0) | Err(_) => break,
                Ok(taken) => self.position += taken as u64,
            }
        }
        self.tracks.dispatch();
        let recorded = std::mem::take(&mut *self.recorded.lock().unwrap());
        recorded.into_iter().for_each(|value| self.checker.check(value));
        self.supervisor.poll(clock::now())
    }

    /// Runs the application until `done`, for at most `timeout`. Returns the supervisor's notices.
    pub(crate) fn until(&mut self, timeout: Span, mut done: impl FnMut(&mut Self) -> bool) -> Vec<Notice> {
        let began = Moment::now();
        let mut notices = Vec::new();
        while !done(self) {
            assert!(
                began.elapsed() < timeout,
                "not done within {timeout:?}: {notices:?}, {:?}",
                self.checker
            );
            notices.extend(self.step());
            std::thread::sleep(Span::from_millis(2));
        }
        notices
    }

    /// Runs the application until `seconds` of the signal were found. Returns the supervisor's notices.
    pub(crate) fn record(&mut self, seconds: f64) -> Vec<Notice> {
        self.checker.restart();
        let wanted = (seconds * f64::from(self.rate.hz())) as u64;
        self.until(Span::from_secs_f64(seconds * 2.0 + 20.0), |rig| rig.checker.found >= wanted)
    }

    /// Asserts that the streams' threads do not allocate or free memory while `seconds` are played and recorded.
    pub(crate) fn check_allocations(&mut self, seconds: f64) {
        let called =
            |rig: &Self| BOTH_DIRECTIONS.map(|direction| rig.supervisor.io().callbacks(direction).callbacks);
        let before = called(self);
        malloc_counter::of_threads("pulse ");
        self.record(seconds);
        let calls = malloc_counter::of_threads("pulse ");
        let callbacks = called(self).iter().zip(before).map(|(now, before)| now - before).min().unwrap();
        assert!(callbacks > 10, "{callbacks}");
        assert_eq!(calls, 0, "calls of the allocator in {callbacks} callbacks of each direction");
    }

    pub(crate) fn underrun_sample_frames(&self) -> u64 {
        self.stats.read().outlet.underrun_sample_frames.into()
    }
}

/// Returns the number of losses of a direction.
pub(crate) fn losses(notices: &[Notice], wanted: Direction) -> usize {
    notices.iter().filter(|n| matches!(n, Notice::Lost { direction } if *direction == wanted)).count()
}

/// Returns the number of returns of a direction.
pub(crate) fn returns(notices: &[Notice], wanted: Direction) -> usize {
    notices.iter().filter(|n| matches!(n, Notice::Returned { direction, .. } if *direction == wanted)).count()
}
