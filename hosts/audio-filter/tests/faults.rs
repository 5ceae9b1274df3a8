//! A failing filter is bypassed, retried and finally disabled, while the audio goes on.
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

mod support;

use std::time::Duration;

use handsfree_audio_filter::{FilterFault, FilterProcessor, FilterState, SampleType, SessionConfig};
use handsfree_core::capture::{FrameProcessor, ProcessError};
use handsfree_core::limits::{PROCESSOR_BACKOFF_FRAMES, PROCESSOR_RETRIES};
use support::{ExpectedOutput, LONG_LIMIT, NoiseFrames, ProbeFilter, format, load, probe, process};

const ATTEMPTS: u64 = PROCESSOR_RETRIES as u64 + 1;
const BACKOFF_FRAMES: u64 = PROCESSOR_BACKOFF_FRAMES as u64;

fn failing(test: &str, samples: SampleType, options: &str, channels: u32) -> (ProbeFilter, FilterProcessor) {
    let file = probe(test, &[]);
    let config = SessionConfig { samples, options, ..LONG_LIMIT };
    let processor = load(&file).session(format(16_000, channels), &config).unwrap();
    (ProbeFilter::of(&file), processor)
}

/// Checks the code of each fault, and the effect of a filter that fails in every frame.
#[test]
fn a_permanent_fault_disables_after_four_attempts() {
    for (samples, options, fault) in [
        (SampleType::Float, "fault=nan", FilterFault::NotANumber),
        (SampleType::Float, "fault=inf", FilterFault::NotANumber),
        (SampleType::Float, "fault=short", FilterFault::TooShort),
        (SampleType::Float, "fault=nothing", FilterFault::TooShort),
        (SampleType::Int16, "fault=short", FilterFault::TooShort),
        (SampleType::Int16, "fault=nothing", FilterFault::TooShort),
    ] {
        let (probe, mut processor) = failing("always", samples, options, 2);
        let control = processor.control();
        assert_eq!((control.state(), control.last_fault()), (FilterState::Active, None));
        let mut noise = NoiseFrames::new(1);
        let mut errors = 0;
        let frames = ATTEMPTS * (BACKOFF_FRAMES + 1) + 500;
        for index in 0..frames {
            let input = noise.frame(processor.format());
            let (output, outcome) = process(&mut processor, &input);
            assert_eq!(output, input, "{options}: frame {index} passes unfiltered");
            if let Err(error) = outcome {
                assert_eq!(error, ProcessError::Backend { code: fault.code() }, "{options}");
                assert_eq!(index % (BACKOFF_FRAMES + 1), 0, "{options}: one second between attempts");
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
            FilterFault::NotANumber => stats.not_a_number_faults,
            _ => stats.too_short_faults,
        };
        assert_eq!(counted, ATTEMPTS, "{options}");
        assert_eq!(
            probe.number("v1_frames"),
            ATTEMPTS as i64,
            "the second channel is not processed after the fault"
        );
        probe.assert_no_misuse();
    }
}

/// Samples that remain from the previous frame do not count as written.
#[test]
fn a_filter_that_stops_writing_is_detected() {
    for samples in [SampleType::Int16, SampleType::Float] {
        for options in ["fault=short from=2", "fault=nothing from=2"] {
            let (_probe, mut processor) = failing("stops", samples, options, 1);
            for index in 0..3 {
                let (output, outcome) = process(&mut processor, &[1_000; 160]);
                let code = FilterFault::TooShort.code();
                let expected = if index == 2 { Err(ProcessError::Backend { code }) } else { Ok(()) };
                assert_eq!((outcome, output[159]), (expected, 1_000), "{samples:?} {options} {index}");
            }
        }
    }
}

/// The filter writes twice as much as requested, which the buffer can hold, and is disabled.
#[test]
fn writing_too_much_disables_without_a_retry() {
    for samples in [SampleType::Int16, SampleType::Float] {
        let (probe, mut processor) = failing("long", samples, "fault=long from=2 count=1", 1);
        let control = processor.control();
        let mut expected = ExpectedOutput::new(1, 1.0);
        let mut noise = NoiseFrames::new(2);
        for index in 0..1_000 {
            let input = noise.frame(processor.format());
            let (output, outcome) = process(&mut processor, &input);
            let filtered = expected.next(&input);
            assert_eq!(output, if index < 2 { filtered } else { input });
            let code = FilterFault::TooLong.code();
            assert_eq!(outcome, if index == 2 { Err(ProcessError::Backend { code }) } else { Ok(()) });
        }
        assert_eq!(
            (control.state(), control.last_fault()),
            (FilterState::Disabled, Some(FilterFault::TooLong))
        );
        assert_eq!((control.stats().too_long_faults, probe.number("v1_frames")), (1, 3));

        control.reset_breaker();
        let (_, outcome) = process(&mut processor, &[100; 160]);
        assert_eq!(
            (outcome, control.state()),
            (Ok(()), FilterState::Active),
            "the application may reset the breaker"
        );
    }
}

#[test]
fn a_recovered_filter_is_used_after_one_second() {
    let (probe, mut processor) =
        failing("recovers", SampleType::Float, "fault=nan from=3 count=1 gain=0.5", 1);
    let control = processor.control();
    for index in 0..300 {
        let (output, outcome) = process(&mut processor, &[1_000; 160]);
        let is_fault = index == 3;
        let in_backoff = (4..4 + BACKOFF_FRAMES).contains(&index);
        assert_eq!(outcome.is_err(), is_fault, "frame {index}");
        assert_eq!(output[159], if is_fault || in_backoff { 1_000 } else { 500 }, "frame {index}");
        if in_backoff && index < 3 + BACKOFF_FRAMES {
            assert_eq!(control.state(), FilterState::Backoff, "frame {index}");
        }
    }
    assert_eq!(control.state(), FilterState::Active);
    let stats = control.stats();
    assert_eq!((stats.filtered_frames, stats.passed_frames), (300 - 1 - BACKOFF_FRAMES, 1 + BACKOFF_FRAMES));
    probe.assert_no_misuse();
}

/// Clipping is not a fault.
#[test]
fn samples_beyond_full_scale_are_clipped_and_counted() {
    let (_probe, mut processor) = failing("huge", SampleType::Float, "fault=huge", 2);
    for _ in 0..10 {
        let (output, outcome) = process(&mut processor, &[0; 320]);
        outcome.unwrap();
        assert_eq!(output[..4], [i16::MAX, i16::MAX, 0, 0]);
    }
    let control = processor.control();
    assert_eq!((control.stats().clipped_samples, control.state()), (20, FilterState::Active));
}

/// Runs in real time: the filter sleeps for three times its limit, and other frames have 100 ms to complete.
#[test]
fn a_slow_filter_delays_one_frame_for_each_attempt() {
    let file = probe("slow", &[]);
    let options = "fault=slow sleep_ms=300 count=2";
    let config = SessionConfig { options, limit: Duration::from_millis(100), ..LONG_LIMIT };
    let mut processor = load(&file).session(format(16_000, 8), &config).unwrap();
    let control = processor.control();
    let input = NoiseFrames::new(4).frame(processor.format());
    for attempt in 1..=2 {
        let (output, outcome) = process(&mut processor, &input);
        assert_eq!(outcome, Err(ProcessError::Backend { code: FilterFault::Slow.code() }));
        assert_eq!(output, input);
        assert_eq!((control.state(), control.last_fault()), (FilterState::Backoff, Some(FilterFault::Slow)));
        assert_eq!(control.stats().slow_faults, attempt);
        for _ in 0..BACKOFF_FRAMES {
            assert_eq!(process(&mut processor, &input), (input.clone(), Ok(())));
        }
    }
    assert_eq!(
        ProbeFilter::of(&file).number("v1_frames"),
        2,
        "no further channel is processed after the first one is late"
    );
    let slowest = control.stats().slowest;
    assert!((Duration::from_millis(300)..Duration::from_secs(5)).contains(&slowest), "{slowest:?}");
    // The first channel has had its two slow frames; those of the other seven channels are still to come.
    assert!(process(&mut processor, &input).1.is_err());
}

#[test]
fn a_restart_makes_new_sessions_and_resets_the_breaker() {
    let (probe, mut processor) = failing("restart", SampleType::Float, "fault=nan from=1 gain=0.5", 2);
    let control = processor.control();
    for _ in 0..ATTEMPTS * (BACKOFF_FRAMES + 1) + 1 {
        let _ = process(&mut processor, &[1_000; 320]);
    }
    assert_eq!(control.state(), FilterState::Disabled);
    control.restart().unwrap();
    assert_eq!((probe.number("creates"), probe.live()), (4, 2));
    let (output, outcome) = process(&mut processor, &[1_000; 320]);
    assert_eq!((outcome, output[0], output[319]), (Ok(()), 0, 500), "the new session starts without history");
    probe.assert_no_misuse();
}

#[test]
fn a_refused_restart_keeps_the_old_sessions() {
    let file = probe("no_restart", &["REFUSED_SESSION=3"]);
    let mut processor = load(&file).session(format(16_000, 2), &LONG_LIMIT).unwrap();
    let control = processor.control();
    process(&mut processor, &[1_000; 320]).1.unwrap();
    assert!(control.restart().unwrap_err().to_string().contains("no session for channel 1"));
    let (output, outcome) = process(&mut processor, &[1_000; 320]);
    assert_eq!((outcome, output[0]), (Ok(()), 1_000), "the old session keeps its history");
    assert_eq!(ProbeFilter::of(&file).live(), 2);
}

#[test]
fn a_closed_processor_passes_frames_unchanged() {
    let (probe, mut processor) = failing("closed", SampleType::Int16, "fault=short", 2);
    let control = processor.control();
    let _ = process(&mut processor, &[7; 320]);
    processor.close();
    assert_eq!((probe.live(), probe.number("destroys")), (0, 2));
    for _ in 0..2 * BACKOFF_FRAMES {
        assert_eq!(process(&mut processor, &[7; 320]), (vec![7; 320], Ok(())));
        assert_eq!(control.state(), FilterState::Closed);
    }
    processor.close();
    drop(processor);
    assert_eq!(probe.number("destroys"), 2, "each session is destroyed once");
    probe.assert_no_misuse();
}
