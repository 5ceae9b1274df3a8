//! hosts/cpal on a cpal host whose callbacks the test calls itself: of any length, with times that cannot be, after the
//! stop, and with streams that hang when they are dropped. Faults 7, 9, 13 and 19.
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

#[allow(dead_code, reason = "shared with tests that use more of it")]
#[path = "desktop/listener.rs"]
mod listener;
#[allow(dead_code, reason = "shared with tests that use more of it")]
#[path = "../../../tests/support/malloc_counter.rs"]
mod malloc_counter;
#[path = "scripted/studio.rs"]
mod studio;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration as Span, Instant as Moment};

use cpal::ErrorKind as Kind;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use handsfree_core::audio_io::{
    AudioIo, Direction, EndRequest, Ends, ErrorKind, Event, HostError, StreamRequest, Which,
};
use handsfree_core::capture::Bypass;
use handsfree_core::{ChannelMap, ConfigError, Frame, Gain, SampleRate, Session, StatsReader, Terminal};
use handsfree_cpal::{CpalConfig, CpalIo};
use handsfree_host::clock;
use handsfree_host::watch::{EndPlan, Keeper, Notice};

use listener::{Listener, sample};
use studio::{PERIOD, Studio, instant};

const CAP: usize = 480;
type Memory = Session<CAP, 2, 64, 64, 128, 64, 192_000>;

/// The lengths of fault 7, and what was seen on PulseAudio.
const LENGTHS: [usize; 12] = [0, 1, 2, 7, 97, 24, 441, 480, 512, 960, 1_021, 8_192];

struct Rig {
    io: CpalIo<CAP, 2>,
    studio: Studio,
    stats: StatsReader<'static>,
    ends: Option<Ends<'static, CAP, 2>>,
    heard: Arc<Mutex<Vec<i16>>>,
    /// The moment on the studio's clock, in milliseconds.
    now_ms: u64,
}

fn end() -> EndRequest<'static> {
    EndRequest {
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
fn both() -> StreamRequest<'static> {
    let map = Some(ChannelMap::select(2, &[1]).unwrap());
    StreamRequest { capture: Some(EndRequest { map, ..end() }), playback: Some(end()) }
}

impl Rig {
    fn new() -> Self {
        let rate = SampleRate::new(48_000).unwrap();
        let terminal = Terminal { rate, near_channels: 1, far_channels: 1 };
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
        let ends = Ends { intake: Some(halves.intake), outlet: Some(halves.outlet) };
        Self { io, studio, stats: halves.stats, ends: Some(ends), heard, now_ms: 10_000 }
    }

    fn started() -> Self {
        let mut rig = Self::new();
        let ends = rig.ends.take().unwrap();
        rig.io.start(&both(), ends).unwrap();
        rig
    }

    fn speak(&mut self, samples: &[i16]) {
        let stereo: Vec<f32> =
            samples.iter().flat_map(|&value| [0.25, f32::from(value) / 32_768.0]).collect();
        self.now_ms += 10;
        self.studio.speak(None, &stereo, instant(self.now_ms), instant(self.now_ms - 200));
    }

    fn listen(&mut self, samples: usize) -> Vec<i16> {
        // Even: no sample of the signal is.
        let mut out = vec![78; samples];
        self.now_ms += 10;
        self.studio.listen(None, &mut out, instant(self.now_ms), instant(self.now_ms + 30));
        out
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.io.poll_event()).collect()
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Moment::now();
    while !done() {
        assert!(began.elapsed() < Span::from_secs(20), "{what}");
        std::thread::sleep(Span::from_millis(1));
    }
}

#[test]
fn callbacks_of_any_length_bring_every_sample_once_and_in_order() {
    let mut rig = Rig::started();
    let mut spoken = 0_u64;
    for round in 0..60 {
        let length = LENGTHS[round * 7 % LENGTHS.len()];
        let samples: Vec<i16> = (spoken..).take(length).map(sample).collect();
        rig.speak(&samples);
        spoken += length as u64;
        let whole = spoken as usize / CAP * CAP;
        until("the worker takes what is whole", || rig.heard.lock().unwrap().len() >= whole);
    }
    let heard = rig.heard.lock().unwrap().clone();
    assert!(heard.iter().zip(0..).all(|(&value, at)| value == sample(at)));
    let stats = rig.io.callbacks(Direction::Capture);
    assert_eq!((stats.callbacks, stats.longest_sample_frames), (60, 8_192));
    let longer = (0..60).filter(|round| LENGTHS[round * 7 % LENGTHS.len()] > PERIOD as usize).count();
    assert_eq!(stats.longer_than_granted, longer as u32);
    assert_eq!(rig.stats.read().intake.gaps, 0);
}

#[test]
fn loudspeakers_that_ask_for_any_length_get_every_sample_once_and_in_order() {
    let mut rig = Rig::started();
    let mut ears = Listener::default();
    for round in 0..200 {
        let length = LENGTHS[round * 7 % LENGTHS.len()];
        let out = rig.listen(length);
        assert!(out.iter().all(|&value| value != 78), "all is written");
        out.into_iter().for_each(|value| ears.hear(value));
        // Time for the worker; where it was late there is silence, and no sample is lost.
        std::thread::sleep(Span::from_millis(1));
    }
    assert!(ears.found > 10_000, "{ears:?}");
    assert_eq!((ears.lost, ears.repeated), (0, 0), "{ears:?}");
    assert_eq!(rig.stats.read().outlet.gaps, 0);
}

#[test]
fn callbacks_allocate_and_free_nothing() {
    let mut rig = Rig::started();
    let stereo = [0.1_f32; 2 * 1_021];
    let mut out = [0_i16; 1_021];
    let _ = malloc_counter::taken();
    malloc_counter::watched(|| {
        for turn in 0..500 {
            let length = LENGTHS[turn % LENGTHS.len()].min(1_021);
            let now = instant(20_000 + turn as u64 * 10);
            rig.studio.speak(None, &stereo[..2 * length], now, instant(19_000));
            rig.studio.listen(None, &mut out[..length], now, instant(90_000));
            if turn == 250 {
                rig.studio.fail(Kind::Xrun);
            }
        }
    });
    assert_eq!(malloc_counter::taken(), malloc_counter::Calls::default());
    assert_eq!(rig.io.callbacks(Direction::Playback).callbacks, 500);
    assert_eq!(rig.events(), [Event::Xrun { direction: Direction::Playback, sample_frames: 0 }]);
}

#[test]
fn times_that_cannot_be_are_counted_and_the_last_good_one_is_kept() {
    let rig = Rig::started();
    let mut out = [0_i16; 480];
    let mut say = |callback: u64, playback: u64| {
        rig.studio.listen(None, &mut out, instant(callback), instant(playback));
        let stats = rig.io.callbacks(Direction::Playback);
        (stats.times_disbelieved, stats.latency_us)
    };
    assert_eq!(say(0, 0), (1, 20_000), "nothing known: two periods are expected");
    assert_eq!(say(5_000, 5_045), (1, 45_000));
    assert_eq!(say(5_000, 5_050), (2, 45_000), "stands still");
    assert_eq!(say(4_000, 4_050), (3, 45_000), "backwards");
    assert_eq!(say(6_000, 5_950), (4, 45_000), "operands in the wrong order");
    assert_eq!(say(6_010, 9_999_999), (5, 45_000), "absurd");
    assert_eq!(say(6_020, 6_070), (5, 50_000));
}

#[test]
fn a_callback_after_the_stop_plays_silence_and_harms_no_later_stream() {
    let mut rig = Rig::started();
    rig.speak(&[1; 480]);
    until("it runs", || !rig.heard.lock().unwrap().is_empty());
    let ends = rig.io.stop(Which::Both);
    assert!(ends.intake.is_some() && ends.outlet.is_some());
    assert!(rig.listen(960).iter().all(|&value| value == 0));
    rig.speak(&[2; 480]);
    assert_eq!(rig.io.callbacks(Direction::Capture).missed, 1);
    rig.io.start(&both(), ends).unwrap();
    // The old stream's callbacks are still called.
    let (old, mut out) = ([0.5_f32; 960], [78_i16; 480]);
    for turn in 0..10 {
        rig.studio.speak(Some(0), &old, instant(90_000 + turn), instant(89_900));
        rig.studio.listen(Some(0), &mut out, instant(90_000 + turn), instant(90_100));
        assert_eq!(out, [0; 480]);
    }
    rig.speak(&[3; 480]);
    until("the new one runs", || rig.heard.lock().unwrap().contains(&3));
    let heard = rig.heard.lock().unwrap().clone();
    assert!(!heard.contains(&2) && !heard.contains(&16_384), "what came after the stop is not heard");
    drop(rig.io);
    rig.studio.listen(Some(1), &mut out, instant(99_000), instant(99_100));
    assert_eq!(out, [0; 480], "nor after the drop");
}

#[test]
fn a_stream_that_hangs_when_it_is_dropped_keeps_no_half() {
    let mut rig = Rig::started();
    rig.studio.hangs.store(true, Ordering::Relaxed);
    let began = Moment::now();
    let ends = rig.io.stop(Which::Capture);
    assert!(ends.intake.is_some());
    assert!(began.elapsed() < Span::from_secs(8), "{:?}", began.elapsed());
    let request = StreamRequest { playback: None, ..both() };
    rig.io.start(&request, ends).unwrap();
    rig.speak(&[5; 480]);
    until("another stream runs", || rig.heard.lock().unwrap().contains(&5));
    rig.studio.hangs.store(false, Ordering::Relaxed);
}

#[test]
fn stopping_in_the_middle_of_callbacks_takes_the_half_out_of_them() {
    let mut rig = Rig::started();
    let studio = rig.studio.clone();
    let caller = std::thread::spawn(move || {
        let mut out = [0_i16; 97];
        (0..200_000_u64).for_each(|turn| {
            let stream = studio.loudspeakers.lock().unwrap().len() - 1;
            studio.listen(Some(stream), &mut out, instant(turn + 1), instant(turn + 40));
        });
    });
    for _ in 0..50 {
        let ends = rig.io.stop(Which::Playback);
        assert!(ends.outlet.is_some());
        rig.io.start(&StreamRequest { capture: None, ..both() }, ends).unwrap();
    }
    caller.join().unwrap();
    assert_eq!(rig.stats.read().outlet.position_faults, 0);
}

#[test]
fn what_ends_a_stream_is_told_once_and_what_does_not_is_not() {
    let mut rig = Rig::started();
    rig.studio.fail(Kind::DeviceChanged);
    rig.studio.fail(Kind::RealtimeDenied);
    rig.studio.fail(Kind::RealtimeDenied);
    assert_eq!(rig.events(), [Event::RealTimeRefused]);
    rig.studio.gone.store(true, Ordering::Relaxed);
    rig.studio.fail(Kind::DeviceNotAvailable);
    rig.studio.fail(Kind::StreamInvalidated);
    let lost = Event::DeviceLost { direction: Direction::Playback };
    assert_eq!(rig.events(), [lost]);
    let ends = rig.io.stop(Which::Playback);
    assert!(ends.outlet.is_some());
    let refused = rig.io.start(&StreamRequest { capture: None, ..both() }, ends).unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::NotFound);
    assert!(refused.ends.outlet.is_some(), "it is given back");
    rig.studio.gone.store(false, Ordering::Relaxed);
    let mut events = Vec::new();
    until("it returns", || {
        rig.speak(&[1]);
        events.extend(rig.events());
        !events.is_empty()
    });
    assert_eq!(events, [Event::DeviceReturned { direction: Direction::Playback }]);
    rig.io.start(&StreamRequest { capture: None, ..both() }, refused.ends).unwrap();
    rig.listen(480);
}

#[test]
fn a_stream_that_calls_nobody_is_lost() {
    let mut rig = Rig::started();
    let began = Moment::now();
    let mut events = Vec::new();
    until("it is noticed", || {
        rig.speak(&[1; 48]);
        events.extend(rig.events());
        !events.is_empty()
    });
    assert_eq!(events, [Event::DeviceLost { direction: Direction::Playback }], "capture goes on");
    assert!(began.elapsed() > Span::from_millis(1_500), "{:?}", began.elapsed());
}

#[test]
fn requests_that_cannot_work_give_the_halves_back() {
    let mut rig = Rig::new();
    let ends = rig.ends.take().unwrap();
    let refused = rig.io.start(&StreamRequest::default(), ends).unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::Misuse);
    let request =
        StreamRequest { capture: Some(EndRequest { device: Some("gramophone"), ..end() }), ..both() };
    let refused = rig.io.start(&request, refused.ends).unwrap_err();
    assert!(refused.error.to_string().contains("'gramophone'"), "{}", refused.error);
    let four = Some(ChannelMap::select(4, &[3]).unwrap());
    let request = StreamRequest { capture: Some(EndRequest { map: four, ..end() }), ..both() };
    let refused = rig.io.start(&request, refused.ends).unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::Unsupported);
    assert!(refused.error.to_string().contains("expected 4 channels"), "{}", refused.error);
    let two_out = Some(ChannelMap::natural(2, 1).unwrap());
    let request = StreamRequest { playback: Some(EndRequest { map: two_out, ..end() }), ..both() };
    let refused = rig.io.start(&request, refused.ends).unwrap_err();
    assert!(
        matches!(refused.error.kind(), ErrorKind::Config(ConfigError::FrameTooLarge { .. })),
        "{}",
        refused.error
    );
    assert!(refused.ends.intake.is_some() && refused.ends.outlet.is_some());
    rig.io.start(&both(), refused.ends).unwrap();
}

#[test]
fn a_misused_start_harms_nothing_that_runs() {
    let (mut rig, other) = (Rig::started(), Rig::new().ends.take().unwrap());
    let outlet = Ends { intake: None, outlet: other.outlet };
    let playback = StreamRequest { capture: None, ..both() };
    for (request, ends) in [
        (&playback, outlet),
        (&playback, Ends::default()),
        (&StreamRequest::default(), Ends::default()),
        (&both(), Ends { intake: other.intake, outlet: None }),
    ] {
        let given = (ends.intake.is_some(), ends.outlet.is_some());
        let refused = rig.io.start(request, ends).unwrap_err();
        assert_eq!(refused.error.kind(), ErrorKind::Misuse);
        assert_eq!((refused.ends.intake.is_some(), refused.ends.outlet.is_some()), given, "given back");
    }
    let mut ears = Listener::default();
    until("playback goes on", || {
        rig.listen(480).into_iter().for_each(|value| ears.hear(value));
        ears.found > 1_000
    });
    rig.speak(&[7; 480]);
    until("capture goes on", || rig.heard.lock().unwrap().contains(&7));
    assert_eq!(rig.events(), []);
    let ends = rig.io.stop(Which::Both);
    assert!(ends.intake.is_some() && ends.outlet.is_some());
}

#[test]
fn another_default_is_followed_unless_the_system_has_taken_the_stream_there_or_it_has_a_name() {
    let mut rig = Rig::new();
    let studio = rig.studio.clone();
    let ends = Ends { intake: None, outlet: rig.ends.take().unwrap().outlet };
    let mut keeper = Keeper::new(rig.io, ends);
    let plan = |device: Option<&str>| EndPlan {
        device: device.map(str::to_owned),
        ..EndPlan::new(SampleRate::new(48_000).unwrap())
    };
    keeper.open(None, Some(&plan(None)), clock::now()).unwrap();
    let told = |keeper: &mut Keeper<'static, CpalIo<CAP, 2>, CAP, 2>, system_moves: bool| {
        // The lookout has to have seen the one before, and only it asks now.
        let asked = studio.asked.load(Ordering::Relaxed);
        until("the lookout looks", || studio.asked.load(Ordering::Relaxed) > asked + 1);
        if system_moves {
            studio.fail(Kind::DeviceChanged);
        }
        studio.default.fetch_add(1, Ordering::Relaxed);
        let mut notice = None;
        let mut out = [0_i16; 480];
        let mut now_ms = 0;
        until("the change is told", || {
            // A stream that calls nobody is lost.
            now_ms += 10;
            studio.listen(None, &mut out, instant(now_ms), instant(now_ms + 30));
            notice = keeper.poll(clock::now());
            notice.is_some()
        });
        assert_eq!(keeper.poll(clock::now()), None, "once");
        notice.unwrap()
    };
    let playback = Direction::Playback;
    let device = |keeper: &Keeper<'static, CpalIo<CAP, 2>, CAP, 2>| {
        let opened_on = rig.studio.opened_on.lock().unwrap().clone();
        (keeper.io().playback().unwrap().device.clone(), opened_on)
    };
    let notice = told(&mut keeper, false);
    assert!(matches!(notice, Notice::Moved { direction, .. } if direction == playback), "{notice:?}");
    assert_eq!(device(&keeper), ("alsa:loudspeaker 1".to_owned(), vec![0, 1]), "it was started anew");
    let notice = told(&mut keeper, true);
    assert!(matches!(notice, Notice::Moved { direction, .. } if direction == playback), "{notice:?}");
    assert_eq!(device(&keeper), ("alsa:loudspeaker 2".to_owned(), vec![0, 1]), "it runs on");
    keeper.close(playback);
    keeper.open(None, Some(&plan(Some("alsa:loudspeaker 2"))), clock::now()).unwrap();
    assert_eq!(told(&mut keeper, false), Notice::Host(Event::DefaultChanged { direction: playback }));
    assert_eq!(device(&keeper), ("alsa:loudspeaker 2".to_owned(), vec![0, 1, 2]), "it stays");
}
