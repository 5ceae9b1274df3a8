//! A whole terminal on cpal, kept running by a supervisor: it plays the signal and listens.

use std::sync::atomic::AtomicU64;
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

use crate::listener::{Listener, sample};
use crate::watched;

pub(crate) const CAP: usize = 480;
type Memory = Session<CAP, 2, 64, 64, 128, 64, 192_000>;
type Io = CpalIo<CAP, 2>;

/// Calls of malloc and free that were made inside callbacks, and how many callbacks were looked at.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(crate) callbacks: AtomicU64,
    pub(crate) memory: AtomicU64,
}

pub(crate) struct Rig {
    pub(crate) supervisor: StreamSupervisor<'static, Io, CAP, 2>,
    pub(crate) stats: StatsReader<'static>,
    pub(crate) listener: Listener,
    pub(crate) calls: Arc<Calls>,
    pub(crate) rate: SampleRate,
    tracks: &'static TrackPool<'static, CriticalSectionRawMutex, CAP, 2>,
    track: Track<'static, 'static, CriticalSectionRawMutex, CAP, 2>,
    heard: Arc<Mutex<Vec<i16>>>,
    position: u64,
}

/// A direction on a device, at the terminal's rate. Long periods, for a machine that is busy with other tests.
pub(crate) fn plan(rate_hz: u32, device: Option<&str>) -> DirectionConfig {
    let rate = SampleRate::new(rate_hz).unwrap();
    DirectionConfig {
        device: device.map(str::to_owned),
        period_sample_frames: rate_hz / 25,
        worker_slack_sample_frames: rate_hz / 25,
        ..DirectionConfig::new(rate)
    }
}

impl Rig {
    /// A terminal that does not run yet.
    pub(crate) fn new(rate_hz: u32, config: CpalConfig) -> Self {
        let rate = SampleRate::new(rate_hz).unwrap();
        let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
        let session: &'static mut Memory = Box::leak(Box::new(Session::new()));
        let halves = session.split::<CriticalSectionRawMutex, _, _>(terminal, Bypass, ()).unwrap();
        let (mut capture, mut playback) = (halves.capture, halves.playback);
        let heard = Arc::new(Mutex::new(Vec::with_capacity(rate_hz as usize)));
        let sink = Arc::clone(&heard);
        let work = move || {
            playback.poll();
            capture.poll(&clock::now, &mut |frame: &Frame<CAP>| {
                sink.lock().unwrap().extend_from_slice(frame.samples());
            });
        };
        let calls = Arc::new(Calls::default());
        let counted = Arc::clone(&calls);
        let connect = move || {
            let host = cpal::host_from_id("pulseaudio".parse()?)?;
            Ok(watched::host(host, Arc::clone(&counted)))
        };
        let io = handsfree_cpal::open_on("pulseaudio", connect, config, Box::new(work)).unwrap();
        let tracks: &'static _ = Box::leak(Box::new(halves.tracks));
        let stream_halves = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
        Self {
            supervisor: StreamSupervisor::new(io, stream_halves),
            stats: halves.stats,
            listener: Listener::default(),
            calls,
            rate,
            track: TrackPool::open(tracks).unwrap(),
            tracks,
            heard,
            position: 0,
        }
    }

    /// Starts both directions.
    pub(crate) fn open(&mut self, capture: &DirectionConfig, playback: &DirectionConfig) {
        self.supervisor.open(Some(capture), Some(playback), clock::now()).unwrap();
    }

    /// A turn of an application: feeds the track, listens, and asks the supervisor.
    pub(crate) fn turn(&mut self) -> Option<Notice> {
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
        let heard = std::mem::take(&mut *self.heard.lock().unwrap());
        heard.into_iter().for_each(|value| self.listener.hear(value));
        self.supervisor.poll(clock::now())
    }

    /// Turns until `done`, for at most `patience`; what the supervisor said meanwhile.
    pub(crate) fn until(&mut self, patience: Span, mut done: impl FnMut(&mut Self) -> bool) -> Vec<Notice> {
        let began = Moment::now();
        let mut said = Vec::new();
        while !done(self) {
            assert!(began.elapsed() < patience, "not in {patience:?}: {said:?}, {:?}", self.listener);
            said.extend(self.turn());
            std::thread::sleep(Span::from_millis(2));
        }
        said
    }

    /// Until so many seconds of the signal were found from now on.
    pub(crate) fn hear(&mut self, seconds: f64) -> Vec<Notice> {
        self.listener.start_anew();
        let wanted = (seconds * f64::from(self.rate.hz())) as u64;
        self.until(Span::from_secs_f64(seconds * 2.0 + 20.0), |rig| rig.listener.found >= wanted)
    }

    pub(crate) fn underrun_sample_frames(&self) -> u64 {
        self.stats.read().outlet.underrun_sample_frames.into()
    }
}

/// Those of a kind, by direction.
pub(crate) fn lost(said: &[Notice], wanted: Direction) -> usize {
    said.iter().filter(|n| matches!(n, Notice::Lost { direction } if *direction == wanted)).count()
}

pub(crate) fn returned(said: &[Notice], wanted: Direction) -> usize {
    said.iter().filter(|n| matches!(n, Notice::Returned { direction, .. } if *direction == wanted)).count()
}
