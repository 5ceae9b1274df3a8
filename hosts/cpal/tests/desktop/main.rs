//! The cpal host on a real PulseAudio or PipeWire server that each test starts for itself. The monitor of a
//! null sink returns the signal that is played, and the tests check every sample of it, also after the server
//! was killed, hung or changed its default device. Needs no sound card. Covers faults 1, 7 and 19.
#![cfg(all(target_os = "linux", feature = "pulseaudio"))]
#![allow(missing_docs)]

mod desktop_rig;
#[allow(dead_code, reason = "shared with tests that use more of it")]
#[path = "../support/malloc_counter.rs"]
mod malloc_counter;
mod server;
mod signal_checker;

use std::time::{Duration as Span, Instant as Moment};

use handsfree_core::ChannelMap;
use handsfree_core::audio_io::{AudioIo, Direction, Event};
use handsfree_cpal::{CpalConfig, cpal::SampleFormat};
use handsfree_host::supervisor::{DirectionConfig, DirectionState, Notice};

use desktop_rig::{DesktopRig, direction_config, losses, returns};
use server::{ServerKind, SoundServer, with, with_server};

const BOTH_DIRECTIONS: [Direction; 2] = [Direction::Capture, Direction::Playback];

/// Plays and records for `seconds` and asserts that every sample arrives in order. Silence between samples is
/// allowed only where the server or the terminal itself reports that it had nothing to play.
fn check_every_sample(rig: &mut DesktopRig, server: &SoundServer, seconds: f64, what: &str) {
    let log = server.log().len();
    let notices = rig.record(seconds);
    let underruns = server.underruns(log);
    let checker = &rig.checker;
    println!(
        "{what}: {} samples found, {} lost, {} repeated, {} of silence, the server reports {underruns} underruns; \
         capture {:?}, playback {:?}",
        checker.found,
        checker.lost,
        checker.repeated,
        checker.silence,
        rig.supervisor.io().callbacks(Direction::Capture),
        rig.supervisor.io().callbacks(Direction::Playback),
    );
    let unexpected = notices.iter().filter(|n| !matches!(n, Notice::Host(Event::RealTimeRefused))).count();
    assert_eq!(unexpected, 0, "{what}: {notices:?}");
    assert_eq!((checker.lost, checker.repeated), (0, 0), "{what}: {checker:?}");
    // An underrun on a busy machine leaves silence between two samples.
    if underruns == 0 {
        assert!(checker.silence <= rig.underrun_sample_frames(), "{what}: {checker:?}");
    }
}

#[test]
fn the_signal_returns_complete_at_any_rate() {
    with_server("the_signal_returns_complete_at_any_rate", |server| {
        for (rate_hz, name) in [(48_000, "speaker"), (44_100, "cd"), (16_000, "phone")] {
            let mut rig = DesktopRig::new(rate_hz, CpalConfig::default());
            let monitor = format!("{name}.monitor");
            rig.open(&direction_config(rate_hz, Some(&monitor)), &direction_config(rate_hz, Some(name)));
            let opened = rig.supervisor.io().playback().unwrap().clone();
            assert_eq!((opened.rate_hz, opened.channels, opened.format), (rate_hz, 1, SampleFormat::I16));
            check_every_sample(&mut rig, &server, 3.0, name);
            rig.check_allocations(1.0);
        }
    });
}

#[test]
fn the_signal_returns_complete_from_pipewire() {
    with(ServerKind::PipeWire, "the_signal_returns_complete_from_pipewire", |server| {
        let mut rig = DesktopRig::new(48_000, CpalConfig::default());
        rig.open(&direction_config(48_000, None), &direction_config(48_000, None));
        check_every_sample(&mut rig, &server, 5.0, "speaker");
        let capture = rig.supervisor.io().callbacks(Direction::Capture);
        assert_eq!(capture.longest_sample_frames, 48_000 / 25, "the requested period: {capture:?}");
        rig.check_allocations(1.0);
    });
}

#[test]
fn every_format_of_at_least_16_bits_is_bit_exact() {
    with_server("every_format_of_at_least_16_bits_is_bit_exact", |server| {
        for format in [SampleFormat::F32, SampleFormat::I32, SampleFormat::I24] {
            let config = CpalConfig {
                capture_format: Some(format),
                playback_format: Some(format),
                ..CpalConfig::default()
            };
            let mut rig = DesktopRig::new(48_000, config);
            rig.open(&direction_config(48_000, None), &direction_config(48_000, None));
            assert_eq!(rig.supervisor.io().capture().unwrap().format, format);
            check_every_sample(&mut rig, &server, 1.0, &format.to_string());
            rig.check_allocations(1.0);
        }
    });
}

fn loses_no_sample_for(test: &str, seconds: f64) {
    with_server(test, |server| {
        let mut rig = DesktopRig::new(48_000, CpalConfig::default());
        rig.open(&direction_config(48_000, None), &direction_config(48_000, None));
        check_every_sample(&mut rig, &server, seconds, test);
        let stats = rig.stats.read();
        assert_eq!(stats.intake.overrun_frames, 0);
        assert_eq!((stats.intake.gaps, stats.outlet.gaps), (0, 0));
    });
}

#[test]
fn half_a_minute_loses_no_sample() {
    loses_no_sample_for("half_a_minute_loses_no_sample", 30.0);
}

#[test]
#[ignore = "ten minutes"]
fn ten_minutes_lose_no_sample() {
    loses_no_sample_for("ten_minutes_lose_no_sample", 600.0);
}

#[test]
fn a_channel_of_six_is_taken_by_its_index() {
    with_server("a_channel_of_six_is_taken_by_its_index", |server| {
        // The names of these channels are not the usual ones of six.
        let map = "channel_map=front-left,front-left-of-center,front-center,front-right,aux0,aux1";
        server.pactl(&["load-module", "module-null-sink", "sink_name=six", "rate=48000", "channels=6", map]);
        for channel in [1, 5] {
            let mut rig = DesktopRig::new(48_000, CpalConfig::default());
            let capture = DirectionConfig {
                device_channels: 6,
                map: Some(ChannelMap::select(6, &[channel]).unwrap()),
                ..direction_config(48_000, Some("six.monitor"))
            };
            let playback = DirectionConfig { device_channels: 6, ..direction_config(48_000, Some("six")) };
            rig.open(&capture, &playback);
            check_every_sample(&mut rig, &server, 1.0, &format!("channel {channel}"));
        }
    });
}

#[test]
fn a_sink_without_a_clock_of_its_own_transfers_whole_periods() {
    with_server("a_sink_without_a_clock_of_its_own_transfers_whole_periods", |_| {
        let mut rig = DesktopRig::new(48_000, CpalConfig::default());
        let config = DirectionConfig { period_sample_frames: 480, ..direction_config(48_000, None) };
        rig.open(&config, &config);
        rig.record(0.5);
        let callbacks = |rig: &DesktopRig| {
            BOTH_DIRECTIONS.map(|direction| rig.supervisor.io().callbacks(direction).callbacks)
        };
        let before = callbacks(&rig);
        rig.record(3.0);
        let counts: Vec<u32> = callbacks(&rig).iter().zip(before).map(|(now, before)| now - before).collect();
        let latency_us = BOTH_DIRECTIONS.map(|direction| rig.supervisor.io().callbacks(direction).latency_us);
        println!(
            "in three seconds of 10 ms periods, capture and playback: {counts:?} callbacks, latency {latency_us:?} us"
        );
        // The sink's lowest latency would be 0.5 ms, and its monitor would deliver 6,000 pieces.
        assert!(counts.iter().all(|&count| count < 450), "{counts:?}");
    });
}

#[test]
fn a_crash_of_pulseaudio_is_reported_once_and_recovered() {
    recovers_from_crashes(ServerKind::PulseAudio, "a_crash_of_pulseaudio_is_reported_once_and_recovered");
}

#[test]
fn a_crash_of_pipewire_is_reported_once_and_recovered() {
    recovers_from_crashes(ServerKind::PipeWire, "a_crash_of_pipewire_is_reported_once_and_recovered");
}

fn recovers_from_crashes(kind: ServerKind, test: &str) {
    with(kind, test, |mut server| {
        let mut rig = DesktopRig::new(48_000, CpalConfig::default());
        rig.open(&direction_config(48_000, None), &direction_config(48_000, None));
        rig.record(1.0);
        for round in 0..3 {
            server.kill();
            let killed_at = Moment::now();
            let is_waiting = |rig: &mut DesktopRig| {
                BOTH_DIRECTIONS
                    .iter()
                    .all(|&direction| rig.supervisor.state(direction) == DirectionState::Waiting)
            };
            let mut notices = rig.until(Span::from_secs(5), is_waiting);
            let noticed = killed_at.elapsed();
            // The loss is reported once, however long the server is away.
            let away_since = Moment::now();
            notices
                .extend(rig.until(Span::from_secs(5), |_| away_since.elapsed() > Span::from_millis(1_500)));
            server.start();
            let began = Moment::now();
            let is_running = |rig: &mut DesktopRig| {
                BOTH_DIRECTIONS
                    .iter()
                    .all(|&direction| matches!(rig.supervisor.state(direction), DirectionState::Running(_)))
            };
            notices.extend(rig.until(Span::from_secs(20), is_running));
            println!("round {round}: noticed in {noticed:?}, back in {:?}", began.elapsed());
            assert!(noticed < Span::from_millis(1_000), "{noticed:?}");
            for direction in BOTH_DIRECTIONS {
                assert_eq!(
                    (losses(&notices, direction), returns(&notices, direction)),
                    (1, 1),
                    "{direction:?}: {notices:?}"
                );
            }
            rig.record(0.5);
        }
    });
}

#[test]
fn a_hanging_server_is_lost_and_no_call_hangs_with_it() {
    with_server("a_hanging_server_is_lost_and_no_call_hangs_with_it", |server| {
        let mut rig = DesktopRig::new(48_000, CpalConfig::default());
        rig.open(&direction_config(48_000, None), &direction_config(48_000, None));
        rig.record(0.5);
        server.signal("STOP");
        let began = Moment::now();
        let notices = rig.until(Span::from_secs(40), |rig| {
            BOTH_DIRECTIONS
                .iter()
                .all(|&direction| rig.supervisor.state(direction) == DirectionState::Waiting)
        });
        println!("lost after {:?}", began.elapsed());
        for direction in BOTH_DIRECTIONS {
            assert_eq!(losses(&notices, direction), 1, "{notices:?}");
        }
        let listed_at = Moment::now();
        assert!(rig.supervisor.io().list().is_err());
        assert!(listed_at.elapsed() < Span::from_secs(7), "{:?}", listed_at.elapsed());
        server.signal("CONT");
        rig.until(Span::from_secs(60), |rig| {
            BOTH_DIRECTIONS
                .iter()
                .all(|&direction| matches!(rig.supervisor.state(direction), DirectionState::Running(_)))
        });
        rig.record(0.5);
    });
}

#[test]
fn only_unnamed_streams_follow_the_default_of_pipewire() {
    with(ServerKind::PipeWire, "only_unnamed_streams_follow_the_default_of_pipewire", |server| {
        let mut rig = DesktopRig::new(48_000, CpalConfig::default());
        rig.open(&direction_config(48_000, None), &direction_config(48_000, None));
        rig.record(1.0);
        let notices = change_default(&mut rig, &server, "other");
        for direction in BOTH_DIRECTIONS {
            let moved =
                |n: &&Notice| matches!(n, Notice::Moved { direction: moved, .. } if *moved == direction);
            assert_eq!(notices.iter().filter(moved).count(), 1, "{direction:?}: {notices:?}");
        }
        assert_eq!(server.stream_devices(), [["other"], ["other.monitor"]]);
        rig.record(1.0);
        BOTH_DIRECTIONS.into_iter().for_each(|direction| rig.supervisor.close(direction));
        rig.open(&direction_config(48_000, Some("other.monitor")), &direction_config(48_000, Some("other")));
        let notices = change_default(&mut rig, &server, "speaker");
        for direction in BOTH_DIRECTIONS {
            let notice = Notice::Host(Event::DefaultChanged { direction });
            assert_eq!(notices.iter().filter(|n| **n == notice).count(), 1, "{direction:?}: {notices:?}");
        }
        assert_eq!(server.stream_devices(), [["other"], ["other.monitor"]]);
        rig.record(0.5);
    });
}

/// Makes another sink and its monitor the default devices once the device monitor has seen the previous ones.
/// Returns the supervisor's notices of the next seconds.
fn change_default(rig: &mut DesktopRig, server: &SoundServer, sink: &str) -> Vec<Notice> {
    let began = Moment::now();
    rig.until(Span::from_secs(3), |_| began.elapsed() > Span::from_millis(1_200));
    server.pactl(&["set-default-sink", sink]);
    server.pactl(&["set-default-source", &format!("{sink}.monitor")]);
    let began = Moment::now();
    rig.until(Span::from_secs(6), |_| began.elapsed() > Span::from_millis(2_500))
}

#[test]
fn a_stream_moved_by_pulseaudio_is_reported_once() {
    with_server("a_stream_moved_by_pulseaudio_is_reported_once", |server| {
        let mut rig = DesktopRig::new(48_000, CpalConfig::default());
        rig.open(&direction_config(48_000, None), &direction_config(48_000, None));
        rig.record(1.0);
        let callbacks = BOTH_DIRECTIONS.map(|direction| rig.supervisor.io().callbacks(direction).callbacks);
        let notices = change_default(&mut rig, &server, "other");
        for direction in BOTH_DIRECTIONS {
            let moved =
                |n: &&Notice| matches!(n, Notice::Moved { direction: moved, .. } if *moved == direction);
            assert_eq!(notices.iter().filter(moved).count(), 1, "{direction:?}: {notices:?}");
            // PulseAudio moved the stream, so it was not reopened.
            assert!(
                rig.supervisor.io().callbacks(direction).callbacks > callbacks[direction as usize],
                "{direction:?}"
            );
        }
        assert_eq!(notices.iter().filter(|n| !matches!(n, Notice::Host(Event::RealTimeRefused))).count(), 2);
        let devices = rig.supervisor.io().list().unwrap();
        let default: Vec<&str> = devices.iter().filter(|d| d.is_default).map(|d| d.id.as_str()).collect();
        assert_eq!(default, ["pulseaudio:other.monitor", "pulseaudio:other"]);
        let io = rig.supervisor.io();
        let opened = [io.capture(), io.playback()].map(|opened| opened.unwrap().device.clone());
        assert_eq!(opened.each_ref().map(String::as_str), default[..]);
        assert_eq!(server.stream_devices(), [["other"], ["other.monitor"]]);
        rig.record(1.0);
    });
}

#[test]
fn a_stream_on_a_named_device_stays_there() {
    with_server("a_stream_on_a_named_device_stays_there", |server| {
        let mut rig = DesktopRig::new(48_000, CpalConfig::default());
        rig.open(
            &direction_config(48_000, Some("speaker.monitor")),
            &direction_config(48_000, Some("speaker")),
        );
        rig.record(1.0);
        // PulseAudio moves all streams of the old default device; the supervisor moves this one back.
        let notices = change_default(&mut rig, &server, "other");
        for direction in BOTH_DIRECTIONS {
            let notice = Notice::Host(Event::DefaultChanged { direction });
            assert_eq!(notices.iter().filter(|n| **n == notice).count(), 1, "{direction:?}: {notices:?}");
            assert_eq!((losses(&notices, direction), returns(&notices, direction)), (0, 0), "{notices:?}");
        }
        assert_eq!(server.stream_devices(), [["speaker"], ["speaker.monitor"]]);
        rig.record(1.0);
        // PulseAudio does not move streams that are on neither default device.
        let callbacks = BOTH_DIRECTIONS.map(|direction| rig.supervisor.io().callbacks(direction).callbacks);
        change_default(&mut rig, &server, "cd");
        BOTH_DIRECTIONS.iter().zip(callbacks).for_each(|(&direction, before)| {
            assert!(
                rig.supervisor.io().callbacks(direction).callbacks > before,
                "{direction:?}: it was reopened"
            );
        });
        assert_eq!(server.stream_devices(), [["speaker"], ["speaker.monitor"]]);
        rig.record(0.5);
    });
}

#[test]
fn a_removed_device_is_lost_and_returns_by_its_name() {
    with_server("a_removed_device_is_lost_and_returns_by_its_name", |server| {
        let mut rig = DesktopRig::new(48_000, CpalConfig::default());
        rig.open(
            &direction_config(48_000, Some("speaker.monitor")),
            &direction_config(48_000, Some("pulseaudio:speaker")),
        );
        rig.record(0.5);
        // The other sinks are removed first, because PulseAudio would move the streams to them.
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
        let is_waiting = |rig: &mut DesktopRig| {
            BOTH_DIRECTIONS
                .iter()
                .all(|&direction| rig.supervisor.state(direction) == DirectionState::Waiting)
        };
        let mut notices = rig.until(Span::from_secs(10), is_waiting);
        println!("noticed in {:?}", began.elapsed());
        // Another device is no replacement for the requested one.
        let load = |name| {
            let options = server::null_sink(name, 48_000);
            let arguments = ["load-module", "module-null-sink"].into_iter().chain(options.split(' '));
            server.pactl(&arguments.collect::<Vec<_>>());
        };
        load("other");
        let away_since = Moment::now();
        notices.extend(rig.until(Span::from_secs(5), |_| away_since.elapsed() > Span::from_millis(2_500)));
        for direction in BOTH_DIRECTIONS {
            assert_eq!(
                (losses(&notices, direction), returns(&notices, direction)),
                (1, 0),
                "{direction:?}: {notices:?}"
            );
        }
        load("speaker");
        let is_running = |rig: &mut DesktopRig| {
            BOTH_DIRECTIONS
                .iter()
                .all(|&direction| matches!(rig.supervisor.state(direction), DirectionState::Running(_)))
        };
        notices.extend(rig.until(Span::from_secs(10), is_running));
        for direction in BOTH_DIRECTIONS {
            assert_eq!(
                (losses(&notices, direction), returns(&notices, direction)),
                (1, 1),
                "{direction:?}: {notices:?}"
            );
        }
        rig.record(0.5);
    });
}

#[test]
fn a_hundred_restarts_leak_no_thread_or_client() {
    with_server("a_hundred_restarts_leak_no_thread_or_client", |server| {
        let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
        let mut rig = DesktopRig::new(48_000, CpalConfig::default());
        let config = direction_config(48_000, None);
        let mut before = 0;
        for round in 0..100 {
            rig.open(&config, &config);
            if round % 10 == 0 {
                rig.record(0.1);
            }
            if round == 10 {
                before = threads();
            }
            BOTH_DIRECTIONS.into_iter().for_each(|direction| rig.supervisor.close(direction));
        }
        rig.open(&config, &config);
        // The new threads have started.
        rig.record(0.2);
        rig.check_allocations(1.0);
        let clients = server.pactl(&["list", "short", "clients"]).lines().count();
        println!("{before} threads after ten rounds, {} after a hundred, and {clients} clients", threads());
        assert!(threads() <= before + 2, "{} threads, {before} before", threads());
        // For each direction one client that finds the device and one that has the stream, one for the device monitor, and
        // `pactl` itself.
        assert!(clients <= 6, "{clients} clients");
        assert!(rig.supervisor.io_mut().poll_event().is_none_or(|event| event == Event::RealTimeRefused));
    });
}
