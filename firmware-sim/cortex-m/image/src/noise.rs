//! A sound to play, the same in every run.

/// Noise below some 300 Hz, where a room that interpolates linearly is exact enough.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    state: u32,
    first: i32,
    second: i32,
}

impl Noise {
    /// A sound of its own for every seed but 0.
    #[must_use]
    pub const fn new(seed: u32) -> Self {
        Self { state: seed, first: 0, second: 0 }
    }

    /// The next number, evenly spread.
    pub fn word(&mut self) -> u32 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 17;
        self.state ^= self.state << 5;
        self.state
    }

    /// The next sample, mostly below a sixth of full scale.
    pub fn sample(&mut self) -> i16 {
        let white = (self.word() >> 16) as i32 - 32_768;
        self.first += (white - self.first) / 8;
        self.second += (self.first - self.second) / 8;
        self.second as i16
    }

    /// Fills with samples.
    pub fn fill(&mut self, samples: &mut [i16]) {
        samples.iter_mut().for_each(|sample| *sample = self.sample());
    }
}
