//! Frames outside of a session: sine tones, and several frames combined into one.

use handsfree_core::dsp::{Sine, SineConfig};
use handsfree_core::{CombineError, ConfigError, Duration, Format, Frame, PcmRef, combine_frames};
use handsfree_sim::noise::Rng;
use handsfree_tests::{RATES_HZ, for_seeds, pick, sample_at};

const CAP: usize = 7_680;

/// Returns all samples of a tone, interleaved, and the lengths of its frames.
fn tone(config: SineConfig) -> (Vec<i16>, Vec<usize>) {
    let mut sine = Sine::<CAP>::new(config).unwrap();
    let mut frame = Frame::silence(config.format).unwrap();
    let (mut samples, mut lengths) = (Vec::new(), Vec::new());
    while sine.next_frame(&mut frame) {
        assert_eq!(frame.format(), config.format);
        assert_eq!(frame.stamp.position, (samples.len() / config.format.channels()) as u64);
        samples.extend_from_slice(frame.samples());
        lengths.push(frame.sample_frames());
    }
    assert_eq!(sine.remaining_sample_frames(), 0);
    assert!(!sine.next_frame(&mut frame), "a tone that ended produced another frame");
    (samples, lengths)
}

fn any_format(rng: &mut Rng) -> Format {
    Format::new(pick(rng, &RATES_HZ), rng.range(1, 9) as u32).unwrap()
}

/// Fits a sine of `cycles` per sample by least squares and returns its amplitude, its phase in cycles, and the power of the
/// residual.
fn fit(samples: &[i16], cycles: f64) -> (f64, f64, f64) {
    let angle = |n: usize| std::f64::consts::TAU * (n as f64 * cycles).fract();
    let (mut ss, mut cc, mut sc, mut xs, mut xc) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (n, &x) in samples.iter().enumerate() {
        let (sin, cos) = angle(n).sin_cos();
        ss += sin * sin;
        cc += cos * cos;
        sc += sin * cos;
        xs += f64::from(x) * sin;
        xc += f64::from(x) * cos;
    }
    let det = ss * cc - sc * sc;
    let (a, b) = ((xs * cc - xc * sc) / det, (xc * ss - xs * sc) / det);
    let rest = |(n, &x): (usize, &i16)| {
        let (sin, cos) = angle(n).sin_cos();
        (f64::from(x) - a * sin - b * cos).powi(2)
    };
    let left = samples.iter().enumerate().map(rest).sum::<f64>() / samples.len() as f64;
    (a.hypot(b), b.atan2(a) / std::f64::consts::TAU, left)
}

fn db(ratio: f64) -> f64 {
    10.0 * ratio.log10()
}

#[test]
fn tone_frames_last_10_ms_and_all_channels_are_equal() {
    for_seeds(100, |rng| {
        let format = any_format(rng);
        let config = SineConfig::new(
            20.0 + rng.uniform() * 3_000.0,
            Duration::from_nanos(rng.range(200_000, 300_000_000) as i64),
            format,
        );
        let (samples, lengths) = tone(config);
        let expected = config.duration.as_nanos() as f64 * 1e-9 * f64::from(format.rate_hz());
        assert!((samples.len() as f64 / format.channels() as f64 - expected).abs() <= 0.5 + 1e-6);
        let (last, whole) = lengths.split_last().unwrap();
        assert!(whole.iter().all(|&length| length == format.sample_frames()));
        assert!((1..=format.sample_frames()).contains(last));
        for channels in samples.chunks(format.channels()) {
            assert!(channels.iter().all(|&sample| sample == channels[0]));
        }
    });
}

#[test]
fn a_tone_has_the_requested_frequency_amplitude_and_phase() {
    for_seeds(60, |rng| {
        let rate_hz = pick(rng, &RATES_HZ);
        let format = Format::new(rate_hz, 1).unwrap();
        let frequency_hz = 20.0 + rng.uniform() * (f64::from(rate_hz) / 2.0 - 120.0);
        let amplitude = 0.1 + 0.9 * rng.uniform() as f32;
        let (samples, _) = tone(SineConfig {
            amplitude,
            ..SineConfig::new(frequency_hz, Duration::from_millis(2_000), format)
        });
        let cycles = frequency_hz / f64::from(rate_hz);
        let (found, phase, _) = fit(&samples, cycles);
        assert!((found / (f64::from(amplitude) * 32_767.0) - 1.0).abs() < 1e-4, "{found} for {amplitude}");
        assert!(phase.abs() < 1e-4, "starts at {phase} cycles");
        // The frequency is measured by the phase difference of two windows.
        let window = rate_hz as usize / 2;
        let (_, first, _) = fit(&samples[..window], cycles);
        let (_, second, _) = fit(&samples[3 * window..], cycles);
        let expected = (3.0 * window as f64 * cycles).fract();
        let moved = second - first - expected;
        let off_hz = (moved - moved.round()) / 1.5;
        assert!(off_hz.abs() < 1e-4, "{off_hz} Hz off {frequency_hz} Hz");
    });
}

#[test]
fn a_tone_is_as_pure_as_16_bits_allow() {
    // The noise of rounding to 16 bits has a power of 1/12 of a squared step: 98.1 dB below a sine at full scale.
    for (rate_hz, frequency_hz) in
        [(48_000, 440.123), (48_000, 19_937.7), (44_100, 997.0), (8_000, 3_217.77), (192_000, 50.3)]
    {
        for amplitude in [1.0f32, 0.3, 0.01] {
            let format = Format::new(rate_hz, 1).unwrap();
            let config = SineConfig {
                amplitude,
                ..SineConfig::new(frequency_hz, Duration::from_millis(3_000), format)
            };
            let (samples, _) = tone(config);
            let (found, _, left) = fit(&samples, frequency_hz / f64::from(rate_hz));
            let snr_db = db(found * found / 2.0 / left);
            let limit_db = db(found * found / 2.0 * 12.0);
            assert!(
                snr_db > limit_db - 0.2,
                "{frequency_hz} Hz at {amplitude}: {snr_db} dB, limit {limit_db} dB"
            );
        }
    }
}

#[test]
fn a_tone_at_full_scale_fits_16_bits_and_at_zero_is_silent() {
    let format = Format::new(48_000, 1).unwrap();
    let config =
        SineConfig { amplitude: 1.0, ..SineConfig::new(12_000.0, Duration::from_millis(10), format) };
    assert_eq!(tone(config).0[..5], [0, 32_767, 0, -32_767, 0]);
    assert!(tone(SineConfig { amplitude: 0.0, ..config }).0.iter().all(|&sample| sample == 0));
}

#[test]
fn a_tone_keeps_its_phase_for_an_hour() {
    let format = Format::new(8_000, 1).unwrap();
    let frequency_hz = 1_234.567_8;
    let hour = Duration::from_millis(3_600_000);
    let mut sine =
        Sine::<80>::new(SineConfig { amplitude: 1.0, ..SineConfig::new(frequency_hz, hour, format) })
            .unwrap();
    let mut frame = Frame::silence(format).unwrap();
    let mut last = Vec::new();
    while sine.next_frame(&mut frame) {
        if sine.remaining_sample_frames() < 8_000 {
            last.extend_from_slice(frame.samples());
        }
    }
    let cycles = frequency_hz / 8_000.0;
    let start = 3_600 * 8_000 - last.len();
    let (_, phase, _) = fit(&last, cycles);
    // In integers, since 28.8 million cycles would multiply the rounding error of a double.
    let whole = start as u64 * 12_345_678 % 80_000_000;
    let off = phase - whole as f64 / 80_000_000.0;
    assert!((off - off.round()).abs() < 1e-5, "{off} cycles");
}

#[test]
fn an_impossible_tone_is_refused_by_value() {
    let format = Format::new(16_000, 2).unwrap();
    let config = SineConfig::new(440.0, Duration::from_millis(10), format);
    let text = |config| Sine::<CAP>::new(config).unwrap_err().to_string();
    assert_eq!(
        text(SineConfig { frequency_hz: 8_000.0, ..config }),
        "a tone of 8000 Hz: expected above 0 and below 8000 Hz, half the rate"
    );
    assert_eq!(
        text(SineConfig { duration: Duration::from_millis(-1), ..config }),
        "a tone of -1000 us: expected at least one sample frame"
    );
    assert_eq!(
        text(SineConfig { amplitude: 1.5, ..config }),
        "a tone of amplitude 1.5: expected 0 to 1, which is full scale"
    );
    assert_eq!(Format::new(7_999, 1), Err(ConfigError::RateOutOfRange { rate_hz: 7_999 }));
    assert_eq!(
        Sine::<160>::new(config).map(|_| ()),
        Err(ConfigError::FrameTooLarge { samples: 320, capacity: 160 })
    );
}

#[test]
fn combined_frames_are_their_samples_in_order() {
    for_seeds(100, |rng| {
        let format = any_format(rng);
        let pieces: Vec<Vec<i16>> = (0..rng.range(1, 12))
            .scan(0, |position, _| {
                let count = rng.range(0, 1_000) as usize * format.channels();
                let piece = (*position..*position + count).map(|n| sample_at(n as u64, 0)).collect();
                *position += count;
                Some(piece)
            })
            .collect();
        let whole = pieces.concat();
        let frames = pieces.iter().map(|samples| PcmRef { format, samples });
        let spare = rng.range(0, 3) as usize;
        let mut buffer = vec![0x5A5A; whole.len() + spare];
        let combined = combine_frames(frames.clone(), &mut buffer).unwrap();
        assert_eq!(combined.format, format);
        assert_eq!(combined.samples, whole);
        assert!(
            buffer[whole.len()..].iter().all(|&sample| sample == 0x5A5A),
            "samples beyond the result were overwritten"
        );
        if !whole.is_empty() {
            let mut small = vec![0; rng.range(0, whole.len() as u64) as usize];
            let capacity = small.len();
            let error = combine_frames(frames, &mut small).unwrap_err();
            assert_eq!(error, CombineError::Buffer { needed: whole.len(), capacity });
        }
    });
}

#[test]
fn frames_of_different_formats_are_refused_by_both_values() {
    let silence = |hz, channels| Frame::<CAP>::silence(Format::new(hz, channels).unwrap()).unwrap();
    let (wide, narrow, stereo) = (silence(48_000, 1), silence(16_000, 1), silence(48_000, 2));
    let mut buffer = [0; 4_000];
    let mut refused = |frames: &[&Frame<CAP>]| {
        let frames = frames.iter().map(|frame| frame.pcm());
        combine_frames(frames, &mut buffer).unwrap_err()
    };
    assert_eq!(refused(&[]), CombineError::Nothing);
    assert_eq!(refused(&[&wide, &wide, &narrow]), CombineError::Rates { first_hz: 48_000, other_hz: 16_000 });
    assert_eq!(refused(&[&stereo, &wide]), CombineError::Channels { first: 2, other: 1 });
    assert_eq!(refused(&[&wide, &narrow]).to_string(), "frames of 48000 Hz and 16000 Hz: expected one rate");
    // A difference of formats is reported before a lack of space.
    let mut none = [0; 0];
    assert!(matches!(combine_frames([wide.pcm(), narrow.pcm()], &mut none), Err(CombineError::Rates { .. })));
    assert!(combine_frames([PcmRef { format: wide.format(), samples: &[] }], &mut none).is_ok());
}
