//! Tests that every sample comes out once, with the same bits however a stream is cut, with exact lengths and
//! no clicks.

use super::*;

/// A random generator. A failing property prints its seed.
struct StreamRandom(u64);

impl StreamRandom {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) * limit) >> 31
    }

    fn rate_hz(&mut self) -> u32 {
        const COMMON_HZ: [u32; 8] = [4_000, 8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 192_000];
        match self.below(3) {
            0 => 4_000 + self.below(188_001) as u32,
            _ => COMMON_HZ[self.below(8) as usize],
        }
    }

    fn config(&mut self) -> ResamplerConfig {
        ResamplerConfig {
            from_hz: self.rate_hz(),
            to_hz: self.rate_hz(),
            channels: 1 + self.below(8) as u32,
            quality: Quality::ALL[self.below(5) as usize],
            steerable: self.below(2) == 0,
        }
    }

    fn noise(&mut self, length: usize) -> Vec<f32> {
        (0..length).map(|_| self.below(1 << 24) as f32 / 8_388_608.0 - 1.0).collect()
    }
}

/// Prints how to repeat a failing case.
struct FailedCase(u64, ResamplerConfig);

impl Drop for FailedCase {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::eprintln!(
                "repeat this case alone with HANDSFREE_SEED={}: {:?}",
                self.0,
                ShownConfig(self.1)
            );
        }
    }
}

struct ShownConfig(ResamplerConfig);

impl std::fmt::Debug for ShownConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ResamplerConfig { from_hz, to_hz, channels, quality, steerable } = self.0;
        write!(f, "{from_hz} -> {to_hz}, {channels} channels, {}, steerable {steerable}", quality.name())
    }
}

fn for_seeds(cases: u64, property: impl Fn(&mut StreamRandom, ResamplerConfig)) {
    let only = std::env::var("HANDSFREE_SEED").ok().map(|text| text.parse().expect("a whole number"));
    for seed in only.map_or(1..=cases, |seed| seed..=seed) {
        let mut random = StreamRandom(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let config = random.config();
        let _replay = FailedCase(seed, config);
        property(&mut random, config);
    }
}

/// Converts all of `input` with one push.
fn converted_at_once(config: ResamplerConfig, input: &[f32]) -> Vec<f32> {
    let free = (input.len() + 512) * 49;
    all_of(&mut configured::<125_000>(config), input, || (input.len(), free))
}

/// Returns the number of sample frames for a case: enough to fill the widest kernel, fewer where the ratio
/// multiplies them.
fn length(config: ResamplerConfig) -> usize {
    let (from, to) = (config.from_hz as usize, config.to_hz as usize);
    300 * from.div_ceil(to) + 40_000 / (to.div_ceil(from) * config.channels as usize)
}

fn bits(samples: &[f32]) -> Vec<u32> {
    samples.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn any_cut_gives_the_same_bits_and_the_exact_length() {
    for_seeds(60, |random, config| {
        let channels = config.channels as usize;
        let frames = random.below(length(config) as u64) as usize;
        let input = random.noise(frames * channels);
        let expected = converted_at_once(config, &input);
        let exact = (frames as u64 * u64::from(config.to_hz)).div_ceil(u64::from(config.from_hz)) as usize;
        assert_eq!(expected.len(), exact * channels);
        let mut resampler = configured::<125_000>(config);
        // Twice, because a flush leaves it as new.
        for _ in 0..2 {
            let cut = all_of(&mut resampler, &input, || {
                // Neither length is a whole number of sample frames.
                let most = if random.below(4) == 0 { 5_000 } else { 40 };
                (channels + random.below(most) as usize, channels + random.below(most) as usize)
            });
            assert!(bits(&cut) == bits(&expected), "the output depends on the lengths of the pushes");
        }
    });
}

#[test]
fn channels_are_independent() {
    for_seeds(20, |random, config| {
        let channels = config.channels as usize;
        let input = random.noise(length(config) / 4 * channels);
        let together = converted_at_once(config, &input);
        for channel in 0..channels {
            let alone: Vec<f32> = input.iter().copied().skip(channel).step_by(channels).collect();
            let alone = converted_at_once(ResamplerConfig { channels: 1, ..config }, &alone);
            let within: Vec<f32> = together.iter().copied().skip(channel).step_by(channels).collect();
            assert!(bits(&alone) == bits(&within), "channel {channel}");
        }
    });
}

#[test]
fn prepared_rows_give_identical_bits() {
    let mut random = StreamRandom(7);
    for (from_hz, to_hz) in [(44_100, 48_000), (48_000, 44_100), (44_100, 16_000), (16_000, 22_050)] {
        let config = mono(from_hz, to_hz, Quality::LOW);
        assert!(Quality::LOW.fast_memory(from_hz, to_hz, 1) > 300);
        let input = random.noise(5_000);
        let mut small = configured::<{ Quality::LOW.memory(48_000, 16_000, 1) }>(config);
        assert!(
            bits(&all_of(&mut small, &input, || (5_000, 9_000))) == bits(&converted_at_once(config, &input))
        );
    }
}

#[test]
fn equal_rates_copy_without_latency() {
    let mut random = StreamRandom(8);
    let input = random.noise(1_000);
    let config = ResamplerConfig { channels: 2, ..mono(44_100, 44_100, Quality::QUICK) };
    let mut resampler = configured::<0>(config);
    let mut output = vec![0.0; 600];
    let progress = resampler.push(&input, &mut output);
    assert_eq!(progress, Progress { consumed: 600, produced: 600 });
    assert_eq!(output, input[..600]);
    assert_eq!((resampler.latency_sample_frames(), resampler.steer(100.0)), (0.0, 0.0));
    assert_eq!(resampler.flush(&mut output), 0);
}

#[test]
fn sixteen_bits_are_rounded_and_clipping_is_counted() {
    for (from_hz, to_hz) in [(16_000, 48_000), (48_000, 16_000), (44_100, 48_000)] {
        let mut random = StreamRandom(u64::from(from_hz));
        // Full-scale square waves overshoot at any band limit.
        let square: Vec<i16> =
            (0..6_000).map(|n| if n / 50 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
        let noise: Vec<i16> = (0..6_000).map(|_| (random.below(20_000) as i32 - 10_000) as i16).collect();
        for (input, clips) in [(square, true), (noise, false)] {
            let config = mono(from_hz, to_hz, Quality::MEDIUM);
            let mut resampler = configured::<20_000>(config);
            let output = all_of(&mut resampler, &input, || (500, 2_000));
            let exact = converted_at_once(config, &input.iter().map(|&x| f32::from(x)).collect::<Vec<_>>());
            let mut clipped = 0;
            for (&sample, exact) in output.iter().zip(exact) {
                let rounded = exact.round();
                clipped += u32::from(!(-32_768.0..=32_767.0).contains(&rounded));
                assert_eq!(f32::from(sample), rounded.clamp(-32_768.0, 32_767.0));
            }
            assert_eq!(resampler.clipped(), clipped);
            assert_eq!(clipped > 0, clips);
        }
    }
}

#[test]
fn an_impossible_configuration_is_refused_by_value() {
    let mut resampler = Resampler::<{ Quality::LOW.memory(48_000, 16_000, 2) }>::new();
    let config = ResamplerConfig { channels: 2, ..mono(48_000, 16_000, Quality::LOW) };
    assert_eq!(resampler.push(&[1i16; 4], &mut [0; 4]), Progress::default());
    assert_eq!(resampler.flush(&mut [0i16; 4]), 0);
    for rate_hz in [0, 3_999, 192_001, u32::MAX] {
        let refused = Err(ConfigError::ResamplerRate { rate_hz });
        assert_eq!(resampler.configure(ResamplerConfig { from_hz: rate_hz, ..config }), refused);
        assert_eq!(resampler.configure(ResamplerConfig { to_hz: rate_hz, ..config }), refused);
    }
    for channels in [0, 9] {
        let refused = Err(ConfigError::Channels { channels });
        assert_eq!(resampler.configure(ResamplerConfig { channels, ..config }), refused);
    }
    let refused = Err(ConfigError::ResamplerMemory { needed: 672, capacity: 336 });
    assert_eq!(resampler.configure(ResamplerConfig { quality: Quality::MEDIUM, ..config }), refused);
    assert_eq!(resampler.configure(config), Ok(()));
    assert_eq!(resampler.push(&[0i16; 3], &mut [0; 1]), Progress { consumed: 2, produced: 0 });
}

/// Converts a sine while the steering changes at random every 100 samples. Checks the exact length and
/// returns the signal-to-noise ratio against the sine at the positions that result from the steering, in dB.
fn steered_snr_db(from_hz: u32, to_hz: u32, random: &mut StreamRandom) -> f64 {
    let config = ResamplerConfig { steerable: true, ..mono(from_hz, to_hz, Quality::HIGH) };
    let mut resampler = configured::<125_000>(config);
    let turns = 0.3 * 0.5 * f64::from(from_hz.min(to_hz)) / f64::from(from_hz);
    let wave = |time: f64| (core::f64::consts::TAU * (turns * time).fract()).sin();
    let input: Vec<f32> = (0..60_000).map(|n| wave(f64::from(n)) as f32).collect();
    let ratio = f64::from(from_hz) / f64::from(to_hz);
    let (mut converted, mut times, mut time, mut at) = (Vec::new(), Vec::new(), 0.0, 0);
    // To a lower rate, steering acts from one input to the next; to a higher rate, from output to output.
    let (push, free) = if from_hz > to_hz { (100, 1_000) } else { (1_000, 100) };
    let (mut reached, mut next) = (0.0, 0.0);
    while at < input.len() {
        let ppm = resampler.steer(random.below(1_000_001) as f64 / 1_000.0 - 500.0);
        let step = ratio * (1.0 + ppm * 1e-6);
        let mut output = vec![0.0; free];
        let progress = resampler.push(&input[at..input.len().min(at + push)], &mut output);
        converted.extend_from_slice(&output[..progress.produced]);
        if from_hz > to_hz {
            for _ in 0..progress.consumed {
                while reached + 1.0 / step > next {
                    times.push(time + (next - reached) * step);
                    next += 1.0;
                }
                reached += 1.0 / step;
                time += 1.0;
            }
        } else {
            for _ in 0..progress.produced {
                times.push(time);
                time += step;
            }
        }
        at += progress.consumed;
        let next_position = at as f64 - resampler.backlog_sample_frames();
        let known = times.get(converted.len()).copied().unwrap_or(time);
        // To a lower rate, the backlog assumes the present steering over the latency.
        let slack = if from_hz > to_hz { 1e-3 * resampler.latency_sample_frames() } else { 1e-6 };
        assert!((next_position - known).abs() < slack, "next at {next_position}, not {known}");
    }
    let step = ratio * (1.0 + resampler.steer(f64::NAN) * 1e-6);
    let mut output = vec![0.0; 5_000];
    let produced = resampler.flush(&mut output);
    converted.extend_from_slice(&output[..produced]);
    while from_hz <= to_hz && time < input.len() as f64 {
        times.push(time);
        time += step;
    }
    assert_eq!(converted.len(), times.len());
    let inside = 500..converted.len() - 500;
    let noise: f64 = inside.clone().map(|m| (f64::from(converted[m]) - wave(times[m])).powi(2)).sum();
    10.0 * (0.5 * inside.len() as f64 / noise).log10()
}

#[test]
fn steering_is_continuous_and_exact_in_sum() {
    for seed in 1..=3 {
        for (from_hz, to_hz, bound) in [
            (44_100, 48_000, 110.0),
            (48_000, 48_000, 110.0),
            (16_000, 48_000, 110.0),
            (48_000, 44_100, 80.0),
            (48_000, 16_000, 80.0),
            (48_001, 48_000, 80.0),
        ] {
            let snr = steered_snr_db(from_hz, to_hz, &mut StreamRandom(seed));
            println!("seed {seed}: {from_hz} -> {to_hz}, steered every 100 samples: {snr:.1} dB");
            assert!(snr > bound, "seed {seed}: {from_hz} -> {to_hz}: {snr:.1} dB");
        }
    }
}

#[test]
fn steering_is_limited_and_ignores_a_nan() {
    for (from_hz, to_hz) in [(48_000, 44_100), (44_100, 48_000)] {
        let mut resampler = configured::<125_000>(mono(from_hz, to_hz, Quality::LOW));
        let near = |a: f64, b: f64| (a - b).abs() < 1e-5;
        assert!(near(resampler.steer(-123.456), -123.456));
        assert!(near(resampler.steer(f64::NAN), -123.456));
        assert!(near(resampler.steer(f64::INFINITY), MAX_STEER_PPM));
        assert!(near(resampler.steer(-1e9), -MAX_STEER_PPM));
        assert_eq!(resampler.steer(0.0), 0.0);
    }
}
