//! Control side: compares a replay's output with the recorded output.

use handsfree_core::SampleRate;
use serde::Serialize;

/// Comparison of a replay's cleaned frames with the recorded ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Compared {
    /// Number of frames in the recording.
    pub frames: u64,
    /// Number of these frames that differ in the replay or are missing from it.
    pub differing_frames: u64,
    /// Largest difference between a recorded and a replayed sample, in steps of 16-bit samples.
    pub largest_difference: u16,
    /// First difference, if there is one.
    pub first: Option<Difference>,
}

/// Position of a difference between the recording and the replay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Number of the frame, counted from 0.
    pub frame: u64,
    /// Position of the frame in the stream, in seconds.
    pub at_s: f64,
    /// Index of the first differing sample in the frame; `None` when the frame's position or length differs, or
    /// when the frame is missing.
    pub sample: Option<usize>,
}

impl Compared {
    /// Compares a recorded frame with the replayed one. Each is given by its position and lost sample frames,
    /// and its samples.
    pub(crate) fn frame(
        &mut self,
        rate: SampleRate,
        recorded: ((u64, u32), &[i16]),
        replayed: Option<((u64, u32), &[i16])>,
    ) {
        let frame = self.frames;
        self.frames += 1;
        let (stamp, samples) = recorded;
        let sample = match replayed {
            Some((replayed_stamp, replayed))
                if replayed_stamp == stamp && replayed.len() == samples.len() =>
            {
                let pairs = || samples.iter().zip(replayed);
                let Some(sample) = pairs().position(|(a, b)| a != b) else { return };
                let largest = pairs().map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
                self.largest_difference = self.largest_difference.max(largest);
                Some(sample)
            }
            _ => None,
        };
        self.differing_frames += 1;
        let at_s = stamp.0 as f64 / f64::from(rate.hz());
        self.first.get_or_insert(Difference { frame, at_s, sample });
    }

    /// Returns whether all frames are equal.
    #[must_use]
    pub const fn is_equal(&self) -> bool {
        self.differing_frames == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_reported_by_place_and_size() {
        let rate = SampleRate::new(8_000).unwrap();
        let mut compared = Compared::default();
        compared.frame(rate, ((0, 0), &[1, 2, 3]), Some(((0, 0), &[1, 2, 3])));
        assert!(compared.is_equal());
        compared.frame(rate, ((80, 0), &[1, 2, -30_000]), Some(((80, 0), &[1, 2, 30_000])));
        compared.frame(rate, ((160, 0), &[1]), Some(((160, 5), &[1])));
        compared.frame(rate, ((240, 0), &[1]), None);
        assert_eq!((compared.frames, compared.differing_frames, compared.largest_difference), (4, 3, 60_000));
        assert_eq!(compared.first, Some(Difference { frame: 1, at_s: 0.01, sample: Some(2) }));
    }
}
