//! Worker side: decides whether the microphone picks up anything but the loudspeaker.

/// Frames after which played audio no longer causes echo (200 ms).
const TAIL_FRAMES: u8 = 20;
/// Level below which the loudspeaker counts as silent (-54 dBFS).
const FAR_ACTIVE: u32 = 4_000;
/// Echo coupling assumed before it was measured: 6 dB above the played energy.
const FIRST_COUPLING_Q8: u64 = 4 << 8;
/// Lowest echo coupling: one step of the fixed-point number.
const MIN_COUPLING_Q8: u64 = 1;
/// Energy ratio to the expected echo above which the frame is near speech (8 dB).
const OPEN: u64 = 6;
/// Energy ratio to the expected echo below which near speech begins to end (3 dB).
const CLOSE: u64 = 2;
/// Frames for which near speech is assumed to continue after it ended (150 ms).
const HANG_OVER_FRAMES: u8 = 15;

/// Half-duplex echo suppression, with hysteresis and hang-over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suppressor {
    /// Recent peak level of the loudspeaker, decaying like a room's echo.
    far: u32,
    /// Age of that peak.
    age_frames: u8,
    /// Energy of the echo over the energy of what was played, in 1/256.
    coupling_q8: u64,
    open: bool,
    hang_over_frames: u8,
}

impl Suppressor {
    /// Gain applied to echo: -36 dB.
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

    /// Takes the levels of a frame; returns whether it is nothing but echo.
    pub(super) fn observe(&mut self, near: u32, far: u32, floor: u32) -> bool {
        if far >= self.far || self.age_frames >= TAIL_FRAMES {
            self.far = far;
            self.age_frames = 0;
        } else {
            self.age_frames += 1;
            // A room's echo decays by 60 dB in half a second; half of that rate is assumed.
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

    /// Learns the echo coupling while there is no near speech: upward at once, because an underestimate lets
    /// echo through, and slowly downward.
    fn learn(&mut self, near: u64) {
        let seen_q8 = ((near << 8) / u64::from(self.far.max(1))).max(MIN_COUPLING_Q8);
        if seen_q8 > self.coupling_q8 {
            self.coupling_q8 = seen_q8;
        } else {
            self.coupling_q8 -= (self.coupling_q8 - seen_q8).div_ceil(32);
        }
    }
}
