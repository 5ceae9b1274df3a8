//! Updates of a filter while frames flow: each one reaches the filter, on the calling thread and never during a frame.
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use handsfree_audio_filter::{
    FilterControl, FilterError, FilterState, SampleType, SessionConfig, UPDATE_TIMEOUT,
};
use handsfree_core::PcmMut;
use handsfree_core::capture::{Credentials, FrameProcessor, StreamIdentity};
use support::{LONG_LIMIT, ProbeFilter, format, load, probe, process};

#[test]
fn stream_information_and_tokens_reach_the_filter() {
    let file = probe("arrive", &["TOKEN"]);
    let filter = load(&file);
    let mut processor = filter.session(format(48_000, 2), &LONG_LIMIT).unwrap();
    let (control, probe) = (processor.control(), ProbeFilter::of(&file));

    let stream = StreamIdentity { room_name: "hall", track_id: "TR_9", ..StreamIdentity::default() };
    control.update_stream_info(&stream).unwrap();
    let json = r#"{"url":"","roomId":"","roomName":"hall","participantIdentity":"","participantId":"","trackId":"TR_9"}"#;
    assert_eq!(
        (probe.text("last_info").as_str(), probe.number("infos")),
        (json, 2),
        "each channel's session receives it"
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
    assert!(
        probe.text("create_info").contains("garden"),
        "new sessions receive the latest stream information"
    );
    probe.assert_no_misuse();
}

#[test]
fn failed_updates_are_errors_or_counted() {
    let file = probe("failed_updates", &["TOKEN"]);
    let filter = load(&file);
    let mut processor = filter.session(format(48_000, 1), &LONG_LIMIT).unwrap();
    let (control, probe) = (processor.control(), ProbeFilter::of(&file));
    let stream = StreamIdentity { room_id: "x\0", ..StreamIdentity::default() };
    let token = Credentials { url: "", token: "\0" };
    let nul_in_room = FilterError::NulInText { field: "roomId", at: 1 };
    let nul_in_token = FilterError::NulInText { field: "token", at: 0 };
    assert_eq!(control.update_stream_info(&stream), Err(nul_in_room));
    assert_eq!(control.update_token(&token), Err(nul_in_token));
    processor.on_stream(&stream);
    processor.on_credentials(&token);
    assert_eq!(control.stats().failed_updates, 2);
    assert_eq!((probe.number("infos"), probe.number("tokens")), (0, 0));

    drop(processor);
    assert_eq!(control.state(), FilterState::Closed);
    assert_eq!(control.update_stream_info(&StreamIdentity::default()), Err(FilterError::Closed));
    assert_eq!(control.restart(), Err(FilterError::Closed));
    assert_eq!(probe.live(), 0, "the sessions of the refused restart are destroyed");
    assert_eq!(control.update_token(&Credentials::default()), Ok(true), "the filter itself stays loaded");
    probe.assert_no_misuse();
}

#[test]
fn update_token_is_false_without_the_function() {
    let filter = load(&probe("tokenless", &[]));
    assert_eq!(filter.update_token(&Credentials { url: "u", token: "t" }), Ok(false));
}

/// Runs two workers that process frames almost all the time, two controls that update and restart, and one thread that
/// makes and drops processors.
#[test]
fn updates_never_overlap_a_frame() {
    const UPDATES: usize = 60;
    let file = probe("busy", &["TOKEN", "V2"]);
    let filter = load(&file);
    let format = format(48_000, 2);
    let configs = [SampleType::Int16, SampleType::Float].map(|samples| SessionConfig {
        samples,
        options: "fault=busy sleep_ms=1",
        ..LONG_LIMIT
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
        let updaters = controls.iter().map(|control| {
            scope.spawn(move || {
                for _ in 0..UPDATES {
                    control.update_stream_info(&StreamIdentity::default()).unwrap();
                    control.update_token(&Credentials::default()).unwrap();
                    control.restart().unwrap();
                }
            })
        });
        let updaters: Vec<_> = updaters.collect();
        for _ in 0..UPDATES {
            drop(filter.session(format, &LONG_LIMIT).unwrap());
        }
        let outcomes: Vec<_> = updaters.into_iter().map(|updater| updater.join()).collect();
        stop.store(true, Ordering::Relaxed);
        outcomes.into_iter().for_each(|outcome| outcome.unwrap());
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let probe = ProbeFilter::of(&file);
    probe.assert_no_misuse();
    let updates = 2 * UPDATES as i64;
    assert_eq!((probe.number("tokens"), probe.number("infos")), (updates, 2 * updates));
    let destroys = 4 + 2 * updates + updates;
    assert_eq!((probe.live(), probe.number("destroys")), (0, destroys), "each session is destroyed once");
    for (control, frames) in controls.iter().zip(frames) {
        let stats = control.stats();
        assert_eq!(stats.filtered_frames + stats.passed_frames, frames, "every frame is accounted for");
        assert_eq!(stats.passed_frames, stats.update_frames);
        println!("{frames} frames, {} passed during {} calls", stats.passed_frames, 3 * UPDATES);
    }
}

/// A worker without a pause between frames lets a control call the filter after the current frame.
#[test]
fn a_busy_worker_does_not_starve_controls() {
    let file = probe("eager", &[]);
    let config = SessionConfig { options: "fault=busy sleep_ms=1", ..LONG_LIMIT };
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
            // After two more frames the worker is certainly busy.
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
    // The median, because other load on the machine delays some of the calls.
    println!("frames until a control could call the filter: {waited_frames:?}");
    assert!(waited_frames[50] <= 2, "frames until a control could call the filter: {waited_frames:?}");
}

/// The filter sleeps in a frame for longer than a control waits; the control then fails and changes nothing.
#[test]
fn updating_a_hanging_filter_is_busy() {
    let file = probe("stuck", &["TOKEN"]);
    let filter = load(&file);
    let sleep = format!("fault=slow count=1 sleep_ms={}", 3 * UPDATE_TIMEOUT.as_millis());
    let config = SessionConfig { options: &sleep, ..LONG_LIMIT };
    let mut processor = filter.session(format(48_000, 1), &config).unwrap();
    let (control, probe) = (processor.control(), ProbeFilter::of(&file));
    let (entering, entered) = mpsc::channel();
    let worker = std::thread::spawn(move || {
        entering.send(()).unwrap();
        process(&mut processor, &[0; 480]).1.unwrap();
        processor
    });
    entered.recv().unwrap();
    while probe.number("v1_frames") == 0 {
        std::thread::yield_now();
    }
    assert!(matches!(
        control.update_stream_info(&StreamIdentity::default()),
        Err(FilterError::Busy { waited }) if waited >= UPDATE_TIMEOUT
    ));
    assert!(matches!(filter.update_token(&Credentials::default()), Err(FilterError::Busy { .. })));
    assert_eq!((probe.number("infos"), probe.number("tokens")), (0, 0));
    let mut processor = worker.join().unwrap();
    control.update_stream_info(&StreamIdentity::default()).unwrap();
    process(&mut processor, &[0; 480]).1.unwrap();
    assert_eq!((control.stats().filtered_frames, control.stats().update_frames), (2, 0));
    probe.assert_no_misuse();
}
