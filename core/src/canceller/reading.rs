//! Worker side: what the canceller reports.

use super::frame::path_power;
use super::{CancellerStorage, EchoCanceller};

/// Inverse of the part of the microphone's energy that an output of the talker alone has at least.
const WHOLE_TALKER: f32 = 2.0;

/// Likelihoods and levels of an [`EchoCanceller`](super::EchoCanceller) for the last frame.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct CancellerReading {
    /// Likelihood that the near talker speaks, from 0 to 1.
    pub near_end_likelihood: f32,
    /// Likelihood that the linear output holds echo, from 0 to 1.
    pub residual_echo_likelihood: f32,
    /// How far the filter has converged, from 0 (knows nothing) to 1.
    pub convergence: f32,
    /// Time from the reference to its strongest echo, in partitions of 10 ms.
    pub strongest_partition: usize,
    /// Number of times that the shadow filter's path was taken over: changes of the echo path.
    pub path_changes: u32,
    /// Number of times that the main filter diverged and was halved.
    pub divergences: u32,
}

impl<
    const HOP: usize,
    const BINS: usize,
    const PARTITIONS: usize,
    const SHADOW: usize,
    const LOUDSPEAKERS: usize,
    S: CancellerStorage,
    const MODELS: usize,
> EchoCanceller<HOP, BINS, PARTITIONS, SHADOW, LOUDSPEAKERS, S, MODELS>
{
    /// Returns the partition with the most power.
    pub(super) fn strongest_partition(&self) -> usize {
        let (mut strongest, mut most) = (0, 0.0);
        for partition in 0..PARTITIONS {
            let weights = self.main.iter().filter_map(|main| main.weights().get(partition));
            let power = weights.fold(0.0, |sum, weights| sum + path_power(weights));
            if power > most {
                (strongest, most) = (partition, power);
            }
        }
        strongest
    }

    /// Returns the likelihood that the last output is the near talker, little changed by suppression, from 0 to 1:
    /// what a [`TalkerGain`](crate::capture::TalkerGain) may learn from. With `loudspeaker_model` of the
    /// [sizing](super::CancellerSizing) it is 0 unless the output is louder than the echo at the microphone, of which something may
    /// be left. It costs nothing.
    #[must_use]
    pub fn talker_likelihood(&self) -> f32 {
        let (output, microphone) = self.kept;
        if self.model.iter().any(|model| output < model.expected_echo()) {
            return 0.0;
        }
        let part = if microphone > 0.0 { output / microphone } else { 0.0 };
        self.suppressor.presence() * (WHOLE_TALKER * part).min(1.0)
    }

    /// Returns likelihoods and levels of the last frame. Reads the whole filter, so it is not for every frame
    /// of a small processor.
    #[must_use]
    pub fn reading(&self) -> CancellerReading {
        if !self.is_prepared {
            return CancellerReading::default();
        }
        CancellerReading {
            near_end_likelihood: self.suppressor.presence(),
            residual_echo_likelihood: self.levels.residual_likelihood(),
            convergence: self.levels.convergence(),
            strongest_partition: self.strongest_partition(),
            path_changes: self.path_changes,
            divergences: self.divergences,
        }
    }
}
