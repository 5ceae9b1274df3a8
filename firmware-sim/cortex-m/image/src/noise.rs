//! Pseudo-random noise to play, the same in every run.

/// Noise below about 300 Hz, where the linear interpolation of the acoustic path is precise enough.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    state: u32,
    first: i32,
    second: i32,
}

impl Noise {
    /// Makes a noise from a seed other than 0. Each seed gives a different noise.
    #[must_use]
    pub const fn new(seed: u32) -> Self {
        Self { state: seed, first: 0, second: 0 }
    }

    /// Returns the next uniformly distributed number.
    pub fn word(&mut self) -> u32 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 17;
        self.state ^= self.state << 5;
        self.state
    }

    /// Returns the next sample, mostly below a sixth of full scale.
    pub fn sample(&mut self) -> i16 {
        let white = (self.word() >> 16) as i32 - 32_768;
        self.first += (white - self.first) / 8;
        self.second += (self.first - self.second) / 8;
        self.second as i16
    }

    /// Fills a slice with samples.
    pub fn fill(&mut self, samples: &mut [i16]) {
        samples.iter_mut().for_each(|sample| *sample = self.sample());
    }
}
