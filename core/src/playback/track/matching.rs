//! Application side: a source with a clock of its own is played a little faster or slower.

/// The fill is averaged over so many seconds, for it moves in steps of a frame.
const AVERAGE_S: f64 = 4.0;
/// The loop settles in some of these, in seconds. Packets and frames beat slowly against each other,
/// which the fill shows as some milliseconds up and down; a faster loop would follow that.
const LOOP_S: f64 = 24.0;
/// Most that the source is played faster or slower, in ppm.
const MAX_PPM: f64 = 5_000.0;
/// Fill further than this from the target, in seconds, is not learned from: it is a burst or a stall.
const LEARN_WITHIN_S: f64 = 0.1;

/// How a source with a clock of its own, such as a network, is matched to the loudspeaker's.
///
/// What is pushed is converted a little faster or slower, so that the queue neither grows nor
/// starves. The queue's mean fill against its target steers the ratio by a proportional-integral
/// loop with a time constant of 24 s; the integral is the two clocks' drift. The first push after
/// opening or an interruption puts silence before the source, up to the target, so that the queue
/// starts where it is to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Matching {
    /// How much of the source is to wait in the queue, in milliseconds: at least the longest time
    /// between two pushes, at most what the queue holds less that.
    pub target_ms: u32,
}

/// The loop that keeps a queue at its target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MatchingLoop {
    target_s: f64,
    mean_off_s: f64,
    drift: f64,
    primed: bool,
}

impl MatchingLoop {
    pub(crate) fn new(matching: Matching) -> Self {
        Self { target_s: f64::from(matching.target_ms) * 1e-3, mean_off_s: 0.0, drift: 0.0, primed: false }
    }

    /// The queue was emptied; the drift stays known.
    pub(crate) fn restart(&mut self) {
        self.primed = false;
        self.mean_off_s = 0.0;
    }

    /// Sample frames of silence to begin with; asked once after a start.
    pub(crate) fn prime(&mut self, rate_hz: u32) -> usize {
        if core::mem::replace(&mut self.primed, true) {
            0
        } else {
            (self.target_s * f64::from(rate_hz)) as usize
        }
    }

    /// Looks at the fill after `seconds` more of the source, and says how much faster to read it, in
    /// ppm.
    pub(crate) fn look(&mut self, fill_s: f64, seconds: f64) -> f64 {
        let off_s = fill_s - self.target_s;
        self.mean_off_s += (off_s - self.mean_off_s) * (seconds / AVERAGE_S).min(1.0);
        if self.mean_off_s.abs() < LEARN_WITHIN_S {
            self.drift += self.mean_off_s * seconds / (LOOP_S * LOOP_S);
            self.drift = self.drift.clamp(-MAX_PPM * 1e-6, MAX_PPM * 1e-6);
        }
        // Damping of 1: the proportional part is twice the loop's frequency.
        let faster = self.drift + self.mean_off_s * 2.0 / LOOP_S;
        (faster * 1e6).clamp(-MAX_PPM, MAX_PPM)
    }

    pub(crate) fn drift_ppm(&self) -> f64 {
        self.drift * 1e6
    }
}
