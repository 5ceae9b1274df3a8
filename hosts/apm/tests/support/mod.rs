//! What the integration tests share: noise, an echo path, and levels.
#![allow(dead_code, missing_docs, unreachable_pub)]

use handsfree_apm::ApmProcessor;
use handsfree_core::capture::{ProcessError, VoiceProcessor};
use handsfree_core::{Duration, Format, PcmMut, PcmRef};

pub fn format(rate_hz: u32, channels: u32) -> Format {
    Format::new(rate_hz, channels).unwrap()
}

/// A pair of frames through the processor, reverse first, as the pipeline does it.
pub fn process(apm: &mut ApmProcessor, far: &[i16], near: &mut [i16]) -> Result<(), ProcessError> {
    let (far_format, near_format) = (apm.far(), apm.near());
    apm.process_reverse(PcmRef { format: far_format, samples: far })?;
    apm.process_capture(PcmMut { format: near_format, samples: near }, Duration::from_millis(10))
}

/// Repeatable noise, speech-like in that it comes and goes.
pub struct Noise {
    state: u64,
    count: u64,
    low_passed: f64,
}

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self { state: seed | 1, count: 0, low_passed: 0.0 }
    }

    pub fn uniform(&mut self) -> f64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    /// One sample at `rate_hz` with a peak of about `peak`: syllables of 200 ms and pauses of 300 ms. Without
    /// pauses the canceller takes the echo for background noise and fills in as much comfort noise.
    pub fn burst(&mut self, rate_hz: u32, peak: f64) -> i16 {
        self.low_passed += 0.5 * (self.uniform() - self.low_passed);
        let in_period = (self.count % u64::from(rate_hz / 2)) as f64 / f64::from(rate_hz / 2);
        self.count += 1;
        let envelope = if in_period < 0.4 { (std::f64::consts::PI * in_period / 0.4).sin() } else { 0.0 };
        (self.low_passed * peak * envelope) as i16
    }
}

/// A room: a few decaying reflections after `delay` samples.
pub struct Room {
    taps: Vec<f64>,
    past: Vec<f64>,
    at: usize,
}

impl Room {
    pub fn new(delay: usize, length: usize, gain: f64) -> Self {
        let mut noise = Noise::new(99);
        let mut taps = vec![0.0; delay];
        taps.extend((0..length).map(|i| {
            let decay = (-6.9 * i as f64 / length as f64).exp();
            gain * if i == 0 { 1.0 } else { 0.3 * noise.uniform() * decay }
        }));
        Self { past: vec![0.0; taps.len()], taps, at: 0 }
    }

    pub fn heard(&mut self, played: i16) -> i16 {
        let len = self.past.len();
        self.at = (self.at + 1) % len;
        self.past[self.at] = f64::from(played);
        let newest_first = (0..len).map(|age| self.past[(self.at + len - age) % len]);
        let sum: f64 = newest_first.zip(&self.taps).map(|(sample, tap)| sample * tap).sum();
        sum.round().clamp(-32_768.0, 32_767.0) as i16
    }
}

/// Mean power of many frames, in dB against one squared unit.
#[derive(Default)]
pub struct Level {
    energy: f64,
    count: u64,
}

impl Level {
    pub fn add(&mut self, samples: &[i16]) {
        self.energy += samples.iter().map(|&s| f64::from(s) * f64::from(s)).sum::<f64>();
        self.count += samples.len() as u64;
    }

    pub fn db(&self) -> f64 {
        10.0 * (self.energy / self.count.max(1) as f64 + 1e-3).log10()
    }
}

/// Plays noise into a room and cleans what comes back, one pair of frames after the other.
pub struct EchoBench {
    pub apm: ApmProcessor,
    noise: Noise,
    rooms: Vec<Room>,
    far: Vec<i16>,
    near: Vec<i16>,
}

/// What a stretch of time sounded like.
pub struct Heard {
    pub echo: Level,
    pub left: Level,
}

impl Heard {
    pub fn reduction_db(&self) -> f64 {
        self.echo.db() - self.left.db()
    }
}

impl EchoBench {
    pub fn new(apm: ApmProcessor) -> Self {
        let rate = apm.near().rate_hz() as usize;
        assert_eq!(apm.near().rate_hz(), apm.far().rate_hz(), "the room here knows one rate");
        let room = || Room::new(rate / 100, rate / 100, 0.3);
        Self {
            noise: Noise::new(7),
            rooms: (0..apm.near().channels()).map(|_| room()).collect(),
            far: vec![0; apm.far().samples()],
            near: vec![0; apm.near().samples()],
            apm,
        }
    }

    pub fn frame(&mut self, heard: &mut Heard) {
        let (near_channels, far_channels) = (self.apm.near().channels(), self.apm.far().channels());
        for (far, near) in
            self.far.chunks_exact_mut(far_channels).zip(self.near.chunks_exact_mut(near_channels))
        {
            let played = self.noise.burst(self.apm.far().rate_hz(), 12_000.0);
            far.fill(played);
            near.iter_mut().zip(&mut self.rooms).for_each(|(near, room)| *near = room.heard(played));
        }
        heard.echo.add(&self.near);
        process(&mut self.apm, &self.far, &mut self.near).unwrap();
        heard.left.add(&self.near);
    }

    pub fn run(&mut self, frames: usize) -> Heard {
        let mut heard = Heard { echo: Level::default(), left: Level::default() };
        (0..frames).for_each(|_| self.frame(&mut heard));
        heard
    }
}
