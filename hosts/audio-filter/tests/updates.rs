//! What is told to a filter while frames flow: it arrives, on the teller's thread, and never in the middle of a frame.
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use handsfree_audio_filter::{FilterControl, FilterError, FilterState, PATIENCE, SampleType, SessionConfig};
use handsfree_core::PcmMut;
use handsfree_core::capture::{Credentials, FrameProcessor, StreamIdentity};
use support::{PATIENT, Probe, format, load, probe, process};

#[test]
fn stream_information_and_tokens_arrive() {
    let file = probe("arrive", &["TOKEN"]);
    let filter = load(&file);
    let mut processor = filter.session(format(48_000, 2), &PATIENT).unwrap();
    let (control, probe) = (processor.control(), Probe::of(&file));

    let stream = StreamIdentity { room_name: "hall", track_id: "TR_9", ..StreamIdentity::default() };
    control.update_stream_info(&stream).unwrap();
    let json = r#"{"url":"","roomId":"","roomName":"hall","participantIdentity":"","participantId":"","trackId":"TR_9"}"#;
    assert_eq!(
        (probe.text("last_info").as_str(), probe.number("infos")),
        (json, 2),
        "each channel's session"
    );
    assert_eq!(control.update_token(&Credentials { url: "wss://b", token: "new" }), Ok(true));
    assert_eq!((probe.text("last_url").as_str(), probe.text("last_token").as_str()), ("wss://b", "new"));

    processor.on_stream(&StreamIdentity { room_name: "garden", ..stream });
    assert!(probe.text("last_info").contains("garden"));
    processor.on_credentials(&Credentials { url: "wss://c", token: "newer" });
    assert_eq!(probe.text("last_token"), "newer");
    filter.update_token(&Credentials { url: "wss://d", token: "newest" }).unwrap();
    assert_eq!((probe.text("last_token").as_str(), probe.number("tokens")), ("newest", 3));

    control.restart().unwrap();
    assert!(probe.text("create_info").contains("garden"), "new sessions are told the latest");
    probe.assert_well_treated();
}

#[test]
fn what_cannot_be_told_is_an_error_or_counted() {
    let file = probe("untold", &["TOKEN"]);
    let filter = load(&file);
    let mut processor = filter.session(format(48_000, 1), &PATIENT).unwrap();
    let (control, probe) = (processor.control(), Probe::of(&file));
    let stream = StreamIdentity { room_id: "x\0", ..StreamIdentity::default() };
    let token = Credentials { url: "", token: "\0" };
    let no_room = FilterError::NulInText { field: "roomId", at: 1 };
    let no_token = FilterError::NulInText { field: "token", at: 0 };
    assert_eq!(control.update_stream_info(&stream), Err(no_room));
    assert_eq!(control.update_token(&token), Err(no_token));
    processor.on_stream(&stream);
    processor.on_credentials(&token);
    assert_eq!(control.stats().failed_updates, 2);
    assert_eq!((probe.number("infos"), probe.number("tokens")), (0, 0));

    drop(processor);
    assert_eq!(control.state(), FilterState::Closed);
    assert_eq!(control.update_stream_info(&StreamIdentity::default()), Err(FilterError::Closed));
    assert_eq!(control.restart(), Err(FilterError::Closed));
    assert_eq!(probe.live(), 0, "the sessions of the restart that came too late are gone too");
    assert_eq!(control.update_token(&Credentials::default()), Ok(true), "the filter itself is still there");
    probe.assert_well_treated();
}

#[test]
fn a_filter_without_the_function_says_so() {
    let filter = load(&probe("tokenless", &[]));
    assert_eq!(filter.update_token(&Credentials { url: "u", token: "t" }), Ok(false));
}

/// Two workers that are in a frame nearly all the time, two controls that tell and restart, and one thread that makes
/// processors and drops them.
#[test]
fn nothing_is_told_in_the_middle_of_a_frame() {
    const TELLINGS: usize = 60;
    let file = probe("busy", &["TOKEN", "V2"]);
    let filter = load(&file);
    let format = format(48_000, 2);
    let configs = [SampleType::Int16, SampleType::Float].map(|samples| SessionConfig {
        samples,
        options: "fault=busy sleep_ms=1",
        ..PATIENT
    });
    let processors = configs.map(|config| filter.session(format, &config).unwrap());
    let controls: Vec<FilterControl> = processors.iter().map(|processor| processor.control()).collect();
    let stop = AtomicBool::new(false);
    let frames: Vec<u64> = std::thread::scope(|scope| {
        let workers = processors.map(|mut processor| {
            let stop = &stop;
            scope.spawn(move || {
                let mut frames = 0;
                while !stop.load(Ordering::Relaxed) {
                    process(&mut processor, &[1; 960]).1.unwrap();
                    frames += 1;
                }
                frames
            })
        });
        let tellers = controls.iter().map(|control| {
            scope.spawn(move || {
                for _ in 0..TELLINGS {
                    control.update_stream_info(&StreamIdentity::default()).unwrap();
                    control.update_token(&Credentials::default()).unwrap();
                    control.restart().unwrap();
                }
            })
        });
        let tellers: Vec<_> = tellers.collect();
        for _ in 0..TELLINGS {
            drop(filter.session(format, &PATIENT).unwrap());
        }
        let told: Vec<_> = tellers.into_iter().map(|teller| teller.join()).collect();
        stop.store(true, Ordering::Relaxed);
        told.into_iter().for_each(|told| told.unwrap());
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let probe = Probe::of(&file);
    probe.assert_well_treated();
    let told = 2 * TELLINGS as i64;
    assert_eq!((probe.number("tokens"), probe.number("infos")), (told, 2 * told));
    let destroys = 4 + 2 * told + told;
    assert_eq!((probe.live(), probe.number("destroys")), (0, destroys), "each session destroyed once");
    for (control, frames) in controls.iter().zip(frames) {
        let stats = control.stats();
        assert_eq!(stats.filtered_frames + stats.passed_frames, frames, "every frame is accounted for");
        assert_eq!(stats.passed_frames, stats.update_frames);
        println!("{frames} frames, {} passed during {} calls", stats.passed_frames, 3 * TELLINGS);
    }
}

/// A worker that never rests lets a control in after the frame that it is in.
#[test]
fn a_worker_without_a_pause_does_not_keep_controls_out() {
    let file = probe("eager", &[]);
    let config = SessionConfig { options: "fault=busy sleep_ms=1", ..PATIENT };
    let mut processor = load(&file).session(format(48_000, 1), &config).unwrap();
    let control = processor.control();
    let stop = AtomicBool::new(false);
    let mut waited_frames: Vec<u64> = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut samples = vec![0; 480];
            while !stop.load(Ordering::Relaxed) {
                processor.process(PcmMut { format: format(48_000, 1), samples: &mut samples }).unwrap();
            }
        });
        let waits = (0..100).map(|_| {
            let last = control.stats().filtered_frames;
            // Then the worker is at it, and in a frame.
            while control.stats().filtered_frames < last + 2 {
                std::thread::yield_now();
            }
            let before = control.stats().filtered_frames;
            control.update_stream_info(&StreamIdentity::default())?;
            Ok(control.stats().filtered_frames - before)
        });
        let waits: Result<_, FilterError> = waits.collect();
        stop.store(true, Ordering::Relaxed);
        waits.unwrap()
    });
    waited_frames.sort_unstable();
    // The median, for the machine may be busy with something else now and then.
    println!("let in after {waited_frames:?}");
    assert!(waited_frames[50] <= 2, "frames until a control was let in: {waited_frames:?}");
}

/// The filter sleeps in a frame for longer than a control waits, which then says so and has changed nothing.
#[test]
fn a_filter_that_is_stuck_in_a_frame_is_busy() {
    let file = probe("stuck", &["TOKEN"]);
    let filter = load(&file);
    let sleep = format!("fault=slow count=1 sleep_ms={}", 3 * PATIENCE.as_millis());
    let config = SessionConfig { options: &sleep, ..PATIENT };
    let mut processor = filter.session(format(48_000, 1), &config).unwrap();
    let (control, probe) = (processor.control(), Probe::of(&file));
    let (entered, enter) = mpsc::channel();
    let worker = std::thread::spawn(move || {
        entered.send(()).unwrap();
        process(&mut processor, &[0; 480]).1.unwrap();
        processor
    });
    enter.recv().unwrap();
    while probe.number("v1_frames") == 0 {
        std::thread::yield_now();
    }
    assert!(matches!(
        control.update_stream_info(&StreamIdentity::default()),
        Err(FilterError::Busy { waited }) if waited >= PATIENCE
    ));
    assert!(matches!(filter.update_token(&Credentials::default()), Err(FilterError::Busy { .. })));
    assert_eq!((probe.number("infos"), probe.number("tokens")), (0, 0));
    let mut processor = worker.join().unwrap();
    control.update_stream_info(&StreamIdentity::default()).unwrap();
    process(&mut processor, &[0; 480]).1.unwrap();
    assert_eq!((control.stats().filtered_frames, control.stats().update_frames), (2, 0));
    probe.assert_well_treated();
}
