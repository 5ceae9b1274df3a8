//! hosts/cpal on a real PulseAudio or PipeWire that each test starts for itself: what is played comes back by the monitor
//! of a null sink, every sample of it, also after the server was killed, hung, or took another default. Needs no sound
//! card.
//! Faults 1, 7 and 19.
#![cfg(all(target_os = "linux", feature = "pulseaudio"))]
#![allow(missing_docs)]

#[path = "desktop/listener.rs"]
mod listener;
#[allow(dead_code, reason = "shared with tests that use more of it")]
#[path = "../../../tests/support/malloc_counter.rs"]
mod malloc_counter;
#[path = "desktop/rig.rs"]
mod rig;
#[path = "desktop/server.rs"]
mod server;
#[path = "desktop/watched.rs"]
mod watched;

use std::sync::atomic::Ordering;
use std::time::{Duration as Span, Instant as Moment};

use handsfree_core::audio_io::{AudioIo, Direction, Event};
use handsfree_cpal::{CpalConfig, cpal::SampleFormat};
use handsfree_host::supervisor::{DirectionState, Notice};

use rig::{Rig, lost, plan, returned};
use server::{Server, System, with, with_server};

const BOTH: [Direction; 2] = [Direction::Capture, Direction::Playback];

/// Plays and listens for so long, and demands every sample in its order; silence between them only where the
/// server or the terminal itself says that it had nothing to play.
fn every_sample(rig: &mut Rig, server: &Server, seconds: f64, what: &str) {
    let log = server.log().len();
    let said = rig.hear(seconds);
    let complaints = server.complaints(log);
    let ears = &rig.listener;
    println!(
        "{what}: {} samples found, {} lost, {} repeated, {} of silence, the server complains {complaints} times; \
         capture {:?}, playback {:?}",
        ears.found,
        ears.lost,
        ears.repeated,
        ears.silence,
        rig.supervisor.io().callbacks(Direction::Capture),
        rig.supervisor.io().callbacks(Direction::Playback),
    );
    let trouble = said.iter().filter(|n| !matches!(n, Notice::Host(Event::RealTimeRefused))).count();
    assert_eq!(trouble, 0, "{what}: {said:?}");
    assert_eq!((ears.lost, ears.repeated), (0, 0), "{what}: {ears:?}");
    // Where the loudspeaker's buffer ran dry on a busy machine there is silence between two samples.
    if complaints == 0 {
        assert!(ears.silence <= rig.underrun_sample_frames(), "{what}: {ears:?}");
    }
}

#[test]
fn the_signal_comes_back_whole_at_any_rate() {
    with_server("the_signal_comes_back_whole_at_any_rate", |server| {
        for (rate_hz, name) in [(48_000, "speaker"), (44_100, "cd"), (16_000, "phone")] {
            let mut rig = Rig::new(rate_hz, CpalConfig::default());
            let monitor = format!("{name}.monitor");
            rig.open(&plan(rate_hz, Some(&monitor)), &plan(rate_hz, Some(name)));
            let opened = rig.supervisor.io().playback().unwrap().clone();
            assert_eq!((opened.rate_hz, opened.channels, opened.format), (rate_hz, 1, SampleFormat::I16));
            every_sample(&mut rig, &server, 3.0, name);
            let callbacks = rig.calls.callbacks.load(Ordering::Relaxed);
            assert!(callbacks > 50, "{callbacks}");
            assert_eq!(rig.calls.memory.load(Ordering::Relaxed), 0, "in {callbacks} callbacks");
        }
    });
}

#[test]
fn the_signal_comes_back_whole_from_pipewire() {
    with(System::PipeWire, "the_signal_comes_back_whole_from_pipewire", |server| {
        let mut rig = Rig::new(48_000, CpalConfig::default());
        rig.open(&plan(48_000, None), &plan(48_000, None));
        every_sample(&mut rig, &server, 5.0, "speaker");
        let capture = rig.supervisor.io().callbacks(Direction::Capture);
        assert_eq!(capture.longest_sample_frames, 48_000 / 25, "the period asked for: {capture:?}");
        let callbacks = rig.calls.callbacks.load(Ordering::Relaxed);
        assert_eq!(rig.calls.memory.load(Ordering::Relaxed), 0, "in {callbacks} callbacks");
    });
}

#[test]
fn any_format_that_holds_16_bits_carries_them() {
    with_server("any_format_that_holds_16_bits_carries_them", |server| {
        for format in [SampleFormat::F32, SampleFormat::I32, SampleFormat::I24] {
            let config = CpalConfig {
                capture_format: Some(format),
                playback_format: Some(format),
                ..CpalConfig::default()
            };
            let mut rig = Rig::new(48_000, config);
            rig.open(&plan(48_000, None), &plan(48_000, None));
            assert_eq!(rig.supervisor.io().capture().unwrap().format, format);
            every_sample(&mut rig, &server, 1.0, &format.to_string());
            assert_eq!(rig.calls.memory.load(Ordering::Relaxed), 0);
        }
    });
}

fn for_seconds(test: &str, seconds: f64) {
    with_server(test, |server| {
        let mut rig = Rig::new(48_000, CpalConfig::default());
        rig.open(&plan(48_000, None), &plan(48_000, None));
        every_sample(&mut rig, &server, seconds, test);
        assert_eq!(rig.calls.memory.load(Ordering::Relaxed), 0);
        let stats = rig.stats.read();
        assert_eq!(stats.intake.overrun_frames, 0);
        assert_eq!((stats.intake.gaps, stats.outlet.gaps), (0, 0));
    });
}

#[test]
fn half_a_minute_without_a_lost_sample() {
    for_seconds("half_a_minute_without_a_lost_sample", 30.0);
}

#[test]
#[ignore = "ten minutes"]
fn ten_minutes_without_a_lost_sample() {
    for_seconds("ten_minutes_without_a_lost_sample", 600.0);
}

#[test]
fn a_server_that_dies_is_told_once_and_comes_back() {
    dies(System::PulseAudio, "a_server_that_dies_is_told_once_and_comes_back");
}

#[test]
fn a_pipewire_that_dies_is_told_once_and_comes_back() {
    dies(System::PipeWire, "a_pipewire_that_dies_is_told_once_and_comes_back");
}

fn dies(system: System, test: &str) {
    with(system, test, |mut server| {
        let mut rig = Rig::new(48_000, CpalConfig::default());
        rig.open(&plan(48_000, None), &plan(48_000, None));
        rig.hear(1.0);
        for round in 0..3 {
            server.kill();
            let killed = Moment::now();
            let waits =
                |rig: &mut Rig| BOTH.iter().all(|&way| rig.supervisor.state(way) == DirectionState::Waiting);
            let mut said = rig.until(Span::from_secs(5), waits);
            let noticed = killed.elapsed();
            // Told once, however long it stays away.
            let away = Moment::now();
            said.extend(rig.until(Span::from_secs(5), |_| away.elapsed() > Span::from_millis(1_500)));
            server.start_again();
            let began = Moment::now();
            let runs = |rig: &mut Rig| {
                BOTH.iter().all(|&way| matches!(rig.supervisor.state(way), DirectionState::Running(_)))
            };
            said.extend(rig.until(Span::from_secs(20), runs));
            println!("round {round}: noticed in {noticed:?}, back in {:?}", began.elapsed());
            assert!(noticed < Span::from_millis(1_000), "{noticed:?}");
            for way in BOTH {
                assert_eq!((lost(&said, way), returned(&said, way)), (1, 1), "{way:?}: {said:?}");
            }
            rig.hear(0.5);
        }
    });
}

#[test]
fn a_server_that_hangs_is_lost_and_nobody_hangs_with_it() {
    with_server("a_server_that_hangs_is_lost_and_nobody_hangs_with_it", |server| {
        let mut rig = Rig::new(48_000, CpalConfig::default());
        rig.open(&plan(48_000, None), &plan(48_000, None));
        rig.hear(0.5);
        server.signal("STOP");
        let began = Moment::now();
        let said = rig.until(Span::from_secs(40), |rig| {
            BOTH.iter().all(|&way| rig.supervisor.state(way) == DirectionState::Waiting)
        });
        println!("lost after {:?}", began.elapsed());
        for way in BOTH {
            assert_eq!(lost(&said, way), 1, "{said:?}");
        }
        let asked = Moment::now();
        assert!(rig.supervisor.io().list().is_err());
        assert!(asked.elapsed() < Span::from_secs(7), "{:?}", asked.elapsed());
        server.signal("CONT");
        rig.until(Span::from_secs(60), |rig| {
            BOTH.iter().all(|&way| matches!(rig.supervisor.state(way), DirectionState::Running(_)))
        });
        rig.hear(0.5);
    });
}

#[test]
fn another_default_of_pipewire_is_followed_and_a_name_is_not_left() {
    with(System::PipeWire, "another_default_of_pipewire_is_followed_and_a_name_is_not_left", |server| {
        let mut rig = Rig::new(48_000, CpalConfig::default());
        rig.open(&plan(48_000, None), &plan(48_000, None));
        rig.hear(1.0);
        let said = change_default(&mut rig, &server, "other");
        for way in BOTH {
            let moved = |n: &&Notice| matches!(n, Notice::Moved { direction, .. } if *direction == way);
            assert_eq!(said.iter().filter(moved).count(), 1, "{way:?}: {said:?}");
        }
        assert_eq!(server.places(), [["other"], ["other.monitor"]]);
        rig.hear(1.0);
        BOTH.into_iter().for_each(|way| rig.supervisor.close(way));
        rig.open(&plan(48_000, Some("other.monitor")), &plan(48_000, Some("other")));
        let said = change_default(&mut rig, &server, "speaker");
        for way in BOTH {
            let told = Notice::Host(Event::DefaultChanged { direction: way });
            assert_eq!(said.iter().filter(|n| **n == told).count(), 1, "{way:?}: {said:?}");
        }
        assert_eq!(server.places(), [["other"], ["other.monitor"]]);
        rig.hear(0.5);
    });
}

/// Makes another sink and its monitor the default, after the lookout has seen the ones before; what the supervisor said
/// within the next seconds.
fn change_default(rig: &mut Rig, server: &Server, sink: &str) -> Vec<Notice> {
    let began = Moment::now();
    rig.until(Span::from_secs(3), |_| began.elapsed() > Span::from_millis(1_200));
    server.pactl(&["set-default-sink", sink]);
    server.pactl(&["set-default-source", &format!("{sink}.monitor")]);
    let began = Moment::now();
    rig.until(Span::from_secs(6), |_| began.elapsed() > Span::from_millis(2_500))
}

#[test]
fn another_default_is_followed_with_the_server_and_told_once() {
    with_server("another_default_is_followed_with_the_server_and_told_once", |server| {
        let mut rig = Rig::new(48_000, CpalConfig::default());
        rig.open(&plan(48_000, None), &plan(48_000, None));
        rig.hear(1.0);
        let callbacks = BOTH.map(|way| rig.supervisor.io().callbacks(way).callbacks);
        let said = change_default(&mut rig, &server, "other");
        for way in BOTH {
            let moved = |n: &&Notice| matches!(n, Notice::Moved { direction, .. } if *direction == way);
            assert_eq!(said.iter().filter(moved).count(), 1, "{way:?}: {said:?}");
            // PulseAudio moved it, so it was not opened again.
            assert!(rig.supervisor.io().callbacks(way).callbacks > callbacks[way as usize], "{way:?}");
        }
        assert_eq!(said.iter().filter(|n| !matches!(n, Notice::Host(Event::RealTimeRefused))).count(), 2);
        let devices = rig.supervisor.io().list().unwrap();
        let default: Vec<&str> = devices.iter().filter(|d| d.is_default).map(|d| d.id.as_str()).collect();
        assert_eq!(default, ["pulseaudio:other.monitor", "pulseaudio:other"]);
        let io = rig.supervisor.io();
        let opened = [io.capture(), io.playback()].map(|opened| opened.unwrap().device.clone());
        assert_eq!(opened.each_ref().map(String::as_str), default[..]);
        assert_eq!(server.places(), [["other"], ["other.monitor"]]);
        rig.hear(1.0);
    });
}

#[test]
fn a_device_that_was_named_is_not_left_for_another_default() {
    with_server("a_device_that_was_named_is_not_left_for_another_default", |server| {
        let mut rig = Rig::new(48_000, CpalConfig::default());
        rig.open(&plan(48_000, Some("speaker.monitor")), &plan(48_000, Some("speaker")));
        rig.hear(1.0);
        // PulseAudio takes along what is on the old default; nobody asked for that.
        let said = change_default(&mut rig, &server, "other");
        for way in BOTH {
            let told = Notice::Host(Event::DefaultChanged { direction: way });
            assert_eq!(said.iter().filter(|n| **n == told).count(), 1, "{way:?}: {said:?}");
            assert_eq!((lost(&said, way), returned(&said, way)), (0, 0), "{said:?}");
        }
        assert_eq!(server.places(), [["speaker"], ["speaker.monitor"]]);
        rig.hear(1.0);
        // What is on neither default stays by itself.
        let callbacks = BOTH.map(|way| rig.supervisor.io().callbacks(way).callbacks);
        change_default(&mut rig, &server, "cd");
        BOTH.iter().zip(callbacks).for_each(|(&way, before)| {
            assert!(rig.supervisor.io().callbacks(way).callbacks > before, "{way:?}: it was opened again");
        });
        assert_eq!(server.places(), [["speaker"], ["speaker.monitor"]]);
        rig.hear(0.5);
    });
}

#[test]
fn a_device_that_is_removed_is_lost_and_returns_by_its_name() {
    with_server("a_device_that_is_removed_is_lost_and_returns_by_its_name", |server| {
        let mut rig = Rig::new(48_000, CpalConfig::default());
        rig.open(&plan(48_000, Some("speaker.monitor")), &plan(48_000, Some("pulseaudio:speaker")));
        rig.hear(0.5);
        // While there is another one, PulseAudio moves the streams there.
        let modules = server.pactl(&["list", "short", "modules"]);
        let module = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();
        let sinks = modules.lines().filter(|line| line.contains("module-null-sink"));
        let (speaker, others): (Vec<&str>, Vec<&str>) =
            sinks.partition(|line| line.contains("sink_name=speaker"));
        others
            .into_iter()
            .chain(speaker)
            .for_each(|line| _ = server.pactl(&["unload-module", &module(line)]));
        let began = Moment::now();
        let waits =
            |rig: &mut Rig| BOTH.iter().all(|&way| rig.supervisor.state(way) == DirectionState::Waiting);
        let mut said = rig.until(Span::from_secs(10), waits);
        println!("noticed in {:?}", began.elapsed());
        // Another device in its place is not the one that was asked for.
        let load = |name| {
            let words = server::null_sink(name, 48_000);
            let words = ["load-module", "module-null-sink"].into_iter().chain(words.split(' '));
            server.pactl(&words.collect::<Vec<_>>());
        };
        load("other");
        let away = Moment::now();
        said.extend(rig.until(Span::from_secs(5), |_| away.elapsed() > Span::from_millis(2_500)));
        for way in BOTH {
            assert_eq!((lost(&said, way), returned(&said, way)), (1, 0), "{way:?}: {said:?}");
        }
        load("speaker");
        let runs = |rig: &mut Rig| {
            BOTH.iter().all(|&way| matches!(rig.supervisor.state(way), DirectionState::Running(_)))
        };
        said.extend(rig.until(Span::from_secs(10), runs));
        for way in BOTH {
            assert_eq!((lost(&said, way), returned(&said, way)), (1, 1), "{way:?}: {said:?}");
        }
        rig.hear(0.5);
    });
}

#[test]
fn stopped_and_started_a_hundred_times() {
    with_server("stopped_and_started_a_hundred_times", |server| {
        let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
        let mut rig = Rig::new(48_000, CpalConfig::default());
        let way = plan(48_000, None);
        let mut before = 0;
        for round in 0..100 {
            rig.open(&way, &way);
            if round % 10 == 0 {
                rig.hear(0.1);
            }
            if round == 10 {
                before = threads();
            }
            BOTH.into_iter().for_each(|way| rig.supervisor.close(way));
        }
        rig.open(&way, &way);
        rig.hear(1.0);
        let clients = server.pactl(&["list", "short", "clients"]).lines().count();
        println!("{before} threads after ten rounds, {} after a hundred, and {clients} clients", threads());
        assert!(threads() <= before + 2, "{} threads, {before} before", threads());
        // One for each direction, the lookout, and who asks.
        assert!(clients <= 4, "{clients} clients");
        assert_eq!(rig.calls.memory.load(Ordering::Relaxed), 0);
        assert!(rig.supervisor.io_mut().poll_event().is_none_or(|event| event == Event::RealTimeRefused));
    });
}
