//! Worker side: a gain that changes without a click.

use crate::sample::Gain;

/// A gain that moves linearly to its target, one step per sample frame, on integers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ramp {
    /// Current gain in Q32, so that long ramps do not stall because of rounding.
    now_q32: i64,
    step_q32: i64,
    /// Number of sample frames until the target is reached.
    left: u32,
    target: Gain,
}

impl Ramp {
    pub(crate) const fn at(gain: Gain) -> Self {
        Self { now_q32: (gain.q16() as i64) << 16, step_q32: 0, left: 0, target: gain }
    }

    /// Moves to `target` within `sample_frames`; 0 jumps there.
    #[inline(never)]
    pub(crate) fn move_to(&mut self, target: Gain, sample_frames: u32) {
        self.target = target;
        self.left = sample_frames;
        if sample_frames == 0 {
            *self = Self::at(target);
        } else {
            let goal_q32 = i64::from(target.q16()) << 16;
            self.step_q32 = (goal_q32 - self.now_q32) / i64::from(sample_frames);
        }
    }

    /// Returns the gain that the ramp moves to.
    pub(crate) const fn target(&self) -> Gain {
        self.target
    }

    /// Returns whether the gain leaves samples unchanged.
    pub(crate) fn is_unity(&self) -> bool {
        self.left == 0 && self.target == Gain::UNITY
    }

    /// Returns whether the gain is constant.
    pub(crate) const fn stands(&self) -> bool {
        self.left == 0
    }

    /// Returns the gain of the last sample frame.
    pub(crate) const fn now(&self) -> Gain {
        Gain::from_q16((self.now_q32 >> 16) as u32)
    }

    /// Returns the gain for the next sample frame.
    #[inline]
    pub(crate) fn next(&mut self) -> Gain {
        if self.left > 0 {
            self.step();
        }
        self.now()
    }

    /// Fills `gains` with those of the next sample frames, as many calls of [`next`](Self::next) would.
    pub(crate) fn fill(&mut self, gains: &mut [Gain]) {
        let moving = gains.len().min(self.left as usize);
        let (moving, standing) = gains.split_at_mut_checked(moving).unwrap_or_default();
        if let Some(last) = moving.len().checked_sub(1) {
            let mut now_q32 = self.now_q32;
            for gain in moving.iter_mut() {
                now_q32 += self.step_q32;
                *gain = Gain::from_q16((now_q32 >> 16) as u32);
            }
            self.now_q32 = now_q32;
            self.left -= moving.len() as u32;
            if self.left == 0 {
                *self = Self::at(self.target);
                // Rounding of the step may have ended beside the target.
                moving.get_mut(last).into_iter().for_each(|gain| *gain = self.target);
            }
        }
        standing.fill(self.now());
    }

    // Most gains are constant, and three are read for each sample frame: one copy of this code suffices in
    // firmware.
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    fn step(&mut self) {
        self.left -= 1;
        self.now_q32 += self.step_q32;
        if self.left == 0 {
            *self = Self::at(self.target);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_is_monotonic_and_reaches_its_target() {
        for target in [Gain::SILENT, Gain::MAX, Gain::linear(0.3).unwrap()] {
            let mut ramp = Ramp::at(Gain::UNITY);
            ramp.move_to(target, 480);
            let mut before = Gain::UNITY;
            for _ in 0..480 {
                let now = ramp.next();
                assert_eq!(now >= before, target >= Gain::UNITY);
                before = now;
            }
            assert_eq!(before, target);
            assert_eq!(ramp.next(), target);
        }
    }

    #[test]
    fn filled_gains_are_those_of_single_steps() {
        for (target, length) in [(0.3, 480), (64.0, 7), (0.0, 1), (1.0, 100), (0.123, 1_000)] {
            let mut ramp = Ramp::at(Gain::linear(0.7).unwrap());
            ramp.move_to(Gain::linear(target).unwrap(), length);
            let mut stepped = ramp;
            for count in [1, 0, 64, 3, 64, 64, 500, 400, 2] {
                let mut gains = std::vec![Gain::UNITY; count];
                ramp.fill(&mut gains);
                assert!(gains.iter().all(|&gain| gain == stepped.next()), "{target}, {length}, {count}");
            }
        }
    }

    #[test]
    fn a_ramp_of_no_length_jumps() {
        let mut ramp = Ramp::at(Gain::SILENT);
        ramp.move_to(Gain::UNITY, 0);
        assert!(ramp.is_unity());
        assert_eq!(ramp.next(), Gain::UNITY);
    }
}
