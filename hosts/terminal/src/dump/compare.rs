//! Control side: compares a replay's output with the recorded output.

use handsfree_core::SampleRate;
use serde::Serialize;

/// Comparison of a replay's cleaned frames with the recorded ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Compared {
    /// Number of frames in the recording.
    pub frames: u64,
    /// Number of frames that the replay has differently or not at all.
    pub differing_frames: u64,
    /// Largest difference between two samples.
    pub largest_difference: u16,
    /// First difference.
    pub first: Option<Difference>,
}

/// Place at which two frames differ.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Number of the frame, counted from 0.
    pub frame: u64,
    /// Position of the frame in the stream.
    pub at_s: f64,
    /// Number of the sample in the frame; `None` where the frame's position or length differs, or the frame is missing.
    pub sample: Option<usize>,
}

impl Compared {
    /// Compares one recorded frame with the replay's. The position and the number of lost sample frames count too.
    pub(crate) fn frame(
        &mut self,
        rate: SampleRate,
        run: ((u64, u32), &[i16]),
        replay: Option<((u64, u32), &[i16])>,
    ) {
        let frame = self.frames;
        self.frames += 1;
        let (place, samples) = run;
        let sample = match replay {
            Some((replayed_at, replayed)) if replayed_at == place && replayed.len() == samples.len() => {
                let pairs = || samples.iter().zip(replayed);
                let Some(sample) = pairs().position(|(a, b)| a != b) else { return };
                let largest = pairs().map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
                self.largest_difference = self.largest_difference.max(largest);
                Some(sample)
            }
            _ => None,
        };
        self.differing_frames += 1;
        let at_s = place.0 as f64 / f64::from(rate.hz());
        self.first.get_or_insert(Difference { frame, at_s, sample });
    }

    /// Returns whether nothing differs.
    #[must_use]
    pub const fn is_equal(&self) -> bool {
        self.differing_frames == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_by_its_place_and_its_size() {
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
