//! Worker side: level measurement, high-pass and noise on integers.

/// Returns the mean square, where full scale is 2^30.
pub(super) fn mean_square(samples: &[i16]) -> u32 {
    let sum: u64 =
        samples.iter().map(|&sample| u64::from((i32::from(sample) * i32::from(sample)) as u32)).sum();
    (sum / samples.len().max(1) as u64) as u32
}

/// Two first-order high-pass filters in series, together 3 dB down at about 100 Hz.
#[derive(Clone, Copy, Debug)]
pub(super) struct HighPass {
    /// Low-frequency part that each filter subtracts, in 1/2^14 of a sample.
    below_q14: [i32; 2],
}

impl HighPass {
    pub(super) const fn new() -> Self {
        Self { below_q14: [0; 2] }
    }

    pub(super) fn run<'s>(&mut self, samples: impl Iterator<Item = &'s mut i16>, rate_hz: u32) {
        // 2 pi 60 Hz over the rate: two filters in series are 3 dB down at 100 Hz.
        let part_q16 = i64::from((377 << 16) / rate_hz.max(1));
        for sample in samples {
            let mut now = i32::from(*sample);
            for below_q14 in &mut self.below_q14 {
                let apart_q14 = (now << 14).wrapping_sub(*below_q14);
                *below_q14 += ((i64::from(apart_q14) * part_q16) >> 16) as i32;
                now =
                    (now - ((*below_q14 + (1 << 13)) >> 14)).clamp(i32::from(i16::MIN), i32::from(i16::MAX));
            }
            *sample = now as i16;
        }
    }
}

/// Tracks the level of the room's noise: down at once, up by 1 dB in a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct FloorTracker {
    level_q8: u64,
    started: bool,
}

/// Lowest noise level that is distinguished (-84 dBFS).
const MIN_LEVEL: u32 = 4;

impl FloorTracker {
    pub(super) const fn new() -> Self {
        Self { level_q8: (MIN_LEVEL as u64) << 8, started: false }
    }

    /// Takes the level of a frame without echo or speech suppression.
    pub(super) fn observe(&mut self, level: u32) {
        let level_q8 = u64::from(level.max(MIN_LEVEL)) << 8;
        if !self.started || level_q8 < self.level_q8 {
            // A quarter of the way, so that one quiet frame is not the floor.
            let apart = self.level_q8.abs_diff(level_q8) / 4;
            self.level_q8 = if level_q8 < self.level_q8 { self.level_q8 - apart } else { level_q8 };
            self.started = true;
        } else {
            // 1 dB of level a second is 0.23 % a frame.
            self.level_q8 = (self.level_q8 + self.level_q8 / 434 + 1).min(level_q8);
        }
    }

    pub(super) fn level(&self) -> u32 {
        (self.level_q8 >> 8) as u32
    }

    /// Returns the peak amplitude of uniformly distributed noise of this level: the root of three times the
    /// level.
    pub(super) fn amplitude(&self) -> u32 {
        (u64::from(self.level()) * 3).isqrt() as u32
    }
}

/// Generator of uniformly distributed noise.
#[derive(Clone, Copy, Debug)]
pub(super) struct ComfortNoise {
    state: u32,
}

impl ComfortNoise {
    pub(super) const fn new() -> Self {
        Self { state: 0x1234_5678 }
    }

    pub(super) fn sample(&mut self, amplitude: u32) -> i32 {
        if amplitude == 0 {
            return 0;
        }
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let signed = (self.state >> 16) as i64 - 32_768;
        ((signed * i64::from(amplitude)) >> 15) as i32
    }
}
