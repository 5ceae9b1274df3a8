//! Worker side: how uncertain the position is at which the reference is read, after a jump of the latency or a pause.
//!
//! The length of a jump is learned from a few timestamps. The samples after it are in the history before they are heard;
//! until then, later timestamps make the length more exact, which does not concern the samples before the jump.

use crate::limits::FRAME_NS;
use crate::time::Duration;
use crate::timing::stream_clock::{SOUND_SERVER, StreamClock};

/// Sample from which on something is played.
const AUDIBLE: u16 = 4;
/// Frames of a pause after which the position is uncertain: 1 s.
const PAUSE_FRAMES: u16 = 100;
/// Longest pause that counts: 1 min.
const LONGEST_PAUSE_FRAMES: u16 = 6_000;
/// Standard deviation of the rate in a pause. With 1 ppm an echo is heard after it, and with 3 ppm a siren's echo becomes louder.
const PAUSE_RATE: f32 = 2.2e-6;
/// Largest standard deviation of the rate in a pause in terms of the clocks', which are exact where timestamps are.
const PAUSE_RATE_SIGMAS: f32 = 3.0;

/// Uncertainty of the position; always none for devices without an operating system, whose times are exact.
#[derive(Debug)]
pub(super) struct PositionUncertainty([Uncertainty; SOUND_SERVER as usize]);

#[derive(Debug)]
struct Uncertainty {
    jump: Option<UnreadJump>,
    /// Variance of the position, in ns^2, until it is taken.
    variance_ns2: Option<f32>,
    /// Number of successive frames in which nothing was played.
    pause_frames: u16,
}

/// A jump of the latency whose samples have not been read yet.
#[derive(Clone, Copy, Debug)]
struct UnreadJump {
    /// Index of the first sample frame after the jump.
    from: i64,
    /// The clock when the jump was noticed.
    before: StreamClock,
}

/// What the timestamps after a jump have told, whose samples have not been read yet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Refinement {
    /// Index of the first sample frame after the jump.
    pub(super) from: i64,
    /// Time by which the samples after the jump are later than was known when it was noticed, in ns.
    pub(super) later_ns: f32,
}

impl PositionUncertainty {
    pub(super) const fn new() -> Self {
        Self(
            [const { Uncertainty { jump: None, variance_ns2: None, pause_frames: 0 } };
                SOUND_SERVER as usize],
        )
    }

    /// Notes a jump before the sample frame at index `from`, to which `clock` has been adapted.
    pub(super) fn on_jump(&mut self, from: i64, clock: &StreamClock) {
        for uncertainty in &mut self.0 {
            uncertainty.jump.get_or_insert(UnreadJump { from, before: *clock });
        }
    }

    /// Notes that reading moved to where `clock` tells, so that what was learned of a jump until now is contained.
    pub(super) fn on_move(&mut self, clock: &StreamClock) {
        for jump in self.0.iter_mut().filter_map(|uncertainty| uncertainty.jump.as_mut()) {
            jump.before = *clock;
        }
    }

    /// Forgets a jump whose samples have not been read yet.
    pub(super) fn forget_jump(&mut self) {
        self.0.iter_mut().for_each(|uncertainty| uncertainty.jump = None);
    }

    /// Returns what `clock` has learned since a jump whose samples have not been read yet, near the index `at`.
    pub(super) fn refinement(&self, clock: &StreamClock, at: i64) -> Option<Refinement> {
        let UnreadJump { from, before } = self.0.first()?.jump.as_ref()?;
        let at = at.max(0) as u64;
        Some(Refinement { from: *from, later_ns: (clock.time_of(at) - before.time_of(at)).as_nanos() as f32 })
    }

    /// Notes that the position has a variance of `ns2` from the next frame on.
    pub(super) fn set(&mut self, ns2: f32) {
        self.0.iter_mut().for_each(|uncertainty| uncertainty.variance_ns2 = Some(ns2));
    }

    /// Takes the samples that were read, and the variance of the clocks' rate. After a pause the position is uncertain, because no echo
    /// was observed.
    pub(super) fn observe(&mut self, samples: &[i16], rate_variance: f32) {
        for uncertainty in &mut self.0 {
            if is_pause(samples) {
                uncertainty.pause_frames = (uncertainty.pause_frames + 1).min(LONGEST_PAUSE_FRAMES);
                continue;
            }
            let frames = core::mem::take(&mut uncertainty.pause_frames);
            if frames >= PAUSE_FRAMES {
                let pause_ns = f32::from(frames) * FRAME_NS as f32;
                let most = PAUSE_RATE_SIGMAS * PAUSE_RATE_SIGMAS * rate_variance;
                let ns2 = (PAUSE_RATE * PAUSE_RATE).min(most) * pause_ns * pause_ns;
                uncertainty.variance_ns2.get_or_insert(ns2);
            }
        }
    }

    /// Returns once the standard deviation of the position.
    pub(super) fn take(&mut self) -> Option<Duration> {
        let ns2 = self.0.first_mut()?.variance_ns2.take()?;
        Some(Duration::from_nanos(libm::sqrtf(ns2) as i64))
    }
}

/// Returns whether nothing is played.
pub(super) fn is_pause(samples: &[i16]) -> bool {
    samples.iter().all(|sample| sample.unsigned_abs() < AUDIBLE)
}

#[cfg(all(test, feature = "sound-server"))]
mod tests {
    use super::*;
    use crate::format::SampleRate;
    use crate::time::Instant;

    fn clock(late_ns: i64) -> StreamClock {
        let mut clock = StreamClock::new(SampleRate::new(16_000).unwrap());
        clock.observe(0, Instant::from_nanos(late_ns));
        clock
    }

    #[test]
    fn a_jump_is_refined_until_it_is_forgotten() {
        let mut uncertainty = PositionUncertainty::new();
        assert_eq!(uncertainty.refinement(&clock(0), 0), None);
        uncertainty.on_jump(1_600, &clock(0));
        // The first jump counts, whose samples come first.
        uncertainty.on_jump(3_200, &clock(500_000));
        let refined = |later_ns| Some(Refinement { from: 1_600, later_ns });
        assert_eq!(uncertainty.refinement(&clock(200_000), 160), refined(200e3));
        uncertainty.on_move(&clock(200_000));
        assert_eq!(uncertainty.refinement(&clock(250_000), 160), refined(50e3));
        uncertainty.forget_jump();
        assert_eq!(uncertainty.refinement(&clock(250_000), 160), None);
    }

    #[test]
    fn a_pause_is_told_once_and_only_if_it_is_long() {
        for (frames, expected_us) in
            [(0, None), (99, None), (100, Some(2)), (500, Some(11)), (50_000, Some(132))]
        {
            let mut uncertainty = PositionUncertainty::new();
            uncertainty.observe(&[500; 160], 1e-10);
            (0..frames).for_each(|_| uncertainty.observe(&[3, -3, 0], 1e-10));
            assert_eq!(uncertainty.take(), None, "{frames} frames: nothing is played yet");
            uncertainty.observe(&[0, -4], 1e-10);
            assert_eq!(uncertainty.take().map(Duration::as_micros), expected_us, "{frames} frames");
            assert_eq!(uncertainty.take(), None);
        }
    }

    #[test]
    fn exact_clocks_leave_no_uncertainty_after_a_pause() {
        let mut uncertainty = PositionUncertainty::new();
        (0..6_000).for_each(|_| uncertainty.observe(&[0; 160], 0.0));
        uncertainty.observe(&[500; 160], 0.0);
        assert_eq!(uncertainty.take(), Some(Duration::ZERO));
    }

    #[test]
    fn a_jump_outweighs_the_pause_before_it() {
        let mut uncertainty = PositionUncertainty::new();
        (0..200).for_each(|_| uncertainty.observe(&[0; 160], 1e-10));
        uncertainty.set(1e12);
        uncertainty.observe(&[500; 160], 1e-10);
        assert_eq!(uncertainty.take(), Some(Duration::from_millis(1)));
    }
}
