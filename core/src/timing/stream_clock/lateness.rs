//! Worker side: tells times that arrived late from times that are inexact.
//!
//! A busy machine or a sound server delivers late, never early. The times of such a device lie above a sharp
//! lower edge, which is the clock, and the mean of them follows the load of the machine. The early times show
//! how exact the edge is; a time that is late by more than that has a weight that falls with the square of its
//! lateness (a redescending M-estimator: P. J. Huber, "Robust Statistics", 1981, section 4.8).

use super::{FIRST_JITTER_NS, LEAST_JITTER_NS};

/// Lateness beyond which a time may weigh less, in nanoseconds. It must also exceed [`LATE_SIGMAS`].
const LATE_NS: f32 = 0.5e6;
/// Lateness beyond which a time may weigh less, in standard deviations of the early times.
const LATE_SIGMAS: f32 = 3.0;
/// Number of successive late times after which the least late of them is no longer late: the clock itself moved.
const MOVED_AFTER: u32 = 12;

/// What is known of the times that arrive late.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lateness {
    /// Variance of the times that are earlier than predicted, in ns^2.
    early_ns2: f32,
    /// Number of successive late times.
    late: u32,
    /// Residual of the least late of these, in nanoseconds.
    least_ns: f32,
}

impl Lateness {
    pub(super) const UNKNOWN: Self =
        Self { early_ns2: FIRST_JITTER_NS * FIRST_JITTER_NS, late: 0, least_ns: 0.0 };

    /// Returns the weight of a time from its residual, from above 0 to 1. `time_ns2` is the variance of the
    /// predicted time.
    pub(super) fn weight(&mut self, residual_ns: f32, time_ns2: f32) -> f32 {
        let mut usual_ns2 = (LATE_SIGMAS * LATE_SIGMAS * (self.early_ns2 + time_ns2)).max(LATE_NS * LATE_NS);
        let residual_ns2 = residual_ns * residual_ns;
        if residual_ns <= 0.0 || residual_ns2 <= usual_ns2 {
            self.late = 0;
            return 1.0;
        }
        self.least_ns = if self.late == 0 { residual_ns } else { residual_ns.min(self.least_ns) };
        self.late = self.late.saturating_add(1);
        if self.late >= MOVED_AFTER {
            usual_ns2 = usual_ns2.max(self.least_ns * self.least_ns);
        }
        usual_ns2 / residual_ns2
    }

    /// Learns the variance of the early times, of which a new one has the weight `part`.
    pub(super) fn learn(&mut self, residual_ns: f32, time_ns2: f32, part: f32) {
        if residual_ns < 0.0 {
            let seen_ns2 = (residual_ns * residual_ns - time_ns2).max(LEAST_JITTER_NS * LEAST_JITTER_NS);
            self.early_ns2 += (seen_ns2 - self.early_ns2) * part;
        }
    }
}
