//! The path from the loudspeaker to the microphone in a conversation: two clocks, reflections, a talker.
//!
//! All arithmetic is on integers and on single-precision sums in one order, so that every processor computes
//! the same samples.

/// Number of sample frames that are kept of what was played.
const KEPT: usize = 2_048;
/// Number of samples around a position from which the value between samples is computed.
const TAPS: usize = 24;
/// Number of fractions of a sample for which there are weights.
const PHASES: usize = 64;
/// Number of reflections.
const REFLECTIONS: usize = 40;
/// Distance of the last reflection from the direct sound, in sample frames: 60 ms.
const LAST_REFLECTION: u32 = 960;
/// Number of direct samples that are kept, at the microphone's rate.
const DIRECT: usize = 1_024;

static WEIGHTS: [[f32; TAPS]; PHASES + 1] = weights();

/// Returns `sin(pi x)` for x from -0.5 to 0.5 by its series.
const fn sin_pi(x: f64) -> f64 {
    let square = core::f64::consts::PI * core::f64::consts::PI * x * x;
    let (mut term, mut sum, mut n) = (core::f64::consts::PI * x, 0.0, 1.0);
    while n < 24.0 {
        sum += term;
        term *= -square / ((n + 1.0) * (n + 2.0));
        n += 2.0;
    }
    sum
}

/// Returns windowed sincs, one row for each fraction of a sample. The window is the square of a cosine.
const fn weights() -> [[f32; TAPS]; PHASES + 1] {
    let mut rows = [[0.0; TAPS]; PHASES + 1];
    let mut phase = 0;
    while phase <= PHASES {
        let mut tap = 0;
        while tap < TAPS {
            let x = tap as f64 - (TAPS / 2 - 1) as f64 - phase as f64 / PHASES as f64;
            let whole = (if x < 0.0 { x - 0.5 } else { x + 0.5 }) as i64;
            let sin = sin_pi(x - whole as f64) * if whole % 2 == 0 { 1.0 } else { -1.0 };
            let edge = sin_pi(0.5 * x / (TAPS / 2) as f64);
            let window = if x.abs() < (TAPS / 2) as f64 { 1.0 - edge * edge } else { 0.0 };
            let sinc = if x == 0.0 { 1.0 } else { sin / (core::f64::consts::PI * x) };
            rows[phase][tap] = (sinc * window) as f32;
            tap += 1;
        }
        phase += 1;
    }
    rows
}

/// White noise, the same on every processor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WhiteNoise(u32);

impl WhiteNoise {
    pub(crate) const fn new(seed: u32) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0 >> 8
    }

    /// Returns a number from -32768 to 32767.
    pub(crate) fn signed(&mut self) -> i32 {
        (self.next() >> 8) as i32 - 32_768
    }
}

/// A signal with the spectrum and the rhythm of speech: noise below 1.5 kHz and a little above, in syllables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Syllables {
    noise: WhiteNoise,
    low: [i32; 2],
    /// Length of a syllable with its pause, in sample frames.
    length: u32,
    position: u32,
}

impl Syllables {
    pub(crate) const fn new(seed: u32, length: u32) -> Self {
        Self { noise: WhiteNoise::new(seed), low: [0; 2], length, position: 0 }
    }

    pub(crate) fn sample(&mut self) -> i16 {
        let white = self.noise.signed();
        self.low[0] += (white - self.low[0]) / 3;
        self.low[1] += (self.low[0] - self.low[1]) / 3;
        let voice = self.low[1] + white / 16;
        self.position = (self.position + 1) % self.length;
        // Rises for a quarter of the syllable, falls for half, and pauses for a quarter.
        let (rise, fall) = (self.length / 4, self.length / 2);
        let level = if self.position < rise {
            self.position * 256 / rise
        } else {
            256 * (rise + fall).saturating_sub(self.position) / fall
        };
        (voice * level as i32 / 512) as i16
    }
}

/// Acoustic path from a loudspeaker, whose clock is 100 ppm fast, to a microphone.
#[derive(Debug)]
pub(crate) struct Room {
    played: [i16; KEPT],
    direct: [f32; DIRECT],
    /// Delay in sample frames after the direct sound, and gain.
    reflections: [(u32, f32); REFLECTIONS],
    hiss: WhiteNoise,
}

/// Sample frames of the loudspeaker in one of the microphone, in 1/2^32: 100 ppm more.
pub(crate) const STEP_Q32: u64 = (1 << 32) / 9_999 * 10_000;
/// Delay from the loudspeaker to the microphone in sample frames.
const DISTANCE: u64 = 45;

impl Room {
    pub(crate) const fn new() -> Self {
        Self {
            played: [0; KEPT],
            direct: [0.0; DIRECT],
            reflections: [(0, 0.0); REFLECTIONS],
            hiss: WhiteNoise::new(0),
        }
    }

    /// Chooses reflections by a seed; silence was played before.
    pub(crate) fn furnish(&mut self, seed: u32) {
        self.played.fill(0);
        self.direct.fill(0.0);
        self.hiss = WhiteNoise::new(!seed);
        let mut noise = WhiteNoise::new(seed);
        let mut gain = 0.5;
        for (k, reflection) in (0u32..).zip(&mut self.reflections) {
            let sign = if noise.next().is_multiple_of(2) { 1.0 } else { -1.0 };
            let delay = k * LAST_REFLECTION / REFLECTIONS as u32 + noise.next() % 24;
            gain *= 0.9;
            *reflection = (if k == 0 { 0 } else { delay }, sign * gain);
        }
    }

    /// Moves something in the room: the reflections after the first 10 ms change their sign.
    pub(crate) fn change(&mut self) {
        for (delay, gain) in &mut self.reflections {
            if *delay > 160 {
                *gain = -*gain;
            }
        }
    }

    /// Plays samples from `position` of the loudspeaker's stream on.
    pub(crate) fn play(&mut self, position: u64, samples: &[i16]) {
        for (at, &sample) in (position as usize..).zip(samples) {
            if let Some(to) = self.played.get_mut(at % KEPT) {
                *to = sample;
            }
        }
    }

    /// Returns the microphone's sample without a talker. The loudspeaker's stream began `late` sample frames
    /// after the microphone's.
    pub(crate) fn capture(&mut self, position: u64, late: u64) -> i32 {
        let at = (position * STEP_Q32).saturating_sub((late + DISTANCE) << 32);
        let scaled = (at as u32 >> 16) * PHASES as u32;
        let (phase, part) = ((scaled >> 16) as usize, (scaled & 0xffff) as f32 * const { 1.0 / 65_536.0 });
        let from = ((at >> 32) as usize).saturating_sub(TAPS / 2 - 1);
        let mut direct = 0.0;
        if let Some([low, high]) = WEIGHTS.get(phase..phase + 2) {
            for (k, (low, high)) in low.iter().zip(high).enumerate() {
                let sample = self.played.get((from + k) % KEPT).map_or(0.0, |&sample| f32::from(sample));
                direct += sample * (low + (high - low) * part);
            }
        }
        let now = position as usize;
        if let Some(to) = self.direct.get_mut(now % DIRECT) {
            *to = direct;
        }
        let mut echo = 0.0;
        for &(delay, gain) in &self.reflections {
            let ago = (now + DIRECT - delay as usize) % DIRECT;
            echo += gain * self.direct.get(ago).copied().unwrap_or(0.0);
        }
        // Noise of the microphone, at -66 dBFS.
        echo as i32 + self.hiss.signed() / 1_024
    }
}
