//! hosts/cpal with a terminal's halves on a studio.

use std::sync::{Arc, Mutex};
use std::time::{Duration as Span, Instant as Moment};

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use handsfree_core::audio_io::{AudioIo, DirectionRequest, Event, StreamHalves, StreamRequest};
use handsfree_core::capture::Bypass;
use handsfree_core::{ChannelMap, Frame, Gain, SampleRate, Session, SessionFormat, StatsReader};
use handsfree_cpal::{CpalConfig, CpalIo};
use handsfree_host::clock;

use crate::listener::sample;
use crate::studio::{PERIOD, Studio, instant};

pub(crate) const CAP: usize = 480;
type Memory = Session<CAP, 2, 64, 64, 128, 64, 192_000>;

pub(crate) struct Rig {
    pub(crate) io: CpalIo<CAP, 2>,
    pub(crate) studio: Studio,
    pub(crate) stats: StatsReader<'static>,
    pub(crate) stream_halves: Option<StreamHalves<'static, CAP, 2>>,
    pub(crate) heard: Arc<Mutex<Vec<i16>>>,
    /// The moment on the studio's clock, in milliseconds.
    now_ms: u64,
}

pub(crate) fn end() -> DirectionRequest<'static> {
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

/// Both directions; the microphone's second channel carries the signal.
pub(crate) fn both() -> StreamRequest<'static> {
    let map = Some(ChannelMap::select(2, &[1]).unwrap());
    StreamRequest { capture: Some(DirectionRequest { map, ..end() }), playback: Some(end()) }
}

impl Rig {
    pub(crate) fn new() -> Self {
        let rate = SampleRate::new(48_000).unwrap();
        let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
        let session: &'static mut Memory = Box::leak(Box::new(Session::new()));
        let halves = session.split::<CriticalSectionRawMutex, _, _>(terminal, Bypass, ()).unwrap();
        let (mut capture, mut playback) = (halves.capture, halves.playback);
        let tracks: &'static _ = Box::leak(Box::new(halves.tracks));
        let mut track = handsfree_core::playback::TrackPool::open(tracks).unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&heard);
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
        let studio = Studio::default();
        let shared = studio.clone();
        let config = CpalConfig { priority: None, ..CpalConfig::default() };
        let io =
            handsfree_cpal::open_on("studio", move || Ok(shared.host()), config, Box::new(work)).unwrap();
        let stream_halves = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
        Self { io, studio, stats: halves.stats, stream_halves: Some(stream_halves), heard, now_ms: 10_000 }
    }

    pub(crate) fn started() -> Self {
        let mut rig = Self::new();
        let stream_halves = rig.stream_halves.take().unwrap();
        rig.io.start(&both(), stream_halves).unwrap();
        rig
    }

    pub(crate) fn speak(&mut self, samples: &[i16]) {
        let stereo: Vec<f32> =
            samples.iter().flat_map(|&value| [0.25, f32::from(value) / 32_768.0]).collect();
        self.now_ms += 10;
        self.studio.speak(None, &stereo, instant(self.now_ms), instant(self.now_ms - 200));
    }

    pub(crate) fn listen(&mut self, samples: usize) -> Vec<i16> {
        // Even: no sample of the signal is.
        let mut out = vec![78; samples];
        self.now_ms += 10;
        self.studio.listen(None, &mut out, instant(self.now_ms), instant(self.now_ms + 30));
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
