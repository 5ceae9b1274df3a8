//! Worker side: turns the likelihood of speech in each frame into events, with onset, hang-over and times.
//!
//! The onset is found by a cumulative sum (Page, "Continuous inspection schemes", Biometrika 41, 1954): what the
//! likelihoods exceed a threshold by is added up, and never falls below 0. Speech has started once the sum
//! reaches a limit. A second sum with half the threshold finds the first frame: the one after which that sum was
//! last 0. A loud word is thus noticed sooner than a quiet one, and a quiet syllable before it belongs to the
//! speech, although it alone would not be noticed.

use crate::dsp::select::{larger, smaller};
use crate::frame::Stamp;
use crate::limits::FRAMES_PER_SECOND;
use crate::time::Instant;

/// Part of the threshold that counts in the search for the first frame. Quiet first syllables of a talker 15 dB below
/// the echo then belong to the speech: the first frame is at most 110 ms late in 200 rooms, instead of 260 ms.
const HALF: f32 = 0.5;

/// Number of frames after which a start that led to no speech is given up: 0.5 s, more than a quiet talker takes to
/// be noticed.
const LONGEST_START: u32 = 50;

/// Settings of a [`SpeechActivity`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SpeechSettings {
    /// Likelihood above which a frame speaks for speech, and below which it speaks against it, from 0 to 1.
    pub threshold: f32,
    /// Sum of the likelihoods above the threshold at which speech has started.
    pub onset: f32,
    /// Time without speech after which it has ended, in milliseconds.
    pub hang_over_ms: u16,
    /// Length from which speech is no cough and no knock, in milliseconds.
    pub shortest_ms: u16,
}

impl SpeechSettings {
    /// Settings for the likelihood of [`near_end_speech`](super::near_end_speech).
    pub const NEAR_END: Self = Self { threshold: 0.6, onset: 2.0, ..Self::DETECTOR };
    /// Settings for the near-end likelihood times the score of a speech detector, as hosts use it.
    pub const DETECTOR: Self = Self { threshold: 0.2, onset: 2.0, hang_over_ms: 500, shortest_ms: 500 };
}

/// Place in the stream of cleaned frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SpeechPoint {
    /// Time at which the sample was at the microphone.
    pub at: Instant,
    /// Stream position of the sample, as in [`Stamp::position`].
    pub position: u64,
}

/// Event of a person's speech.
///
/// A `Started` is followed by at most one `Confirmed` and by one `Ended`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SpeechEvent {
    /// A person has started to speak, or makes a sound like speech; names the first sample of it.
    Started(SpeechPoint),
    /// The sound has lasted too long for a cough; names the same sample as the start.
    Confirmed(SpeechPoint),
    /// The speech has ended; names the first sample behind it. The event comes after the hang-over.
    Ended(SpeechPoint),
}

/// Detector of the start and the end of speech, from a likelihood for each frame.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SpeechActivity {
    settings: SpeechSettings,
    sum: f32,
    /// Sum over half the threshold, at most the limit of the other.
    start_sum: f32,
    /// Number of frames since `start`.
    start_frames: u32,
    is_speaking: bool,
    is_confirmed: bool,
    /// Number of frames without speech since the last frame with speech.
    quiet_frames: u32,
    /// First sample of the speech, or of what may become speech.
    start: SpeechPoint,
    /// First sample behind the last frame with speech; `None` until the next frame comes.
    end: Option<SpeechPoint>,
}

impl SpeechActivity {
    /// Returns a detector that has seen no frame.
    #[must_use]
    pub const fn new(settings: SpeechSettings) -> Self {
        Self {
            settings,
            sum: 0.0,
            start_sum: 0.0,
            start_frames: 0,
            is_speaking: false,
            is_confirmed: false,
            quiet_frames: 0,
            start: SpeechPoint { at: Instant::ORIGIN, position: 0 },
            end: None,
        }
    }

    /// Returns whether a person speaks, from the start until the end was reported.
    #[must_use]
    pub const fn is_speaking(&self) -> bool {
        self.is_speaking
    }

    /// Takes the likelihood of speech in a frame and the frame's stamp, and returns what it changed. Bounded
    /// and short: some comparisons and additions.
    pub fn observe(&mut self, likelihood: f32, stamp: &Stamp) -> Option<SpeechEvent> {
        let here = SpeechPoint { at: stamp.time, position: stamp.position };
        let SpeechSettings { threshold, onset, hang_over_ms, shortest_ms } = self.settings;
        let above = likelihood - threshold;
        if !self.is_speaking {
            if self.start_sum <= 0.0 || self.start_frames >= LONGEST_START {
                (self.start, self.start_sum, self.start_frames) = (here, 0.0, 0);
            }
            self.start_frames += 1;
            // A likelihood that is no number counts as none.
            self.sum = larger(self.sum + above, 0.0);
            let start_sum = self.start_sum + likelihood - HALF * threshold;
            self.start_sum = smaller(larger(start_sum, 0.0), onset);
            if self.sum < onset || self.sum <= 0.0 {
                return None;
            }
            (self.is_speaking, self.is_confirmed, self.quiet_frames, self.end) = (true, false, 0, None);
            return Some(SpeechEvent::Started(self.start));
        }
        let end = *self.end.get_or_insert(here);
        if above >= 0.0 {
            (self.quiet_frames, self.end) = (0, None);
            let length = here.at - self.start.at;
            if !self.is_confirmed && length.as_micros() >= i64::from(shortest_ms) * 1_000 {
                self.is_confirmed = true;
                return Some(SpeechEvent::Confirmed(self.start));
            }
            return None;
        }
        self.quiet_frames += 1;
        if self.quiet_frames < u32::from(hang_over_ms) * FRAMES_PER_SECOND / 1_000 {
            return None;
        }
        self.reset();
        Some(SpeechEvent::Ended(end))
    }

    /// Forgets the speech that has started, for example when the microphone was closed. Its end is not reported.
    pub const fn reset(&mut self) {
        (self.is_speaking, self.sum, self.start_sum) = (false, 0.0, 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    const SETTINGS: SpeechSettings =
        SpeechSettings { threshold: 0.5, onset: 1.0, hang_over_ms: 100, shortest_ms: 200 };

    /// Runs the detector over likelihoods, and returns each event with the frame in which it came.
    fn events(likelihoods: &[f32]) -> Vec<(usize, SpeechEvent)> {
        let mut activity = SpeechActivity::new(SETTINGS);
        let observe = |(frame, &likelihood): (usize, &f32)| {
            let stamp = Stamp {
                position: 160 * frame as u64,
                time: Instant::ORIGIN + Duration::from_millis(10 * frame as i64),
                ..Stamp::ZERO
            };
            Some((frame, activity.observe(likelihood, &stamp)?))
        };
        likelihoods.iter().enumerate().filter_map(observe).collect()
    }

    fn point(frame: i64) -> SpeechPoint {
        let at = Instant::ORIGIN + Duration::from_millis(10 * frame);
        SpeechPoint { at, position: 160 * frame as u64 }
    }

    #[test]
    fn start_and_end_name_their_samples() {
        let spoken = [[0.0; 50].as_slice(), &[1.0; 40], &[0.0; 30]].concat();
        let expected = [
            (51, SpeechEvent::Started(point(50))),
            (70, SpeechEvent::Confirmed(point(50))),
            (99, SpeechEvent::Ended(point(90))),
        ];
        assert_eq!(events(&spoken), expected);
    }

    #[test]
    fn a_cough_is_never_confirmed_and_a_click_never_starts() {
        let cough = [[0.0; 10].as_slice(), &[1.0; 15], &[0.0; 30], &[1.0], &[0.0; 5]].concat();
        let expected = [(11, SpeechEvent::Started(point(10))), (34, SpeechEvent::Ended(point(25)))];
        assert_eq!(events(&cough), expected);
    }

    #[test]
    fn a_pause_shorter_than_the_hang_over_does_not_end_speech() {
        let words = [[1.0; 10].as_slice(), &[0.0; 9], &[1.0; 10], &[0.0; 10]].concat();
        let kinds: Vec<_> = events(&words).into_iter().map(|(frame, _)| frame).collect();
        assert_eq!(kinds, [1, 20, 38], "started, confirmed, ended");
    }

    #[test]
    fn a_quiet_syllable_before_a_word_belongs_to_the_speech() {
        let quiet_first = [[0.0; 10].as_slice(), &[0.4; 8], &[1.0; 10], &[0.0; 20]].concat();
        let expected = [(19, SpeechEvent::Started(point(10))), (37, SpeechEvent::Ended(point(28)))];
        assert_eq!(events(&quiet_first), expected);
        assert_eq!(events(&[0.4; 500]), [], "alone it is not noticed");
        let murmur = [[0.4; 500].as_slice(), &[1.0; 15], &[0.0; 20]].concat();
        let expected = [(501, SpeechEvent::Started(point(500))), (524, SpeechEvent::Ended(point(515)))];
        assert_eq!(events(&murmur), expected, "a murmur does not make a cough long");
    }

    #[test]
    fn a_likelihood_that_is_no_number_counts_as_none() {
        assert_eq!(events(&[f32::NAN; 100]), []);
        let late = [[f32::NAN; 10].as_slice(), &[1.0; 3]].concat();
        assert_eq!(events(&late).len(), 1);
    }
}
