//! Processing of frames: rates, channels, sample types and both versions of the interface.
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

mod support;

use handsfree_audio_filter::{AudioFilter, FilterError, FilterState, SampleType, SessionConfig};
use handsfree_core::capture::{Chain, FrameProcessor, ProcessError, StreamIdentity};
use handsfree_core::{PcmMut, PcmRef, SampleRate};
use support::{
    ExpectedOutput, LONG_LIMIT, NO_CREDENTIALS, NoiseFrames, ProbeFilter, build, directory, format, load,
    load_as, probe, process,
};

const RATES_HZ: [u32; 6] = [8_000, 16_000, 44_100, 48_000, 96_000, 192_000];
const TYPES: [SampleType; 2] = [SampleType::Int16, SampleType::Float];

fn example() -> AudioFilter {
    let strict = ["-std=c99", "-pedantic"];
    load(&build("examples/gain.c", &directory("gain").join("gain.so"), &strict))
}

/// Every sample passes through the session of its channel, which delays it by one sample across frames.
#[test]
fn each_channel_has_its_own_session() {
    for switches in [&[][..], &["V2"], &["V2_INT16"], &["HALF_V2"]] {
        let file = probe("channels", switches);
        let (filter, probe) = (load(&file), ProbeFilter::of(&file));
        for samples in TYPES {
            for rate_hz in RATES_HZ {
                for channels in [1, 2, 3, 8] {
                    let format = format(rate_hz, channels);
                    let config = SessionConfig { samples, ..LONG_LIMIT };
                    let mut processor = filter.session(format, &config).unwrap();
                    assert_eq!(probe.live(), i64::from(channels));
                    let mut noise = NoiseFrames::new(rate_hz + channels);
                    let mut expected = ExpectedOutput::new(channels as usize, 1.0);
                    for frame in 0..5 {
                        let input = noise.frame(format);
                        let (output, outcome) = process(&mut processor, &input);
                        assert_eq!(outcome, Ok(()));
                        let case = format!("{switches:?} {samples:?} {format:?} frame {frame}");
                        assert_eq!(output, expected.next(&input), "{case}");
                    }
                    let stats = processor.control().stats();
                    assert_eq!(
                        (stats.filtered_frames, stats.passed_frames, stats.clipped_samples),
                        (5, 0, 0)
                    );
                    drop(processor);
                    assert_eq!(probe.live(), 0);
                }
            }
        }
        probe.assert_no_misuse();
        let cases = 2 * RATES_HZ.len() as i64;
        let sessions = (1 + 2 + 3 + 8) * cases;
        assert_eq!(
            (probe.number("creates"), probe.number("destroys")),
            (sessions, sessions),
            "each session is destroyed once"
        );
        let v2_share = match switches {
            ["V2"] => sessions,
            ["V2_INT16"] => sessions / 2,
            _ => 0,
        };
        assert_eq!(probe.number("v2_sessions"), v2_share, "{switches:?}");
        assert_eq!(probe.number("v2_frames"), 5 * v2_share, "{switches:?}");
        assert_eq!(probe.number("v1_frames"), 5 * (sessions - v2_share), "{switches:?}");
    }
}

#[test]
fn a_session_receives_its_options_and_stream_info() {
    let file = probe("create", &[]);
    let (filter, probe) = (load(&file), ProbeFilter::of(&file));
    let stream = StreamIdentity {
        url: "wss://host",
        room_id: "RM_1",
        room_name: "küche",
        participant_identity: "zoë",
        participant_id: "PA_2",
        track_id: "TR_3",
    };
    let options = "{\"anything\": [1, 2]}";
    filter.session(format(48_000, 1), &SessionConfig { options, stream, ..LONG_LIMIT }).unwrap();
    assert_eq!(probe.text("create_options"), options);
    assert_eq!(
        probe.text("create_info"),
        r#"{"url":"wss://host","roomId":"RM_1","roomName":"küche","participantIdentity":"zoë","participantId":"PA_2","trackId":"TR_3"}"#
    );
}

#[test]
fn a_nul_in_a_text_is_refused_without_calling_the_filter() {
    let file = probe("nul", &[]);
    let (filter, probe) = (load(&file), ProbeFilter::of(&file));
    let config = SessionConfig { options: "gain=1\0", ..LONG_LIMIT };
    let refused = filter.session(format(48_000, 1), &config).unwrap_err();
    assert_eq!(refused, FilterError::NulInText { field: "options", at: 6 });
    let stream = StreamIdentity { track_id: "\0", ..StreamIdentity::default() };
    let refused = filter.session(format(48_000, 1), &SessionConfig { stream, ..LONG_LIMIT }).unwrap_err();
    assert_eq!(refused, FilterError::NulInText { field: "trackId", at: 0 });
    assert_eq!(probe.number("creates"), 0);
}

/// Also checks that the sessions of the other channels are destroyed.
#[test]
fn a_null_session_is_reported_with_its_channel() {
    for (refused, switch) in
        ["REFUSED_SESSION=0", "REFUSED_SESSION=1", "REFUSED_SESSION=2"].iter().enumerate()
    {
        let file = probe("null", &[switch, "V2"]);
        let (filter, probe) = (load(&file), ProbeFilter::of(&file));
        let error = filter.session(format(48_000, 3), &LONG_LIMIT).unwrap_err();
        let (in_rate_hz, out_rate_hz) = (48_000, 48_000);
        assert_eq!(error, FilterError::NoSession { file, channel: refused, in_rate_hz, out_rate_hz });
        assert!(error.to_string().contains("made no session for channel"), "{error}");
        assert_eq!((probe.live(), probe.number("destroys")), (0, refused as i64));
        assert!(filter.session(format(48_000, 3), &LONG_LIMIT).is_ok(), "making a processor can be retried");
    }
}

#[test]
fn a_wrong_format_or_length_leaves_the_frame_unchanged() {
    let file = probe("formats", &[]);
    let mut processor = load(&file).session(format(48_000, 2), &LONG_LIMIT).unwrap();
    let mut samples = vec![5; 960];
    let wrong = format(44_100, 2);
    let outcome = processor.process(PcmMut { format: wrong, samples: &mut samples[..882] });
    assert_eq!(outcome, Err(ProcessError::Format { expected: format(48_000, 2), found: wrong }));
    let outcome = processor.process(PcmMut { format: format(48_000, 2), samples: &mut samples[..958] });
    assert_eq!(outcome, Err(ProcessError::Length { expected: 960, found: 958 }));
    assert_eq!(samples, vec![5; 960]);
    assert_eq!(ProbeFilter::of(&file).number("v1_frames"), 0);
}

#[test]
fn floats_have_full_scale_at_one_and_are_clipped() {
    let file = probe("scale", &[]);
    let filter = load(&file);
    let config = SessionConfig { samples: SampleType::Float, options: "gain=2", ..LONG_LIMIT };
    let mut processor = filter.session(format(8_000, 1), &config).unwrap();
    let mut input = vec![0; 80];
    input[..6].copy_from_slice(&[10_000, 20_000, -20_000, i16::MIN, i16::MAX, -16_384]);
    let (output, outcome) = process(&mut processor, &input);
    outcome.unwrap();
    assert_eq!(output[..8], [0, 20_000, i16::MAX, i16::MIN, i16::MIN, i16::MAX, i16::MIN, 0]);
    assert_eq!(processor.control().stats().clipped_samples, 4, "-16384 doubled is exactly full scale");
}

#[test]
fn two_rates_need_version_2_for_the_sample_type() {
    let out_rate = SampleRate::new(48_000).unwrap();
    for (switches, works) in [
        (&["V2"][..], [true, true]),
        (&["V2_INT16"], [true, false]),
        (&["HALF_V2"], [false; 2]),
        (&[], [false; 2]),
    ] {
        let file = probe("rates", switches);
        let filter = load(&file);
        for (samples, works) in TYPES.into_iter().zip(works) {
            let config = SessionConfig { samples, ..LONG_LIMIT };
            match filter.converter(format(16_000, 2), out_rate, &config) {
                Ok(_) => assert!(works, "{switches:?} {samples:?}"),
                Err(error) => {
                    assert!(!works, "{switches:?} {samples:?} {error}");
                    let (in_rate_hz, out_rate_hz) = (16_000, 48_000);
                    let file = file.clone();
                    assert_eq!(error, FilterError::NeedsV2 { file, samples, in_rate_hz, out_rate_hz });
                }
            }
            // Equal rates work with version 1.
            let rate = SampleRate::new(16_000).unwrap();
            assert!(filter.converter(format(16_000, 2), rate, &config).is_ok());
        }
        ProbeFilter::of(&file).assert_no_misuse();
    }
}

#[test]
fn a_converter_returns_the_filters_output_at_the_new_rate() {
    let file = probe("converter", &["V2"]);
    let filter = load(&file);
    for samples in TYPES {
        for (in_hz, out_hz) in [(16_000, 48_000), (48_000, 16_000), (44_100, 48_000), (192_000, 8_000)] {
            for channels in [1, 2, 8] {
                let input = format(in_hz, channels);
                let config = SessionConfig { samples, options: "gain=0.5", ..LONG_LIMIT };
                let mut converter =
                    filter.converter(input, SampleRate::new(out_hz).unwrap(), &config).unwrap();
                let output = converter.output();
                assert_eq!(output, format(out_hz, channels));
                let from = NoiseFrames::new(in_hz).frame(input).iter().map(|s| s / 2 * 2).collect::<Vec<_>>();
                let mut to = vec![9; output.samples()];
                let outcome = converter.convert(
                    PcmRef { format: input, samples: &from },
                    PcmMut { format: output, samples: &mut to },
                );
                assert_eq!(outcome, Ok(()));
                let channels = channels as usize;
                for (i, &sample) in to.iter().enumerate() {
                    let at = (i / channels) * input.sample_frames() / output.sample_frames();
                    assert_eq!(sample, from[at * channels + i % channels] / 2, "{in_hz} to {out_hz}, {i}");
                }
            }
        }
    }
    let probe = ProbeFilter::of(&file);
    probe.assert_no_misuse();
    assert_eq!(probe.live(), 0);
}

/// The unfiltered audio is that of the core's converter, without a gap in the converter's history.
#[test]
fn a_converter_falls_back_to_unfiltered_audio() {
    let file = probe("converter_faults", &["V2"]);
    let filter = load(&file);
    let (input, out_rate) = (format(16_000, 1), SampleRate::new(48_000).unwrap());
    let config =
        SessionConfig { samples: SampleType::Float, options: "fault=nan from=2 count=1", ..LONG_LIMIT };
    let mut converter = filter.converter(input, out_rate, &config).unwrap();
    let mut plain = handsfree_core::dsp::FrameConverter::<480>::new();
    let mut noise = NoiseFrames::new(9);
    for index in 0..20 {
        let mut frame = handsfree_core::Frame::<480>::silence(input).unwrap();
        frame.samples_mut().copy_from_slice(&noise.frame(input));
        let mut expected = handsfree_core::Frame::<480>::silence(converter.output()).unwrap();
        plain.convert(&frame, out_rate, &mut expected);
        let mut to = vec![0; 480];
        let format = converter.output();
        let outcome = converter.convert(frame.pcm(), PcmMut { format, samples: &mut to });
        assert_eq!(outcome.is_err(), index == 2);
        assert_eq!(to == expected.samples(), index >= 2, "frame {index}");
    }
    assert_eq!(converter.control().state(), FilterState::Backoff);
}

#[test]
fn the_example_filter_is_a_gain() {
    let filter = example();
    assert!(filter.has_v2(SampleType::Int16) && filter.has_v2(SampleType::Float));
    for samples in TYPES {
        let config = SessionConfig { samples, options: "gain=0.5", ..LONG_LIMIT };
        let mut processor = filter.session(format(48_000, 2), &config).unwrap();
        let input: Vec<i16> =
            NoiseFrames::new(3).frame(format(48_000, 2)).iter().map(|s| s / 2 * 2).collect();
        let (output, outcome) = process(&mut processor, &input);
        outcome.unwrap();
        assert!(output.iter().zip(&input).all(|(out, input)| *out == input / 2), "{samples:?}");

        let mut converter =
            filter.converter(format(16_000, 1), SampleRate::new(48_000).unwrap(), &config).unwrap();
        let mut to = vec![0; 480];
        for _ in 0..2 {
            let frame = PcmRef { format: format(16_000, 1), samples: &[8_000; 160] };
            let out = PcmMut { format: format(48_000, 1), samples: &mut to };
            converter.convert(frame, out).unwrap();
        }
        assert_eq!(to, [4_000; 480]);
    }
    let config = SessionConfig { options: "gain=loud", ..LONG_LIMIT };
    assert!(matches!(filter.session(format(48_000, 1), &config), Err(FilterError::NoSession { .. })));
}

#[test]
fn a_processor_is_a_switchable_step_of_a_chain() {
    let file = probe("chain", &[]);
    let filter = load_as("chain", &file, &[], &NO_CREDENTIALS).unwrap();
    let format = format(16_000, 1);
    let mut half = filter.session(format, &SessionConfig { options: "gain=0.5", ..LONG_LIMIT }).unwrap();
    let mut double = filter.session(format, &SessionConfig { options: "gain=2", ..LONG_LIMIT }).unwrap();
    let control = half.control();
    let mut steps: [&mut (dyn FrameProcessor + Send); 2] = [&mut half, &mut double];
    let mut chain = Chain::new(&mut steps, &[]).unwrap();
    let mut last = |value| {
        let mut samples = vec![value; 160];
        chain.process(PcmMut { format, samples: &mut samples }).unwrap();
        samples[159]
    };
    assert_eq!(last(1_000), 1_000);
    control.set_enabled(false);
    assert!(!control.enabled());
    assert_eq!(last(1_000), 2_000);
    control.set_enabled(true);
    assert_eq!(last(1_000), 1_000);
    let stats = control.stats();
    assert_eq!((stats.filtered_frames, stats.passed_frames), (2, 0));
    chain.reset();
    assert_eq!(ProbeFilter::of(&file).live(), 2, "a reset, which runs in the worker, makes no sessions");
}
