//! Tests the quality, latency and independence of channels of the frame converter.

use super::*;

const CAP: usize = 3_840;
const AMPLITUDE: f64 = 20_000.0;

/// Pairs of rates of common devices and sessions, including the largest ratio.
const PAIRS: [(u32, u32); 9] = [
    (48_000, 16_000),
    (16_000, 48_000),
    (44_100, 48_000),
    (48_000, 44_100),
    (16_000, 44_100),
    (192_000, 44_100),
    (96_000, 8_000),
    (8_000, 192_000),
    (192_000, 8_000),
];

fn rate(hz: u32) -> SampleRate {
    SampleRate::new(hz).unwrap()
}

fn sine(hz: f64) -> impl Fn(f64) -> f64 {
    move |time_s| AMPLITUDE * (core::f64::consts::TAU * hz * time_s).sin()
}

/// Returns a random pair of different rates with whole samples in 10 ms.
fn any_pair(random: &mut u64) -> (u32, u32) {
    let mut any = || {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        80 + ((*random >> 33) % 1_841) as u32
    };
    let (from, to) = (any(), any());
    (from * 100, if from == to { (to ^ 1).max(80) } else { to } * 100)
}

/// Converts `frames` mono frames of a wave and returns the output.
fn through(
    converter: &mut FrameConverter<CAP>,
    from_hz: u32,
    to_hz: u32,
    frames: usize,
    wave: impl Fn(f64) -> f64,
) -> Vec<i16> {
    let from = Format::new(from_hz, 1).unwrap();
    let (mut input, mut output) = (Frame::<CAP>::EMPTY, Frame::<CAP>::EMPTY);
    let mut all = Vec::new();
    for frame in 0..frames {
        input.begin(from);
        for (i, s) in input.extend(usize::MAX).iter_mut().enumerate() {
            *s = wave((frame * from.sample_frames() + i) as f64 / f64::from(from_hz)).round() as i16;
        }
        converter.convert(&input, rate(to_hz), &mut output);
        assert_eq!(output.format(), Format::new(to_hz, 1).unwrap());
        assert_eq!(output.sample_frames(), rate(to_hz).sample_frames());
        all.extend_from_slice(output.samples());
    }
    all
}

/// Returns the signal-to-noise ratio of a converted sine in dB, against the ideal sine delayed by the stated
/// latency, from the third frame on.
fn sine_snr_db(from_hz: u32, to_hz: u32, tone_hz: f64) -> f64 {
    let wave = sine(tone_hz);
    let output = through(&mut FrameConverter::new(), from_hz, to_hz, 30, &wave);
    let latency = FrameConverter::<CAP>::latency_sample_frames(rate(from_hz), rate(to_hz));
    let (mut signal, mut noise) = (0.0, 0.0);
    for (m, &sample) in output.iter().enumerate().skip(2 * rate(to_hz).sample_frames()) {
        let ideal = wave((m as f64 - latency as f64) / f64::from(to_hz));
        signal += ideal * ideal;
        noise += (ideal - f64::from(sample)).powi(2);
    }
    10.0 * (signal / noise).log10()
}

#[test]
fn sines_in_the_pass_band_have_the_stated_latency() {
    let mut random = 1;
    for (from, to) in PAIRS.into_iter().chain((0..40).map(|_| any_pair(&mut random))) {
        let band = f64::from(from.min(to)) / 2.0;
        for part in [0.05, 0.3, 0.6, 0.8, 0.82] {
            let snr = sine_snr_db(from, to, part * band * 1.000_123);
            assert!(snr > 85.0, "{from} -> {to} at {part} of the band: {snr:.1} dB");
        }
    }
}

#[test]
fn tones_above_the_lower_band_are_rejected() {
    let mut random = 2;
    for (a, b) in PAIRS.into_iter().chain((0..40).map(|_| any_pair(&mut random))) {
        let (from, to) = (a.max(b), a.min(b));
        for (part, least) in [(1.0, 60.0), (1.01, 85.0), (1.25, 85.0), (2.0, 85.0), (5.5, 85.0)] {
            let tone_hz = part * f64::from(to) / 2.0 * 1.000_123;
            if tone_hz > f64::from(from) / 2.0 {
                continue;
            }
            let output = through(&mut FrameConverter::new(), from, to, 30, sine(tone_hz));
            let heard = &output[2 * rate(to).sample_frames()..];
            let power = heard.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / heard.len() as f64;
            let rejection = 10.0 * (AMPLITUDE * AMPLITUDE / 2.0 / (power + 1e-9)).log10();
            assert!(rejection > least, "{from} -> {to}, a tone at {part} of the band: {rejection:.1} dB");
        }
    }
}

#[test]
fn the_latency_is_whole_and_at_most_32_samples() {
    let mut random = 3;
    for (from, to) in PAIRS.into_iter().chain((0..1_000).map(|_| any_pair(&mut random))) {
        let samples = FrameConverter::<CAP>::latency_sample_frames(rate(from), rate(to));
        let latency = FrameConverter::<CAP>::latency(rate(from), rate(to));
        assert_eq!(latency, Duration::of_sample_frames(samples as u64, rate(to)));
        let at_the_lower_rate = samples as f64 * f64::from(from.min(to)) / f64::from(to);
        assert!((31.0..=32.0).contains(&at_the_lower_rate), "{from} -> {to}: {at_the_lower_rate}");
    }
}

#[test]
fn a_reset_or_another_rate_starts_from_silence() {
    for (from, to) in PAIRS {
        let wave = sine(1_000.0);
        let fresh = through(&mut FrameConverter::new(), from, to, 3, &wave);
        let mut used = FrameConverter::new();
        through(&mut used, from, to, 3, sine(700.0));
        let unlike = through(&mut used, from, to, 3, &wave);
        assert_ne!(unlike, fresh, "the converter forgot the frame before");
        used.reset();
        assert_eq!(through(&mut used, from, to, 3, &wave), fresh);
        through(&mut used, from, if to == 24_000 { 32_000 } else { 24_000 }, 2, &wave);
        assert_eq!(through(&mut used, from, to, 3, &wave), fresh);
        through(&mut used, to, to, 1, &wave);
        assert_eq!(through(&mut used, from, to, 3, &wave), fresh);
    }
}

#[test]
fn converted_channels_are_independent() {
    for (from, to) in [(8_000, 11_100), (24_000, 16_000), (44_100, 48_000), (48_000, 44_100)] {
        for channels in [2, 5, 8] {
            let format = Format::new(from, channels).unwrap();
            let channels = channels as usize;
            let (mut input, mut output) = (Frame::<CAP>::EMPTY, Frame::<CAP>::EMPTY);
            let mut converter = FrameConverter::<CAP>::new();
            let waves: Vec<_> = (1..=channels).map(|n| sine(300.0 * n as f64)).collect();
            let mut together = vec![Vec::new(); channels];
            for frame in 0..4 {
                input.begin(format);
                for (i, s) in input.extend(usize::MAX).iter_mut().enumerate() {
                    let at = frame * format.sample_frames() + i / channels;
                    *s = waves[i % channels](at as f64 / f64::from(from)).round() as i16;
                }
                converter.convert(&input, rate(to), &mut output);
                for (i, &s) in output.samples().iter().enumerate() {
                    together[i % channels].push(s);
                }
            }
            for (wave, heard) in waves.iter().zip(together) {
                assert_eq!(through(&mut FrameConverter::new(), from, to, 4, wave), heard);
            }
        }
    }
}

#[test]
fn equal_rates_copy_the_frame() {
    let noise = |time_s: f64| ((time_s * 48_000.0) * 7_919.0) % 60_000.0 - 30_000.0;
    let output = through(&mut FrameConverter::new(), 48_000, 48_000, 2, noise);
    for (i, &sample) in output.iter().enumerate() {
        assert_eq!(sample, noise(i as f64 / 48_000.0).round() as i16);
    }
    assert_eq!(FrameConverter::<CAP>::latency(rate(48_000), rate(48_000)), Duration::ZERO);
}

#[test]
fn its_state_is_one_frame() {
    let more = size_of::<FrameConverter<160>>() - size_of::<Frame<160>>();
    assert!(more <= size_of::<u64>(), "{more} bytes more");
}
