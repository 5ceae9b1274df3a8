//! Application side: plays a source with a clock of its own a little faster or slower.

/// Averaging time of the queue's fill, in seconds: the fill moves in steps of a frame.
const AVERAGE_S: f64 = 4.0;
/// Time constant of the loop, in seconds. Packets and frames beat slowly against each other, which moves the
/// fill by some milliseconds; a faster loop would follow that.
const LOOP_S: f64 = 24.0;
/// Largest correction of the source's speed, in ppm.
const MAX_PPM: f64 = 5_000.0;
/// Largest distance of the fill from its target, in seconds, from which the drift is learned. A larger distance
/// is a burst or a stall.
const LEARN_WITHIN_S: f64 = 0.1;

/// Settings that match a source with a clock of its own, such as a network, to the loudspeaker's clock.
///
/// Pushed audio is converted a little faster or slower, so that the queue neither grows nor starves. The
/// queue's mean fill against its target steers the ratio by a proportional-integral loop with a time constant
/// of 24 s; the integral is the drift between the two clocks. The first push after opening or an interruption
/// is preceded by silence up to the target, so that the queue starts at its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Matching {
    /// Audio that waits in the queue on average, in milliseconds: at least the longest time between two pushes,
    /// at most the queue's capacity less that time.
    pub target_ms: u32,
}

/// The loop that keeps a queue at its target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MatchingLoop {
    target_s: f64,
    mean_error_s: f64,
    drift: f64,
    has_begun: bool,
}

impl MatchingLoop {
    pub(crate) fn new(matching: Matching) -> Self {
        Self {
            target_s: f64::from(matching.target_ms) * 1e-3,
            mean_error_s: 0.0,
            drift: 0.0,
            has_begun: false,
        }
    }

    /// Restarts the loop after the queue was emptied; the drift stays known.
    pub(crate) fn restart(&mut self) {
        self.has_begun = false;
        self.mean_error_s = 0.0;
    }

    /// Returns the number of sample frames of silence before the source: once after a start, then 0.
    pub(crate) fn take_initial_silence(&mut self, rate_hz: u32) -> usize {
        if core::mem::replace(&mut self.has_begun, true) {
            0
        } else {
            (self.target_s * f64::from(rate_hz)) as usize
        }
    }

    /// Takes the queue's fill after `seconds` more of the source and returns how much faster to read the
    /// source, in ppm.
    pub(crate) fn update(&mut self, fill_s: f64, seconds: f64) -> f64 {
        let error_s = fill_s - self.target_s;
        self.mean_error_s += (error_s - self.mean_error_s) * (seconds / AVERAGE_S).min(1.0);
        if self.mean_error_s.abs() < LEARN_WITHIN_S {
            self.drift += self.mean_error_s * seconds / (LOOP_S * LOOP_S);
            self.drift = self.drift.clamp(-MAX_PPM * 1e-6, MAX_PPM * 1e-6);
        }
        // The loop's damping is 1, so the proportional part is twice its frequency.
        let faster = self.drift + self.mean_error_s * 2.0 / LOOP_S;
        (faster * 1e6).clamp(-MAX_PPM, MAX_PPM)
    }

    pub(crate) fn drift_ppm(&self) -> f64 {
        self.drift * 1e6
    }
}
