//! Random cases: each is a line of switches of `handsfree sim`, drawn from a seed.

use handsfree_sim::far_program::{FarProgram, FarSound};
use handsfree_sim::noise::Rng;
use handsfree_tests::{one_in, pick};

/// Length of each case, in seconds.
pub(crate) const SECONDS: f64 = 70.0;

/// A random case.
#[derive(Clone, Debug)]
pub(crate) struct StormCase {
    pub(crate) seed: u64,
    /// Switches of `handsfree sim`.
    pub(crate) words: String,
    /// Times at which the latency or a rate changes in one step, in seconds.
    pub(crate) disturbances_s: Vec<f64>,
    /// Properties by which results are grouped.
    pub(crate) kinds: Vec<&'static str>,
}

/// Switches and kinds of a case that is being drawn.
#[derive(Default)]
struct Draft {
    words: Vec<String>,
    disturbances_s: Vec<f64>,
    kinds: Vec<&'static str>,
}

impl StormCase {
    /// Draws the case of a seed, for the canceller that `--canceller` names. Every group of properties has a generator of its own, so that a change of one
    /// leaves the others as they are.
    pub(crate) fn new(seed: u64, canceller: &str) -> Self {
        let mut draft = Draft::default();
        draft.clocks(&mut Rng::for_stream(seed, "storm clocks"));
        draft.times(&mut Rng::for_stream(seed, "storm times"));
        draft.sound(&mut Rng::for_stream(seed, "storm sound"));
        let mut rng = Rng::for_stream(seed, "storm rate");
        // Cases at 48 kHz take three times as long, so only every fourth one has that rate.
        let rate = if one_in(&mut rng, 4) { 48_000 } else { 16_000 };
        draft.kind(if rate == 48_000 { "48 kHz" } else { "16 kHz" });
        draft.push("rate", rate);
        draft.push("seconds", SECONDS);
        draft.push("seed", seed);
        draft.words.push(format!("--no-ns --no-agc --canceller {canceller}"));
        let Draft { words, disturbances_s, kinds } = draft;
        Self { seed, words: words.join(" "), disturbances_s, kinds }
    }
}

fn between(rng: &mut Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * rng.uniform()
}

impl Draft {
    fn push(&mut self, name: &str, value: impl std::fmt::Display) {
        self.words.push(format!("--{name} {value}"));
    }

    fn kind(&mut self, kind: &'static str) {
        self.kinds.push(kind);
    }

    fn clocks(&mut self, rng: &mut Rng) {
        let ppm = match rng.range(0, 10) {
            0..=3 => 0.0,
            4..=7 => between(rng, -1_000.0, 1_000.0),
            _ => between(rng, -20_000.0, 20_000.0),
        };
        let ppm = ppm.round();
        if one_in(rng, 3) {
            self.kind("one clock");
            self.push("capture-ppm", ppm);
            self.push("playback-ppm", ppm);
            return;
        }
        self.kind(match ppm.abs() {
            0.0 => "two clocks, 0 ppm",
            ..=1_000.0 => "two clocks, to 1000 ppm",
            _ => "two clocks, to 20000 ppm",
        });
        self.words.push("--two-clocks".to_owned());
        self.push(pick(rng, &["capture-ppm", "playback-ppm"]), ppm);
        if one_in(rng, 4) {
            self.kind("wander");
            let (by, period) = (between(rng, 2.0, 20.0).round(), between(rng, 20.0, 60.0).round());
            self.push("wander", format!("{by}@{period}"));
        }
        if one_in(rng, 6) {
            self.kind("rate change");
            let at = between(rng, 25.0, 45.0).round();
            let size = between(rng, 50.0, 1_000.0).round();
            self.push("drift-step", format!("{}@{at}", pick(rng, &[-size, size])));
            self.disturbances_s.push(at);
        }
    }

    fn times(&mut self, rng: &mut Rng) {
        // 5 to 1500 ms, each octave with the same probability.
        let latency_ms = (5.0 * 300.0_f64.powf(rng.uniform())).round();
        self.push("render-latency-ms", latency_ms);
        self.kind(if latency_ms < 100.0 { "latency below 100 ms" } else { "latency above 100 ms" });
        if one_in(rng, 4) {
            self.kind("latency step");
            let at = between(rng, 25.0, 45.0).round();
            let by = between(rng, -(latency_ms - 5.0).min(150.0), 150.0).round();
            self.push("latency-step", format!("{by}@{at}"));
            self.disturbances_s.push(at);
        }
        let micros = match rng.range(0, 3) {
            0 => between(rng, 0.0, 200.0),
            1 => between(rng, 200.0, 1_000.0),
            _ => between(rng, 1_000.0, 5_000.0),
        };
        match rng.range(0, 3) {
            0 => {
                self.kind("uniform jitter");
                self.push("timestamp-jitter-us", micros.round());
            }
            1 => {
                self.kind("normal jitter");
                // Three standard deviations are within the range of the uniform jitter.
                self.push("timestamp-jitter-us", (micros / 3.0).round());
                self.words.push("--timestamp-jitter-normal".to_owned());
            }
            _ => {
                self.kind("bursts");
                self.push("timestamp-jitter-us", micros.round());
                self.push("burst-periods", rng.range(2, 7));
            }
        }
        if one_in(rng, 2) {
            let bias_ms = between(rng, -80.0, 400.0).round();
            self.kind(if bias_ms < 0.0 { "negative bias" } else { "positive bias" });
            self.push("timestamp-bias-ms", bias_ms);
        } else {
            self.kind("no bias");
        }
    }

    fn sound(&mut self, rng: &mut Rng) {
        let mut parts = Vec::new();
        let mut total_s = 0.0;
        while total_s < SECONDS * 1.1 {
            let (sound, seconds) = match rng.range(0, 20) {
                0..=8 => (FarSound::Speech, between(rng, 6.0, 20.0)),
                9..=11 => (FarSound::Music, between(rng, 5.0, 15.0)),
                12 => (FarSound::DialTone, between(rng, 3.0, 8.0)),
                13 | 14 => (FarSound::RingBack, between(rng, 8.0, 14.0)),
                15 => (FarSound::Siren, between(rng, 4.0, 10.0)),
                16 => (FarSound::Ring, between(rng, 4.0, 10.0)),
                _ => (FarSound::Silence, between(rng, 2.0, 8.0)),
            };
            total_s += seconds;
            parts.push((sound, seconds.round()));
        }
        let has = |wanted: FarSound| parts.iter().any(|(sound, _)| *sound == wanted);
        self.kind(match parts[0].0 {
            FarSound::Speech => "speech first",
            FarSound::Music => "music first",
            FarSound::Silence => "silence first",
            _ => "tone first",
        });
        if [FarSound::DialTone, FarSound::RingBack, FarSound::Siren, FarSound::Ring].into_iter().any(has) {
            self.kind("some tone");
        }
        self.push("far-program", FarProgram::new(parts).expect("lengths in range"));
        if one_in(rng, 3) {
            self.kind("talker");
            for from in [between(rng, 5.0, 25.0), between(rng, 35.0, 60.0)] {
                let from = from.round();
                self.push("talk", format!("{from}-{}", from + between(rng, 3.0, 8.0).round()));
            }
        } else {
            self.push("near", "none");
        }
        let rt60_ms = between(rng, 100.0, 800.0).round();
        self.kind(if rt60_ms < 400.0 { "RT60 below 0.4 s" } else { "RT60 above 0.4 s" });
        self.push("rt60-ms", rt60_ms);
        self.push("noise-dbfs", between(rng, -95.0, -65.0).round());
    }
}
