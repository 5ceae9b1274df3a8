//! Any side: the records that a journal holds.

use core::fmt;

use crate::capture::IntakeConfig;
use crate::error::ConfigError;
use crate::format::Format;
use crate::frame::Frame;
use crate::playback::OutletConfig;
use crate::sample::{DeviceSample, SampleKind};
use crate::time::{Instant, PeriodTime};

/// Most clock readings in one record.
pub(crate) const MAX_CLOCK_READS: usize = 6;

/// One entry of a journal. Entries are in the order in which the intake, the outlet or the capture worker saw
/// them.
///
/// Where a record has `accepted`, it tells which of the completed frames the ring behind had space for: one
/// bit for each frame, the lowest for the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Record<'r> {
    /// The intake was configured.
    CaptureConfigured {
        /// The new configuration.
        config: IntakeConfig,
    },
    /// The microphone delivered a period.
    CapturePeriod {
        /// Samples in the format of the device, interleaved.
        samples: RawSamples<'r>,
        /// Position and times of the period.
        time: PeriodTime,
        /// Which of the capture frames completed by this period the ring accepted.
        accepted: u64,
    },
    /// The outlet was configured.
    PlaybackConfigured {
        /// The new configuration.
        config: OutletConfig,
        /// Which of the reference frames completed by the end of the previous stream the ring accepted.
        accepted: u64,
    },
    /// The outlet took a mixed frame from the playback ring, during the period that is recorded next.
    PlaybackFrame {
        /// Rate and channels of the frame.
        format: Format,
        /// Samples of the frame, interleaved.
        samples: RawSamples<'r>,
    },
    /// The outlet filled a period for the loudspeaker.
    PlaybackPeriod {
        /// Sample format of the device.
        kind: SampleKind,
        /// Number of samples in the period, all channels.
        samples: u32,
        /// Checksum of the samples written: see [`digest`].
        digest: u64,
        /// Position and times of the period.
        time: PeriodTime,
        /// Which of the reference frames completed by this period the ring accepted.
        accepted: u64,
    },
    /// The outlet was stopped.
    PlaybackStopped {
        /// Which of the reference frames completed by the stop the ring accepted.
        accepted: u64,
    },
    /// The host reported that samples already written were never played.
    PlaybackDiscarded {
        /// Number of sample frames that were not played.
        sample_frames: u32,
        /// Which of the reference frames completed by this report the ring accepted.
        accepted: u64,
    },
    /// The capture worker read its clock.
    ClockRead {
        /// Number of valid entries in `times`.
        count: usize,
        /// Readings in the order in which they were taken.
        times: [Instant; MAX_CLOCK_READS],
    },
    /// The capture worker gave a cleaned frame to its sink.
    Cleaned {
        /// Rate and channels of the frame.
        format: Format,
        /// Samples of the frame, interleaved.
        samples: RawSamples<'r>,
        /// Position of the first sample frame in the cleaned stream.
        position: u64,
        /// Sample frames lost before the frame.
        lost: u32,
    },
    /// The capture worker finished a round of [`Pipeline::poll`](crate::capture::Pipeline::poll). Rounds in
    /// which nothing happened are not recorded.
    Polled {
        /// Number of frames taken from the capture ring.
        captured_frames: u32,
        /// Number of frames taken from the reference ring.
        reference_frames: u32,
        /// Whether a loudspeaker was running.
        plays: bool,
        /// Whether the devices reported that one clock drives loudspeaker and microphone.
        one_clock: bool,
    },
    /// The application recorded two words of its own with
    /// [`Pipeline::note`](crate::capture::Pipeline::note).
    Note {
        /// Words of the application; the core gives them no meaning.
        words: [u64; 2],
    },
    /// The journal was closed in an orderly way.
    End {
        /// Number of records lost before this one.
        lost_records: u32,
    },
}

/// Samples in a device format, as bytes, least significant byte first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawSamples<'r> {
    /// Format of each sample.
    pub kind: SampleKind,
    bytes: &'r [u8],
}

impl<'r> RawSamples<'r> {
    /// No samples: the placeholder of a record that is being written.
    pub(crate) const EMPTY: RawSamples<'static> = RawSamples { kind: SampleKind::I16, bytes: &[] };

    pub(super) const fn of_bytes(kind: SampleKind, bytes: &'r [u8]) -> Self {
        Self { kind, bytes }
    }

    /// Returns the number of samples, all channels.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len() / self.kind.bytes()
    }

    /// Returns whether there are no samples.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the samples one after the other. Yields nothing if `S` is not of this [`kind`](Self::kind).
    pub fn iter<S: DeviceSample>(&self) -> impl Iterator<Item = S> {
        let bytes = if S::KIND == self.kind { self.bytes } else { &[] };
        bytes.chunks_exact(self.kind.bytes()).map(|bytes| {
            let mut word = [0; 4];
            word.iter_mut().zip(bytes).for_each(|(to, &from)| *to = from);
            S::from_bits(u32::from_le_bytes(word))
        })
    }

    /// Returns the samples as a frame with an empty stamp.
    ///
    /// # Errors
    /// Fails if the samples do not have 16 bits, are not a whole number of sample frames or are more than
    /// `CAP`.
    pub fn to_frame<const CAP: usize, const SLOTS: usize>(
        &self,
        format: Format,
    ) -> Result<Frame<CAP, SLOTS>, Malformed> {
        let sample_frames = self.len() / format.channels();
        let mut frame = Frame::EMPTY;
        frame.clear(format.fitting(CAP)?, sample_frames);
        if frame.samples().len() != self.len() || self.kind != SampleKind::I16 {
            return Err(Malformed::Length);
        }
        frame.samples_mut().iter_mut().zip(self.iter::<i16>()).for_each(|(to, from)| *to = from);
        Ok(frame)
    }
}

/// Error for bytes that no journal wrote.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Malformed {
    /// The kind of a record or of its samples is unknown.
    Unknown {
        /// Number of the kind.
        tag: u8,
    },
    /// The record has more or fewer bytes than its kind allows.
    Length,
    /// The record holds a value that the intake or outlet would have refused.
    Value(ConfigError),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { tag } => write!(
                f,
                "unknown kind of record or sample: {tag}; expected 1 to 12 for a record, 0 to 4 for a sample"
            ),
            Self::Length => f.write_str("the length of a record does not fit its kind"),
            Self::Value(error) => write!(f, "a record holds an invalid value: {error}"),
        }
    }
}

impl core::error::Error for Malformed {}

impl From<ConfigError> for Malformed {
    fn from(error: ConfigError) -> Self {
        Self::Value(error)
    }
}

/// Returns a 64-bit checksum of a period's samples: FNV-1a over whole samples instead of bytes.
#[must_use]
pub fn digest<S: DeviceSample>(samples: &[S]) -> u64 {
    samples.iter().fold(0xCBF2_9CE4_8422_2325, |digest, sample| {
        (digest ^ u64::from(sample.to_bits())).wrapping_mul(0x100_0000_01B3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_of_different_samples_differ() {
        assert_ne!(digest(&[1i16, 2]), digest(&[2i16, 1]));
        assert_ne!(digest(&[0i16; 3]), digest(&[0i16; 4]));
        assert_eq!(digest(&[0.5f32]), digest(&[0.5f32]));
    }
}
