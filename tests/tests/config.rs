//! Invalid configurations are refused with the offending value, and the halves are returned in working order (fault 9).

use std::fmt::Display;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::audio_io::{
    AudioIo, Direction, Directions, ErrorKind, HostError, StreamHalves, StreamRequest,
};
use handsfree_core::capture::Bypass;
use handsfree_core::{
    ChannelMap, ConfigError, Duration, Format, Frame, Gain, SampleRate, Session, SessionFormat,
};
use handsfree_sim::acoustics::Wire;
use handsfree_sim::board::{BoardConfig, SimulatedBoard, Step};
use handsfree_sim::device::DeviceConfig;
use handsfree_sim::scenario::{CAP, SLOTS, SimSession, request};
use handsfree_tests::{captured_at, intake_config, outlet_config, plain_board, played_at};

fn rate(hz: u32) -> SampleRate {
    SampleRate::new(hz).unwrap()
}

fn assert_message(error: impl Display, text: &str) {
    assert_eq!(error.to_string(), text);
}

#[test]
fn invalid_values_are_named_in_the_error() {
    assert_message(SampleRate::new(0).unwrap_err(), "sample rate 0 Hz: expected 8000 to 192000 Hz");
    assert_message(SampleRate::new(4_000).unwrap_err(), "sample rate 4000 Hz: expected 8000 to 192000 Hz");
    assert_message(
        SampleRate::new(u32::MAX).unwrap_err(),
        "sample rate 4294967295 Hz: expected 8000 to 192000 Hz",
    );
    let not_whole = "sample rate 22050 Hz: expected a multiple of 100 Hz, so that 10 ms hold whole samples";
    assert_message(SampleRate::new(22_050).unwrap_err(), not_whole);
    assert_message(Format::new(48_000, 0).unwrap_err(), "0 channels: expected 1 to 8");
    assert_message(Format::new(48_000, 9).unwrap_err(), "9 channels: expected 1 to 8");
    assert_message(ChannelMap::natural(0, 1).unwrap_err(), "0 device channels: expected 1 to 64");
    assert_message(ChannelMap::natural(2, 65).unwrap_err(), "65 device channels: expected 1 to 64");
    assert_message(ChannelMap::select(2, &[]).unwrap_err(), "0 device channels: expected 1 to 64");
    let no_such = "channel 4 (counted from 0): expected one of the 4 there are";
    assert_message(ChannelMap::select(4, &[0, 4]).unwrap_err(), no_such);
    assert_message(Gain::linear(-0.5).unwrap_err(), "gain -0.5: expected a finite number from 0 to 64");
    assert_message(Gain::linear(f32::NAN).unwrap_err(), "gain NaN: expected a finite number from 0 to 64");
}

#[test]
fn a_session_refuses_formats_that_exceed_its_frame_capacity() {
    let mut session = Box::new(Session::<480, 1, 4, 4, 4, 4, 480>::new());
    let mut refused = |hz: u32, near_channels: u32, far_channels: u32| {
        let terminal = SessionFormat { rate: rate(hz), near_channels, far_channels };
        session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap_err()
    };
    assert_message(
        refused(48_000, 2, 1),
        "10 ms hold 960 samples: expected at most the frame's capacity of 480",
    );
    assert_message(
        refused(48_000, 1, 2),
        "10 ms hold 960 samples: expected at most the frame's capacity of 480",
    );
    assert_message(refused(48_000, 0, 1), "0 channels: expected 1 to 8");
    assert_message(refused(48_000, 1, 9), "9 channels: expected 1 to 8");
    // After a refusal the session can be split.
    let terminal = SessionFormat { rate: rate(48_000), near_channels: 1, far_channels: 1 };
    assert!(session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).is_ok());
}

#[test]
fn a_refused_configuration_leaves_the_previous_one_in_effect() {
    let mut session = Box::new(Session::<480, 1, 8, 8, 16, 8, 4_800>::new());
    let terminal = SessionFormat { rate: rate(48_000), near_channels: 1, far_channels: 1 };
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap();
    let map = ChannelMap::natural(1, 1).unwrap();
    halves.intake.configure(intake_config(rate(48_000), map, 480)).unwrap();
    halves.outlet.configure(outlet_config(rate(48_000), map, 480)).unwrap();
    // A ring of 8 frames holds 7, one of which is reserved for a late worker.
    let too_long = "a period of 2881 sample frames: expected at most 2880, which the rings hold";
    let stereo = ChannelMap::natural(2, 2).unwrap();
    for (rate, map, period, text) in [
        (rate(48_000), map, 0, "a period of 0 sample frames: expected at least 1"),
        (rate(48_000), map, 2_881, too_long),
        (rate(48_000), stereo, 480, "10 ms hold 960 samples: expected at most the frame's capacity of 480"),
        (rate(96_000), map, 480, "10 ms hold 960 samples: expected at most the frame's capacity of 480"),
    ] {
        assert_message(halves.intake.configure(intake_config(rate, map, period)).unwrap_err(), text);
        assert_message(halves.outlet.configure(outlet_config(rate, map, period)).unwrap_err(), text);
    }
    assert!(halves.intake.configure(intake_config(rate(48_000), map, 2_880)).is_ok());
    assert!(halves.outlet.configure(outlet_config(rate(48_000), map, 2_880)).is_ok());
    let nine = ChannelMap::select(9, &[0, 1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    assert_message(
        halves.intake.configure(intake_config(rate(48_000), nine, 480)).unwrap_err(),
        "9 channels: expected 1 to 8",
    );

    let mut track = halves.tracks.open().unwrap();
    track.push(&[77; 480]).unwrap();
    halves.playback.poll();
    let mut out = [0i16; 480];
    halves.outlet.on_period(&mut out, played_at(0, rate(48_000), 0));
    assert_eq!(out, [77; 480]);
    halves.intake.on_period(&out, captured_at(0, 480, rate(48_000), 0));
    let mut heard = Vec::new();
    // Both directions have the same timing here, so that there is no later reference for a lead.
    halves.capture.set_reference_lead(Duration::ZERO);
    halves.capture.poll(&|| captured_at(0, 480, rate(48_000), 0).called, &mut |frame: &Frame<480>| {
        heard.extend_from_slice(frame.samples());
    });
    assert_eq!(heard, [77; 480]);
}

#[test]
fn a_board_with_empty_periods_is_refused() {
    let good = plain_board(rate(48_000), 1);
    for periods in [vec![], vec![0], vec![0, 0]] {
        let capture = DeviceConfig { periods: periods.clone(), ..good.capture.clone() };
        let playback = DeviceConfig { periods: periods.clone(), ..good.playback.clone() };
        let bad_capture = BoardConfig { capture: capture.clone(), ..good.clone() };
        let bad_playback = BoardConfig { playback, ..good.clone() };
        for config in [bad_capture, bad_playback] {
            let error = SimulatedBoard::<CAP, SLOTS>::new(config, Box::new(Wire)).unwrap_err();
            assert_message(error, "a period of 0 sample frames: expected at least 1");
        }
        let mut board = SimulatedBoard::<CAP, SLOTS>::new(good.clone(), Box::new(Wire)).unwrap();
        assert_eq!(board.replace_device(Direction::Capture, capture), Err(ConfigError::EmptyPeriod));
    }
}

/// A refused start: its name, the change that causes it, and the expected message.
type StartRefusal = (&'static str, fn(&mut BoardConfig, &mut StreamRequest<'static>), &'static str);

const REFUSALS: [StartRefusal; 8] = [
    (
        "capture period",
        |board, _| board.capture.periods = vec![480, 30_000],
        "a period of 30000 sample frames: expected at most 29760, which the rings hold",
    ),
    (
        "playback period",
        |board, _| board.playback.periods = vec![29_761],
        "a period of 29761 sample frames: expected at most 29760, which the rings hold",
    ),
    (
        "no microphone channel",
        |board, _| board.capture.device_channels = 0,
        "0 device channels: expected 1 to 64",
    ),
    (
        "no loudspeaker channel",
        |board, _| board.playback.device_channels = 0,
        "0 device channels: expected 1 to 64",
    ),
    (
        "microphone rate too high",
        |board, _| board.capture.rate = SampleRate::new(192_000).unwrap(),
        "10 ms hold 1920 samples: expected at most the frame's capacity of 960",
    ),
    (
        "loudspeaker rate too high",
        |board, _| board.playback.rate = SampleRate::new(192_000).unwrap(),
        "10 ms hold 1920 samples: expected at most the frame's capacity of 960",
    ),
    (
        "unknown microphone",
        |_, request| request.capture.as_mut().unwrap().device = Some("usb:42"),
        "no such device",
    ),
    (
        "unknown loudspeaker",
        |_, request| request.playback.as_mut().unwrap().device = Some("usb:42"),
        "no such device",
    ),
];

#[test]
fn a_refused_start_returns_both_halves_in_working_order() {
    for (name, spoil, text) in REFUSALS {
        let good = plain_board(rate(48_000), 1);
        let mut bad = good.clone();
        let mut asked = request(&good);
        spoil(&mut bad, &mut asked);
        let mut session = Box::new(SimSession::new());
        let terminal = SessionFormat { rate: rate(48_000), near_channels: 1, far_channels: 1 };
        let mut halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap();
        let mut board = SimulatedBoard::new(bad, Box::new(Wire)).unwrap();
        let stream_halves = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
        let refused = board.start(&asked, stream_halves).unwrap_err();
        assert_eq!(refused.error.to_string(), text, "{name}");
        let expected_kind = if text == "no such device" { Some(ErrorKind::NotFound) } else { None };
        match (refused.error.kind(), expected_kind) {
            (found, Some(expected)) => assert_eq!(found, expected, "{name}"),
            (ErrorKind::Config(_), None) => {}
            (found, None) => panic!("{name}: {found:?}"),
        }
        assert_eq!(board.step(), Step::Idle, "{name}: the board runs after a refusal");
        assert!(refused.halves.intake.is_some() && refused.halves.outlet.is_some(), "{name}");

        // The same halves work on a valid board: a wire carries the played samples unchanged.
        let mut board = SimulatedBoard::new(good.clone(), Box::new(Wire)).unwrap();
        board.start(&request(&good), refused.halves).unwrap();
        let mut track = halves.tracks.open().unwrap();
        let source: Vec<i16> = (1..=4_800).collect();
        track.push(&source).unwrap();
        halves.playback.poll();
        let mut heard = Vec::new();
        let clock = board.clock();
        while heard.len() < 4_800 {
            if board.step() == Step::Worker {
                halves.playback.poll();
                halves
                    .capture
                    .poll(&clock, &mut |frame: &Frame<CAP>| heard.extend_from_slice(frame.samples()));
            }
        }
        assert_eq!(heard, source, "{name}");
        let stats = halves.stats.read();
        assert_eq!((stats.xruns(), stats.outlet.foreign_frames), (0, 0), "{name}");
    }
}

#[test]
fn halves_and_request_must_name_the_same_directions() {
    let config = plain_board(rate(48_000), 1);
    let both = request(&config);
    let capture_only = StreamRequest { playback: None, ..both };
    let playback_only = StreamRequest { capture: None, ..both };
    let mut session = Box::new(SimSession::new());
    let terminal = SessionFormat { rate: rate(48_000), near_channels: 1, far_channels: 1 };
    let halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap();
    let mut board = SimulatedBoard::<CAP, SLOTS>::new(config, Box::new(Wire)).unwrap();

    let refused = board.start(&both, StreamHalves::default()).unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::Misuse);
    assert_message(refused.error, "wrong order of calls");
    let stream_halves = StreamHalves { intake: Some(halves.intake), outlet: None };
    let refused = board.start(&playback_only, stream_halves).unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::Misuse);
    let refused = board.start(&both, refused.halves).unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::Misuse);
    assert!(refused.halves.intake.is_some());

    board.start(&capture_only, refused.halves).unwrap();
    let stream_halves = StreamHalves { intake: None, outlet: Some(halves.outlet) };
    board.start(&playback_only, stream_halves).unwrap();
    assert!(board.stop(Directions::Capture).intake.is_some());
    let again = board.stop(Directions::Capture);
    assert!(again.intake.is_none() && again.outlet.is_none(), "a stopped direction was returned twice");
    assert!(board.stop(Directions::Both).outlet.is_some());
}

#[test]
fn a_running_direction_cannot_be_started_again() {
    let config = plain_board(rate(48_000), 1);
    let capture_only = StreamRequest { playback: None, ..request(&config) };
    let terminal = SessionFormat { rate: rate(48_000), near_channels: 1, far_channels: 1 };
    let (mut first, mut second) = (Box::new(SimSession::new()), Box::new(SimSession::new()));
    let one = first.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap();
    let other = second.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap();
    let mut board = SimulatedBoard::<CAP, SLOTS>::new(config, Box::new(Wire)).unwrap();
    board.start(&capture_only, StreamHalves { intake: Some(one.intake), outlet: None }).unwrap();
    let refused =
        board.start(&capture_only, StreamHalves { intake: Some(other.intake), outlet: None }).unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::Misuse);
    assert!(refused.halves.intake.is_some());
    assert_eq!(board.step(), Step::Capture, "the running stream was stopped");
}
