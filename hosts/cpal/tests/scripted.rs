//! hosts/cpal on a cpal host whose callbacks the test calls itself: of any length, with times that cannot be, after the
//! stop, and with streams that hang when they are dropped. Faults 7, 9, 13 and 19.
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

#[path = "scripted/defaults.rs"]
mod defaults;
#[allow(dead_code, reason = "shared with tests that use more of it")]
#[path = "desktop/listener.rs"]
mod listener;
#[allow(dead_code, reason = "shared with tests that use more of it")]
#[path = "../../../tests/support/malloc_counter.rs"]
mod malloc_counter;
#[path = "scripted/rig.rs"]
mod rig;
#[path = "scripted/studio.rs"]
mod studio;

use std::sync::atomic::Ordering;
use std::time::{Duration as Span, Instant as Moment};

use cpal::ErrorKind as Kind;
use handsfree_core::audio_io::{
    AudioIo, Direction, DirectionRequest, Directions, ErrorKind, Event, HostError, StreamHalves,
    StreamRequest,
};
use handsfree_core::{ChannelMap, ConfigError};

use listener::{Listener, sample};
use rig::{CAP, Rig, both, end, until};
use studio::{PERIOD, instant};

/// The lengths of fault 7, and what was seen on PulseAudio.
const LENGTHS: [usize; 12] = [0, 1, 2, 7, 97, 24, 441, 480, 512, 960, 1_021, 8_192];

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
    let halves = rig.io.stop(Directions::Both);
    assert!(halves.intake.is_some() && halves.outlet.is_some());
    assert!(rig.listen(960).iter().all(|&value| value == 0));
    rig.speak(&[2; 480]);
    assert_eq!(rig.io.callbacks(Direction::Capture).missed, 1);
    rig.io.start(&both(), halves).unwrap();
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
    let halves = rig.io.stop(Directions::Capture);
    assert!(halves.intake.is_some());
    assert!(began.elapsed() < Span::from_secs(8), "{:?}", began.elapsed());
    let request = StreamRequest { playback: None, ..both() };
    rig.io.start(&request, halves).unwrap();
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
        let halves = rig.io.stop(Directions::Playback);
        assert!(halves.outlet.is_some());
        rig.io.start(&StreamRequest { capture: None, ..both() }, halves).unwrap();
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
    let halves = rig.io.stop(Directions::Playback);
    assert!(halves.outlet.is_some());
    let refused = rig.io.start(&StreamRequest { capture: None, ..both() }, halves).unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::NotFound);
    assert!(refused.halves.outlet.is_some(), "it is given back");
    rig.studio.gone.store(false, Ordering::Relaxed);
    let mut events = Vec::new();
    until("it returns", || {
        rig.speak(&[1]);
        events.extend(rig.events());
        !events.is_empty()
    });
    assert_eq!(events, [Event::DeviceReturned { direction: Direction::Playback }]);
    rig.io.start(&StreamRequest { capture: None, ..both() }, refused.halves).unwrap();
    rig.listen(480);
}

#[test]
fn a_loss_that_nobody_asked_for_before_the_stop_is_not_told_of_the_next_stream() {
    let mut rig = Rig::started();
    rig.studio.fail(Kind::Xrun);
    rig.studio.fail(Kind::RealtimeDenied);
    assert!(matches!(rig.io.poll_event(), Some(Event::Xrun { .. })));
    // Seen by the next question, and told behind what waits already.
    rig.studio.fail(Kind::DeviceNotAvailable);
    assert_eq!(rig.io.poll_event(), Some(Event::RealTimeRefused));
    let halves = rig.io.stop(Directions::Playback);
    rig.io.start(&StreamRequest { capture: None, ..both() }, halves).unwrap();
    assert_eq!(rig.events(), []);
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
    let halves = rig.stream_halves.take().unwrap();
    let refused = rig.io.start(&StreamRequest::default(), halves).unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::Misuse);
    let request =
        StreamRequest { capture: Some(DirectionRequest { device: Some("gramophone"), ..end() }), ..both() };
    let refused = rig.io.start(&request, refused.halves).unwrap_err();
    assert!(refused.error.to_string().contains("'gramophone'"), "{}", refused.error);
    let four = Some(ChannelMap::select(4, &[3]).unwrap());
    let request = StreamRequest { capture: Some(DirectionRequest { map: four, ..end() }), ..both() };
    let refused = rig.io.start(&request, refused.halves).unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::Unsupported);
    assert!(refused.error.to_string().contains("expected 4 channels"), "{}", refused.error);
    let two_out = Some(ChannelMap::natural(2, 1).unwrap());
    let request = StreamRequest { playback: Some(DirectionRequest { map: two_out, ..end() }), ..both() };
    let refused = rig.io.start(&request, refused.halves).unwrap_err();
    assert!(
        matches!(refused.error.kind(), ErrorKind::Config(ConfigError::FrameTooLarge { .. })),
        "{}",
        refused.error
    );
    assert!(refused.halves.intake.is_some() && refused.halves.outlet.is_some());
    rig.io.start(&both(), refused.halves).unwrap();
}

#[test]
fn a_misused_start_harms_nothing_that_runs() {
    let (mut rig, other) = (Rig::started(), Rig::new().stream_halves.take().unwrap());
    let outlet = StreamHalves { intake: None, outlet: other.outlet };
    let playback = StreamRequest { capture: None, ..both() };
    for (request, halves) in [
        (&playback, outlet),
        (&playback, StreamHalves::default()),
        (&StreamRequest::default(), StreamHalves::default()),
        (&both(), StreamHalves { intake: other.intake, outlet: None }),
    ] {
        let given = (halves.intake.is_some(), halves.outlet.is_some());
        let refused = rig.io.start(request, halves).unwrap_err();
        assert_eq!(refused.error.kind(), ErrorKind::Misuse);
        assert_eq!((refused.halves.intake.is_some(), refused.halves.outlet.is_some()), given, "given back");
    }
    let mut ears = Listener::default();
    until("playback goes on", || {
        rig.listen(480).into_iter().for_each(|value| ears.hear(value));
        ears.found > 1_000
    });
    rig.speak(&[7; 480]);
    until("capture goes on", || rig.heard.lock().unwrap().contains(&7));
    assert_eq!(rig.events(), []);
    let halves = rig.io.stop(Directions::Both);
    assert!(halves.intake.is_some() && halves.outlet.is_some());
}
