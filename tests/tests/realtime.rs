//! Checks with RealtimeSanitizer that the interrupt halves make no allocation, no blocking call and no system call that
//! may wait. The sanitizer's library is part of rustup's toolchains; build.rs finds it.
//!
//! The sanitizer does not detect locking of an uncontended mutex; the core uses no std and thus has no mutex.
#![allow(missing_docs)]

#[cfg(rtsan_missing)]
compile_error!(
    "this toolchain has no RealtimeSanitizer: expected lib/rustlib/<target>/lib/librustc-*_rt.rtsan.a in its sysroot. \
     rustup's toolchains for x86_64 and aarch64 Linux have it: https://rustup.rs"
);

use std::process::Command;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::capture::{Bypass, FrameSink};
use handsfree_core::journal::Journal;
use handsfree_core::playback::TrackTap;
use handsfree_core::tee::{TapFilter, Tee, TeeSink};
use handsfree_core::{DeviceSample, Format, Frame, I24, SampleRate, Session, SessionEvent, SessionFormat};
use handsfree_sim::noise::Rng;
use handsfree_tests::{
    KnownMap, LONGEST_PERIOD, RATES_HZ, any_period, captured_at, for_seeds, intake_config, one_in,
    outlet_config, pick, played_at,
};

#[cfg(not(rtsan_missing))]
#[link(name = "handsfree_rtsan", kind = "static")]
unsafe extern "C" {
    safe fn __rtsan_ensure_initialized();
    safe fn __rtsan_realtime_enter();
    safe fn __rtsan_realtime_exit();
}

/// Runs `work` in the sanitizer's real-time context; a forbidden call ends the process with a report.
fn nonblocking<T>(work: impl FnOnce() -> T) -> T {
    __rtsan_ensure_initialized();
    __rtsan_realtime_enter();
    let value = work();
    __rtsan_realtime_exit();
    value
}

fn interrupts<S: DeviceSample>(rng: &mut Rng) {
    const CAP: usize = 7_680;
    let rate = SampleRate::new(pick(rng, &RATES_HZ)).unwrap();
    let map = KnownMap::any(rng).map;
    // Too short for all records, so that both writing and dropping records are covered.
    let mut journals = [const { Journal::<2_048>::new() }; 2].map(Box::new);
    let mut session = Box::new(Session::<CAP, 2, 128, 128, 128, 16, 100_000>::new());
    let terminal = SessionFormat {
        rate,
        near_channels: map.to_channels() as u32,
        far_channels: map.from_channels() as u32,
    };
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap();
    let [intake_journal, outlet_journal] = journals.each_mut().map(|journal| journal.split().0);
    if one_in(rng, 2) {
        halves.intake.write_journal(intake_journal);
        halves.outlet.write_journal(outlet_journal);
    }
    halves.intake.configure(intake_config(rate, map, LONGEST_PERIOD)).unwrap();
    halves.outlet.configure(outlet_config(rate, map, LONGEST_PERIOD)).unwrap();
    let mut track = halves.tracks.open().unwrap();
    let far = vec![1_000i16; rate.sample_frames() * map.from_channels()];
    let (mut heard, mut position) = (0, 0u64);
    for turn in 0..60 {
        let length = any_period(rng);
        let mut out = vec![S::from_pcm(9); length * map.to_channels() + rng.range(0, 2) as usize];
        let period = vec![S::from_pcm(-9); length * map.from_channels()];
        // Gaps, and invalid positions.
        position += if one_in(rng, 5) { rng.range(0, 900) } else { 0 };
        position = if one_in(rng, 20) { rng.next_u64() / 2 } else { position };
        let (captured, played) = (captured_at(position, length, rate, 0), played_at(position, rate, 0));
        nonblocking(|| {
            halves.outlet.on_period(&mut out, played);
            halves.intake.on_period(&period, captured);
            halves.outlet.discarded(3);
        });
        position += length as u64;
        // The workers and the application's side of a track are real-time safe as well, given a voice processor that is.
        let worker_runs = turn % 7 != 3;
        nonblocking(|| {
            track.push(&far).unwrap();
            if worker_runs {
                halves.playback.poll();
                halves.capture.poll(&|| captured.called, &mut |_: &Frame<CAP>| heard += 1);
            }
            let _ = halves.stats.read();
            let _ = halves.events.poll();
        });
    }
    assert!(heard > 0);
}

#[test]
fn interrupt_halves_are_real_time_safe_in_every_format() {
    for_seeds(25, |rng| {
        interrupts::<i16>(rng);
        interrupts::<i32>(rng);
        interrupts::<I24>(rng);
        interrupts::<f32>(rng);
    });
}

#[test]
fn a_tee_is_real_time_safe_while_sinks_change_and_stall() {
    let mut sinks = [const { TeeSink::<160, 4>::new() }; 3];
    let mut tee = Tee::<160, 2>::new();
    let (mut control, mut feed) = tee.split();
    let [(mut coming, mut heard), (a, stalled), (b, dropped)] = sinks.each_mut().map(TeeSink::split);
    let frame = Frame::silence(Format::new(16_000, 1).unwrap()).unwrap();
    control.add(a, TapFilter::All).unwrap();
    control.add(b, TapFilter::All).unwrap();
    nonblocking(|| feed.poll());
    drop(dropped);
    nonblocking(|| feed.poll());
    assert!(control.reclaim().is_some());
    let mut popped = 0;
    for round in 0..50 {
        coming = nonblocking(|| {
            let id = control.add(coming, TapFilter::Track(1)).unwrap();
            for _ in 0..3 {
                FrameSink::on_frame(&mut feed, &frame);
                TrackTap::on_frame(&mut feed, 1, &frame);
                feed.on_event(SessionEvent::TrackPaused { track: 1, position: round });
                popped += usize::from(heard.pop().is_some());
            }
            control.set_direct(feed.replaces(1));
            control.remove(id).unwrap();
            feed.poll();
            control.reclaim().unwrap().1
        });
    }
    assert_eq!((popped, stalled.dropped_frames()), (150, 297));
}

/// Environment variable that selects the forbidden call for a child process of this test.
const CONTROL: &str = "HANDSFREE_RTSAN_CONTROL";

/// Makes a forbidden call, which ends the process, if the environment variable selects one; otherwise does nothing.
#[test]
fn negative_control() {
    match std::env::var(CONTROL).as_deref() {
        Ok("allocates") => nonblocking(|| drop(std::hint::black_box(Box::new(1)))),
        Ok("opens") => nonblocking(|| drop(std::fs::File::open("/dev/null"))),
        _ => {}
    }
}

#[test]
fn the_sanitizer_catches_forbidden_calls() {
    for (name, culprit) in [("allocates", "malloc"), ("opens", "open")] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "negative_control", "--nocapture", "--test-threads=1"])
            .env(CONTROL, name)
            .output()
            .unwrap();
        let report = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "the call that {name} was not caught: {report}");
        assert!(report.contains("RealtimeSanitizer") && report.contains(culprit), "{name}: {report}");
    }
}
