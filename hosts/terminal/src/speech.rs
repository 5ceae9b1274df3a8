//! Worker side: detects speech in cleaned frames, with a neural network that is small enough for each frame.
//!
//! The detector is [`earshot`]. Its score is multiplied by the echo canceller's near-end likelihood where a
//! canceller knows it: the one tells speech from other sounds, the other the talker from the echo of speech.
//! The `docs/speech.md` of the repository compares detectors.

use std::fmt;

use handsfree_core::dsp::FrameConverter;
use handsfree_core::speech::SpeechActivity;
pub use handsfree_core::speech::{BargeIn, BargeInAction, SpeechEvent, SpeechPoint, SpeechSettings};
use handsfree_core::{Frame, SampleRate};

use crate::failure::Failure;
use crate::terminal::CAP;

/// Rate of the detector, in hertz.
const DETECTOR_HZ: u32 = 16_000;
/// Length of the detector's blocks, in samples: 16 ms.
const BLOCK: usize = 256;
/// Factor on the score where no near-end likelihood is known: a score then has to be half as high again.
const ALONE: f32 = 0.67;

/// Detector of speech in cleaned frames of 10 ms, mono. It does not allocate after it was made.
pub struct SpeechDetector {
    network: Box<earshot::Detector>,
    converter: FrameConverter<CAP>,
    rate: SampleRate,
    converted: Frame<CAP>,
    /// Samples that do not fill a block yet.
    block: [i16; BLOCK],
    filled: usize,
    /// Score of the last block, from 0 to 1.
    score: f32,
    activity: SpeechActivity,
}

impl fmt::Debug for SpeechDetector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpeechDetector").field("score", &self.score).finish_non_exhaustive()
    }
}

impl SpeechDetector {
    /// Makes a detector for frames of any rate.
    ///
    /// # Errors
    /// Returns no error for the detector that is built in.
    pub fn new(settings: SpeechSettings) -> Result<Self, Failure> {
        let rate = SampleRate::new(DETECTOR_HZ)?;
        Ok(Self {
            network: earshot::Detector::default_boxed(),
            converter: FrameConverter::new(),
            rate,
            converted: Frame::silence(handsfree_core::Format::with_rate(rate, 1)?)?,
            block: [0; BLOCK],
            filled: 0,
            score: 0.0,
            activity: SpeechActivity::new(settings),
        })
    }

    /// Takes a cleaned frame and the canceller's near-end likelihood for it, if that is known. Returns what the
    /// frame changed.
    pub fn observe(&mut self, near_end: Option<f32>, frame: &Frame<CAP>) -> Option<SpeechEvent> {
        self.converter.convert(frame, self.rate, &mut self.converted);
        for &sample in self.converted.samples() {
            self.block[self.filled] = sample;
            self.filled += 1;
            if self.filled == BLOCK {
                self.filled = 0;
                self.score = self.network.predict_i16(&self.block);
            }
        }
        self.activity.observe(self.score * near_end.unwrap_or(ALONE), &frame.stamp)
    }

    /// Returns whether a person speaks, from the start until the end was reported.
    #[must_use]
    pub const fn is_speaking(&self) -> bool {
        self.activity.is_speaking()
    }
}
