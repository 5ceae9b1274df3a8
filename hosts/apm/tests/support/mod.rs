//! Signals, an echo path and measurements shared by the integration tests and benchmarks.
#![allow(dead_code, missing_docs, unreachable_pub)]

use handsfree_apm::ApmProcessor;
use handsfree_core::capture::{ProcessError, VoiceProcessor};
use handsfree_core::{Duration, Format, PcmMut, PcmRef};

pub fn format(rate_hz: u32, channels: u32) -> Format {
    Format::new(rate_hz, channels).unwrap()
}

/// Processes a pair of frames in the pipeline's order: the reverse frame first.
pub fn process(apm: &mut ApmProcessor, far: &[i16], near: &mut [i16]) -> Result<(), ProcessError> {
    let (far_format, near_format) = (apm.far(), apm.near());
    apm.process_reverse(PcmRef { format: far_format, samples: far })?;
    apm.process_capture(PcmMut { format: near_format, samples: near }, Duration::from_millis(10))
}

/// Repeatable noise from a seed, steady or in speech-like bursts.
pub struct BurstNoise {
    state: u64,
    count: u64,
    low_passed: f64,
}

impl BurstNoise {
    pub fn new(seed: u64) -> Self {
        Self { state: seed | 1, count: 0, low_passed: 0.0 }
    }

    /// Returns the next value, uniformly distributed from -1 to 1.
    pub fn uniform(&mut self) -> f64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    /// Returns the next sample at `rate_hz`, with a peak of about `peak`, of bursts of 200 ms between pauses of
    /// 300 ms. Without pauses the canceller would take the echo for background noise and replace it by comfort
    /// noise.
    pub fn burst(&mut self, rate_hz: u32, peak: f64) -> i16 {
        self.low_passed += 0.5 * (self.uniform() - self.low_passed);
        let in_period = (self.count % u64::from(rate_hz / 2)) as f64 / f64::from(rate_hz / 2);
        self.count += 1;
        let envelope = if in_period < 0.4 { (std::f64::consts::PI * in_period / 0.4).sin() } else { 0.0 };
        (self.low_passed * peak * envelope) as i16
    }
}

/// Acoustic path from loudspeaker to microphone: a direct sound followed by decaying reflections.
pub struct LoudspeakerPath {
    taps: Vec<f64>,
    past: Vec<f64>,
    at: usize,
}

impl LoudspeakerPath {
    /// Creates a path with a direct sound after `delay` samples and reflections that last `length` samples.
    pub fn new(delay: usize, length: usize, gain: f64) -> Self {
        let mut noise = BurstNoise::new(99);
        let mut taps = vec![0.0; delay];
        taps.extend((0..length).map(|i| {
            let decay = (-6.9 * i as f64 / length as f64).exp();
            gain * if i == 0 { 1.0 } else { 0.3 * noise.uniform() * decay }
        }));
        Self { past: vec![0.0; taps.len()], taps, at: 0 }
    }

    /// Returns the microphone's sample at the time at which the loudspeaker plays `played`.
    pub fn next_sample(&mut self, played: i16) -> i16 {
        let len = self.past.len();
        self.at = (self.at + 1) % len;
        self.past[self.at] = f64::from(played);
        let newest_first = (0..len).map(|age| self.past[(self.at + len - age) % len]);
        let sum: f64 = newest_first.zip(&self.taps).map(|(sample, tap)| sample * tap).sum();
        sum.round().clamp(-32_768.0, 32_767.0) as i16
    }
}

/// Mean power of the samples added, in dB relative to a power of 1.
#[derive(Default)]
pub struct PowerMeter {
    energy: f64,
    count: u64,
}

impl PowerMeter {
    pub fn add(&mut self, samples: &[i16]) {
        self.energy += samples.iter().map(|&s| f64::from(s) * f64::from(s)).sum::<f64>();
        self.count += samples.len() as u64;
    }

    pub fn db(&self) -> f64 {
        10.0 * (self.energy / self.count.max(1) as f64 + 1e-3).log10()
    }
}

/// Processor under test with a noise as far end and its echo as near end.
pub struct EchoBench {
    pub apm: ApmProcessor,
    noise: BurstNoise,
    paths: Vec<LoudspeakerPath>,
    far: Vec<i16>,
    near: Vec<i16>,
}

/// Power of the microphone's signal before and after processing.
pub struct EchoMeasurement {
    pub before: PowerMeter,
    pub after: PowerMeter,
}

impl EchoMeasurement {
    pub fn reduction_db(&self) -> f64 {
        self.before.db() - self.after.db()
    }
}

impl EchoBench {
    pub fn new(apm: ApmProcessor) -> Self {
        let rate = apm.near().rate_hz() as usize;
        assert_eq!(apm.near().rate_hz(), apm.far().rate_hz(), "the echo path has one rate");
        let path = || LoudspeakerPath::new(rate / 100, rate / 100, 0.3);
        Self {
            noise: BurstNoise::new(7),
            paths: (0..apm.near().channels()).map(|_| path()).collect(),
            far: vec![0; apm.far().samples()],
            near: vec![0; apm.near().samples()],
            apm,
        }
    }

    /// Processes one pair of frames and adds it to `measured`.
    pub fn frame(&mut self, measured: &mut EchoMeasurement) {
        let (near_channels, far_channels) = (self.apm.near().channels(), self.apm.far().channels());
        for (far, near) in
            self.far.chunks_exact_mut(far_channels).zip(self.near.chunks_exact_mut(near_channels))
        {
            let played = self.noise.burst(self.apm.far().rate_hz(), 12_000.0);
            far.fill(played);
            near.iter_mut().zip(&mut self.paths).for_each(|(near, path)| *near = path.next_sample(played));
        }
        measured.before.add(&self.near);
        process(&mut self.apm, &self.far, &mut self.near).unwrap();
        measured.after.add(&self.near);
    }

    /// Processes `frames` pairs of frames and returns their power before and after.
    pub fn run(&mut self, frames: usize) -> EchoMeasurement {
        let mut measured = EchoMeasurement { before: PowerMeter::default(), after: PowerMeter::default() };
        (0..frames).for_each(|_| self.frame(&mut measured));
        measured
    }
}
