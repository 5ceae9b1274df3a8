//! Interpolation of a sampled signal between its samples, as one converter's clock sees a signal of another's.
//!
//! The kernel is a windowed sinc (Smith, "Digital Audio Resampling", 1984), tabulated at 1024 fractions of a
//! sample and interpolated linearly between them. The simulator deliberately does not use the core's
//! interpolator, which would otherwise be measured with itself.

use std::sync::{Arc, LazyLock};

use crate::convolver::dot;

/// Taps of the kernel at a step of 1. Larger steps lengthen it in proportion.
pub const TAPS: usize = 80;
/// Fractions of a sample at which the kernel is tabulated. Linear interpolation between them has an error of
/// -120 dB.
const PHASES: usize = 1024;
/// Window parameter for a stop band of 118 dB (Kaiser's formula: 0.1102 * (118 - 8.7)).
const KAISER_BETA: f64 = 12.04;
/// Largest step that keeps the whole band: the two clocks have the same nominal rate and differ by their
/// errors only.
const CLOCK_ERROR_MAX: f64 = 1.005;

/// Interpolator that reads signals at any real position.
///
/// Frequencies below 0.9 of the lower Nyquist frequency have an error below -110 dB. Above that the kernel
/// rolls off, and aliases lie above 0.9 too. Outside the signal it reads silence.
#[derive(Clone, Debug)]
pub struct Interpolator {
    step: f64,
    half: usize,
    /// `PHASES + 1` rows of `2 * half` taps.
    table: Arc<[f32]>,
    /// Whether the kernel at a whole position is a single tap of exactly 1, so that samples can be copied
    /// there.
    passes_through: bool,
}

impl Interpolator {
    /// Makes an interpolator that reads every `step` samples. `step` is the input rate divided by the output
    /// rate, clock errors included; it is clamped to 1/64 ..= 64.
    ///
    /// A step above 1.005 lowers the rate. The kernel is then widened to remove frequencies above the new
    /// Nyquist frequency.
    pub fn new(step: f64) -> Self {
        let step = step.clamp(1.0 / 64.0, 64.0);
        let passes_through = step <= CLOCK_ERROR_MAX;
        let width = if passes_through { 1.0 } else { step };
        let half = ((TAPS / 2) as f64 * width).ceil() as usize;
        // Almost all interpolators have this table, and making it takes a tenth of the time of a simulated minute.
        static WHOLE_BAND: LazyLock<Arc<[f32]>> = LazyLock::new(|| table(TAPS / 2, 1.0));
        let table = if passes_through { Arc::clone(&WHOLE_BAND) } else { table(half, width) };
        Self { step, half, table, passes_through }
    }

    /// Returns the step that the interpolator was made for, after clamping.
    pub fn step(&self) -> f64 {
        self.step
    }

    /// Returns the number of samples that a read needs on each side of its position.
    pub fn reach(&self) -> usize {
        self.half
    }

    /// Returns the signal's value at `whole + fraction` samples from its start. `fraction` is clamped to 0.0
    /// ..= 1.0.
    ///
    /// At a step of at most 1.005 a fraction of exactly 0 returns the sample itself.
    pub fn read(&self, signal: &[f32], whole: i64, fraction: f64) -> f32 {
        if self.passes_through && fraction == 0.0 {
            return usize::try_from(whole).ok().and_then(|i| signal.get(i)).copied().unwrap_or(0.0);
        }
        let taps = 2 * self.half;
        let scaled = fraction.clamp(0.0, 1.0) * PHASES as f64;
        let phase = (scaled as usize).min(PHASES - 1);
        let between = (scaled - phase as f64) as f32;
        let rows = &self.table[phase * taps..(phase + 2) * taps];
        let (low, high) = rows.split_at(taps);
        let first = whole - (self.half as i64 - 1);
        let end = first + taps as i64;
        let (a, b) = if first >= 0 && end <= signal.len() as i64 {
            let window = &signal[first as usize..end as usize];
            (dot(low, window), dot(high, window))
        } else {
            // Near an end of the signal only the taps that overlap it contribute.
            let from = first.clamp(0, signal.len() as i64);
            let to = end.clamp(from, signal.len() as i64);
            let window = &signal[from as usize..to as usize];
            let skip = (from - first) as usize;
            if skip >= taps {
                return 0.0;
            }
            let used = skip..skip + window.len();
            (dot(&low[used.clone()], window), dot(&high[used], window))
        };
        a + (b - a) * between
    }

    /// Fills `output` with the signal's values at `whole + fraction + n * step`, for n from 0. Returns the
    /// position after the last one.
    ///
    /// Any step works, but only steps close to the interpolator's own are free of aliases. The separate whole
    /// part keeps positions precise over days.
    pub fn read_run(
        &self,
        signal: &[f32],
        (whole, fraction): (i64, f64),
        step: f64,
        output: &mut [f32],
    ) -> (i64, f64) {
        let count = output.len();
        let at = |n: usize| {
            let offset = fraction + n as f64 * step;
            let floor = offset.floor();
            (whole + floor as i64, offset - floor)
        };
        if step == 1.0 && fraction == 0.0 && self.passes_through {
            let source = usize::try_from(whole).ok().and_then(|from| signal.get(from..from + count));
            if let Some(samples) = source {
                output.copy_from_slice(samples);
                return at(count);
            }
        }
        for (n, out) in output.iter_mut().enumerate() {
            let (whole, fraction) = at(n);
            *out = self.read(signal, whole, fraction);
        }
        at(count)
    }
}

/// The signal that a loudspeaker has played, for a microphone to read.
///
/// It grows at its end, and old samples are dropped from its start. Positions count from the beginning of the
/// signal.
#[derive(Clone, Debug, Default)]
pub struct PlayedSignal {
    samples: Vec<f32>,
    /// Position of `samples[0]`.
    start: u64,
}

impl PlayedSignal {
    /// Returns an empty signal whose first sample will have the position `start`.
    pub fn starting_at(start: u64) -> Self {
        Self { samples: Vec::new(), start }
    }

    /// Returns the position after the last sample.
    pub fn end(&self) -> u64 {
        self.start + self.samples.len() as u64
    }

    /// Returns the sample at a position; `None` if it is dropped or not played yet.
    pub fn at(&self, position: u64) -> Option<f32> {
        let index = position.checked_sub(self.start)?;
        self.samples.get(usize::try_from(index).ok()?).copied()
    }

    /// Appends samples.
    pub fn push(&mut self, samples: &[f32]) {
        self.samples.extend_from_slice(samples);
    }

    /// Appends `count` zeros and returns them for the caller to overwrite.
    pub fn extend(&mut self, count: usize) -> &mut [f32] {
        let from = self.samples.len();
        self.samples.resize(from + count, 0.0);
        &mut self.samples[from..]
    }

    /// Returns the last `count` samples, or all if there are fewer, for the caller to overwrite.
    pub fn last_mut(&mut self, count: usize) -> &mut [f32] {
        let from = self.samples.len().saturating_sub(count);
        &mut self.samples[from..]
    }

    /// Removes the samples from `position` on, because they will not be played.
    pub fn cut_to(&mut self, position: u64) {
        let kept = usize::try_from(position.saturating_sub(self.start)).unwrap_or(usize::MAX);
        self.samples.truncate(kept);
    }

    /// Allows samples before `position` to be dropped. They are dropped in large steps to amortise the cost.
    pub fn drop_before(&mut self, position: u64) {
        let unneeded = position.saturating_sub(self.start).min(self.samples.len() as u64) as usize;
        if unneeded >= 1 << 16 {
            self.samples.drain(..unneeded);
            self.start += unneeded as u64;
        }
    }

    /// Does the same as [`Interpolator::read`], with positions of this signal.
    fn read(&self, interpolator: &Interpolator, whole: u64, fraction: f64) -> f32 {
        interpolator.read(&self.samples, whole as i64 - self.start as i64, fraction)
    }

    /// Does the same as [`Interpolator::read_run`], with positions of this signal. Reads silence before its
    /// first and after its last sample.
    pub fn read_run(
        &self,
        interpolator: &Interpolator,
        (whole, fraction): (i64, f64),
        step: f64,
        output: &mut [f32],
    ) -> (i64, f64) {
        let start = self.start as i64;
        let (whole, fraction) = interpolator.read_run(&self.samples, (whole - start, fraction), step, output);
        (whole + start, fraction)
    }
}

/// Resamples a whole signal to another rate, as [`PieceResampler`] does piece by piece.
///
/// # Panics
/// Panics if a rate is 0.
pub fn resample_to(signal: &[f32], from_hz: u32, to_hz: u32) -> Vec<f32> {
    let mut out = Vec::new();
    let mut resampler = PieceResampler::new(from_hz, to_hz);
    resampler.push(signal, &mut out);
    resampler.finish(&mut out);
    out
}

/// Resamples a signal to another rate, piece by piece.
///
/// Sample 0 stays at time 0, and the length is rounded up. Frequencies above the lower of the two Nyquist
/// frequencies are removed. Equal rates copy the signal.
#[derive(Clone, Debug)]
pub struct PieceResampler {
    from_hz: u64,
    to_hz: u64,
    interpolator: Interpolator,
    signal: PlayedSignal,
    /// Number of samples returned so far.
    returned: u64,
}

impl PieceResampler {
    /// Makes a resampler that has read nothing.
    ///
    /// # Panics
    /// Panics if a rate is 0.
    #[must_use]
    pub fn new(from_hz: u32, to_hz: u32) -> Self {
        assert!(
            from_hz > 0 && to_hz > 0,
            "a resampler from {from_hz} to {to_hz} Hz: expected rates of more than 0"
        );
        Self {
            from_hz: u64::from(from_hz),
            to_hz: u64::from(to_hz),
            interpolator: Interpolator::new(f64::from(from_hz) / f64::from(to_hz)),
            signal: PlayedSignal::default(),
            returned: 0,
        }
    }

    /// Takes the next samples and appends what they decide to `out`.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        if self.from_hz == self.to_hz {
            return out.extend_from_slice(samples);
        }
        self.signal.push(samples);
        let reach = self.interpolator.reach() as u64;
        // The kernel of the sample at position p ends at p + reach.
        let decided = self.signal.end().saturating_sub(reach);
        self.append((decided * self.to_hz).div_ceil(self.from_hz), out);
        self.signal.drop_before((self.returned * self.from_hz / self.to_hz).saturating_sub(reach));
    }

    /// Appends the rest of the signal to `out`, as if silence followed.
    pub fn finish(mut self, out: &mut Vec<f32>) {
        if self.from_hz != self.to_hz {
            self.append((self.signal.end() * self.to_hz).div_ceil(self.from_hz), out);
        }
    }

    /// Appends the samples before the one with the number `end`.
    fn append(&mut self, end: u64, out: &mut Vec<f32>) {
        for n in self.returned..end {
            // Integer arithmetic, so that the position is exact however long the signal is.
            let position = n * self.from_hz;
            let fraction = (position % self.to_hz) as f64 / self.to_hz as f64;
            out.push(self.signal.read(&self.interpolator, position / self.to_hz, fraction));
        }
        self.returned = self.returned.max(end);
    }
}

/// Returns `PHASES + 1` rows of `2 * half` taps, each with the sum 1, for a kernel that is `width` times as long
/// as that of the whole band.
fn table(half: usize, width: f64) -> Arc<[f32]> {
    let taps = 2 * half;
    let kaiser_norm = bessel_i0(KAISER_BETA);
    let mut table = Vec::with_capacity((PHASES + 1) * taps);
    let mut row = vec![0.0; taps];
    for phase in 0..=PHASES {
        let fraction = phase as f64 / PHASES as f64;
        for (k, tap) in row.iter_mut().enumerate() {
            // Tap `half - 1` lies on the whole part of the position.
            let distance = k as f64 - (half - 1) as f64 - fraction;
            *tap = sinc(distance / width) / width * kaiser(distance / half as f64) / kaiser_norm;
        }
        // Rows with different sums would modulate the amplitude with the phase.
        let sum: f64 = row.iter().sum();
        table.extend(row.iter().map(|tap| (tap / sum) as f32));
    }
    table.into()
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        1.0
    } else if x.fract() == 0.0 {
        // In floating point sin(pi * x) is not exactly 0 here, and copying would not be exact.
        0.0
    } else {
        let angle = std::f64::consts::PI * x;
        angle.sin() / angle
    }
}

/// Kaiser window on -1.0 ..= 1.0, times `bessel_i0(KAISER_BETA)`; 0 outside.
fn kaiser(x: f64) -> f64 {
    let inside = 1.0 - x * x;
    if inside < 0.0 { 0.0 } else { bessel_i0(KAISER_BETA * inside.sqrt()) }
}

/// Modified Bessel function of the first kind, order 0, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1..60 {
        term *= quarter / f64::from(k * k);
        if sum + term == sum {
            break;
        }
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Rng;
    use std::f64::consts::TAU;

    fn tone(frequency: f64, length: usize) -> Vec<f32> {
        (0..length).map(|n| (TAU * frequency * n as f64).sin() as f32 * 0.5).collect()
    }

    fn snr_db(expected: impl Iterator<Item = f64>, actual: &[f32]) -> f64 {
        let (mut power, mut error) = (0.0, 0.0);
        for (e, &a) in expected.zip(actual) {
            power += e * e;
            error += (e - f64::from(a)).powi(2);
        }
        10.0 * (power / error).log10()
    }

    #[test]
    fn any_position_is_precise_below_nine_tenths_of_nyquist() {
        let seed = 42;
        println!("seed {seed}");
        let mut rng = Rng::new(seed);
        let mut worst = f64::INFINITY;
        for round in 0..60 {
            let frequency = if round == 0 { 0.45 } else { 0.45 * rng.uniform() + 1e-4 };
            let step = 1.0 + (rng.uniform() - 0.5) * 2e-3;
            let start = 200.0 + rng.uniform();
            let signal = tone(frequency, 4000);
            let interpolator = Interpolator::new(step);
            let mut output = vec![0.0; 3000];
            interpolator.read_run(&signal, (0, start), step, &mut output);
            let expected = (0..3000).map(|n| 0.5 * (TAU * frequency * (start + n as f64 * step)).sin());
            let snr = snr_db(expected, &output);
            worst = worst.min(snr);
            assert!(snr > 110.0, "{snr:.1} dB at {frequency:.4} of the rate, step {step}");
        }
        println!("worst SNR {worst:.1} dB");
    }

    #[test]
    fn whole_positions_at_step_one_are_copied_bit_for_bit() {
        let mut rng = Rng::new(1);
        let signal: Vec<f32> = (0..1000).map(|_| rng.uniform() as f32).collect();
        let interpolator = Interpolator::new(1.0);
        let mut output = vec![0.0; 1000];
        let next = interpolator.read_run(&signal, (0, 0.0), 1.0, &mut output);
        assert_eq!(output, signal);
        assert_eq!(next, (1000, 0.0));
    }

    #[test]
    fn reads_silence_outside_and_is_finite_near_the_ends() {
        let signal = tone(0.1, 300);
        let interpolator = Interpolator::new(1.0);
        let reach = interpolator.reach() as i64;
        for whole in [i64::MIN / 4, -1000, -reach - 1, 300 + reach, 1 << 60] {
            assert_eq!(interpolator.read(&signal, whole, 0.5), 0.0, "at {whole}");
        }
        for whole in -40..340 {
            assert!(interpolator.read(&signal, whole, 0.3).is_finite());
        }
        assert_eq!(interpolator.read(&[], 0, 0.5), 0.0);
    }

    #[test]
    fn a_played_signal_keeps_positions_when_it_drops_samples() {
        let seed = 77;
        println!("seed {seed}");
        let mut rng = Rng::new(seed);
        let begin = (1_u64 << 32) - 5000;
        let mut played = PlayedSignal::starting_at(begin);
        let mut all = Vec::new();
        let interpolator = Interpolator::new(1.0001);
        for _ in 0..300 {
            let block: Vec<f32> = (0..rng.range(0, 2000)).map(|_| rng.uniform() as f32).collect();
            all.extend_from_slice(&block);
            played.push(&block);
            played.drop_before(played.end().saturating_sub(1000));
            let at = all.len() as i64 - 500;
            let mut from_played = [0.0; 16];
            let mut from_all = [0.0; 16];
            played.read_run(&interpolator, (begin as i64 + at, 0.25), 1.0001, &mut from_played);
            interpolator.read_run(&all, (at, 0.25), 1.0001, &mut from_all);
            assert_eq!(from_played, from_all);
        }
        assert!(played.samples.len() < 100_000, "no sample was dropped");
    }

    #[test]
    fn resampling_keeps_tones_and_removes_what_would_alias() {
        for (from, to) in
            [(16_000, 48_000), (44_100, 48_000), (48_000, 44_100), (48_000, 16_000), (8_000, 96_000)]
        {
            let lower = from.min(to);
            let hz = 0.43 * f64::from(lower);
            let signal = tone(hz / f64::from(from), 20_000);
            let output = resample_to(&signal, from, to);
            assert_eq!(output.len() as u64, (20_000 * u64::from(to)).div_ceil(u64::from(from)));
            let margin = output.len() / 10;
            let middle = &output[margin..output.len() - margin];
            let expected =
                (0..middle.len()).map(|n| 0.5 * (TAU * hz * (n + margin) as f64 / f64::from(to)).sin());
            let snr = snr_db(expected, middle);
            assert!(snr > 95.0, "{from} to {to}: {snr:.1} dB");
            if 0.57 * f64::from(to) < 0.5 * f64::from(from) {
                let above = tone(0.57 * f64::from(to) / f64::from(from), 20_000);
                let output = resample_to(&above, from, to);
                let middle = &output[margin..output.len() - margin];
                let peak = middle.iter().fold(0.0_f32, |peak, x| peak.max(x.abs()));
                assert!(peak < 1e-5, "{from} to {to}: an alias of {peak}");
            }
        }
        assert_eq!(resample_to(&[0.1, 0.2], 48_000, 48_000), [0.1, 0.2]);
        assert!(resample_to(&[], 48_000, 16_000).is_empty());
    }
    #[test]
    fn pieces_of_any_length_are_resampled_as_the_whole() {
        let seed = 31;
        println!("seed {seed}");
        let mut rng = Rng::new(seed);
        for (from, to) in
            [(16_000, 48_000), (44_100, 48_000), (48_000, 16_000), (22_050, 8_000), (8_000, 8_000)]
        {
            let signal: Vec<f32> = (0..150_000).map(|_| rng.uniform() as f32).collect();
            let whole: Vec<f32> = {
                let interpolator = Interpolator::new(f64::from(from) / f64::from(to));
                let (from, to) = (u64::from(from), u64::from(to));
                let place = |n: u64| ((n * from / to) as i64, (n * from % to) as f64 / to as f64);
                (0..(150_000 * to).div_ceil(from))
                    .map(|n| interpolator.read(&signal, place(n).0, place(n).1))
                    .collect()
            };
            let mut resampler = PieceResampler::new(from, to);
            let (mut rest, mut pieces) = (&signal[..], Vec::new());
            while !rest.is_empty() {
                let (piece, later) = rest.split_at(rest.len().min(rng.range(0, 20_000) as usize));
                resampler.push(piece, &mut pieces);
                rest = later;
            }
            assert!(resampler.signal.samples.len() < 100_000, "no sample was dropped");
            resampler.finish(&mut pieces);
            assert!(pieces == whole, "{from} to {to}: {} of {} samples", pieces.len(), whole.len());
        }
    }
}
