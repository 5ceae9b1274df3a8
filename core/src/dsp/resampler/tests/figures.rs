//! Measures the table of figures. `cargo test -p handsfree-core figures -- --nocapture` prints it.

use super::*;

/// Pairs of rates that every quality is measured with, the largest ratio last.
const PAIRS: [(u32, u32); 9] = [
    (48_000, 16_000),
    (16_000, 48_000),
    (44_100, 48_000),
    (48_000, 44_100),
    (44_100, 16_000),
    (22_050, 48_000),
    (8_000, 96_000),
    (96_000, 8_000),
    (192_000, 4_000),
];

/// Number of samples of a sweep at the lower rate: slow enough that a kernel spans nearly one frequency.
const SWEEP: usize = 40_000;

/// A linear sweep between two frequencies over `seconds`, with amplitude 1/2.
struct Sweep {
    low_hz: f64,
    high_hz: f64,
    seconds: f64,
}

impl Sweep {
    fn at(&self, time_s: f64) -> f64 {
        let rise = (self.high_hz - self.low_hz) / (2.0 * self.seconds);
        let turns = (self.low_hz + rise * time_s) * time_s;
        0.5 * (core::f64::consts::TAU * (turns - turns.floor())).sin()
    }

    fn through(&self, from_hz: u32, to_hz: u32, quality: &'static Quality) -> Vec<f32> {
        let length = (self.seconds * f64::from(from_hz)) as usize;
        let input: Vec<f32> = (0..length).map(|n| self.at(n as f64 / f64::from(from_hz)) as f32).collect();
        let mut resampler = configured::<125_000>(mono(from_hz, to_hz, quality));
        all_of(&mut resampler, &input, || (4_096, 8_192))
    }
}

fn power(samples: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = samples.fold((0.0, 0), |(sum, count), x| (sum + x * x, count + 1));
    sum / f64::from(count.max(1))
}

fn db(ratio: f64) -> f64 {
    10.0 * ratio.log10()
}

/// Returns the signal-to-noise ratio of the worst of 64 parts of a sweep through the pass band.
fn snr_db(from_hz: u32, to_hz: u32, quality: &'static Quality) -> f64 {
    let band_hz = f64::from(from_hz.min(to_hz)) / 2.0;
    let seconds = SWEEP as f64 / (2.0 * band_hz);
    let sweep = Sweep { low_hz: 0.0, high_hz: band_hz * f64::from(quality.pass_band()), seconds };
    let output = sweep.through(from_hz, to_hz, quality);
    let edge = quality.taps() * (to_hz as usize).div_ceil(from_hz.min(to_hz) as usize);
    let part = output.len() / 64;
    let worst = (0..64).map(|i| {
        let inside = (i * part).max(edge)..((i + 1) * part).min(output.len() - edge);
        let wave = |m: usize| sweep.at(m as f64 / f64::from(to_hz));
        let noise = power(inside.clone().map(|m| f64::from(output[m]) - wave(m)));
        db(power(inside.map(wave)) / noise)
    });
    worst.fold(f64::INFINITY, f64::min)
}

/// Returns the rejection of the worst of 64 parts of a sweep beyond the lower Nyquist frequency.
fn rejection_db(from_hz: u32, to_hz: u32, quality: &'static Quality) -> f64 {
    let seconds = SWEEP as f64 / f64::from(to_hz);
    let sweep = Sweep { low_hz: f64::from(to_hz) / 2.0, high_hz: f64::from(from_hz) / 2.0, seconds };
    let output = sweep.through(from_hz, to_hz, quality);
    let edge = 2 * quality.taps();
    let part = (output.len() - 2 * edge) / 64;
    let worst = (0..64).map(|i| {
        let start = edge + i * part;
        db(0.125 / power(output[start..start + part].iter().map(|&x| f64::from(x))))
    });
    worst.fold(f64::INFINITY, f64::min)
}

/// Measures how many sample frames must be pushed after an impulse until it comes out.
fn impulse_latency(from_hz: u32, to_hz: u32, quality: &'static Quality) -> usize {
    let mut resampler = configured::<125_000>(mono(from_hz, to_hz, quality));
    let lead = from_hz as usize / 100;
    let mut outputs = 0;
    for pushed in 0.. {
        let mut output = [0.0f32; 64];
        let input = if pushed == lead { 1.0 } else { 0.0 };
        outputs += resampler.push(&[input], &mut output).produced;
        // The impulse is at output sample `lead * to / from`.
        if outputs > lead * to_hz as usize / from_hz as usize {
            return pushed - lead;
        }
    }
    unreachable!()
}

/// Returns one line of the table in the documentation of `Quality`.
fn line(quality: &'static Quality, snr: f64, rejection: f64) -> String {
    let latency = [(48_000, 16_000), (16_000, 48_000)].map(|(from, to)| {
        let measured = impulse_latency(from, to, quality);
        let stated = configured::<125_000>(mono(from, to, quality)).latency_sample_frames();
        assert!((measured as f64 - stated).abs() <= 1.0, "{}: {measured}, not {stated}", quality.name());
        measured
    });
    let bytes = |words: usize| words * size_of::<f32>();
    format!(
        "| {} | {} | {} | {snr:.0} dB | {rejection:.0} dB | {} | {} | {} | {} | {} | {} |",
        quality.name(),
        quality.taps(),
        quality.pass_band(),
        latency[0],
        latency[1],
        quality.table_bytes(),
        bytes(quality.memory(48_000, 16_000, 1)),
        bytes(quality.memory(44_100, 48_000, 1)),
        bytes(quality.fast_memory(44_100, 48_000, 1)),
    )
}

#[test]
fn figures() {
    let documented = include_str!("../quality.rs");
    let mut wrong = false;
    for quality in Quality::ALL {
        let (mut snr, mut rejection) = (f64::INFINITY, f64::INFINITY);
        for (from, to) in PAIRS {
            let here = snr_db(from, to, quality);
            let alias = if from > to { rejection_db(from, to, quality) } else { f64::INFINITY };
            println!("{:9} {from:6} -> {to:6}: SNR {here:6.1} dB, rejection {alias:6.1} dB", quality.name());
            (snr, rejection) = (snr.min(here), rejection.min(alias));
        }
        let line = line(quality, snr, rejection);
        println!("{line}");
        let bound = f64::from(quality.snr_db());
        wrong |= snr < bound || rejection < bound || !documented.contains(&line);
    }
    assert!(!wrong, "a bound is missed, or the table in quality.rs is not the one printed above");
}
