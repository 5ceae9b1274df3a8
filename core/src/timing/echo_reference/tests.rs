//! How steadily the reference is read when the times that it is read by scatter.

use super::*;

const RATE_HZ: u32 = 48_000;
const FRAME: usize = 480;
/// The loudspeaker plays so much after the microphone's clock began.
const LATENCY_NS: f64 = 50e6;

struct Noise(u64);

impl Noise {
    /// A standard normal number, nearly: the sum of twelve even ones.
    fn normal(&mut self) -> f64 {
        let mut sum = 0.0;
        for _ in 0..12 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            sum += (self.0 >> 11) as f64 / (1u64 << 53) as f64 - 0.5;
        }
        sum
    }
}

/// Reads for 60 s, the loudspeaker's clock `ppm(second)` fast, both clocks' times scattering by
/// `jitter_ns`. Returns once a second how many sample frames from the truth reading was.
fn wander(seed: u64, jitter_ns: f64, ppm: impl Fn(usize) -> f64) -> Vec<f64> {
    let far = Format::new(RATE_HZ, 1).unwrap();
    let mut memory = Box::new(ReferenceMemory::<FRAME>::new());
    let mut history = vec![0; 48_000];
    let mut reference = EchoReference::new(&mut memory, &mut history, far, Duration::ZERO);
    let mut capture = StreamClock::new(far.rate());
    let mut noise = Noise(seed);
    let mut out = Frame::EMPTY;
    let mut played = Frame::<FRAME>::silence(far).unwrap();
    let mut play_ns = LATENCY_NS;
    let (mut index, mut truth) = (0.0, 0.0);
    let mut errors = Vec::new();
    for k in 0..6_000usize {
        let step_ns = 10e6 / (1.0 + ppm(k / 100) * 1e-6);
        played.stamp.time = Instant::from_nanos((play_ns + noise.normal() * jitter_ns) as i64);
        reference.push(&played);
        play_ns += step_ns;
        // The microphone is heard 100 ms later than it was played.
        let heard_ns = k as f64 * 10e6 - 50e6;
        let position = (k * FRAME) as u64;
        let time = Instant::from_nanos((heard_ns + noise.normal() * jitter_ns) as i64);
        capture.observe(position, time);
        if let Head::Free(place) = reference.head {
            index = place.index as f64 + f64::from(place.fraction_q32) / Q32;
        }
        truth = truth_at(heard_ns, play_ns, step_ns, k).unwrap_or(truth);
        if k % 100 == 99 {
            errors.push(index - truth);
        }
        reference.read::<Full>(&capture, position, false, &mut out, far);
    }
    errors
}

/// Index that is played at `at_ns`, given when the frame behind frame `k` will be.
fn truth_at(at_ns: f64, next_ns: f64, step_ns: f64, k: usize) -> Option<f64> {
    (at_ns >= 0.0).then(|| ((k + 1) * FRAME) as f64 - (next_ns - at_ns) / step_ns * FRAME as f64)
}

/// From 20 s on the rate at which reading strays is a few ppm, where the clocks' times stray by
/// tens: what is left is the doubt about the clocks' ratio.
#[test]
fn reading_is_calm_where_the_times_are_not() {
    let mut squares = 0.0;
    let mut count = 0;
    for seed in 1..=20 {
        let errors = wander(seed, 1e6, |_| -200.0);
        let settled = errors.get(20..).unwrap();
        let worst = settled.iter().fold(0.0f64, |worst, error| worst.max(error.abs()));
        assert!(worst < 12.0, "seed {seed}: {worst} sample frames from the truth");
        for pair in settled.windows(2) {
            squares += ((pair[1] - pair[0]) * 1e6 / f64::from(RATE_HZ)).powi(2);
            count += 1;
        }
    }
    let strays_ppm = (squares / f64::from(count)).sqrt();
    println!("strays by {strays_ppm:.2} ppm");
    assert!(strays_ppm < 5.0, "{strays_ppm} ppm");
}

/// A rate that jumps by 200 ppm at 30 s is followed, at any jitter that shows it.
#[test]
fn reading_follows_clocks_that_change() {
    for jitter_ns in [0.0, 29e3, 115e3] {
        for seed in 1..=5 {
            let errors = wander(seed, jitter_ns, |second| if second < 30 { 0.0 } else { 200.0 });
            let worst = |from: usize, to: usize| {
                errors[from..to].iter().fold(0.0f64, |worst, error| worst.max(error.abs()))
            };
            let (before, during, after) = (worst(20, 30), worst(30, 34), worst(34, 60));
            println!("jitter {jitter_ns} ns, seed {seed}: off by {before:.2}, {during:.2}, {after:.2}");
            assert!(before < 2.0 && during < 48.0 && after < 8.0, "jitter {jitter_ns} ns, seed {seed}");
        }
    }
}
