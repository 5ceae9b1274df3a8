//! A terminal on the simulated board in virtual time: echo reduction, lost and returned devices, and the frames
//! that reach the application. Faults 1, 4, 8, 11 and 13.
#![allow(missing_docs)]

mod support;

use handsfree_core::audio_io::Direction;
use handsfree_core::{Duration, SampleRate, SessionEvent};
use handsfree_host::supervisor::Notice;
use handsfree_sim::device::{DeviceConfig, TimeFault};
use support::{RATE, TerminalRig};

#[test]
fn echo_is_removed_and_the_meters_report_it() {
    let mut rig = TerminalRig::new(200.0);
    rig.pass(20_000);
    let meters = rig.terminal.meters();
    let erle_db = meters.erle_db().unwrap();
    let reduction_db = rig.reduction_db(10_000);
    println!("ERLE {erle_db:.1} dB, levels {reduction_db:.1} dB, drift {:?} ppm", meters.drift_ppm());
    assert!(erle_db > 30.0 && reduction_db > 30.0, "{erle_db} {reduction_db}");
    assert!((meters.drift_ppm().unwrap() - 200.0).abs() < 5.0, "{:?}", meters.drift_ppm());
    let stats = rig.terminal.stats();
    let true_delay = rig.sim.with_board(|board| board.true_delay()).unwrap();
    let delay = Duration::from_micros(stats.capture.delay_us.into());
    assert!((delay - true_delay).abs() < Duration::from_millis(1), "{delay:?} {true_delay:?}");
    assert_eq!((stats.xruns(), rig.terminal.dropped_frames()), (0, 0));
}

/// Fault 1: a lost device returns, and the echo is removed again within one second of audio.
#[test]
fn a_returned_device_starts_and_its_echo_is_gone_in_a_second() {
    for direction in [Direction::Playback, Direction::Capture] {
        let mut rig = TerminalRig::new(200.0);
        rig.pass(20_000);
        let before_db = rig.reduction_db(5_000);
        rig.unplug(direction);
        rig.pass(3_000);
        assert_eq!(rig.notices, [Notice::Lost { direction }]);
        let device = DeviceConfig {
            ppm: if direction == Direction::Capture { 0.0 } else { 200.0 },
            latency: if direction == Direction::Capture {
                Duration::from_millis(10)
            } else {
                rig.playback_device.latency
            },
            ..rig.playback_device.clone()
        };
        rig.plug_in(direction, device);
        while rig.notices.len() < 2 {
            rig.pass(10);
        }
        assert!(matches!(rig.notices[1], Notice::Returned { direction: back, .. } if back == direction));
        // The device's latency, one second of audio, and two seconds to measure the residual echo.
        rig.pass(60 + 1_000 + 2_000);
        let after_db = rig.reduction_db(2_000);
        println!("{direction:?}: {before_db:.1} dB before, {after_db:.1} dB after a second");
        assert!(after_db > 30.0 && after_db > before_db - 6.0, "{direction:?}: {before_db} {after_db}");
        assert_eq!(rig.terminal.stats().capture.voice_bypassed_frames, 0);
        assert_eq!(rig.terminal.meters().voice_changes(), 0, "the learned echo path is still valid");
    }
}

/// Fault 4: samples are lost between the device and the terminal. The lost ones are counted, and the echo is removed again
/// within one second of audio.
#[test]
fn an_xruns_samples_are_counted_and_its_echo_is_gone_in_a_second() {
    const LOST: u32 = 1_237;
    for direction in [Direction::Capture, Direction::Playback] {
        let mut rig = TerminalRig::new(200.0);
        rig.pass(20_000);
        let before_db = rig.reduction_db(5_000);
        let before = rig.terminal.stats();
        rig.sim
            .with_board(move |board| match direction {
                Direction::Capture => board.lose_capture(LOST),
                Direction::Playback => board.stall(direction, Duration::of_sample_frames(LOST.into(), RATE)),
            })
            .unwrap();
        // One second of audio, and two seconds to measure the residual echo.
        rig.pass(1_000 + 2_000);
        let after_db = rig.reduction_db(2_000);
        let after = rig.terminal.stats();
        let lost = match direction {
            Direction::Capture => after.intake.gap_sample_frames - before.intake.gap_sample_frames,
            Direction::Playback => after.outlet.stalled_sample_frames - before.outlet.stalled_sample_frames,
        };
        println!("{direction:?}: {lost} lost, {before_db:.1} dB before, {after_db:.1} dB after a second");
        // A stall is measured by timestamps that scatter by 50 us.
        let exact = if direction == Direction::Capture { 0 } else { 16 };
        assert!(lost.abs_diff(LOST) <= exact, "{direction:?}: {lost} of {LOST} sample frames");
        assert_eq!(after.xruns() - before.xruns(), 1, "{direction:?}");
        assert!(after_db > 30.0 && after_db > before_db - 6.0, "{direction:?}: {before_db} {after_db}");
        assert_eq!(rig.notices, [], "{direction:?}");
    }
}

/// Fault 13: a device's timestamps become zero, stand still, run backwards or jump between the ends of their range for five
/// seconds. The terminal goes on with what it knows of the device's clock.
#[test]
fn false_timestamps_do_not_bring_the_echo_back() {
    for (fault, direction) in [
        (TimeFault::Zero, Direction::Capture),
        (TimeFault::Frozen, Direction::Playback),
        (TimeFault::Backwards, Direction::Capture),
        (TimeFault::Wrapping, Direction::Playback),
    ] {
        let mut rig = TerminalRig::new(200.0);
        rig.pass(8_000);
        let before_db = rig.reduction_db(3_000);
        let delay_us = rig.terminal.stats().capture.delay_us;
        rig.sim.with_board(move |board| board.falsify_times(direction, Some(fault))).unwrap();
        rig.pass(5_000);
        let during_db = rig.reduction_db(4_000);
        let stats = rig.terminal.stats();
        let off_us = stats.capture.delay_us.abs_diff(delay_us);
        rig.sim.with_board(move |board| board.falsify_times(direction, None)).unwrap();
        rig.pass(3_000);
        let after_db = rig.reduction_db(3_000);
        println!(
            "{fault:?} {direction:?}: {before_db:.1} dB before, {during_db:.1} dB during, {after_db:.1} dB after, \
                 delay off by {off_us} us"
        );
        assert!(during_db > before_db - 6.0 && after_db > before_db - 6.0, "{fault:?} {direction:?}");
        assert!(off_us < 2_000, "{fault:?} {direction:?}: the delay is off by {off_us} us");
        let capture = stats.capture;
        assert_eq!((capture.voice_bypassed_frames, capture.voice_errors, stats.xruns()), (0, 0, 0));
        assert_eq!(rig.terminal.dropped_frames(), 0);
    }
}

/// Fault 8: a device returns with another format. A new voice processor replaces the old one, and no frame passes
/// unprocessed.
#[test]
fn another_format_restarts_the_voice_without_unprocessed_frames() {
    let mut rig = TerminalRig::new(0.0);
    rig.pass(10_000);
    rig.unplug(Direction::Playback);
    rig.pass(500);
    let rate = SampleRate::new(44_100).unwrap();
    let device = DeviceConfig { rate, periods: vec![512, 441, 1_024], ..rig.playback_device.clone() };
    rig.plug_in(Direction::Playback, device);
    rig.pass(15_000);
    let changed = SessionEvent::DeviceChanged { direction: Direction::Playback };
    assert_eq!(rig.events.iter().filter(|&&event| event == changed).count(), 1, "{:?}", rig.events);
    assert_eq!(rig.terminal.meters().voice_changes(), 1, "a new processor for the new device");
    let reduction_db = rig.reduction_db(5_000);
    println!("{reduction_db:.1} dB with the other device");
    assert!(reduction_db > 25.0, "{reduction_db}");
    let capture = rig.terminal.stats().capture;
    assert_eq!((capture.voice_bypassed_frames, capture.voice_errors, capture.voice_slow_frames), (0, 0, 0));
}

#[test]
fn a_disabled_voice_processor_can_be_replaced() {
    let mut rig = TerminalRig::too_slow();
    let disabled_events = |rig: &TerminalRig| {
        rig.events.iter().filter(|event| matches!(event, SessionEvent::VoiceDisabled)).count()
    };
    rig.pass(60_000);
    assert_eq!((disabled_events(&rig), rig.terminal.meters().voice_changes()), (1, 0));
    rig.events.clear();
    rig.pass(60_000);
    assert_eq!(rig.events, [], "the processor stays disabled");
    rig.terminal.restart_voice().unwrap();
    rig.pass(60_000);
    assert_eq!(
        (disabled_events(&rig), rig.terminal.meters().voice_changes()),
        (1, 1),
        "the new processor was tried and disabled"
    );
}

/// Fault 11: the application does not read its frames.
#[test]
fn unread_frames_are_bounded_and_counted() {
    let mut rig = TerminalRig::new(0.0);
    rig.pass(1_000);
    assert_eq!(rig.terminal.dropped_frames(), 0, "no frame counts as lost without a reader");
    rig.frames.listen(20);
    rig.pass(5_000);
    assert_eq!((rig.frames.waiting(), rig.terminal.dropped_frames()), (20, 480));
    let mut position = None;
    while let Some(frame) = rig.frames.pop() {
        assert!(position.is_none_or(|position| position == frame.stamp.position));
        position = Some(frame.stamp.position + frame.sample_frames() as u64);
    }
    rig.pass(10);
    let frame = rig.frames.pop().unwrap();
    assert_eq!(u64::from(frame.stamp.lost), 480 * 160);
    assert_eq!(frame.stamp.position, position.unwrap() + 480 * 160, "no other frame is missing");
}
