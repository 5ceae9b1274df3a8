//! The echo canceller in controlled rooms, beside AEC3 and SpeexDSP in the same run: convergence, path changes, double
//! talk, distortion, headphones; and that no input makes its output louder than the microphone.
use handsfree_core::canceller::{CancellerSettings, LeanStorage};
use handsfree_core::capture::VoiceProcessor;
use handsfree_core::{Duration, Format, PcmMut, PcmRef};
use handsfree_sim::noise::Rng;
use handsfree_tests::echo_rooms::{
    CHANGE_S, Canceller, Distortion, EchoRoom, EchoScene, SCENE_S, SceneConfig, TALK_S, cancel, reduction_db,
    talker_kept,
};
use handsfree_tests::peers::Peer;

const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];

/// Figures of a canceller in rooms of one reverberation time, in dB: the mean over the seeds.
#[derive(Clone, Copy, Debug, Default)]
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
    /// Gain and SDR of a talker as loud as the echo who speaks first, while the canceller knows nothing.
    first: [f64; 2],
    /// The same of the linear output.
    first_linear: [f64; 2],
    /// Gain of a talker while headphones play the far end: the high-pass.
    headphones: f64,
}

/// Names of [`Figures::values`].
const NAMES: [&str; 15] = [
    "linear, second 1",
    "linear, second 2",
    "linear, 8 to 12 s",
    "linear, 1 to 2 s after a path change",
    "full, second 1",
    "full, 8 to 12 s",
    "double talk at 0 dB: gain",
    "double talk at 0 dB: SDR",
    "double talk at -10 dB: gain",
    "double talk at -10 dB: SDR",
    "talker from the start, 0 to 3 s: gain",
    "talker from the start, 0 to 3 s: SDR",
    "the same, linear: gain",
    "the same, linear: SDR",
    "headphones: gain of the talker",
];

impl Figures {
    fn values(&self) -> [f64; NAMES.len()] {
        [
            self.linear_first_s,
            self.linear_second_s,
            self.linear_steady,
            self.linear_after_change,
            self.full_first_s,
            self.full_steady,
            self.equal[0],
            self.equal[1],
            self.below[0],
            self.below[1],
            self.first[0],
            self.first[1],
            self.first_linear[0],
            self.first_linear[1],
            self.headphones,
        ]
    }

    /// Adds one room's part of the mean.
    fn add(&mut self, room: &Self) {
        let part = |sum: &mut f64, x: f64| *sum += x / SEEDS.len() as f64;
        part(&mut self.linear_first_s, room.linear_first_s);
        part(&mut self.linear_second_s, room.linear_second_s);
        part(&mut self.linear_steady, room.linear_steady);
        part(&mut self.linear_after_change, room.linear_after_change);
        part(&mut self.full_first_s, room.full_first_s);
        part(&mut self.full_steady, room.full_steady);
        for (sums, xs) in [
            (&mut self.equal, room.equal),
            (&mut self.below, room.below),
            (&mut self.first, room.first),
            (&mut self.first_linear, room.first_linear),
        ] {
            sums.iter_mut().zip(xs).for_each(|(sum, x)| part(sum, x));
        }
        part(&mut self.headphones, room.headphones);
    }
}

/// Scenes of a room.
struct Scenes {
    far_end: EchoScene,
    path_change: EchoScene,
    equal: EchoScene,
    below: EchoScene,
    first: EchoScene,
    headphones: EchoScene,
}

impl Scenes {
    fn new(room: &EchoRoom) -> Self {
        let scene = |config| EchoScene::new(room, config);
        let equal = SceneConfig { talker_db: Some(0.0), ..SceneConfig::FAR_END };
        Self {
            far_end: scene(SceneConfig::FAR_END),
            path_change: scene(SceneConfig { path_change: true, ..SceneConfig::FAR_END }),
            equal: scene(equal),
            below: scene(SceneConfig { talker_db: Some(-10.0), ..equal }),
            first: scene(SceneConfig { talks_from_s: 0, ..equal }),
            headphones: scene(SceneConfig { headphones: true, ..equal }),
        }
    }

    fn figures(&self, peer: Peer) -> Figures {
        let has_linear = peer != Peer::Aec3;
        let linear = |scene: &EchoScene, out: &[f32], seconds| {
            if has_linear { reduction_db(scene, out, seconds) } else { f64::NAN }
        };
        let out = peer.cancel(&self.far_end);
        let changed = peer.cancel(&self.path_change);
        let talker = |scene: &EchoScene, out: &[f32], seconds| {
            let kept = talker_kept(scene, out, seconds);
            [kept.gain_db, kept.sdr_db]
        };
        let talking = |scene| talker(scene, &peer.cancel(scene).full, TALK_S + 1..SCENE_S);
        let first = peer.cancel(&self.first);
        Figures {
            linear_first_s: linear(&self.far_end, &out.linear, 0..1),
            linear_second_s: linear(&self.far_end, &out.linear, 1..2),
            linear_steady: linear(&self.far_end, &out.linear, 8..12),
            linear_after_change: linear(&self.path_change, &changed.linear, CHANGE_S + 1..CHANGE_S + 2),
            full_first_s: reduction_db(&self.far_end, &out.full, 0..1),
            full_steady: reduction_db(&self.far_end, &out.full, 8..12),
            equal: talking(&self.equal),
            below: talking(&self.below),
            first: talker(&self.first, &first.full, 0..3),
            first_linear: if has_linear { talker(&self.first, &first.linear, 0..3) } else { [f64::NAN; 2] },
            headphones: talking(&self.headphones)[0],
        }
    }
}

/// Measures ours, AEC3 and SpeexDSP in the same five rooms and prints a table.
fn measure(rt60_s: f64) -> [Figures; 3] {
    let mut means = [Figures::default(); 3];
    for seed in SEEDS {
        let scenes = Scenes::new(&EchoRoom::new(seed, rt60_s));
        for (mean, peer) in means.iter_mut().zip(Peer::ALL) {
            let found = scenes.figures(peer);
            println!("RT60 {rt60_s} s, seed {seed}, {peer:?}: {found:.1?}");
            mean.add(&found);
        }
    }
    println!("\nRT60 {rt60_s} s, mean of seeds {SEEDS:?}, dB{:>11}{:>8}{:>8}", "ours", "AEC3", "Speex");
    let values = means.map(|figures| figures.values());
    for (at, name) in NAMES.iter().enumerate() {
        println!("{name:<42}{:>8.1}{:>8.1}{:>8.1}", values[0][at], values[1][at], values[2][at]);
    }
    means
}

/// Checks what holds at any reverberation time: the orderings.
fn check_orderings([ours, aec3, speex]: [Figures; 3]) {
    let mut wrong = Vec::new();
    let mut above = |name: &str, ours: f64, other: f64| {
        wrong.extend((ours <= other).then(|| format!("{name}: {ours:.1} dB, other {other:.1} dB")));
    };
    for (name, ours, aec3) in [
        ("talker at 0 dB", ours.equal, aec3.equal),
        ("talker at -10 dB", ours.below, aec3.below),
        ("talker from the start", ours.first, aec3.first),
    ] {
        above(&format!("gain of {name}, AEC3"), ours[0], aec3[0]);
        above(&format!("SDR of {name}, AEC3"), ours[1], aec3[1]);
    }
    for (name, ours, speex) in [
        ("linear, second 1", ours.linear_first_s, speex.linear_first_s),
        ("linear, second 2", ours.linear_second_s, speex.linear_second_s),
        ("linear, steady", ours.linear_steady, speex.linear_steady),
        ("linear, after a path change", ours.linear_after_change, speex.linear_after_change),
        ("full, second 1", ours.full_first_s, speex.full_first_s),
        ("full, steady", ours.full_steady, speex.full_steady),
    ] {
        above(&format!("{name}, Speex"), ours, speex);
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_dry_room_is_cancelled_and_its_talker_kept() {
    let found = measure(0.3);
    let ours = found[0];
    assert!(ours.linear_first_s >= 16.0 && ours.linear_second_s >= 16.0, "{ours:.1?}");
    assert!(ours.linear_steady >= 25.0 && ours.linear_after_change >= 14.0, "{ours:.1?}");
    assert!(ours.full_first_s >= 35.0 && ours.full_steady >= 35.0, "{ours:.1?}");
    assert!(ours.equal[0] >= -1.0 && ours.equal[1] >= 14.0, "{ours:.1?}");
    assert!(ours.below[0] >= -1.5 && ours.below[1] >= 10.0, "{ours:.1?}");
    assert!(ours.headphones >= -1.0, "{ours:.1?}");
    check_orderings(found);
}

#[test]
fn a_reverberant_room_is_cancelled_and_its_talker_kept() {
    let found = measure(0.6);
    let ours = found[0];
    assert!(ours.linear_first_s >= 14.0 && ours.linear_second_s >= 14.0, "{ours:.1?}");
    assert!(ours.linear_steady >= 14.0, "{ours:.1?}");
    assert!(ours.full_first_s >= 35.0 && ours.full_steady >= 38.0, "{ours:.1?}");
    assert!(ours.equal[0] >= -1.0 && ours.equal[1] >= 13.0, "{ours:.1?}");
    assert!(ours.headphones >= -1.0, "{ours:.1?}");
    check_orderings(found);
}

/// The gentle settings of AEC3 keep more of a talker, as loud as the echo and 10 dB below, and still cancel.
#[test]
fn gentle_aec3_keeps_more_of_the_talker() {
    for seed in SEEDS {
        let scenes = Scenes::new(&EchoRoom::new(seed, 0.3));
        let [plain, gentle] = [Peer::Aec3, Peer::GentleAec3].map(|peer| {
            let kept = [&scenes.equal, &scenes.below]
                .map(|scene| talker_kept(scene, &peer.cancel(scene).full, TALK_S + 1..SCENE_S));
            let far_end = &scenes.far_end;
            (kept, reduction_db(far_end, &peer.cancel(far_end).full, 8..12))
        });
        println!("seed {seed}: AEC3 {plain:.1?}, gentle {gentle:.1?}");
        for (plain, gentle) in plain.0.iter().zip(gentle.0) {
            assert!(gentle.gain_db > plain.gain_db && gentle.sdr_db > plain.sdr_db, "seed {seed}");
        }
        assert!(gentle.1 >= 30.0, "seed {seed}: {:.1} dB of echo reduction", gentle.1);
    }
}

/// Level of a louder talker over the echo, in dB.
const LOUDER_DB: f64 = 6.0;

/// Mean over the seeds for a distorting loudspeaker: ours, then AEC3's.
#[derive(Debug, Default)]
struct Distorted {
    /// Echo reduction while only the far end speaks, in dB.
    reduction_db: [f64; 2],
    /// Gain of a louder talker, in dB.
    gain_db: [f64; 2],
    /// SDR of a louder talker, in dB.
    sdr_db: [f64; 2],
}

/// Measures and prints ours and AEC3.
fn measure_distorted(distortion: Distortion) -> Distorted {
    let mut mean = Distorted::default();
    for seed in SEEDS {
        let room = EchoRoom::new(seed, 0.3);
        let far_end = EchoScene::new(&room, SceneConfig { distortion, ..SceneConfig::FAR_END });
        let config = SceneConfig { distortion, talker_db: Some(LOUDER_DB), ..SceneConfig::FAR_END };
        let talking = EchoScene::new(&room, config);
        for (at, peer) in [Peer::Ours, Peer::Aec3].into_iter().enumerate() {
            let part = 1.0 / SEEDS.len() as f64;
            mean.reduction_db[at] += part * reduction_db(&far_end, &peer.cancel(&far_end).full, 4..12);
            let found = talker_kept(&talking, &peer.cancel(&talking).full, TALK_S + 1..SCENE_S);
            mean.gain_db[at] += part * found.gain_db;
            mean.sdr_db[at] += part * found.sdr_db;
        }
    }
    println!("{distortion:?}, ours and AEC3, mean of seeds {SEEDS:?}: {mean:.1?}");
    mean
}

/// The echo of a distorting loudspeaker is reduced to within 3 dB of what AEC3 leaves by muting the talker, and a louder
/// talker in it is kept.
#[test]
fn a_distorting_loudspeaker_is_suppressed() {
    let mut wrong = Vec::new();
    for (distortion, least_db, least_sdr_db) in [
        (Distortion::Tanh(2.0), 36.0, 17.0),
        (Distortion::Tanh(4.0), 36.0, 16.0),
        (Distortion::Tanh(8.0), 36.0, 16.0),
        (Distortion::Asymmetric(2.0), 36.0, 16.0),
        (Distortion::Asymmetric(4.0), 36.0, 15.0),
        (Distortion::Asymmetric(8.0), 34.0, 14.0),
    ] {
        let found = measure_distorted(distortion);
        let ([ours, aec3], [gain, aec3_gain], [sdr, aec3_sdr]) =
            (found.reduction_db, found.gain_db, found.sdr_db);
        let is_suppressed = ours >= least_db && ours >= aec3 - 3.0;
        let is_kept = gain >= -1.0 && gain > aec3_gain && sdr >= least_sdr_db && sdr > aec3_sdr;
        wrong.extend((!is_suppressed || !is_kept).then(|| format!("{distortion:?}: {found:.1?}")));
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

/// Runs `frames` random frames from each seed through both sizes of the canceller, with suppressor and without.
fn check_never_louder(seeds: std::ops::Range<u64>, frames: usize) {
    let mut wrong = Vec::new();
    for seed in seeds {
        for suppressor in [true, false] {
            let settings = CancellerSettings { suppressor, ..CancellerSettings::DEFAULT };
            let late = usize::from(suppressor);
            let mut full = Box::new(Canceller::new());
            full.configure(settings);
            let mut lean = Box::new(Lean::new());
            lean.configure(settings);
            for (name, canceller) in [("full", &mut *full as &mut dyn VoiceProcessor), ("lean", &mut *lean)] {
                let loudest = loudest_db(canceller, seed, frames, late);
                let found = format!("seed {seed}, {name}, suppressor {suppressor}: {loudest:.2} dB");
                wrong.extend((loudest > 0.5).then_some(found));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn no_input_makes_the_output_louder_than_the_microphone() {
    check_never_louder(0..3, 10_000);
}

/// A million frames in each of four cancellers.
#[test]
#[ignore = "soak: a million frames in each of four cancellers"]
fn no_million_frames_make_it_louder_than_the_microphone() {
    check_never_louder(100..140, 25_000);
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
