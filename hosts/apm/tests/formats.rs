//! Formats that the processor accepts, errors for other formats, and signals that it leaves unchanged.
#![allow(missing_docs)]

mod support;

use handsfree_apm::{ApmConfig, ApmError, ApmProcessor, EchoCancellation, RATES_HZ};
use handsfree_core::audio_io::Direction;
use handsfree_core::capture::{ProcessError, VoiceProcessor};
use handsfree_core::{Duration, PcmMut, PcmRef};
use support::{BurstNoise, format, process};

fn noise_of(samples: usize, seed: u64) -> Vec<i16> {
    let mut noise = BurstNoise::new(seed);
    (0..samples).map(|_| (noise.uniform() * 32_767.0) as i16).collect()
}

#[test]
fn unsupported_rates_and_channels_are_refused_by_value() {
    let good = format(48_000, 2);
    let create = |near, far| ApmProcessor::new(near, far, ApmConfig::default()).map(drop);
    for rate_hz in [11_000, 12_000, 22_100, 88_200, 96_000, 192_000] {
        let error = ApmError::Rate { direction: Direction::Capture, rate_hz };
        assert_eq!(create(format(rate_hz, 1), good), Err(error));
        let error = ApmError::Rate { direction: Direction::Playback, rate_hz };
        assert_eq!(create(good, format(rate_hz, 1)), Err(error));
    }
    let error = ApmError::Channels { direction: Direction::Capture, channels: 3 };
    assert_eq!(create(format(48_000, 3), good), Err(error));
    let error = ApmError::Channels { direction: Direction::Playback, channels: 8 };
    assert_eq!(create(good, format(48_000, 8)), Err(error));
}

#[test]
fn a_frame_of_another_format_is_refused_and_unchanged() {
    let (near, far, other) = (format(16_000, 1), format(48_000, 2), format(48_000, 1));
    let mut apm = ApmProcessor::new(near, far, ApmConfig::default()).unwrap();
    let mut samples = noise_of(480, 3);
    let before = samples.clone();

    let reverse = apm.process_reverse(PcmRef { format: other, samples: &samples });
    assert_eq!(reverse, Err(ProcessError::Format { expected: far, found: other }));
    let capture = apm.process_capture(PcmMut { format: other, samples: &mut samples }, Duration::ZERO);
    assert_eq!(capture, Err(ProcessError::Format { expected: near, found: other }));
    let short = apm.process_capture(PcmMut { format: near, samples: &mut samples[..159] }, Duration::ZERO);
    assert_eq!(short, Err(ProcessError::Length { expected: 160, found: 159 }));
    let long = apm.process_reverse(PcmRef { format: far, samples: &samples });
    assert_eq!(long, Err(ProcessError::Length { expected: 960, found: 480 }));
    let none = apm.process_capture(PcmMut { format: near, samples: &mut [] }, Duration::ZERO);
    assert_eq!(none, Err(ProcessError::Length { expected: 160, found: 0 }));
    assert_eq!(samples, before);

    let capture = apm.process_capture(PcmMut { format: near, samples: &mut samples[..160] }, Duration::ZERO);
    assert_eq!(capture, Ok(()));
}

#[test]
fn bypass_is_bit_exact_in_every_format() {
    for rate_hz in RATES_HZ {
        for channels in [1, 2] {
            let of = format(rate_hz, channels);
            let mut apm = ApmProcessor::new(of, of, ApmConfig::BYPASS).unwrap();
            for seed in 1..20 {
                let input = noise_of(of.samples(), seed);
                let mut output = input.clone();
                process(&mut apm, &input, &mut output).unwrap();
                assert_eq!(output, input, "{rate_hz} Hz, {channels} channels");
            }
        }
    }
}

#[test]
fn silence_stays_silence_with_any_canceller() {
    for rate_hz in RATES_HZ {
        for echo_cancellation in [EchoCancellation::Off, EchoCancellation::Full, EchoCancellation::Mobile] {
            let config = ApmConfig { echo_cancellation, ..ApmConfig::default() };
            let of = format(rate_hz, 1);
            let mut apm = ApmProcessor::new(of, of, config).unwrap();
            let loudest = (0..300)
                .map(|_| {
                    let mut near = vec![0; of.samples()];
                    process(&mut apm, &vec![0; of.samples()], &mut near).unwrap();
                    near.iter().map(|s| s.unsigned_abs()).max()
                })
                .max()
                .flatten();
            assert_eq!(loudest, Some(0), "{rate_hz} Hz, {echo_cancellation:?}");
        }
    }
}
