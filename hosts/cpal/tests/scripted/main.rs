//! The cpal host on a scripted cpal implementation, the callbacks of which the tests call themselves: with any
//! length, with impossible timestamps, after the stop, and with streams that hang when they are dropped. Covers
//! faults 7, 9, 13 and 19.
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

mod defaults;
mod host;
#[allow(dead_code, reason = "shared with tests that use more of it")]
#[path = "../support/malloc_counter.rs"]
mod malloc_counter;
mod scripted_rig;
#[allow(dead_code, reason = "shared with tests that use more of it")]
#[path = "../desktop/signal_checker.rs"]
mod signal_checker;

use std::sync::atomic::Ordering;
use std::time::{Duration as Span, Instant as Moment};

use cpal::ErrorKind as Kind;
use handsfree_core::audio_io::{
    AudioIo, Direction, DirectionRequest, Directions, ErrorKind, Event, HostError, StreamHalves,
    StreamRequest,
};
use handsfree_core::{ChannelMap, ConfigError};

use host::{PERIOD, instant};
use scripted_rig::{CAP, ScriptedRig, both_directions, one_direction, until};
use signal_checker::{SignalChecker, sample};

/// Callback lengths in sample frames: those of fault 7, and those observed on PulseAudio.
const LENGTHS: [usize; 12] = [0, 1, 2, 7, 97, 24, 441, 480, 512, 960, 1_021, 8_192];

#[test]
fn capture_callbacks_of_any_length_keep_every_sample_in_order() {
    let mut rig = ScriptedRig::started();
    let mut captured = 0_u64;
    for round in 0..60 {
        let length = LENGTHS[round * 7 % LENGTHS.len()];
        let samples: Vec<i16> = (captured..).take(length).map(sample).collect();
        rig.capture(&samples);
        captured += length as u64;
        let complete = captured as usize / CAP * CAP;
        until("the worker processes all complete frames", || rig.delivered.lock().unwrap().len() >= complete);
    }
    let delivered = rig.delivered.lock().unwrap().clone();
    assert!(delivered.iter().zip(0..).all(|(&value, at)| value == sample(at)));
    let stats = rig.io.callbacks(Direction::Capture);
    assert_eq!((stats.callbacks, stats.longest_sample_frames), (60, 8_192));
    let longer = (0..60).filter(|round| LENGTHS[round * 7 % LENGTHS.len()] > PERIOD as usize).count();
    assert_eq!(stats.longer_than_granted, longer as u32);
    assert_eq!(rig.stats.read().intake.gaps, 0);
}

#[test]
fn playback_callbacks_of_any_length_keep_every_sample_in_order() {
    let mut rig = ScriptedRig::started();
    let mut checker = SignalChecker::default();
    for round in 0..200 {
        let length = LENGTHS[round * 7 % LENGTHS.len()];
        let out = rig.play(length);
        assert!(out.iter().all(|&value| value != 78), "every sample is written");
        out.into_iter().for_each(|value| checker.check(value));
        // Gives the worker time. If it is late, there is silence, but no sample is lost.
        std::thread::sleep(Span::from_millis(1));
    }
    assert!(checker.found > 10_000, "{checker:?}");
    assert_eq!((checker.lost, checker.repeated), (0, 0), "{checker:?}");
    assert_eq!(rig.stats.read().outlet.gaps, 0);
}

#[test]
fn callbacks_allocate_and_free_nothing() {
    let mut rig = ScriptedRig::started();
    let stereo = [0.1_f32; 2 * 1_021];
    let mut out = [0_i16; 1_021];
    let _ = malloc_counter::taken();
    malloc_counter::watched(|| {
        for round in 0..500 {
            let length = LENGTHS[round % LENGTHS.len()].min(1_021);
            let now = instant(20_000 + round as u64 * 10);
            rig.script.capture(None, &stereo[..2 * length], now, instant(19_000));
            rig.script.play(None, &mut out[..length], now, instant(90_000));
            if round == 250 {
                rig.script.fail(Kind::Xrun);
            }
        }
    });
    assert_eq!(malloc_counter::taken(), malloc_counter::Calls::default());
    assert_eq!(rig.io.callbacks(Direction::Playback).callbacks, 500);
    assert_eq!(rig.events(), [Event::Xrun { direction: Direction::Playback, sample_frames: 0 }]);
}

#[test]
fn impossible_timestamps_are_counted_and_keep_the_latency() {
    let rig = ScriptedRig::started();
    let mut out = [0_i16; 480];
    let mut report = |callback: u64, playback: u64| {
        rig.script.play(None, &mut out, instant(callback), instant(playback));
        let stats = rig.io.callbacks(Direction::Playback);
        (stats.distrusted_timestamps, stats.latency_us)
    };
    assert_eq!(report(0, 0), (1, 20_000), "before any measurement, two periods are assumed");
    assert_eq!(report(5_000, 5_045), (1, 45_000));
    assert_eq!(report(5_000, 5_050), (2, 45_000), "constant");
    assert_eq!(report(4_000, 4_050), (3, 45_000), "backwards");
    assert_eq!(report(6_000, 5_950), (4, 45_000), "instants in the wrong order");
    assert_eq!(report(6_010, 9_999_999), (5, 45_000), "too large");
    assert_eq!(report(6_020, 6_070), (5, 50_000));
}

#[test]
fn a_callback_after_the_stop_plays_silence() {
    let mut rig = ScriptedRig::started();
    rig.capture(&[1; 480]);
    until("the stream runs", || !rig.delivered.lock().unwrap().is_empty());
    let halves = rig.io.stop(Directions::Both);
    assert!(halves.intake.is_some() && halves.outlet.is_some());
    assert!(rig.play(960).iter().all(|&value| value == 0));
    rig.capture(&[2; 480]);
    assert_eq!(rig.io.callbacks(Direction::Capture).missed, 1);
    rig.io.start(&both_directions(), halves).unwrap();
    // The host still calls the old stream's callbacks.
    let (old, mut out) = ([0.5_f32; 960], [78_i16; 480]);
    for round in 0..10 {
        rig.script.capture(Some(0), &old, instant(90_000 + round), instant(89_900));
        rig.script.play(Some(0), &mut out, instant(90_000 + round), instant(90_100));
        assert_eq!(out, [0; 480]);
    }
    rig.capture(&[3; 480]);
    until("the new stream runs", || rig.delivered.lock().unwrap().contains(&3));
    let delivered = rig.delivered.lock().unwrap().clone();
    assert!(!delivered.contains(&2) && !delivered.contains(&16_384), "samples after the stop are ignored");
    drop(rig.io);
    rig.script.play(Some(1), &mut out, instant(99_000), instant(99_100));
    assert_eq!(out, [0; 480], "a callback after the drop plays silence");
}

#[test]
fn a_stream_that_hangs_on_drop_does_not_keep_the_half() {
    let mut rig = ScriptedRig::started();
    rig.script.hangs.store(true, Ordering::Relaxed);
    let began = Moment::now();
    let halves = rig.io.stop(Directions::Capture);
    assert!(halves.intake.is_some());
    assert!(began.elapsed() < Span::from_secs(8), "{:?}", began.elapsed());
    let request = StreamRequest { playback: None, ..both_directions() };
    rig.io.start(&request, halves).unwrap();
    rig.capture(&[5; 480]);
    until("another stream runs", || rig.delivered.lock().unwrap().contains(&5));
    rig.script.hangs.store(false, Ordering::Relaxed);
}

#[test]
fn a_stop_during_callbacks_takes_the_half_from_them() {
    let mut rig = ScriptedRig::started();
    let script = rig.script.clone();
    let caller = std::thread::spawn(move || {
        let mut out = [0_i16; 97];
        (0..200_000_u64).for_each(|round| {
            let stream = script.playback_streams.lock().unwrap().len() - 1;
            script.play(Some(stream), &mut out, instant(round + 1), instant(round + 40));
        });
    });
    for _ in 0..50 {
        let halves = rig.io.stop(Directions::Playback);
        assert!(halves.outlet.is_some());
        rig.io.start(&StreamRequest { capture: None, ..both_directions() }, halves).unwrap();
    }
    caller.join().unwrap();
    assert_eq!(rig.stats.read().outlet.position_faults, 0);
}

#[test]
fn only_errors_that_end_a_stream_are_reported_as_its_loss() {
    let mut rig = ScriptedRig::started();
    rig.script.fail(Kind::DeviceChanged);
    rig.script.fail(Kind::RealtimeDenied);
    rig.script.fail(Kind::RealtimeDenied);
    assert_eq!(rig.events(), [Event::RealTimeRefused]);
    rig.script.gone.store(true, Ordering::Relaxed);
    rig.script.fail(Kind::DeviceNotAvailable);
    rig.script.fail(Kind::StreamInvalidated);
    let lost = Event::DeviceLost { direction: Direction::Playback };
    assert_eq!(rig.events(), [lost]);
    let halves = rig.io.stop(Directions::Playback);
    assert!(halves.outlet.is_some());
    let refused = rig.io.start(&StreamRequest { capture: None, ..both_directions() }, halves).unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::NotFound);
    assert!(refused.halves.outlet.is_some(), "the half is returned");
    rig.script.gone.store(false, Ordering::Relaxed);
    let mut events = Vec::new();
    until("the device returns", || {
        rig.capture(&[1]);
        events.extend(rig.events());
        !events.is_empty()
    });
    assert_eq!(events, [Event::DeviceReturned { direction: Direction::Playback }]);
    rig.io.start(&StreamRequest { capture: None, ..both_directions() }, refused.halves).unwrap();
    rig.play(480);
}

#[test]
fn a_loss_before_the_stop_is_not_reported_for_the_next_stream() {
    let mut rig = ScriptedRig::started();
    rig.script.fail(Kind::Xrun);
    rig.script.fail(Kind::RealtimeDenied);
    assert!(matches!(rig.io.poll_event(), Some(Event::Xrun { .. })));
    // The next poll notices the loss but returns the event that is already pending.
    rig.script.fail(Kind::DeviceNotAvailable);
    assert_eq!(rig.io.poll_event(), Some(Event::RealTimeRefused));
    let halves = rig.io.stop(Directions::Playback);
    rig.io.start(&StreamRequest { capture: None, ..both_directions() }, halves).unwrap();
    assert_eq!(rig.events(), []);
    rig.play(480);
}

#[test]
fn a_stream_without_callbacks_is_lost() {
    let mut rig = ScriptedRig::started();
    let began = Moment::now();
    let mut events = Vec::new();
    until("the loss is reported", || {
        rig.capture(&[1; 48]);
        events.extend(rig.events());
        !events.is_empty()
    });
    assert_eq!(events, [Event::DeviceLost { direction: Direction::Playback }], "capture continues");
    assert!(began.elapsed() > Span::from_millis(1_500), "{:?}", began.elapsed());
}

#[test]
fn an_impossible_request_returns_the_halves() {
    let mut rig = ScriptedRig::new();
    let halves = rig.stream_halves.take().unwrap();
    let refused = rig.io.start(&StreamRequest::default(), halves).unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::Misuse);
    let request = StreamRequest {
        capture: Some(DirectionRequest { device: Some("unknown"), ..one_direction() }),
        ..both_directions()
    };
    let refused = rig.io.start(&request, refused.halves).unwrap_err();
    assert!(refused.error.to_string().contains("'unknown'"), "{}", refused.error);
    let four = Some(ChannelMap::select(4, &[3]).unwrap());
    let request = StreamRequest {
        capture: Some(DirectionRequest { map: four, ..one_direction() }),
        ..both_directions()
    };
    let refused = rig.io.start(&request, refused.halves).unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::Unsupported);
    assert!(refused.error.to_string().contains("expected 4 channels"), "{}", refused.error);
    let two_out = Some(ChannelMap::natural(2, 1).unwrap());
    let request = StreamRequest {
        playback: Some(DirectionRequest { map: two_out, ..one_direction() }),
        ..both_directions()
    };
    let refused = rig.io.start(&request, refused.halves).unwrap_err();
    assert!(
        matches!(refused.error.kind(), ErrorKind::Config(ConfigError::FrameTooLarge { .. })),
        "{}",
        refused.error
    );
    assert!(refused.halves.intake.is_some() && refused.halves.outlet.is_some());
    rig.io.start(&both_directions(), refused.halves).unwrap();
}

#[test]
fn an_invalid_start_does_not_affect_running_streams() {
    let (mut rig, other) = (ScriptedRig::started(), ScriptedRig::new().stream_halves.take().unwrap());
    let outlet = StreamHalves { intake: None, outlet: other.outlet };
    let playback = StreamRequest { capture: None, ..both_directions() };
    for (request, halves) in [
        (&playback, outlet),
        (&playback, StreamHalves::default()),
        (&StreamRequest::default(), StreamHalves::default()),
        (&both_directions(), StreamHalves { intake: other.intake, outlet: None }),
    ] {
        let given = (halves.intake.is_some(), halves.outlet.is_some());
        let refused = rig.io.start(request, halves).unwrap_err();
        assert_eq!(refused.error.kind(), ErrorKind::Misuse);
        assert_eq!(
            (refused.halves.intake.is_some(), refused.halves.outlet.is_some()),
            given,
            "the halves are returned"
        );
    }
    let mut checker = SignalChecker::default();
    until("playback continues", || {
        rig.play(480).into_iter().for_each(|value| checker.check(value));
        checker.found > 1_000
    });
    rig.capture(&[7; 480]);
    until("capture continues", || rig.delivered.lock().unwrap().contains(&7));
    assert_eq!(rig.events(), []);
    let halves = rig.io.stop(Directions::Both);
    assert!(halves.intake.is_some() && halves.outlet.is_some());
}
