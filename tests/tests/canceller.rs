//! The echo canceller in controlled rooms: convergence, path changes, double talk, distortion, headphones; and that no
//! input makes its output louder than the microphone.
#![allow(missing_docs)]

use handsfree_core::canceller::{CancellerSettings, LeanStorage};
use handsfree_core::capture::VoiceProcessor;
use handsfree_core::{Duration, Format, PcmMut, PcmRef};
use handsfree_sim::noise::Rng;
use handsfree_tests::echo_rooms::{
    CHANGE_S, Canceller, Distortion, EchoRoom, EchoScene, SCENE_S, SceneConfig, TALK_S, cancel, reduction_db,
    talker_kept,
};

const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];

/// Figures of a room, in dB.
#[derive(Debug, Default)]
struct Figures {
    linear_first_s: f64,
    linear_second_s: f64,
    linear_steady: f64,
    linear_after_change: f64,
    full_first_s: f64,
    full_steady: f64,
    /// Gain and SDR of a talker as loud as the echo.
    equal: [f64; 2],
    /// Gain and SDR of a talker 10 dB below the echo.
    below: [f64; 2],
    /// Gain of a talker while headphones play the far end: the loss by the high-pass, which the other gains include too.
    headphones: f64,
}

impl Figures {
    /// Adds one room's part of the mean.
    fn add(&mut self, room: &Self) {
        let part = |sum: &mut f64, x: f64| *sum += x / SEEDS.len() as f64;
        part(&mut self.linear_first_s, room.linear_first_s);
        part(&mut self.linear_second_s, room.linear_second_s);
        part(&mut self.linear_steady, room.linear_steady);
        part(&mut self.linear_after_change, room.linear_after_change);
        part(&mut self.full_first_s, room.full_first_s);
        part(&mut self.full_steady, room.full_steady);
        for (sums, xs) in [(&mut self.equal, room.equal), (&mut self.below, room.below)] {
            sums.iter_mut().zip(xs).for_each(|(sum, x)| part(sum, x));
        }
        part(&mut self.headphones, room.headphones);
    }
}

/// Measures the mean figures of five rooms, and prints each room's.
fn measure(rt60_s: f64) -> Figures {
    let mut mean = Figures::default();
    for seed in SEEDS {
        let room = EchoRoom::new(seed, rt60_s);
        let run = |config| {
            let scene = EchoScene::new(&room, config);
            let out = cancel(&scene, CancellerSettings::DEFAULT);
            (scene, out)
        };
        let (scene, out) = run(SceneConfig::FAR_END);
        let (changed, changed_out) = run(SceneConfig { path_change: true, ..SceneConfig::FAR_END });
        let talker = |talker_db, headphones| {
            let config = SceneConfig { talker_db: Some(talker_db), headphones, ..SceneConfig::FAR_END };
            let (scene, out) = run(config);
            let kept = talker_kept(&scene, &out.full, TALK_S + 1..SCENE_S);
            [kept.gain_db, kept.sdr_db]
        };
        let room = Figures {
            linear_first_s: reduction_db(&scene, &out.linear, 0..1),
            linear_second_s: reduction_db(&scene, &out.linear, 1..2),
            linear_steady: reduction_db(&scene, &out.linear, 8..12),
            linear_after_change: reduction_db(&changed, &changed_out.linear, CHANGE_S + 1..CHANGE_S + 2),
            full_first_s: reduction_db(&scene, &out.full, 0..1),
            full_steady: reduction_db(&scene, &out.full, 8..12),
            equal: talker(0.0, false),
            below: talker(-10.0, false),
            headphones: talker(0.0, true)[0],
        };
        println!("RT60 {rt60_s} s, seed {seed}: {room:.1?}");
        mean.add(&room);
    }
    println!("RT60 {rt60_s} s, mean of seeds {SEEDS:?}: {mean:.1?}");
    mean
}

#[test]
fn a_dry_room_is_cancelled_and_its_talker_kept() {
    let found = measure(0.3);
    // The first syllable is as loud as any later one and passes before anything is known.
    assert!(found.linear_first_s >= 8.0 && found.linear_second_s >= 16.0, "{found:.1?}");
    assert!(found.linear_steady >= 25.0 && found.linear_after_change >= 14.0, "{found:.1?}");
    assert!(found.full_first_s >= 35.0 && found.full_steady >= 35.0, "{found:.1?}");
    assert!(found.equal[0] - found.headphones >= -1.0 && found.equal[1] >= 14.0, "{found:.1?}");
    assert!(found.below[0] - found.headphones >= -1.5 && found.below[1] >= 10.0, "{found:.1?}");
    assert!(found.headphones >= -1.0, "{found:.1?}");
}

#[test]
fn a_reverberant_room_is_cancelled_and_its_talker_kept() {
    let found = measure(0.6);
    assert!(found.linear_first_s >= 7.0 && found.linear_second_s >= 14.0, "{found:.1?}");
    assert!(found.linear_steady >= 14.0, "{found:.1?}");
    assert!(found.full_first_s >= 35.0 && found.full_steady >= 38.0, "{found:.1?}");
    assert!(found.equal[0] - found.headphones >= -1.0 && found.equal[1] >= 13.0, "{found:.1?}");
    assert!(found.headphones >= -1.0, "{found:.1?}");
}

/// The echo that remains of a distorting loudspeaker, and the talker in it.
#[test]
fn a_distorting_loudspeaker_is_suppressed() {
    let mut wrong = Vec::new();
    for (distortion, least_db) in [
        (Distortion::Tanh(2.0), 36.0),
        (Distortion::Tanh(4.0), 32.0),
        (Distortion::Tanh(8.0), 24.0),
        (Distortion::Asymmetric(2.0), 34.0),
        (Distortion::Asymmetric(4.0), 26.0),
        (Distortion::Asymmetric(8.0), 15.0),
    ] {
        let mut mean = 0.0;
        for seed in SEEDS {
            let room = EchoRoom::new(seed, 0.3);
            let scene = EchoScene::new(&room, SceneConfig { distortion, ..SceneConfig::FAR_END });
            let out = cancel(&scene, CancellerSettings::DEFAULT);
            mean += reduction_db(&scene, &out.full, 4..12) / SEEDS.len() as f64;
        }
        let found = format!("{distortion:?}: {mean:.1} dB");
        println!("{found}");
        wrong.extend((mean < least_db).then_some(found));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

handsfree_core::echo_canceller! { type Lean = EchoCanceller<LeanStorage> { rate_hz: 16_000, tail_ms: 64 }; }

/// Samples of a frame of the canceller under test.
const FRAME: usize = 160;

/// What drives the canceller in a stretch of frames.
#[derive(Clone, Copy, Debug)]
struct Attack {
    /// Peaks of far end and microphone noise.
    peaks: [f64; 2],
    /// Gain of the path from far end to microphone.
    path: f64,
    /// Microphone samples by which the path is late.
    lag: usize,
    /// Whether the microphone's signal is given as the reference.
    swapped: bool,
    /// Whether the canceller's last output is the reference.
    looped: bool,
}

impl Attack {
    fn random(rng: &mut Rng) -> Self {
        // Silence, and peaks from one bit to clipping.
        let mut peak = || match rng.range(0, 6) {
            0 => 0.0,
            _ => 10f64.powf(5.2 * rng.uniform()),
        };
        let peaks = [peak(), peak()];
        let sign = if rng.uniform() < 0.5 { -1.0 } else { 1.0 };
        Self {
            peaks,
            path: sign * 10f64.powf(4.0 * rng.uniform() - 2.0),
            lag: rng.range(0, 1_500) as usize,
            swapped: rng.uniform() < 0.1,
            looped: rng.uniform() < 0.1,
        }
    }
}

/// Runs random frames and returns the largest ratio of output to microphone in any 100 ms, in dB.
fn loudest_db(canceller: &mut dyn VoiceProcessor, seed: u64, frames: usize, late: usize) -> f64 {
    let format = Format::new(16_000, 1).unwrap();
    let mut rng = Rng::for_stream(seed, "attack");
    let clip = |x: f64| x.clamp(-32_768.0, 32_767.0) as i16;
    let (mut past, mut now) = (vec![0.0; 2_048], 0);
    let mut energies: Vec<[f64; 2]> = Vec::with_capacity(frames);
    let (mut attack, mut left) = (Attack::random(&mut rng), 0);
    let mut last = [0; FRAME];
    let energy = |frame: &[i16]| frame.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
    for _ in 0..frames {
        if left == 0 {
            left = rng.range(1, 80);
            // A gain step of 40 dB either way is as likely as anything else.
            attack = match rng.range(0, 3) {
                0 => Attack { path: attack.path * [0.01, 100.0, -1.0][rng.range(0, 3) as usize], ..attack },
                _ => Attack::random(&mut rng),
            };
        }
        left -= 1;
        let (mut far, mut mic) = ([0; FRAME], [0; FRAME]);
        for (far, mic) in far.iter_mut().zip(&mut mic) {
            let x = clip(attack.peaks[0] * (2.0 * rng.uniform() - 1.0));
            now = (now + 1) % past.len();
            past[now] = f64::from(x);
            *far = x;
            *mic = clip(
                attack.path * past[(now + past.len() - attack.lag) % past.len()]
                    + attack.peaks[1] * (2.0 * rng.uniform() - 1.0),
            );
        }
        let reference = match attack {
            Attack { swapped: true, .. } => mic,
            Attack { looped: true, .. } => last,
            _ => far,
        };
        let mut out = mic;
        canceller.process_reverse(PcmRef { format, samples: &reference }).unwrap();
        canceller.process_capture(PcmMut { format, samples: &mut out }, Duration::ZERO).unwrap();
        energies.push([energy(&mic), energy(&out)]);
        last = out;
    }
    let mut loudest = f64::NEG_INFINITY;
    for at in 0..energies.len() - 10 - late {
        let mic: f64 = energies[at..at + 10].iter().map(|pair| pair[0]).sum();
        let out: f64 = energies[at + late..at + late + 10].iter().map(|pair| pair[1]).sum();
        if out > 0.0 {
            loudest = loudest.max(10.0 * (out / mic).log10());
        }
    }
    loudest
}

/// Frames of each seed; ten seeds and four cancellers make a million.
const ATTACK_FRAMES: usize = 25_000;

#[test]
fn no_input_makes_the_output_louder_than_the_microphone() {
    let mut wrong = Vec::new();
    for seed in 0..10 {
        for suppressor in [true, false] {
            let settings = CancellerSettings { suppressor, ..CancellerSettings::DEFAULT };
            let late = usize::from(suppressor);
            let mut full = Box::new(Canceller::new());
            full.configure(settings);
            let mut lean = Box::new(Lean::new());
            lean.configure(settings);
            for (name, canceller) in [("full", &mut *full as &mut dyn VoiceProcessor), ("lean", &mut *lean)] {
                let loudest = loudest_db(canceller, seed, ATTACK_FRAMES, late);
                let found = format!("seed {seed}, {name}, suppressor {suppressor}: {loudest:.2} dB");
                wrong.extend((loudest > 0.5).then_some(found));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn lean_storage_cancels_as_much_as_full() {
    handsfree_core::echo_canceller! { type Lean = EchoCanceller<LeanStorage> { rate_hz: 16_000 }; }
    let format = Format::new(16_000, 1).unwrap();
    for seed in SEEDS {
        let scene = EchoScene::new(&EchoRoom::new(seed, 0.3), SceneConfig::FAR_END);
        let full = cancel(&scene, CancellerSettings::DEFAULT);
        let mut lean = Box::new(Lean::new());
        let mut linear = Vec::new();
        let pcm = handsfree_tests::echo_rooms::pcm;
        for (far, mic) in pcm(&scene.far).chunks_exact(FRAME).zip(pcm(&scene.mic).chunks_exact(FRAME)) {
            lean.process_reverse(PcmRef { format, samples: far }).unwrap();
            lean.process_capture(PcmMut { format, samples: &mut mic.to_vec() }, Duration::ZERO).unwrap();
            linear.extend(lean.linear().map(|x| f32::from(x) / 32_768.0));
        }
        let (full_db, lean_db) =
            (reduction_db(&scene, &full.linear, 4..12), reduction_db(&scene, &linear, 4..12));
        println!("seed {seed}: full {full_db:.2} dB, lean {lean_db:.2} dB");
        assert!(lean_db > full_db - 0.5, "seed {seed}: full {full_db:.2} dB, lean {lean_db:.2} dB");
    }
}
