//! Simulates what the estimator receives: a loudspeaker, a room, a talker, and clocks that differ.

use crate::format::Format;
use crate::frame::PcmRef;
use crate::time::Duration;
use crate::timing::AcousticDelay;

static CLIP: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/test-data/far.wav"));
static TALKER: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/test-data/near.wav"));
/// Sample rate of all source signals, in hertz.
const SOURCE_HZ: f64 = 16_000.0;

/// A xorshift generator of random numbers.
pub(crate) struct SceneRandom(u64);

impl SceneRandom {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn gaussian(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

fn clip(bytes: &[u8]) -> Vec<f32> {
    bytes[44..].chunks_exact(2).map(|b| f32::from(i16::from_le_bytes([b[0], b[1]]))).collect()
}

pub(crate) fn far_clip() -> Vec<f32> {
    clip(CLIP)
}

pub(crate) fn talker_clip() -> Vec<f32> {
    clip(TALKER)
}

/// Returns syllables of coloured noise and of harmonics with a gliding pitch, with pauses between them.
pub(crate) fn speech_like(seed: u64, seconds: f64) -> Vec<f32> {
    let mut random = SceneRandom::new(seed);
    let mut out = Vec::new();
    let (mut phase, mut low, mut low2) = (0.0f64, 0.0, 0.0);
    while (out.len() as f64) < seconds * SOURCE_HZ {
        if random.uniform() < 0.15 {
            let pause = (SOURCE_HZ * (0.1 + 0.6 * random.uniform())) as usize;
            out.extend((0..pause).map(|_| random.gaussian() as f32));
        }
        let len = (SOURCE_HZ * (0.06 + 0.2 * random.uniform())) as usize;
        let (pitch, glide) = (90.0 + 150.0 * random.uniform(), 40.0 * (random.uniform() - 0.5));
        let voiced = random.uniform() < 0.7;
        let (formant, width) = (300.0 + 2_200.0 * random.uniform(), 0.97 - 0.1 * random.uniform());
        let level = 1_500.0 * (0.3 + random.uniform());
        let turn = 2.0 * width * (std::f64::consts::TAU * formant / SOURCE_HZ).cos();
        for n in 0..len {
            let part = n as f64 / len as f64;
            phase += (pitch + glide * part) / SOURCE_HZ;
            let pulse = if phase >= 1.0 {
                phase -= 1.0;
                6.0
            } else {
                0.0
            };
            let drive = if voiced { pulse + 0.05 * random.gaussian() } else { 0.5 * random.gaussian() };
            let value = drive + turn * low - width * width * low2;
            (low2, low) = (low, value);
            let envelope = (std::f64::consts::PI * part).sin();
            out.push((0.4 * level * envelope * (value + drive)) as f32);
        }
    }
    out
}

pub(crate) fn white(seed: u64, seconds: f64) -> Vec<f32> {
    let mut random = SceneRandom::new(seed);
    (0..(seconds * SOURCE_HZ) as usize).map(|_| 2_000.0 * random.gaussian() as f32).collect()
}

pub(crate) fn tone(hz: f64, seconds: f64) -> Vec<f32> {
    let len = (seconds * SOURCE_HZ) as usize;
    (0..len).map(|n| (3_000.0 * (std::f64::consts::TAU * hz * n as f64 / SOURCE_HZ).sin()) as f32).collect()
}

/// Returns the echo path of a room as a few taps: direct sound first, then reflections that grow denser and
/// decay.
fn taps(random: &mut SceneRandom, decay_s: f64) -> Vec<(f64, f64)> {
    let mut taps = vec![(0.0, 1.0)];
    let mut at = 0.001;
    while at < decay_s {
        at += 0.0003 + 0.003 * random.uniform();
        // Decays by 60 dB at `decay_s`. There are many reflections, so each is well below the direct sound.
        taps.push((at, random.gaussian() * 0.45 * 10f64.powf(-3.0 * at / decay_s)));
    }
    taps
}

/// A loudspeaker and a microphone in a room, each with its own clock.
pub(crate) struct EchoScene {
    pub(crate) rate_hz: u32,
    pub(crate) source: Vec<f32>,
    pub(crate) talker: Vec<f32>,
    /// Whether the microphone is switched off.
    pub(crate) mute: bool,
    taps: Vec<(f64, f64)>,
    echo_gain: f64,
    noise: f64,
    /// Time in the source that the loudspeaker plays.
    played_s: f64,
    /// Time in the source that the reference is read at.
    read_s: f64,
    /// How much slower than nominal the loudspeaker plays.
    pub(crate) play_ppm: f64,
    /// How much slower than nominal the reference is read.
    pub(crate) read_ppm: f64,
    now: u64,
    random: SceneRandom,
    /// Samples of the loudspeaker that may still echo.
    dry: Vec<f64>,
}

impl EchoScene {
    /// Plays speech through a loudspeaker. The echo is at `echo_db` against it, the noise 20 dB below the echo.
    pub(crate) fn new(seed: u64, rate_hz: u32, lag_ms: f64, echo_db: f64) -> Self {
        println!("seed {seed}, {rate_hz} Hz, {lag_ms} ms, {echo_db} dB");
        let mut random = SceneRandom::new(seed);
        for _ in 0..20 {
            random.uniform();
        }
        let decay_s = 0.25 + 0.15 * random.uniform();
        let taps = taps(&mut random, decay_s);
        let start_s = 2.0 + 10.0 * random.uniform();
        let energy: f64 = taps.iter().map(|t| t.1 * t.1).sum();
        let echo_gain = 10f64.powf(echo_db / 20.0) / energy.sqrt();
        let source = far_clip();
        let level = (source.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / source.len() as f64).sqrt();
        Self {
            rate_hz,
            source,
            talker: Vec::new(),
            mute: false,
            taps,
            echo_gain,
            noise: level * 10f64.powf((echo_db - 20.0) / 20.0),
            played_s: start_s - lag_ms / 1e3,
            read_s: start_s,
            play_ppm: 0.0,
            read_ppm: 0.0,
            now: 0,
            random,
            dry: Vec::new(),
        }
    }

    /// Changes the reflections and keeps the direct sound, as when a person moves.
    pub(crate) fn reflect_otherwise(&mut self, seed: u64) {
        let moved = taps(&mut SceneRandom::new(seed + 77), 0.3);
        // Replaces only some of the reflections, and none before 3 ms.
        self.taps.retain(|tap| tap.0 < 0.003 || !((tap.0 * 1e5) as u64).is_multiple_of(3));
        self.taps
            .extend(moved.iter().filter(|tap| tap.0 >= 0.003 && ((tap.0 * 1e5) as u64).is_multiple_of(3)));
    }

    pub(crate) fn lag_ms(&self) -> f64 {
        (self.read_s - self.played_s) * 1e3
    }

    /// Delays the loudspeaker by `ms` more from now on.
    pub(crate) fn delay_ms(&mut self, ms: f64) {
        self.played_s -= ms / 1e3;
    }

    /// Reads the reference later by `by` from now on.
    pub(crate) fn shift(&mut self, by: Duration) {
        self.read_s -= by.as_nanos() as f64 / 1e9;
    }

    fn read(signal: &[f32], time_s: f64) -> f64 {
        let x = time_s * SOURCE_HZ;
        let whole = x.floor();
        let part = x - whole;
        let base = whole as i64;
        let mut sum = 0.0;
        for k in -15..=16i64 {
            let sample = f64::from(signal[(base + k).rem_euclid(signal.len() as i64) as usize]);
            let d = k as f64 - part;
            let window = 0.5 + 0.5 * (std::f64::consts::PI * d / 16.5).cos();
            let sinc = if d.abs() < 1e-9 {
                1.0
            } else {
                (std::f64::consts::PI * d).sin() / (std::f64::consts::PI * d)
            };
            sum += sample * sinc * window;
        }
        sum
    }

    /// Returns the next 10 ms of reference and microphone.
    pub(crate) fn next(&mut self) -> (Vec<i16>, Vec<i16>) {
        let rate = f64::from(self.rate_hz);
        let len = self.rate_hz as usize / 100;
        let longest = (0.45 * rate) as usize;
        let (mut far, mut near) = (Vec::new(), Vec::new());
        for _ in 0..len {
            far.push(Self::read(&self.source, self.read_s).round() as i16);
            self.dry.push(Self::read(&self.source, self.played_s));
            self.read_s += (1.0 - self.read_ppm * 1e-6) / rate;
            self.played_s += (1.0 - self.play_ppm * 1e-6) / rate;
            let mut heard = self.noise * self.random.gaussian();
            for &(at_s, gain) in &self.taps {
                let back = (at_s * rate) as usize;
                if back < self.dry.len() {
                    heard += self.echo_gain * gain * self.dry[self.dry.len() - 1 - back];
                }
            }
            if !self.talker.is_empty() {
                heard += Self::read(&self.talker, self.now as f64 / rate);
            }
            let heard = if self.mute { 0.0 } else { heard };
            near.push(heard.round().clamp(-32_768.0, 32_767.0) as i16);
            self.now += 1;
        }
        if self.dry.len() > 4 * longest {
            self.dry.drain(..self.dry.len() - longest);
        }
        (far, near)
    }

    pub(crate) fn format(&self) -> Format {
        Format::new(self.rate_hz, 1).unwrap()
    }

    pub(crate) fn run(&mut self, estimator: &mut AcousticDelay<'_>, frames: usize) {
        let format = self.format();
        for _ in 0..frames {
            let (far, near) = self.next();
            estimator.observe(PcmRef { format, samples: &far }, PcmRef { format, samples: &near });
        }
    }
}
