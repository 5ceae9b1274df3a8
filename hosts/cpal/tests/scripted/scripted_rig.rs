//! The cpal host with the halves of a terminal on the scripted cpal implementation.

use std::sync::{Arc, Mutex};
use std::time::{Duration as Span, Instant as Moment};

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use handsfree_core::audio_io::{AudioIo, DirectionRequest, Event, StreamHalves, StreamRequest};
use handsfree_core::capture::Bypass;
use handsfree_core::{ChannelMap, Frame, Gain, SampleRate, Session, SessionFormat, StatsReader};
use handsfree_cpal::{CpalConfig, CpalIo};
use handsfree_host::clock;

use crate::host::{HostScript, PERIOD, instant};
use crate::signal_checker::sample;

pub(crate) const CAP: usize = 480;
type ScriptedSession = Session<CAP, 2, 64, 64, 128, 64, 192_000>;

pub(crate) struct ScriptedRig {
    pub(crate) io: CpalIo<CAP, 2>,
    pub(crate) script: HostScript,
    pub(crate) stats: StatsReader<'static>,
    pub(crate) stream_halves: Option<StreamHalves<'static, CAP, 2>>,
    /// Samples that the worker delivered.
    pub(crate) delivered: Arc<Mutex<Vec<i16>>>,
    /// Time on the scripted host's clock, in milliseconds.
    now_ms: u64,
}

pub(crate) fn one_direction() -> DirectionRequest<'static> {
    DirectionRequest {
        device: None,
        rate: SampleRate::new(48_000).unwrap(),
        device_channels: 1,
        map: None,
        period_sample_frames: PERIOD,
        worker_slack_sample_frames: 0,
        gain: Gain::UNITY,
    }
}

/// Returns a request for both directions. The microphone's second channel carries the signal.
pub(crate) fn both_directions() -> StreamRequest<'static> {
    let map = Some(ChannelMap::select(2, &[1]).unwrap());
    StreamRequest {
        capture: Some(DirectionRequest { map, ..one_direction() }),
        playback: Some(one_direction()),
    }
}

impl ScriptedRig {
    pub(crate) fn new() -> Self {
        let rate = SampleRate::new(48_000).unwrap();
        let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
        let session: &'static mut ScriptedSession = Box::leak(Box::new(Session::new()));
        let halves = session.split::<CriticalSectionRawMutex, _, _>(terminal, Bypass, ()).unwrap();
        let (mut capture, mut playback) = (halves.capture, halves.playback);
        let tracks: &'static _ = Box::leak(Box::new(halves.tracks));
        let mut track = handsfree_core::playback::TrackPool::open(tracks).unwrap();
        let delivered = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&delivered);
        let mut position = 0;
        let work = move || {
            let mut block = [0_i16; 480];
            loop {
                block.iter_mut().zip(position..).for_each(|(value, at)| *value = sample(at));
                match track.push(&block) {
                    Ok(0) | Err(_) => break,
                    Ok(taken) => position += taken as u64,
                }
            }
            playback.poll();
            capture.poll(&clock::now, &mut |frame: &Frame<CAP>| {
                sink.lock().unwrap().extend_from_slice(frame.samples());
            });
        };
        let script = HostScript::default();
        let shared = script.clone();
        let config = CpalConfig { priority: None, ..CpalConfig::default() };
        let io =
            handsfree_cpal::open_on("scripted", move || Ok(shared.host()), config, Box::new(work)).unwrap();
        let stream_halves = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
        Self {
            io,
            script,
            stats: halves.stats,
            stream_halves: Some(stream_halves),
            delivered,
            now_ms: 10_000,
        }
    }

    pub(crate) fn started() -> Self {
        let mut rig = Self::new();
        let stream_halves = rig.stream_halves.take().unwrap();
        rig.io.start(&both_directions(), stream_halves).unwrap();
        rig
    }

    /// Calls the microphone's callback with these samples.
    pub(crate) fn capture(&mut self, samples: &[i16]) {
        let stereo: Vec<f32> =
            samples.iter().flat_map(|&value| [0.25, f32::from(value) / 32_768.0]).collect();
        self.now_ms += 10;
        self.script.capture(None, &stereo, instant(self.now_ms), instant(self.now_ms - 200));
    }

    /// Calls the loudspeaker's callback and returns the samples that it wrote.
    pub(crate) fn play(&mut self, samples: usize) -> Vec<i16> {
        // An even number, because every sample of the signal is odd.
        let mut out = vec![78; samples];
        self.now_ms += 10;
        self.script.play(None, &mut out, instant(self.now_ms), instant(self.now_ms + 30));
        out
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.io.poll_event()).collect()
    }
}

pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Moment::now();
    while !done() {
        assert!(began.elapsed() < Span::from_secs(20), "{what}");
        std::thread::sleep(Span::from_millis(1));
    }
}
