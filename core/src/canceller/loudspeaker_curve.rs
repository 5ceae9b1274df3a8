//! Worker side: the curve of a loudspeaker that distorts, from the sample it is given to the sound it makes.
//!
//! A. Stenger and W. Kellermann, "Adaptation of a memoryless preprocessor for nonlinear acoustic echo cancelling",
//! Signal Processing 80 (2000): in front of the linear filter, the reference passes a curve without memory, a sum of
//! fixed functions. Here its weights follow from least squares of the microphone against each function's echo, which a
//! slow mean of the main filter's path gives. The mean matters: the main filter itself follows the loudspeaker's gain
//! from syllable to syllable, and its error would show no distortion.
//!
//! It is learned only from a far end of many frequencies: the echo of a few tones behind a path that is not quite right is
//! explained by a curve as well. The curve is used only while its error is smaller than that of a loudspeaker without
//! distortion. One that comes after a long time without, because an amplifier behind the samples was turned up, is learned
//! only in minutes: what was seen before counts by how small its error was.
//!
//! A syllable louder than all before it meets a part of the curve that was only extrapolated. What the least squares change
//! of the curve at such a moment shows how much of the error is echo, not a talker.

use core::array::from_fn;

use super::high_pass::HighPassShape;
use super::least_squares::{FUNCTIONS, Products, Squares, Values};
use super::subnormal::flush_samples;

/// Odd functions, besides the sample.
const ODD_FUNCTIONS: usize = 3;
/// Drive of each function, the inverse of the sample from which it is limited: the sample's own, the odd ones, the even
/// ones. The test `curves_of_many_shapes_are_learned` shows what sums of them describe.
const DRIVES: Values = [0.0, 2.0, 4.0, 8.0, 1.0, 2.0, 4.0, 8.0];
/// Most samples of a frame at which the microphone is compared with the functions' echoes. Above 16 kHz, where each costs
/// more, they are half as many.
const SAMPLES: usize = 4;
/// Taps whose sums are independent of one another, so that no addition waits for the last one.
const GROUP: usize = 4;
/// Samples of a frame that give the functions' products with one another.
const GRAM_SAMPLES: usize = 20;
/// Mean power of a far-end frame above which it counts: -40 dBFS.
const FAR_ACTIVE: f32 = 1e-4;
/// Mean power of a far-end frame below which it is a pause: -60 dBFS.
const FAR_AUDIBLE: f32 = 1e-6;
/// Frames of a pause after which nothing is observed until the far end plays again: 1 s, longer than pauses of speech.
const PAUSE_FRAMES: u32 = 100;
/// Part of the least squares that is kept in 10 ms: a time constant of 20 s, because a loudspeaker does not change.
const KEPT: f32 = 0.9995;
/// Part of the slow mean of the path that a new one replaces at least; each stretch of the path comes five times a second.
const PATH_STEP: f32 = 0.1;
/// Factor by which the variance of the error is larger than that of white noise: it comes from an echo path that has not
/// been learned, so that errors follow one another.
const COLOURED: f32 = 60.0;
/// Part of the error's expected power that is kept in 10 ms: a time constant of 45 ms.
const ERROR_KEPT: f32 = 0.8;
/// Power that is always expected in the error: -90 dBFS.
const LEAST_ERROR: f32 = 1e-9;
/// Gain of the microphone over the slow mean's echo below which that is no path.
const LEAST_GAIN: f32 = 0.1;
/// Part of the weights' change that is made in 10 ms, so that the main filter follows.
const WEIGHT_STEP: f32 = 0.1;
/// How many times the power of a change of the curve counts as echo in the error: one frame shows only a part of the change.
/// Of 1, 2, 4 and 8, this one alone leaves the echo within 3 dB of AEC3's on seeds 21 to 40 too; a talker's SDR loses 0.2 dB.
const CHANGE_WEIGHT: f32 = 8.0;
/// Part of the mean echo's power that is replaced in 10 ms: a time constant of 3 s.
const ECHO_STEP: f32 = 0.003;
/// Frames of a loudspeaker without distortion that are assumed before the first one is seen.
const FRAMES_BEFORE: f32 = 50.0;
/// Part by which the curve must lessen the error before it is used. On real recordings it is within 0.03, and above
/// 0.1 where tanh of four times a sample is played.
const BETTER_FROM: f32 = 0.06;
/// Part by which the curve lessens the error from which all of it is used.
const BETTER_SURE: f32 = 0.11;

/// Frames of loud echoes, in which no curve was found, after which only every fourth frame is observed.
const FRAMES_STRAIGHT: f32 = 100.0;

/// How often a frame is observed, and what is kept and replaced in that time.
struct Pace {
    frames: u32,
    error_kept: f32,
    echo_step: f32,
    kept: f32,
    weight_step: f32,
}

const EVERY: Pace =
    Pace { frames: 1, error_kept: ERROR_KEPT, echo_step: ECHO_STEP, kept: KEPT, weight_step: WEIGHT_STEP };
const EVERY_FOURTH: Pace = EVERY.twice_as_seldom().twice_as_seldom();

impl Pace {
    const fn twice_as_seldom(&self) -> Self {
        Self {
            frames: 2 * self.frames,
            error_kept: self.error_kept * self.error_kept,
            echo_step: 1.0 - (1.0 - self.echo_step) * (1.0 - self.echo_step),
            kept: self.kept * self.kept,
            weight_step: 1.0 - (1.0 - self.weight_step) * (1.0 - self.weight_step),
        }
    }
}

/// Curve of a loudspeaker; the first `PARTITIONS` frames of `HOP` samples of the path show it.
#[derive(Debug)]
pub(super) struct LoudspeakerCurve<const HOP: usize, const PARTITIONS: usize> {
    /// Functions of each sample of the last frames, without their linear part and behind the high-pass.
    history: [[Values; HOP]; PARTITIONS],
    newest: usize,
    /// Frames since the last one that was observed.
    unobserved: u32,
    /// Frames since the last one in which the far end was audible.
    quiet: u32,
    high_pass: [Values; 2],
    /// Slow mean of the echo path.
    path: [[f32; HOP]; PARTITIONS],
    /// Number of times that a partition of the path came.
    paths: u32,
    products: Products,
    squares: Squares,
    /// Weight of each function in the curve.
    weights: Values,
    /// Expected power of the error.
    error: f32,
    /// Mean power of the echo.
    echo: f32,
    /// Number of frames, and by how much the curve was better in them.
    better: (f32, f32),
    /// Mean power of a sample of the last frame's error that a change of the curve explains.
    change: f32,
}

impl<const HOP: usize, const PARTITIONS: usize> LoudspeakerCurve<HOP, PARTITIONS> {
    const SAMPLES: usize = if HOP > 160 { SAMPLES / 2 } else { SAMPLES };

    pub(super) const fn new() -> Self {
        Self {
            history: [[[0.0; FUNCTIONS]; HOP]; PARTITIONS],
            newest: 0,
            unobserved: 0,
            quiet: PAUSE_FRAMES,
            high_pass: [[0.0; FUNCTIONS]; 2],
            path: [[0.0; HOP]; PARTITIONS],
            paths: 0,
            products: Products::new(),
            squares: Squares::new(),
            weights: [0.0; FUNCTIONS],
            error: 0.0,
            echo: 0.0,
            better: (0.0, 0.0),
            change: 0.0,
        }
    }

    pub(super) fn reset(&mut self) {
        self.history.as_flattened_mut().fill([0.0; FUNCTIONS]);
        self.high_pass = [[0.0; FUNCTIONS]; 2];
        self.forget_path();
        self.products = Products::new();
        self.squares = Squares::new();
        self.weights = [0.0; FUNCTIONS];
        (self.unobserved, self.quiet) = (0, PAUSE_FRAMES);
        (self.error, self.echo, self.better, self.change) = (0.0, 0.0, (0.0, 0.0), 0.0);
    }

    /// Returns what outlives a frame and meets every sample.
    #[cfg(test)]
    pub(super) fn state(&self) -> impl Iterator<Item = f32> {
        let samples = self.history.as_flattened().as_flattened().iter();
        samples
            .chain(self.high_pass.as_flattened())
            .chain(&self.weights)
            .chain(self.path.as_flattened())
            .copied()
    }

    /// Forgets the echo path, but not the loudspeaker.
    pub(super) fn forget_path(&mut self) {
        self.path.as_flattened_mut().fill(0.0);
        self.paths = 0;
    }

    /// Takes the reverse frame of the next capture frame, and adds the loudspeaker's distortion of it to `far`, which holds
    /// the same samples behind the high-pass.
    pub(super) fn distort(
        &mut self,
        samples: impl Iterator<Item = f32>,
        far: &mut [f32; HOP],
        high_pass: Option<&HighPassShape>,
    ) {
        self.high_pass.iter_mut().for_each(|state| flush_samples(state));
        let Some(block) = self.history.get_mut(self.newest) else { return };
        let linear = self.products.linear_parts();
        let mut now = Products::new();
        for (n, ((sample, values), far)) in samples.zip(block.iter_mut()).zip(far).enumerate() {
            let curved = functions(sample);
            now.energy += sample * sample;
            now.linear = from_fn(|k| now.linear[k] + curved[k] * sample);
            let mut curved: Values = from_fn(|k| curved[k] - linear[k] * sample);
            if let Some(shape) = high_pass {
                shape.next(&mut self.high_pass, &mut curved);
            }
            if n % const { HOP / GRAM_SAMPLES } == 0 {
                now.add(&curved);
            }
            *far += dot(&curved, &self.weights);
            *values = curved;
        }
        if now.energy > FAR_ACTIVE * HOP as f32 {
            self.products.keep(&now, const { (HOP / GRAM_SAMPLES) as f32 });
        }
        let is_audible = now.energy > FAR_AUDIBLE * HOP as f32;
        self.quiet = if is_audible { 0 } else { self.quiet.saturating_add(1) };
    }

    /// Takes a partition of the main filter's path. The later ones are not needed.
    pub(super) fn learn_path(&mut self, partition: usize, response: &[f32; HOP]) {
        if let Some(path) = self.path.get_mut(partition) {
            let round = self.paths / PARTITIONS as u32;
            let step = (1.0 / (round as f32 + 1.0)).max(PATH_STEP);
            self.paths = self.paths.saturating_add(1);
            for (mean, tap) in path.iter_mut().zip(response) {
                *mean += step * (tap - *mean);
            }
        }
    }

    /// Returns whether the far end was audible in the frame that was distorted last.
    pub(super) fn is_audible(&self) -> bool {
        self.quiet == 0
    }

    /// Takes a frame of the microphone, and whether the far end plays many frequencies. While it does, compares the frame with
    /// the functions' echoes and learns the curve, in every fourth frame if the loudspeaker has shown none.
    pub(super) fn observe(&mut self, near: &[f32; HOP], is_wide: bool) {
        let is_straight = self.better.0 > FRAMES_STRAIGHT && self.better_part() < BETTER_FROM;
        let pace = if is_straight { &EVERY_FOURTH } else { &EVERY };
        self.unobserved = self.unobserved.saturating_add(1);
        self.change = 0.0;
        if is_wide && self.unobserved >= pace.frames && self.quiet < PAUSE_FRAMES {
            self.unobserved = 0;
            self.learn(near, pace);
        }
        self.newest = if self.newest == 0 { PARTITIONS - 1 } else { self.newest - 1 };
    }

    fn learn(&mut self, near: &[f32; HOP], pace: &Pace) {
        let mut found = [(0.0, [0.0; FUNCTIONS]); SAMPLES];
        let echoes = found.get_mut(..Self::SAMPLES).unwrap_or(&mut []);
        for (sample, echo) in echoes.iter_mut().enumerate() {
            let at = HOP * (sample + 1) / Self::SAMPLES - 1;
            *echo = (near.get(at).copied().unwrap_or(0.0), self.echoes(at));
        }
        let gain = self.squares.linear_gain();
        let (mut straight, mut curved, mut echo) = (0.0, 0.0, 0.0);
        for (near, values) in echoes.iter() {
            let linear = gain * values[0];
            straight += (near - linear) * (near - linear);
            let error = near - dot(values, &self.squares.solution);
            curved += error * error;
            echo += linear * linear;
        }
        let of_sample = const { 1.0 / Self::SAMPLES as f32 };
        (straight, curved, echo) = (straight * of_sample, curved * of_sample, echo * of_sample);
        self.compare(straight, curved, echo, pace);
        self.error = pace.error_kept * self.error + (1.0 - pace.error_kept) * curved;
        if echoes.iter().any(|(_, values)| values[0] != 0.0) {
            let weight = pace.frames as f32 / (COLOURED * (self.error.max(curved) + LEAST_ERROR));
            self.squares.add(echoes, weight, pace.kept);
            self.squares.solve(&self.products);
            self.adopt(echoes, pace);
        }
    }

    /// Returns the likelihood that the last frame's error, with a mean power of `error`, is the echo of a curve that changed.
    pub(super) fn changed(&self, error: f32) -> f32 {
        (CHANGE_WEIGHT * self.change / (error + LEAST_ERROR)).min(1.0)
    }

    /// Returns by how much the curve lessens the error, as a part of it.
    fn better_part(&self) -> f32 {
        let (frames, better) = self.better;
        better / (frames + FRAMES_BEFORE)
    }

    /// Moves the curve towards what was learned, or towards none while that is no better, and measures in the functions'
    /// echoes what that changes.
    fn adopt(&mut self, echoes: &[(f32, Values)], pace: &Pace) {
        let part = (self.better_part() - BETTER_FROM) * const { 1.0 / (BETTER_SURE - BETTER_FROM) };
        let gain = self.squares.solution[0];
        if gain > LEAST_GAIN {
            let scale = part.clamp(0.0, 1.0) / gain;
            let mut changes = [0.0; FUNCTIONS];
            let state = self.weights.iter_mut().zip(&mut changes).zip(&self.squares.solution);
            for ((weight, change), solution) in state.skip(1) {
                *change = scale * solution - *weight;
                *weight += pace.weight_step * *change;
            }
            flush_samples(&mut self.weights);
            let energy = echoes.iter().fold(0.0, |sum, (_, values)| {
                let echo = gain * dot(values, &changes);
                sum + echo * echo
            });
            self.change = energy * const { 1.0 / Self::SAMPLES as f32 };
        }
    }

    /// Counts by how much less error the curve leaves than a loudspeaker without distortion: between -1 and 1 a frame. Loud
    /// echoes count, because they are what distorts, and those without a talker. Both errors have the same weight, so
    /// that a curve which is no better is as often worse.
    fn compare(&mut self, straight: f32, curved: f32, echo: f32, pace: &Pace) {
        let noise = self.error + 0.5 * (straight + curved) + LEAST_ERROR;
        self.echo += pace.echo_step * (echo - self.echo);
        let weight = pace.frames as f32 * echo / (echo + noise) * (echo / (echo + self.echo + LEAST_ERROR));
        let (frames, better) = &mut self.better;
        *frames = pace.kept * *frames + weight;
        *better = pace.kept * *better + weight * (straight - curved) / (straight + curved + LEAST_ERROR);
    }

    /// Returns each function's echo at a sample of the newest frame.
    fn echoes(&self, at: usize) -> Values {
        let (older, newer) = self.history.split_at_checked(self.newest).unwrap_or((&[], &[]));
        let mut blocks = newer.iter().chain(older);
        let mut sums = [[0.0; FUNCTIONS]; GROUP];
        let mut block = blocks.next();
        for path in &self.path {
            let (now, before) = path.split_at_checked(at + 1).unwrap_or((&[], &[]));
            convolve(now, block.and_then(|block| block.get(..=at)).unwrap_or(&[]), &mut sums);
            block = blocks.next();
            // The oldest block has no older one: the last taps of the path are left out.
            convolve(before, block.map_or(&[], |block| block.as_slice()), &mut sums);
        }
        let [a, b, c, d] = sums;
        from_fn(|k| (a[k] + b[k]) + (c[k] + d[k]))
    }
}

/// Returns the functions of a sample: of order 1 or 2 where it is quiet, and limited where it is loud.
fn functions(sample: f32) -> Values {
    let square = sample * sample;
    from_fn(|k| {
        let quiet = if k <= ODD_FUNCTIONS { sample } else { DRIVES[k] * square };
        quiet / (1.0 + DRIVES[k] * DRIVES[k] * square)
    })
}

/// Adds taps times samples, of which the last belongs to the first tap; both in whole groups.
fn convolve(taps: &[f32], samples: &[Values], sums: &mut [Values; GROUP]) {
    let groups = taps.as_chunks::<GROUP>().0.iter().zip(samples.as_rchunks::<GROUP>().1.iter().rev());
    let mut local = *sums;
    for (taps, samples) in groups {
        for ((tap, values), sum) in taps.iter().zip(samples.iter().rev()).zip(&mut local) {
            for (sum, value) in sum.iter_mut().zip(values) {
                *sum += tap * value;
            }
        }
    }
    *sums = local;
}

fn dot(a: &Values, b: &Values) -> f32 {
    let products: Values = from_fn(|k| a[k] * b[k]);
    let [a, b, c, d, e, f, g, h] = products;
    ((a + e) + (b + f)) + ((c + g) + (d + h))
}

#[cfg(test)]
mod tests;
