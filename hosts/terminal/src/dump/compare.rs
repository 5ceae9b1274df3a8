//! Control side: what came out against what came out then.

use handsfree_core::SampleRate;
use serde::Serialize;

/// How a replay's cleaned frames compare with the run's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Compared {
    /// Frames in the run.
    pub frames: u64,
    /// Those that the replay has otherwise, or not at all.
    pub differing_frames: u64,
    /// The largest difference of two samples.
    pub largest_difference: u16,
    /// The first difference.
    pub first: Option<Difference>,
}

/// Where two frames differ.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Which frame, counted from 0.
    pub frame: u64,
    /// Its place in the stream.
    pub at_s: f64,
    /// Which sample of it; none where the frame's place or length differs, or there is none.
    pub sample: Option<usize>,
}

impl Compared {
    /// Compares one frame of the run with the replay's. Place is position and what was lost before.
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

    /// Whether nothing differs.
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
