use super::*;
use crate::canceller::far_end_width::FarEndWidth;
use crate::dsp::fft::Complex;

const HOP: usize = 80;
const PARTITIONS: usize = 4;
type Curve = LoudspeakerCurve<HOP, PARTITIONS>;
type Shape = fn(f32) -> f32;

/// Numbers from -1 to 1 from a seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 40) as f32 / (1 << 23) as f32) - 1.0
    }

    /// Returns noise whose level changes from frame to frame as a voice's does.
    fn frame(&mut self) -> [f32; HOP] {
        let level = self.next() * self.next();
        from_fn(|_| level * (self.next() + self.next()))
    }
}

fn path(numbers: &mut Numbers) -> [[f32; HOP]; PARTITIONS] {
    let mut decay = 1.0;
    from_fn(|_| {
        from_fn(|_| {
            decay *= 0.98;
            decay * 0.3 * numbers.next()
        })
    })
}

/// Returns the newest frame of `signal` as it is behind the path.
fn behind(path: &[[f32; HOP]; PARTITIONS], signal: &[f32]) -> [f32; HOP] {
    let newest = signal.len() - HOP;
    from_fn(|n| {
        let taps = path.as_flattened().iter().enumerate();
        taps.map(|(lag, tap)| (newest + n).checked_sub(lag).map_or(0.0, |at| tap * signal[at])).sum()
    })
}

/// Plays noise through a loudspeaker and the path, and returns how much of its distortion the curve lacks, in
/// terms of the distortion: 1 if nothing was learned, 0 if all was.
fn left_after(frames: usize, seed: u64, talker: f32, loudspeaker: impl Fn(f32) -> f32) -> f32 {
    let mut numbers = Numbers(seed);
    let path = path(&mut numbers);
    let mut curve = Box::new(Curve::new());
    let (mut played, mut straight, mut curved) = (Vec::new(), Vec::new(), Vec::new());
    for frame in 0..frames {
        let samples = numbers.frame();
        let mut far = samples;
        curve.distort(samples.into_iter(), &mut far, None);
        played.extend(samples.map(&loudspeaker));
        straight.extend(samples);
        curved.extend(far);
        let near = behind(&path, &played).map(|echo| echo + talker * numbers.next());
        curve.observe(&near, true);
        curve.learn_path(frame % PARTITIONS, &path[frame % PARTITIONS]);
    }
    // The part of each that has no linear part in the other, over the last half.
    let from = played.len() / 2;
    let rest = |signal: &[f32]| {
        let (mut own, mut cross, mut all) = (0.0, 0.0, 0.0);
        for (a, b) in signal[from..].iter().zip(&played[from..]) {
            own += f64::from(a * a);
            cross += f64::from(a * b);
            all += f64::from(b * b);
        }
        all - cross * cross / own
    };
    (rest(&curved) / rest(&straight)) as f32
}

/// Plays a frame of noise through a loudspeaker without distortion, and asserts that the curve does not distort it.
fn play_straight(curve: &mut Curve, numbers: &mut Numbers, played: &mut Vec<f32>, name: &str) {
    let samples = numbers.frame();
    let mut far = samples;
    curve.distort(samples.into_iter(), &mut far, None);
    let most = far.iter().zip(&samples).map(|(far, x)| (far - x).abs()).fold(0.0, f32::max);
    assert!(most < 0.02, "{name}: distorted by {most}");
    played.extend(samples);
}

#[test]
fn curves_of_many_shapes_are_learned() {
    let shapes: [(&str, Shape); 5] = [
        ("saturation", |x| libm::tanhf(4.0 * x) / 4.0),
        ("heavy saturation", |x| libm::tanhf(8.0 * x) / 8.0),
        ("clipping", |x| x.clamp(-0.2, 0.2)),
        ("asymmetric", |x| x + 0.3 * x * x),
        ("crossover", |x| if x.abs() < 0.02 { 0.0 } else { x }),
    ];
    for (name, shape) in shapes {
        for seed in 1..=3 {
            let left_db = 10.0 * libm::log10f(left_after(800, seed, 0.001, shape));
            println!("{name}, seed {seed}: {left_db:.1} dB of the distortion are left");
            // A step as short as the crossover's is not among the functions.
            let most_db = if name == "crossover" { 0.1 } else { -10.0 };
            assert!(left_db < most_db, "{name}, seed {seed}: {left_db} dB");
        }
    }
}

#[test]
fn a_loudspeaker_without_distortion_stays_straight() {
    for (seed, talker) in [(1, 0.001), (2, 0.001), (3, 0.1), (4, 0.5)] {
        let mut numbers = Numbers(seed);
        let path = path(&mut numbers);
        let mut curve = Box::new(Curve::new());
        let (mut played, mut unobserved) = (Vec::new(), 0);
        for frame in 0..2_000 {
            play_straight(&mut curve, &mut numbers, &mut played, &format!("seed {seed}, frame {frame}"));
            curve.observe(&behind(&path, &played).map(|echo| echo + talker * numbers.next()), true);
            curve.learn_path(frame % PARTITIONS, &path[frame % PARTITIONS]);
            unobserved += usize::from(curve.unobserved > 0);
        }
        // A talker as loud as the echo leaves few frames that count.
        let least = if talker < 0.1 { 1_000 } else { 0 };
        assert!(unobserved >= least, "seed {seed}: {unobserved} of 2000 frames were not observed");
    }
}

#[test]
fn a_syllable_louder_than_all_before_is_told_from_a_talker() {
    for seed in 1..=10 {
        let mut numbers = Numbers(seed);
        let path = path(&mut numbers);
        let mut curve = Box::new(Curve::new());
        let (mut played, mut heard, mut gain) = (Vec::new(), Vec::new(), 1.0);
        let mut most = [0.0_f32; 2];
        // 8 s of a quiet far end, 0.2 s of a talker beside it, and a far end that clips.
        for frame in 0..830 {
            let level = if frame < 820 { 0.2 } else { 1.0 };
            let samples = numbers.frame().map(|x| level * x);
            let mut far = samples;
            curve.distort(samples.into_iter(), &mut far, None);
            heard.extend(far);
            played.extend(samples.map(|x| (x + x * x).clamp(-0.2, 0.4)));
            let talker = if (800..820).contains(&frame) { 0.1 } else { 0.0 };
            let near = behind(&path, &played).map(|echo| echo + (talker + 0.01) * numbers.next());
            // The main filter has learned the gain.
            let echoes = behind(&path, &heard);
            let errors = near.iter().zip(&echoes).map(|(near, echo)| near - gain * echo);
            let error = errors.map(|error| error * error).sum::<f32>() / HOP as f32;
            curve.observe(&near, true);
            curve.learn_path(frame % PARTITIONS, &path[frame % PARTITIONS]);
            gain = curve.squares.solution[0];
            if frame >= 800 {
                let most = &mut most[usize::from(frame >= 820)];
                *most = most.max(curve.changed(error));
            }
        }
        let [talker, louder] = most;
        println!("seed {seed}: talker {talker:.2}, louder syllable {louder:.2}");
        assert!(talker < 0.1 && louder > 0.3, "seed {seed}: {most:?}");
    }
}

#[test]
fn tones_teach_no_curve() {
    let mut numbers = Numbers(7);
    let [known, path] = from_fn(|_| path(&mut numbers));
    let mut width = FarEndWidth::<HOP>::new();
    let mut curve = Box::new(Curve::new());
    curve.path = known;
    let mut played = Vec::new();
    for frame in 0..1_000 {
        let tone = |n: usize, hz: f32| libm::sinf(core::f32::consts::TAU * hz / 8_000.0 * n as f32);
        let samples: [f32; HOP] =
            from_fn(|n| 0.2 * (tone(frame * HOP + n, 440.0) + tone(frame * HOP + n, 480.0)));
        curve.distort(samples.into_iter(), &mut samples.clone(), None);
        let mut bins = [Complex::ZERO; HOP];
        (bins[8].re, bins[9].re, bins[10].re) = (1.0, 2.0, 1.0);
        width.observe(&bins);
        played.extend(samples);
        curve.observe(&behind(&path, &played).map(|echo| echo + 0.001 * numbers.next()), width.is_wide());
        assert_eq!((curve.better, curve.weights), ((0.0, 0.0), [0.0; FUNCTIONS]), "frame {frame}");
    }
}

#[test]
fn a_talker_as_loud_as_the_echo_does_not_hide_a_heavy_distortion() {
    let left = left_after(4_000, 5, 0.1, |x| libm::tanhf(8.0 * x) / 8.0);
    println!("{:.1} dB of the distortion are left", 10.0 * libm::log10f(left));
    assert!(left < 0.3, "{left}");
}

#[test]
fn echoes_are_the_convolution_of_path_and_functions() {
    let mut numbers = Numbers(9);
    let path = path(&mut numbers);
    let mut curve = Box::new(Curve::new());
    let mut played = Vec::new();
    for frame in 0..PARTITIONS + 3 {
        if frame > 0 {
            curve.observe(&[0.0; HOP], true);
        }
        let samples = numbers.frame();
        curve.distort(samples.into_iter(), &mut [0.0; HOP], None);
        played.extend(samples);
    }
    curve.path = path;
    for at in (1..=SAMPLES).map(|part| HOP * part / SAMPLES - 1) {
        // The last taps reach back behind the oldest frame.
        let mut known = path;
        known[PARTITIONS - 1][at + 1..].fill(0.0);
        let expected = behind(&known, &played)[at];
        let found = curve.echoes(at)[0];
        assert!((found - expected).abs() < 1e-5, "sample {at}: {found} instead of {expected}");
    }
}
