//! Simulates every way in which a sound driver can fail, with a plug-in for libasound (`broken.c`). Every lost sample is
//! counted, no failure causes a busy loop, and the host returns the halves. The tests need no sound card.
#![allow(missing_docs)]

mod rig;

use std::sync::atomic::Ordering;
use std::time::{Duration as Span, Instant as Moment};

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use handsfree_alsa::{AlsaConfig, RealTimeConfig};
use handsfree_core::audio_io::{
    AudioIo, Direction, Directions, ErrorKind, Event, HostError, StreamHalves, StreamRequest,
};
use handsfree_core::capture::Bypass;
use handsfree_core::{SampleRate, Session, SessionFormat};

use rig::{BOTH, BrokenCardRig, Memory, direction_request, in_each_mode, is_lost, with_broken_card};

#[test]
fn a_healthy_card_runs_without_events() {
    with_broken_card("a_healthy_card_runs_without_events", || {
        let mut rig = BrokenCardRig::start(Some("healthy"), Some("healthy"));
        rig.collect_events(1.0, |_| false);
        let stats = rig.stats();
        assert!(stats.intake.periods > 60 && stats.outlet.periods > 60, "{stats:?}");
        assert!(rig.events.is_empty(), "{:?}", rig.events);
        let timing = rig.io.timing_stats();
        assert_eq!((timing.capture_delays_rejected, timing.playback_delays_rejected), (0, 0));
        rig.stop(Direction::Capture);
    });
}

#[test]
fn a_permanent_error_causes_no_busy_loop_or_event_storm() {
    with_broken_card("a_permanent_error_causes_no_busy_loop_or_event_storm", || {
        in_each_mode(&["eio", "bad_state", "poll_error"], |mode, direction, mut rig| {
            let rounds = rig.rounds.load(Ordering::Relaxed);
            rig.collect_events(4.0, is_lost);
            let took_s = rig.started_at.elapsed().as_secs_f64();
            let rounds = rig.rounds.load(Ordering::Relaxed) - rounds;
            println!("{mode} {direction:?}: {rounds} rounds in {took_s:.1} s, {:?}", rig.events);
            assert!(
                f64::from(rounds) < 400.0 * took_s.max(1.0),
                "{mode}: {rounds} rounds in {took_s} s are a busy loop"
            );
            assert!((rig.events.len() as f64) <= 10.0 * took_s + 1.0, "{mode}: {:?}", rig.events);
            assert!(rig.losses() <= 1);
            rig.stop(direction);
        });
    });
}

#[test]
fn a_removed_card_is_reported_once() {
    with_broken_card("a_removed_card_is_reported_once", || {
        in_each_mode(&["gone", "gone_at_restart", "closed"], |mode, direction, mut rig| {
            assert!(rig.collect_events(5.0, is_lost), "{mode} {direction:?}: {:?}", rig.events);
            println!("{mode} {direction:?}: {:?}", rig.events);
            rig.collect_events(0.5, |_| false);
            assert_eq!(rig.losses(), 1, "{mode} {direction:?}: {:?}", rig.events);
            rig.stop(direction);
        });
    });
}

#[test]
fn short_and_refused_transfers_lose_nothing() {
    with_broken_card("short_and_refused_transfers_lose_nothing", || {
        for (direction, start) in BOTH {
            let mut rig = start("short");
            rig.collect_events(1.0, |_| false);
            let stats = rig.stats();
            println!("{direction:?}: {stats:?}, {:?}", rig.events);
            assert!(rig.events.is_empty(), "{direction:?}: {:?}", rig.events);
            assert_eq!((stats.intake.gaps, stats.outlet.gaps), (0, 0));
            let sample_frames = match direction {
                Direction::Capture => stats.intake.frames,
                Direction::Playback => stats.outlet.periods,
            } * 480;
            assert!(sample_frames > 40_000, "{direction:?}: {sample_frames} sample frames in a second");
            rig.stop(direction);
        }
    });
}

#[test]
fn implausible_delays_are_rejected() {
    with_broken_card("implausible_delays_are_rejected", || {
        let mut rig = BrokenCardRig::start(Some("bad_delays"), Some("bad_delays"));
        rig.collect_events(1.0, |_| false);
        let timing = rig.io.timing_stats();
        println!("{timing:?}, {} us", rig.stats().capture.delay_us);
        assert!(timing.capture_delays_rejected > 30 && timing.playback_delays_rejected > 30, "{timing:?}");
        let delay_us = rig.stats().capture.delay_us;
        // Four periods before the loudspeaker, and up to one period at the microphone.
        assert!((20_000..80_000).contains(&delay_us), "{delay_us} us of render and capture latency");
        rig.stop(Direction::Capture);
    });
}

#[test]
fn a_stalled_card_is_reported_as_lost() {
    with_broken_card("a_stalled_card_is_reported_as_lost", || {
        for (direction, start) in BOTH {
            let mut rig = start("stalled");
            let lost = rig.collect_events(30.0, is_lost);
            println!("{direction:?}: {:?}", rig.events);
            assert!(lost, "{direction:?}: {:?}", rig.events);
            rig.stop(direction);
        }
    });
}

/// Suspends one direction for a time, in which the other one must go on.
fn suspend(test: &str, mode: &'static str, seconds: u32) {
    with_broken_card(test, || {
        for (direction, input, output) in
            [(Direction::Capture, mode, "healthy"), (Direction::Playback, "healthy", mode)]
        {
            let mut rig = BrokenCardRig::start(Some(input), Some(output));
            rig.collect_events(1.0, |_| false);
            let before = rig.stats();
            rig.collect_events(0.5, |_| false);
            let during = rig.stats();
            // The other direction keeps running meanwhile.
            let (other, suspended) = match direction {
                Direction::Capture => (
                    during.outlet.periods - before.outlet.periods,
                    during.intake.periods - before.intake.periods,
                ),
                Direction::Playback => (
                    during.intake.periods - before.intake.periods,
                    during.outlet.periods - before.outlet.periods,
                ),
            };
            assert!(
                other > 30,
                "while {direction:?} is suspended, the other moved {other} periods in half a second"
            );
            assert_eq!(suspended, 0, "{direction:?} is suspended");
            let is_reported =
                rig.collect_events(f64::from(seconds) + 3.0, |event| matches!(event, Event::Xrun { .. }));
            println!("{direction:?}: {:?}", rig.events);
            assert!(is_reported, "{direction:?} was resumed without an xrun event: {:?}", rig.events);
            let Some((_, Event::Xrun { direction: reported, sample_frames })) = rig.events.last() else {
                unreachable!()
            };
            assert_eq!(*reported, direction);
            assert!(
                (48_000 * seconds - 16_000..48_000 * seconds + 34_000).contains(sample_frames),
                "suspended for {seconds} s: {sample_frames} sample frames"
            );
            assert_eq!(rig.losses(), 0);
            rig.stop(direction);
        }
    });
}

#[test]
fn a_suspended_card_does_not_block_the_other_direction() {
    suspend("a_suspended_card_does_not_block_the_other_direction", "suspended", 2);
}

#[test]
#[ignore = "two minutes: a card that is suspended for a minute, in each direction"]
fn a_card_that_is_suspended_for_a_minute_blocks_nothing() {
    suspend("a_card_that_is_suspended_for_a_minute_blocks_nothing", "suspended_long", 60);
}

/// Waits for an xrun, checks that it is the only event and costs less than 200 ms, and returns the number of lost sample frames.
fn only_xrun(rig: &mut BrokenCardRig, direction: Direction) -> u32 {
    let is_reported = rig.collect_events(5.0, |event| matches!(event, Event::Xrun { .. }));
    assert!(is_reported, "{direction:?}: {:?}", rig.events);
    rig.collect_events(0.5, |_| false);
    println!("{direction:?}: {:?}", rig.events);
    assert_eq!(rig.events.len(), 1, "{direction:?}: {:?}", rig.events);
    let Event::Xrun { sample_frames, .. } = rig.events[0].1 else { unreachable!() };
    assert!(sample_frames < 9_600, "{direction:?}: {sample_frames} sample frames lost by one xrun");
    sample_frames
}

#[test]
fn an_xrun_restarts_the_stream_at_once() {
    with_broken_card("an_xrun_restarts_the_stream_at_once", || {
        for (direction, start) in BOTH {
            let mut rig = start("xrun");
            only_xrun(&mut rig, direction);
            rig.stop(direction);
        }
    });
}

/// Samples that moved before the xrun are kept, and what was lost is counted once, in the event and in the timeline.
#[test]
fn an_xrun_in_mid_transfer_is_counted_once() {
    with_broken_card("an_xrun_in_mid_transfer_is_counted_once", || {
        in_each_mode(&["xrun_in_transfer"], |_, direction, mut rig| {
            let sample_frames = only_xrun(&mut rig, direction);
            let stats = rig.stats();
            let (gaps, lost, faults) = match direction {
                Direction::Capture => {
                    (stats.intake.gaps, stats.intake.gap_sample_frames, stats.intake.position_faults)
                }
                Direction::Playback => {
                    (stats.outlet.gaps, stats.outlet.gap_sample_frames, stats.outlet.position_faults)
                }
            };
            assert_eq!(
                (gaps, lost, faults),
                (u32::from(sample_frames > 0), sample_frames, 0),
                "{direction:?}"
            );
            rig.stop(direction);
        });
    });
}

#[test]
fn a_refused_start_returns_the_halves() {
    with_broken_card("a_refused_start_returns_the_halves", || {
        let session: &'static mut Memory = Box::leak(Box::new(Session::new()));
        let rate = SampleRate::new(48_000).unwrap();
        let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
        let halves = session.split::<CriticalSectionRawMutex, _, _>(terminal, Bypass, ()).unwrap();
        let real_time = RealTimeConfig { priority: None, lock_memory: false };
        let (mut io, board) =
            handsfree_alsa::open(AlsaConfig { real_time, ..AlsaConfig::default() }).unwrap();
        let both = StreamRequest {
            capture: Some(direction_request("healthy")),
            playback: Some(direction_request("healthy")),
        };
        let stream_halves = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
        let refused = io.start(&both, stream_halves).unwrap_err();
        assert_eq!(
            refused.error.kind(),
            ErrorKind::Misuse,
            "the board's thread does not run yet: {}",
            refused.error
        );
        let thread = board.spawn(Box::new(|| {})).unwrap();
        let missing = StreamRequest {
            capture: Some(direction_request("healthy")),
            playback: Some(direction_request("missing")),
        };
        let refused = io.start(&missing, refused.halves).unwrap_err();
        assert_eq!(refused.error.kind(), ErrorKind::NotFound, "{}", refused.error);
        assert!(refused.error.to_string().contains("missing"), "{}", refused.error);
        let capture_only = StreamRequest { capture: Some(direction_request("healthy")), playback: None };
        let refused = io.start(&capture_only, refused.halves).unwrap_err();
        assert_eq!(refused.error.kind(), ErrorKind::Misuse, "{}", refused.error);
        let granted = io.start(&both, refused.halves).map_err(|refused| refused.error).unwrap();
        assert_ne!(
            granted.capture.unwrap().clock_domain,
            granted.playback.unwrap().clock_domain,
            "devices without a card do not share a clock"
        );
        let again = io.start(&both, StreamHalves::default()).unwrap_err();
        assert_eq!(again.error.kind(), ErrorKind::Misuse);
        for _ in 0..3 {
            let stream_halves = io.stop(Directions::Capture);
            assert!(stream_halves.intake.is_some() && stream_halves.outlet.is_none());
            io.start(&capture_only, stream_halves).map_err(|refused| refused.error).unwrap();
        }
        let stream_halves = io.stop(Directions::Both);
        assert!(stream_halves.intake.is_some() && stream_halves.outlet.is_some());
        assert!(io.stop(Directions::Both).intake.is_none());
        // A stopped stream is not reported as lost.
        let deadline = Moment::now() + Span::from_millis(700);
        while Moment::now() < deadline {
            assert_eq!(io.poll_event().filter(|event| *event != Event::RealTimeRefused), None);
            std::thread::sleep(Span::from_millis(5));
        }
        drop(io);
        let deadline = Moment::now() + Span::from_secs(10);
        while !thread.is_finished() {
            assert!(
                Moment::now() < deadline,
                "the board's thread must end after its control plane is dropped"
            );
            std::thread::sleep(Span::from_millis(5));
        }
    });
}
