//! A filter that gives what is no sound is passed by, tried again and given up; the sound goes on.
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

mod support;

use std::time::Duration;

use handsfree_audio_filter::{Fault, FilterProcessor, FilterState, SampleType, SessionConfig};
use handsfree_core::capture::{FrameProcessor, ProcessError};
use handsfree_core::limits::{PROCESSOR_BACKOFF_FRAMES, PROCESSOR_RETRIES};
use support::{Expected, Noise, PATIENT, Probe, format, load, probe, process};

const ATTEMPTS: u64 = PROCESSOR_RETRIES as u64 + 1;
const REST: u64 = PROCESSOR_BACKOFF_FRAMES as u64;

fn failing(test: &str, samples: SampleType, options: &str, channels: u32) -> (Probe, FilterProcessor) {
    let file = probe(test, &[]);
    let config = SessionConfig { samples, options, ..PATIENT };
    let processor = load(&file).session(format(16_000, channels), &config).unwrap();
    (Probe::of(&file), processor)
}

/// What each fault is called, and what a filter that has it in every frame leads to.
#[test]
fn a_filter_that_always_fails_is_tried_four_times_and_never_heard() {
    for (samples, options, fault) in [
        (SampleType::Float, "fault=nan", Fault::NotANumber),
        (SampleType::Float, "fault=inf", Fault::NotANumber),
        (SampleType::Float, "fault=short", Fault::TooShort),
        (SampleType::Float, "fault=nothing", Fault::TooShort),
        (SampleType::Int16, "fault=short", Fault::TooShort),
        (SampleType::Int16, "fault=nothing", Fault::TooShort),
    ] {
        let (probe, mut processor) = failing("always", samples, options, 2);
        let control = processor.control();
        assert_eq!((control.state(), control.last_fault()), (FilterState::Active, None));
        let mut noise = Noise::new(1);
        let mut errors = 0;
        let frames = ATTEMPTS * (REST + 1) + 500;
        for index in 0..frames {
            let input = noise.frame(processor.format());
            let (output, outcome) = process(&mut processor, &input);
            assert_eq!(output, input, "{options}: frame {index} passes as it came");
            if let Err(error) = outcome {
                assert_eq!(error, ProcessError::Backend { code: fault.code() }, "{options}");
                assert_eq!(index % (REST + 1), 0, "{options}: a second's rest between attempts");
                errors += 1;
            }
        }
        assert_eq!(errors, ATTEMPTS, "{options}");
        assert_eq!(
            (control.state(), control.last_fault()),
            (FilterState::Disabled, Some(fault)),
            "{options}"
        );
        let stats = control.stats();
        assert_eq!((stats.filtered_frames, stats.passed_frames), (0, frames), "{options}");
        let counted = match fault {
            Fault::NotANumber => stats.not_a_number_faults,
            _ => stats.too_short_faults,
        };
        assert_eq!(counted, ATTEMPTS, "{options}");
        assert_eq!(probe.number("v1_frames"), ATTEMPTS as i64, "the second channel is not asked any more");
        probe.assert_well_treated();
    }
}

/// What the last frame left behind is not taken for this one's.
#[test]
fn a_filter_that_stops_writing_is_found_out() {
    for samples in [SampleType::Int16, SampleType::Float] {
        for options in ["fault=short from=2", "fault=nothing from=2"] {
            let (_probe, mut processor) = failing("stops", samples, options, 1);
            for index in 0..3 {
                let (output, outcome) = process(&mut processor, &[1_000; 160]);
                let code = Fault::TooShort.code();
                let expected = if index == 2 { Err(ProcessError::Backend { code }) } else { Ok(()) };
                assert_eq!((outcome, output[159]), (expected, 1_000), "{samples:?} {options} {index}");
            }
        }
    }
}

/// Twice as much goes into memory that is there for it, and that is the end of the filter.
#[test]
fn a_filter_that_writes_too_much_is_given_up_at_once() {
    for samples in [SampleType::Int16, SampleType::Float] {
        let (probe, mut processor) = failing("long", samples, "fault=long from=2 count=1", 1);
        let control = processor.control();
        let mut expected = Expected::new(1, 1.0);
        let mut noise = Noise::new(2);
        for index in 0..1_000 {
            let input = noise.frame(processor.format());
            let (output, outcome) = process(&mut processor, &input);
            let filtered = expected.next(&input);
            assert_eq!(output, if index < 2 { filtered } else { input });
            let code = Fault::TooLong.code();
            assert_eq!(outcome, if index == 2 { Err(ProcessError::Backend { code }) } else { Ok(()) });
        }
        assert_eq!((control.state(), control.last_fault()), (FilterState::Disabled, Some(Fault::TooLong)));
        assert_eq!((control.stats().too_long_faults, probe.number("v1_frames")), (1, 3));

        control.reset_breaker();
        let (_, outcome) = process(&mut processor, &[100; 160]);
        assert_eq!((outcome, control.state()), (Ok(()), FilterState::Active), "an application may insist");
    }
}

#[test]
fn a_filter_that_recovers_is_heard_again_after_a_second() {
    let (probe, mut processor) =
        failing("recovers", SampleType::Float, "fault=nan from=3 count=1 gain=0.5", 1);
    let control = processor.control();
    for index in 0..300 {
        let (output, outcome) = process(&mut processor, &[1_000; 160]);
        let is_fault = index == 3;
        let rests = (4..4 + REST).contains(&index);
        assert_eq!(outcome.is_err(), is_fault, "frame {index}");
        assert_eq!(output[159], if is_fault || rests { 1_000 } else { 500 }, "frame {index}");
        if rests && index < 3 + REST {
            assert_eq!(control.state(), FilterState::Backoff, "frame {index}");
        }
    }
    assert_eq!(control.state(), FilterState::Active);
    let stats = control.stats();
    assert_eq!((stats.filtered_frames, stats.passed_frames), (300 - 1 - REST, 1 + REST));
    probe.assert_well_treated();
}

/// Too loud is no reason to do without: it is cut.
#[test]
fn numbers_beyond_full_scale_are_cut_and_counted() {
    let (_probe, mut processor) = failing("huge", SampleType::Float, "fault=huge", 2);
    for _ in 0..10 {
        let (output, outcome) = process(&mut processor, &[0; 320]);
        outcome.unwrap();
        assert_eq!(output[..4], [i16::MAX, i16::MAX, 0, 0]);
    }
    let control = processor.control();
    assert_eq!((control.stats().cut_samples, control.state()), (20, FilterState::Active));
}

/// Real time: the filter sleeps three times its limit, and the frames that do not sleep have 100 ms.
#[test]
fn a_slow_filter_costs_one_late_frame_an_attempt() {
    let file = probe("slow", &[]);
    let options = "fault=slow sleep_ms=300 count=2";
    let config = SessionConfig { options, limit: Duration::from_millis(100), ..PATIENT };
    let mut processor = load(&file).session(format(16_000, 8), &config).unwrap();
    let control = processor.control();
    let input = Noise::new(4).frame(processor.format());
    for attempt in 1..=2 {
        let (output, outcome) = process(&mut processor, &input);
        assert_eq!(outcome, Err(ProcessError::Backend { code: Fault::Slow.code() }));
        assert_eq!(output, input);
        assert_eq!((control.state(), control.last_fault()), (FilterState::Backoff, Some(Fault::Slow)));
        assert_eq!(control.stats().slow_faults, attempt);
        for _ in 0..REST {
            assert_eq!(process(&mut processor, &input), (input.clone(), Ok(())));
        }
    }
    assert_eq!(
        Probe::of(&file).number("v1_frames"),
        2,
        "no other channel was begun after the first was late"
    );
    let slowest = control.stats().slowest;
    assert!((Duration::from_millis(300)..Duration::from_secs(5)).contains(&slowest), "{slowest:?}");
    // The first channel's two slow frames are over; the other seven have theirs before them.
    assert!(process(&mut processor, &input).1.is_err());
}

#[test]
fn a_restart_brings_new_sessions_and_forgives() {
    let (probe, mut processor) = failing("restart", SampleType::Float, "fault=nan from=1 gain=0.5", 2);
    let control = processor.control();
    for _ in 0..ATTEMPTS * (REST + 1) + 1 {
        let _ = process(&mut processor, &[1_000; 320]);
    }
    assert_eq!(control.state(), FilterState::Disabled);
    control.restart().unwrap();
    assert_eq!((probe.number("creates"), probe.live()), (4, 2));
    let (output, outcome) = process(&mut processor, &[1_000; 320]);
    assert_eq!((outcome, output[0], output[319]), (Ok(()), 0, 500), "as new");
    probe.assert_well_treated();
}

#[test]
fn a_restart_that_the_filter_refuses_leaves_the_old_sessions() {
    let file = probe("no_restart", &["REFUSED_SESSION=3"]);
    let mut processor = load(&file).session(format(16_000, 2), &PATIENT).unwrap();
    let control = processor.control();
    process(&mut processor, &[1_000; 320]).1.unwrap();
    assert!(control.restart().unwrap_err().to_string().contains("no session for channel 1"));
    let (output, outcome) = process(&mut processor, &[1_000; 320]);
    assert_eq!((outcome, output[0]), (Ok(()), 1_000), "it goes on where it was");
    assert_eq!(Probe::of(&file).live(), 2);
}

#[test]
fn a_closed_processor_lets_frames_pass() {
    let (probe, mut processor) = failing("closed", SampleType::Int16, "fault=short", 2);
    let control = processor.control();
    let _ = process(&mut processor, &[7; 320]);
    processor.close();
    assert_eq!((probe.live(), probe.number("destroys")), (0, 2));
    for _ in 0..2 * REST {
        assert_eq!(process(&mut processor, &[7; 320]), (vec![7; 320], Ok(())));
        assert_eq!(control.state(), FilterState::Closed);
    }
    processor.close();
    drop(processor);
    assert_eq!(probe.number("destroys"), 2, "once each");
    probe.assert_well_treated();
}
