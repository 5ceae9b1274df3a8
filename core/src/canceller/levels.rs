//! Worker side: echo return loss and its enhancement, from levels while the far end speaks.

use crate::capture::VoiceStats;

/// Energy of a reference frame above which the far end counts as speaking.
pub(super) const FAR_ACTIVE: f32 = 1e-4;
/// Part of the levels that is replaced in 10 ms: a time constant of 1 s of far end.
const LEVEL_STEP: f32 = 0.01;

/// Part of the echo that is still expected 10 ms after the far end: -0.5 dB, a reverberation time of 1.2 s.
const ECHO_KEPT: f32 = 0.89;
/// Factor on the microphone's level that an echo may have while the filter does not explain it.
const UNEXPLAINED: f32 = 4.0;

/// Levels of the far end, of the estimated echo and of what is left, while the far end speaks.
#[derive(Debug)]
pub(super) struct EchoLevels {
    far: f32,
    near: f32,
    echo: f32,
    error: f32,
    both: f32,
    frames: u8,
}

impl EchoLevels {
    pub(super) const fn new() -> Self {
        Self { far: 0.0, near: 0.0, echo: 0.0, error: 0.0, both: 0.0, frames: 0 }
    }

    pub(super) fn observe(&mut self, far: f32, near: &[f32], error: &[f32]) {
        if far <= FAR_ACTIVE {
            return;
        }
        let (mut echo_energy, mut error_energy, mut near_energy, mut both) = (0.0, 0.0, 0.0, 0.0);
        for (near, error) in near.iter().zip(error) {
            let echo = near - error;
            echo_energy += echo * echo;
            error_energy += error * error;
            near_energy += near * near;
            both += echo * error;
        }
        for (level, now) in [
            (&mut self.far, far),
            (&mut self.near, near_energy),
            (&mut self.echo, echo_energy),
            (&mut self.error, error_energy),
            (&mut self.both, both),
        ] {
            *level += LEVEL_STEP * (now - *level);
        }
        self.frames = self.frames.saturating_add(1);
    }

    /// Returns whether the far end spoke for a second.
    pub(super) fn is_known(&self) -> bool {
        self.frames >= 100 && self.far > 0.0
    }

    /// Returns the part of the microphone's power that the estimated echo has while the far end speaks.
    pub(super) fn echo_part(&self) -> f32 {
        if self.near > 0.0 { self.echo / self.near } else { 0.0 }
    }

    /// Returns the energy of the microphone's echo that is expected in a frame with `far` from the loudspeaker, after one in which
    /// `last` was expected: by the level of the estimated echo, or of the microphone while the filter explains less than half.
    pub(super) fn expected_echo(&self, far: f32, last: f32) -> f32 {
        let level = if self.error < 0.5 * self.near { self.echo } else { UNEXPLAINED * self.near };
        let gain = if self.is_known() { level / self.far } else { UNEXPLAINED };
        (gain * far).max(ECHO_KEPT * last)
    }

    /// Returns ERL and ERLE.
    pub(super) fn stats(&self) -> VoiceStats {
        let decibels = |ratio: f32| 10.0 * libm::log10f(ratio.max(1e-12));
        if !self.is_known() {
            return VoiceStats::default();
        }
        VoiceStats {
            erl_db: (self.echo > 0.0).then(|| decibels(self.far / self.echo)),
            erle_db: (self.error > 0.0).then(|| decibels(self.near / self.error)),
            ..VoiceStats::default()
        }
    }

    /// Returns how much of the error correlates with the estimated echo, from 0 to 1.
    pub(super) fn residual_likelihood(&self) -> f32 {
        let product = self.echo * self.error;
        if product > 0.0 { (self.both * self.both / product).min(1.0) } else { 0.0 }
    }

    /// Returns the part of the microphone's power while the far end speaks that the filter explains.
    pub(super) fn convergence(&self) -> f32 {
        if self.near > 0.0 { (1.0 - self.error / self.near).clamp(0.0, 1.0) } else { 0.0 }
    }
}
