use super::storage::RandomBits;
use super::*;

crate::echo_canceller! { type Mono = EchoCanceller<LeanStorage> { rate_hz: 8_000, tail_ms: 32 }; }
crate::echo_canceller! {
    type Stereo = EchoCanceller<FullStorage> { rate_hz: 16_000, tail_ms: 32, loudspeakers: 2 };
}

const HOP: usize = 80;

/// Passes frames of a loudspeaker's noise whose echo is 6 dB below it, and returns the outputs.
fn run(canceller: &mut Mono, seed: u32, frames: usize) -> Vec<i16> {
    let format = Format::new(8_000, 1).unwrap();
    let mut random = RandomBits::new();
    (0..seed).for_each(|_| _ = random.next());
    let mut outputs = Vec::new();
    for _ in 0..frames {
        let far: [i16; HOP] = array_of(&mut random);
        let mut near = far.map(|x| x / 2);
        canceller.process_reverse(PcmRef { format, samples: &far }).unwrap();
        canceller.process_capture(PcmMut { format, samples: &mut near }, Duration::ZERO).unwrap();
        outputs.extend(near);
    }
    outputs
}

fn array_of<const N: usize>(random: &mut RandomBits) -> [i16; N] {
    core::array::from_fn(|_| (8_000.0 * random.next_signed()) as i16)
}

fn power(samples: &[i16]) -> f64 {
    samples.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / samples.len() as f64
}

#[test]
fn a_reset_canceller_behaves_like_a_new_one() {
    let mut used = Box::new(Mono::new());
    run(&mut used, 1, 300);
    used.reset();
    let is_same = run(&mut used, 2, 100) == run(&mut Box::new(Mono::new()), 2, 100);
    assert!(is_same, "the outputs differ");
}

#[test]
fn figures_describe_a_converged_canceller() {
    let mut canceller = Box::new(Mono::new());
    assert_eq!(
        (canceller.stats(), canceller.reading()),
        (VoiceStats::default(), CancellerReading::default())
    );
    run(&mut canceller, 3, 500);
    let (stats, reading) = (canceller.stats(), canceller.reading());
    assert!((stats.erl_db.unwrap() - 6.0).abs() < 1.0, "{stats:?}");
    assert!(stats.erle_db.unwrap() > 20.0 && stats.delay_ms == Some(0), "{stats:?}");
    assert!(reading.convergence > 0.98 && reading.residual_echo_likelihood < 0.3, "{reading:?}");
    assert_eq!((reading.strongest_partition, reading.divergences), (0, 0), "{reading:?}");
}

#[test]
fn the_linear_output_is_the_output_without_suppressor() {
    let (mut with, mut without) = (Box::new(Mono::new()), Box::new(Mono::new()));
    without.configure(CancellerSettings { suppressor: false, ..CancellerSettings::DEFAULT });
    for seed in 0..50 {
        run(&mut with, seed, 1);
        let linear: Vec<i16> = with.linear().collect();
        let off = run(&mut without, seed, 1);
        assert!(linear.iter().zip(&off).all(|(a, b)| a.abs_diff(*b) <= 1), "frame {seed}");
    }
}

#[test]
fn frames_of_other_formats_are_refused() {
    let mut canceller = Box::new(Mono::new());
    let format = Format::new(16_000, 1).unwrap();
    let found = canceller.process_capture(PcmMut { format, samples: &mut [0; 160] }, Duration::ZERO);
    assert!(matches!(found, Err(ProcessError::Format { found, .. }) if found == format), "{found:?}");
    let format = Format::new(8_000, 1).unwrap();
    let found = canceller.process_reverse(PcmRef { format, samples: &[0; 79] });
    assert_eq!(found, Err(ProcessError::Length { expected: 80, found: 79 }));
}

#[test]
fn two_loudspeakers_are_cancelled_together() {
    let (near_format, far_format) = (Format::new(16_000, 1).unwrap(), Format::new(16_000, 2).unwrap());
    let mut canceller = Box::new(Stereo::new());
    let mut random = RandomBits::new();
    let (mut before, mut after) = (0.0, 0.0);
    for frame in 0..600 {
        let far: [i16; 320] = array_of(&mut random);
        let mut near: Vec<i16> = far.chunks(2).map(|pair| pair[0] / 2 - pair[1] / 3).collect();
        let loud = power(&near);
        canceller.process_reverse(PcmRef { format: far_format, samples: &far }).unwrap();
        canceller
            .process_capture(PcmMut { format: near_format, samples: &mut near }, Duration::ZERO)
            .unwrap();
        if frame >= 300 {
            (before, after) = (before + loud, after + power(&canceller.linear().collect::<Vec<_>>()));
        }
    }
    let erle_db = 10.0 * (before / after).log10();
    assert!(erle_db > 20.0, "{erle_db:.1} dB");
}

#[test]
fn a_new_canceller_is_all_zero_bytes_of_a_static() {
    static CANCELLER: std::sync::Mutex<Mono> = std::sync::Mutex::new(Mono::new());
    assert_eq!(CANCELLER.lock().unwrap().settings(), CancellerSettings::DEFAULT);
}

/// Passes noise whose echo comes `later` samples later, and returns the echo's reduction in the last 50 of `frames`.
fn reduction_db(canceller: &mut Mono, random: &mut RandomBits, later: usize, frames: usize) -> f64 {
    let format = Format::new(8_000, 1).unwrap();
    let mut line = vec![0; later];
    let (mut before, mut after) = (0.0, 0.0);
    for frame in 0..frames {
        let far: [i16; HOP] = array_of(random);
        line.extend(far.map(|x| x / 2));
        let mut near: Vec<i16> = line.drain(..HOP).collect();
        let loud = power(&near);
        canceller.process_reverse(PcmRef { format, samples: &far }).unwrap();
        canceller.process_capture(PcmMut { format, samples: &mut near }, Duration::ZERO).unwrap();
        if frame + 50 >= frames {
            (before, after) = (before + loud, after + power(&canceller.linear().collect::<Vec<_>>()));
        }
    }
    10.0 * (before / after).log10()
}

#[test]
fn a_canceller_that_is_told_of_a_moved_reference_need_not_unlearn() {
    let reduction_db = |told: bool, learned: usize| {
        let (mut canceller, mut random) = (Box::new(Mono::new()), RandomBits::new());
        reduction_db(&mut canceller, &mut random, 150, learned);
        if told {
            canceller.on_reference_moved();
        }
        reduction_db(&mut canceller, &mut random, 3, 80)
    };
    let (new, told, untold) = (reduction_db(false, 0), reduction_db(true, 500), reduction_db(false, 500));
    assert!(
        told > new - 6.0 && told > untold + 20.0,
        "new {new:.1} dB, told {told:.1} dB, untold {untold:.1} dB"
    );
}

crate::echo_canceller! {
    type Modelled = EchoCanceller<FullStorage> { rate_hz: 8_000, tail_ms: 64, loudspeaker_model: true };
}

/// Returns by name the numbers of a canceller that have lost bits because they are too small.
fn subnormal(canceller: &Modelled) -> Vec<(&'static str, usize)> {
    let spectra: Vec<f32> = canceller
        .reference
        .iter()
        .flat_map(|reference| reference.newest_first())
        .flat_map(|spectrum| spectrum.iter().flat_map(|z| [z.re, z.im, z.power()]).collect::<Vec<_>>())
        .collect();
    let powers = [&canceller.main_noise[0], &canceller.main_noise[1], &canceller.shadow_noise];
    let powers = powers.into_iter().chain([canceller.residual.power()]).flatten().copied().collect();
    let tails = canceller.residual.tail().to_vec();
    let noise = canceller.suppressor.noise_power().collect();
    let model = canceller.model.iter().flat_map(LoudspeakerModel::state).collect();
    [("far", canceller.far.as_flattened().to_vec()), ("spectra", spectra)]
        .into_iter()
        .chain([("powers", powers), ("tails", tails), ("noise", noise), ("model", model)])
        .map(|(name, values)| (name, values.iter().filter(|x| x.is_subnormal()).count()))
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// Operations on such numbers take a hundred times as long on some processors: a silent far end made a frame take twenty
/// times as long.
#[test]
fn silence_leaves_no_numbers_that_take_longer() {
    let format = Format::new(8_000, 1).unwrap();
    for (far_stops, near_stops) in [(true, false), (false, true), (true, true)] {
        let (mut canceller, mut random) = (Box::new(Modelled::new()), RandomBits::new());
        for frame in 0..2_000 {
            let active = frame < 300;
            let far: [i16; HOP] = if active || !far_stops { array_of(&mut random) } else { [0; HOP] };
            let mut near: [i16; HOP] =
                far.map(|x| (x / 2).clamp(-2_000, 2_000) + (random.next() >> 28) as i16);
            if !active && near_stops {
                near = [0; HOP];
            }
            canceller.process_reverse(PcmRef { format, samples: &far }).unwrap();
            canceller.process_capture(PcmMut { format, samples: &mut near }, Duration::ZERO).unwrap();
            let found = subnormal(&canceller);
            assert!(
                found.is_empty() || !cfg!(any(target_arch = "x86", target_arch = "x86_64")),
                "far stops {far_stops}, near stops {near_stops}, frame {frame}: {found:?}"
            );
        }
    }
}

/// Passes frames of far end and microphone, each 10 ms of 8 kHz, and returns in which of them a gain may learn.
fn frames_of_a_talker(frames: impl Iterator<Item = ([i16; HOP], [i16; HOP])>) -> Vec<bool> {
    let format = Format::new(8_000, 1).unwrap();
    let mut canceller = Box::new(Modelled::new());
    let pass = |(far, mut near): ([i16; HOP], [i16; HOP])| {
        canceller.process_reverse(PcmRef { format, samples: &far }).unwrap();
        canceller.process_capture(PcmMut { format, samples: &mut near }, Duration::ZERO).unwrap();
        canceller.talker_likelihood() > 0.6
    };
    frames.map(pass).collect()
}

#[test]
fn an_echo_is_no_talker_and_a_talker_is_one() {
    let mut random = RandomBits::new();
    // Syllables of 0.2 s with pauses of as much, behind a path that ends with them.
    let level = |frame: usize| if frame % 40 < 20 { 2 } else { 400 };
    let far: Vec<[i16; HOP]> =
        (0..1_000).map(|frame| array_of(&mut random).map(|x: i16| x / level(frame))).collect();
    // An echo by a path of which 10 ms are not linear: half of each frame is of the opposite sign every other frame.
    let echo = |frame: usize| {
        let sign = if frame.is_multiple_of(2) { 1 } else { -1 };
        let mut near = far[frame].map(|x| x / 2);
        near[HOP / 2..].iter_mut().for_each(|x| *x *= sign);
        near
    };
    let count = |frames: Vec<bool>| frames.iter().filter(|is| **is).count();
    let found = count(frames_of_a_talker((0..1_000).map(|frame| (far[frame], echo(frame)))));
    assert!(found < 10, "{found} frames of echo count as a talker");
    let found = count(frames_of_a_talker((0..1_000).map(|frame| ([0; HOP], far[frame]))));
    assert!(found > 300, "{found} of 500 frames of a talker count as one");
}

/// A canceller that is told of an inexact reference leaves less echo.
#[test]
fn an_uncertain_reference_that_is_told_leaves_less_echo() {
    let format = Format::new(8_000, 1).unwrap();
    let residual = |seed: u32, is_told: bool| {
        let (mut canceller, mut random) = (Box::new(Modelled::new()), RandomBits::new());
        (0..seed).for_each(|_| _ = random.next());
        let mut played = [0i16; 2 * HOP];
        let mut left = 0.0f64;
        for frame in 0..330 {
            let late = if frame < 300 { 20 } else { 22 };
            if frame == 300 && is_told {
                canceller.on_reference_uncertain(Duration::from_micros(250));
            }
            played.copy_within(HOP.., 0);
            for sample in &mut played[HOP..] {
                *sample = (random.next_signed() * 8_000.0) as i16;
            }
            let far: [i16; HOP] = core::array::from_fn(|n| played[HOP + n]);
            let mut near: [i16; HOP] = core::array::from_fn(|n| played[HOP + n - late] / 2);
            canceller.process_reverse(PcmRef { format, samples: &far }).unwrap();
            canceller.process_capture(PcmMut { format, samples: &mut near }, Duration::ZERO).unwrap();
            if frame > 300 {
                left += near.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
            }
        }
        left
    };
    for seed in 1..=5 {
        let (told, untold) = (residual(seed, true), residual(seed, false));
        assert!(told < 0.25 * untold, "seed {seed}: {told} instead of {untold}");
    }
}
