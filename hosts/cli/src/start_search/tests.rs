//! Control side: tests of the search with generated recordings.

use handsfree_core::SampleRate;
use handsfree_sim::convolver::Convolver;
use handsfree_sim::interpolate::Interpolator;
use handsfree_sim::noise::{Colour, Noise, Rng};
use handsfree_sim::wav::Clip;

use super::*;

const RATE_HZ: u32 = 16_000;

/// Returns the echo of a recording in a living room with noise, `lag_s` later at the start and with a microphone whose clock is
/// fast by `mic_ppm`.
fn echo_of(far: &[f32], seed: u64, seconds: f64, lag_s: f64, mic_ppm: f64) -> Vec<f32> {
    let rate = SampleRate::new(RATE_HZ).unwrap();
    let response = handsfree::sim::LivingRoom::new(seed).loudspeaker_response(rate).unwrap();
    let mut echo = vec![0.0; far.len()];
    Convolver::new(&response).process(far, &mut echo);
    let mut mic = vec![0.0; (seconds * f64::from(RATE_HZ)) as usize];
    let start = -lag_s * f64::from(RATE_HZ);
    let position = (start.floor() as i64, start - start.floor());
    Interpolator::new(1.0).read_run(&echo, position, 1.0 - mic_ppm * 1e-6, &mut mic);
    Noise::new(Rng::for_stream(seed, "noise"), Colour::Pink, -65.0).add_to(&mut mic);
    mic
}

/// Returns speech: both shipped voices in turn, from a place that depends on the seed.
fn speech(seed: u64, seconds: f64) -> Vec<f32> {
    let clip: Vec<f32> =
        [Clip::far(), Clip::near()].iter().flat_map(|clip| clip.to_mono_at(RATE_HZ)).collect();
    let from = Rng::for_stream(seed, "speech").range(0, clip.len() as u64) as usize;
    clip.iter().copied().cycle().skip(from).take((seconds * f64::from(RATE_HZ)) as usize).collect()
}

fn noise(seed: u64, seconds: f64) -> Vec<f32> {
    let mut noise = Noise::new(Rng::for_stream(seed, "far"), Colour::Pink, -25.0);
    (0..(seconds * f64::from(RATE_HZ)) as usize).map(|_| noise.next_sample()).collect()
}

fn search(far: &[f32], mic: &[f32], rate_hz: u32, given_ppm: Option<f64>) -> SearchResult {
    super::search(&far.to_vec(), &mic.to_vec(), rate_hz, given_ppm).unwrap()
}

fn found(result: SearchResult, context: &str) -> EchoLine {
    match result {
        SearchResult::Found(line) => line,
        other => panic!("{context}: {other:?}"),
    }
}

#[test]
fn any_start_offset_and_clock_rate_is_found() {
    for seed in 1..=12 {
        let mut rng = Rng::new(seed);
        let seconds = 12.0 + rng.uniform() * 16.0;
        let lag_s = (rng.uniform() * 2.0 - 1.0) * 9.9;
        let mic_ppm = [0.0, 60.0, -250.0, 1_234.0, -6_000.0, 19_500.0][seed as usize % 6];
        let context = format!("seed {seed}, {seconds:.1} s, lag {lag_s:.3} s, {mic_ppm} ppm");
        println!("{context}");
        // The far end reaches beyond the microphone recording on both sides.
        let far = if seed % 3 == 0 { noise(seed, seconds + 12.0) } else { speech(seed, seconds + 12.0) };
        let mic = echo_of(&far, seed, seconds, lag_s, mic_ppm);
        let line = found(search(&far, &mic, RATE_HZ, None), &context);
        println!("   {line:?}");
        for at_s in [0.0, seconds] {
            let error_s = line.lag_at(at_s) - (lag_s + mic_ppm * 1e-6 * at_s);
            // The loudspeaker is 0.3 to 1 m away; a reflection may be stronger than the direct sound.
            assert!(
                (-0.000_5..0.012).contains(&error_s),
                "{context}: wrong by {error_s} s at {at_s} s: {line:?}"
            );
        }
        assert!((line.mic_ppm - mic_ppm).abs() < 15.0, "{context}: {line:?}");
        if mic_ppm == 0.0 {
            assert_eq!(line.mic_ppm, 0.0, "{context}: {line:?}");
        }
    }
}

#[test]
fn unrelated_recordings_have_no_echo() {
    for seed in 1..=10 {
        let far = if seed % 2 == 0 { noise(seed, 20.0) } else { speech(seed, 14.0) };
        let other = if seed % 3 == 0 { noise(seed + 100, 20.0) } else { Clip::near().to_mono_at(RATE_HZ) };
        let far = if seed % 2 == 0 { far } else { Clip::far().to_mono_at(RATE_HZ) };
        let mic = echo_of(&other, seed, 5.0 + seed as f64, 0.0, 0.0);
        let result = search(&far, &mic, RATE_HZ, None);
        assert_eq!(result, SearchResult::NotFound, "seed {seed}");
    }
}

#[test]
fn a_tone_is_ambiguous() {
    // The ring-back tone of the United States: 440 and 480 Hz, 2 s of every 6 s.
    for (name, on_s, period_s) in [("ring", 2.0, 6.0), ("dial", 6.0, 6.0)] {
        let far: Vec<f32> = (0..30 * RATE_HZ)
            .map(|n| {
                let at_s = f64::from(n) / f64::from(RATE_HZ);
                let tone = |hz: f64| (std::f64::consts::TAU * hz * at_s).sin();
                if at_s % period_s < on_s { (0.2 * (tone(440.0) + tone(480.0))) as f32 } else { 0.0 }
            })
            .collect();
        for lag_s in [0.05, 1.1, -0.3] {
            let mic = echo_of(&far, 1, 30.0, lag_s, 0.0);
            let result = search(&far, &mic, RATE_HZ, None);
            assert_eq!(result, SearchResult::Ambiguous, "{name}, {lag_s} s");
        }
    }
}

#[test]
fn silence_and_short_recordings_end_without_echo() {
    let far = speech(1, 5.0);
    for (far, mic) in [
        (&far[..], &[0.0; 16_000][..]),
        (&[0.0; 16_000], &far),
        (&far, &far[..1]),
        (&far[..1], &far),
        (&[], &[]),
    ] {
        assert_eq!(
            search(far, mic, RATE_HZ, None),
            SearchResult::NotFound,
            "{} and {}",
            far.len(),
            mic.len()
        );
    }
}

#[test]
fn a_given_rate_is_kept_and_the_start_found() {
    let far = speech(3, 30.0);
    let mic = echo_of(&far, 3, 20.0, 1.1, 4_000.0);
    let line = found(search(&far, &mic, RATE_HZ, Some(4_000.0)), "given");
    let kept = with_slope(&far, &mic, RATE_HZ, line, 4_000.0).unwrap().unwrap();
    assert_eq!(kept.mic_ppm, 4_000.0);
    assert!((kept.lag_s - 1.1).abs() < 0.012, "{kept:?}");
}

#[test]
fn the_line_is_followed_through_a_long_recording() {
    let (seed, lag_s, mic_ppm) = (5, 7.0, 9_000.0);
    let far = noise(seed, 330.0);
    let mic = echo_of(&far, seed, 320.0, lag_s, mic_ppm);
    let line = found(search(&far, &mic, RATE_HZ, None), "long");
    // The echo ends up 9.9 s after the far end.
    for at_s in [0.0, 320.0] {
        let error_s = line.lag_at(at_s) - (lag_s + mic_ppm * 1e-6 * at_s);
        assert!(
            (-0.000_5..0.012).contains(&error_s),
            "seed {seed}: wrong by {error_s} s at {at_s} s: {line:?}"
        );
    }
}

#[test]
fn an_echo_far_below_the_talker_is_found() {
    for seed in 1..=4 {
        let far = speech(seed, 24.0);
        let mut mic = echo_of(&far, seed, 20.0, 2.0 - seed as f64, 80.0);
        // The talker never pauses, and the echo is 15 dB weaker.
        let talker = noise(seed + 50, 20.0);
        let ratio = 10_f64.powf(-15.0 / 20.0);
        let gain =
            (handsfree_sim::measure::power(&talker) / handsfree_sim::measure::power(&mic)).sqrt() * ratio;
        for (sample, spoken) in mic.iter_mut().zip(&talker) {
            *sample = *sample * gain as f32 + spoken;
        }
        let line = found(search(&far, &mic, RATE_HZ, None), &format!("seed {seed}"));
        let error_s = line.lag_s - (2.0 - seed as f64);
        assert!((-0.001..0.012).contains(&error_s), "seed {seed}: {line:?}");
    }
}

#[test]
fn speech_after_a_ring_or_a_long_pause_is_found() {
    let seed = 2;
    let voice = speech(seed, 20.0);
    let ring: Vec<f32> = (0..14 * RATE_HZ)
        .map(|n| {
            let at_s = f64::from(n) / f64::from(RATE_HZ);
            let tone = |hz: f64| (std::f64::consts::TAU * hz * at_s).sin();
            if at_s % 6.0 < 2.0 { (0.15 * (tone(440.0) + tone(480.0))) as f32 } else { 0.0 }
        })
        .collect();
    let far = [&ring[..], &voice].concat();
    let line = found(search(&far, &echo_of(&far, seed, 32.0, -0.3, 0.0), RATE_HZ, None), "ring");
    assert!((-0.000_5..0.012).contains(&(line.lag_s + 0.3)), "seed {seed}: {line:?}");
    // The loudspeaker is switched on only after 100 s.
    let far = speech(seed, 150.0);
    let mut mic = echo_of(&far, seed, 150.0, 1.5, 40.0);
    let silence = 100 * RATE_HZ as usize;
    mic[..silence].fill(0.0);
    Noise::new(Rng::new(seed), Colour::Pink, -60.0).add_to(&mut mic[..silence]);
    let line = found(search(&far, &mic, RATE_HZ, None), "late");
    assert!((-0.000_5..0.012).contains(&(line.lag_s - 1.5)), "seed {seed}: {line:?}");
}
