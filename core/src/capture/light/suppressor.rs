//! Worker side: is the microphone hearing anything but the loudspeaker?

/// Frames after which what the loudspeaker played is no echo any more (200 ms).
const TAIL_FRAMES: u8 = 20;
/// The loudspeaker is silent below this (-54 dBFS).
const FAR_ACTIVE: u32 = 4_000;
/// The loudest echo that is believed before it was measured: 6 dB above what is played, by energy.
const FIRST_COUPLING_Q8: u64 = 4 << 8;
const LEAST_COUPLING_Q8: u64 = 1;
/// Louder than the expected echo by so much: somebody speaks (8 dB).
const OPEN: u64 = 6;
/// And not any more below this (3 dB).
const CLOSE: u64 = 2;
/// Frames that somebody is taken to speak after that (150 ms).
const HANG_OVER_FRAMES: u8 = 15;

/// Half-duplex echo suppression, with hysteresis and hang-over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suppressor {
    /// The loudest the loudspeaker was lately, and how long ago.
    far: u32,
    age_frames: u8,
    /// Energy of the echo over what was played, in 1/256.
    coupling_q8: u64,
    open: bool,
    hang_over_frames: u8,
}

impl Suppressor {
    /// What echo is multiplied with: -36 dB.
    pub(super) const GAIN_Q16: u32 = 1_024;

    pub(super) const fn new() -> Self {
        Self {
            far: 0,
            age_frames: TAIL_FRAMES,
            coupling_q8: FIRST_COUPLING_Q8,
            open: false,
            hang_over_frames: 0,
        }
    }

    /// Hears a frame's levels; whether it is echo alone.
    pub(super) fn hear(&mut self, near: u32, far: u32, floor: u32) -> bool {
        if far >= self.far || self.age_frames >= TAIL_FRAMES {
            self.far = far;
            self.age_frames = 0;
        } else {
            self.age_frames += 1;
            // A room's echo dies away by 60 dB in half a second; half of that is assumed.
            self.far -= self.far / 8;
        }
        if self.far < FAR_ACTIVE {
            self.open = false;
            self.hang_over_frames = 0;
            return false;
        }
        let expected = ((u64::from(self.far) * self.coupling_q8) >> 8) + u64::from(floor);
        let near = u64::from(near);
        if near > expected * OPEN {
            self.open = true;
            self.hang_over_frames = HANG_OVER_FRAMES;
        } else if near > expected * CLOSE && self.open {
            self.hang_over_frames = HANG_OVER_FRAMES;
        } else if self.hang_over_frames > 0 {
            self.hang_over_frames -= 1;
        } else {
            self.open = false;
        }
        if !self.open {
            self.learn(near);
        }
        !self.open
    }

    /// Learns how loud the echo is while nothing else is heard: towards louder at once, for that is the
    /// danger, and slowly towards quieter.
    fn learn(&mut self, near: u64) {
        let seen_q8 = ((near << 8) / u64::from(self.far.max(1))).max(LEAST_COUPLING_Q8);
        if seen_q8 > self.coupling_q8 {
            self.coupling_q8 = seen_q8;
        } else {
            self.coupling_q8 -= (self.coupling_q8 - seen_q8).div_ceil(32);
        }
    }
}
