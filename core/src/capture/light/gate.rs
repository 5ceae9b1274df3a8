//! Worker side: detects speech by its level, and brings it to a target level.

/// Energy ratio to the room's noise above which the gate opens (9 dB).
const OPEN: u64 = 8;
/// Energy ratio to the room's noise below which an open gate begins to close (5 dB).
const CLOSE: u64 = 3;
/// Frames for which the gate stays open after speech ended (200 ms).
const HANG_OVER_FRAMES: u8 = 20;

/// A noise gate: tells speech from noise by its level, with hysteresis and hang-over.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoiseGate {
    open: bool,
    hang_over_frames: u8,
}

impl NoiseGate {
    /// Divisor for the amplitude of noise: 12 dB.
    pub(super) const ATTENUATION: u32 = 4;

    pub(super) const fn new() -> Self {
        Self { open: false, hang_over_frames: 0 }
    }

    /// Takes the level of a frame and of the noise floor; returns whether the frame is speech.
    pub(super) fn observe(&mut self, near: u32, floor: u32) -> bool {
        let (near, floor) = (u64::from(near), u64::from(floor));
        if near > floor * OPEN || self.open && near > floor * CLOSE {
            self.open = true;
            self.hang_over_frames = HANG_OVER_FRAMES;
        } else if self.hang_over_frames > 0 {
            self.hang_over_frames -= 1;
        } else {
            self.open = false;
        }
        self.open
    }
}

/// Target level of speech: -18 dBFS, as energy.
const TARGET: u64 = (1 << 30) / 63;
const UNITY_Q16: u32 = 1 << 16;
/// Largest gain: 18 dB.
const MAX_Q16: u32 = 8 << 16;

/// Automatic gain that brings speech to its target level: down within 50 ms, up by 3 dB in a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct AutoGain {
    gain_q16: u32,
}

impl AutoGain {
    pub(super) const fn new() -> Self {
        Self { gain_q16: UNITY_Q16 }
    }

    pub(super) const fn gain_q16(&self) -> u32 {
        self.gain_q16
    }

    /// Adapts the gain to the level of a frame of speech.
    pub(super) fn observe(&mut self, near: u32) {
        let gain = u64::from(self.gain_q16);
        let level = (u64::from(near) * ((gain * gain) >> 16)) >> 16;
        self.gain_q16 = if level > TARGET {
            (self.gain_q16 - self.gain_q16 / 16).max(UNITY_Q16)
        } else {
            // 3 dB of gain a second are 0.35 % a frame.
            (self.gain_q16 + self.gain_q16 / 289).min(MAX_Q16)
        };
    }
}
