//! Any side: what a journal tells of.

use core::fmt;

use crate::capture::IntakeConfig;
use crate::error::ConfigError;
use crate::format::Format;
use crate::frame::Frame;
use crate::playback::OutletConfig;
use crate::sample::{DeviceSample, SampleKind};
use crate::time::{Instant, PeriodTime};

/// Readings of the clock that one record tells of.
pub(crate) const MAX_CLOCK_READS: usize = 6;

/// What happened, in the order in which one half saw it.
///
/// `accepted` says which of the frames that a half completed found room in the ring behind it: a bit for
/// each, the first one's lowest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Record<'r> {
    /// The intake was made ready.
    CaptureConfigured {
        /// As what.
        config: IntakeConfig,
    },
    /// A period of the microphone.
    CapturePeriod {
        /// As the device gave it.
        samples: RawSamples<'r>,
        /// Its time.
        time: PeriodTime,
        /// Frames that it completed.
        accepted: u64,
    },
    /// The outlet was made ready.
    PlaybackConfigured {
        /// As what.
        config: OutletConfig,
        /// Reference frames of the stream before.
        accepted: u64,
    },
    /// The outlet took a mixed frame from the ring, in the period that is recorded next.
    PlaybackFrame {
        /// Rate and channels.
        format: Format,
        /// The samples, interleaved.
        samples: RawSamples<'r>,
    },
    /// A period for the loudspeaker.
    PlaybackPeriod {
        /// The device's format.
        kind: SampleKind,
        /// Samples asked for, all channels.
        samples: u32,
        /// What was written, condensed: see [`digest`].
        digest: u64,
        /// Its time.
        time: PeriodTime,
        /// Reference frames that it completed.
        accepted: u64,
    },
    /// The outlet was stopped.
    PlaybackStopped {
        /// Reference frames that it completed.
        accepted: u64,
    },
    /// Samples written were never played.
    PlaybackDiscarded {
        /// How many sample frames.
        sample_frames: u32,
        /// Reference frames that it completed.
        accepted: u64,
    },
    /// The capture worker read its clock.
    ClockRead {
        /// So many of `times`.
        count: usize,
        /// In the order of reading.
        times: [Instant; MAX_CLOCK_READS],
    },
    /// The capture worker gave a cleaned frame to its sink.
    Cleaned {
        /// Rate and channels.
        format: Format,
        /// The samples, interleaved.
        samples: RawSamples<'r>,
        /// Its place in the stream.
        position: u64,
        /// Sample frames lost before it.
        lost: u32,
    },
    /// The capture worker's turn is over in which it found and did what is said here.
    Polled {
        /// Frames that it took from the capture ring.
        captured_frames: u32,
        /// Frames that it took from the reference ring.
        reference_frames: u32,
        /// A loudspeaker ran.
        plays: bool,
        /// And had its clock from the microphone's crystal, as the devices said.
        one_clock: bool,
    },
    /// Something that the worker's owner wants to find again: see
    /// [`Pipeline::note`](crate::capture::Pipeline::note).
    Note {
        /// What the owner says.
        words: [u64; 2],
    },
    /// The journal was closed in order.
    End {
        /// Records that are missing before this.
        lost_records: u32,
    },
}

/// Samples as they lay in memory, least byte first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawSamples<'r> {
    /// Their format.
    pub kind: SampleKind,
    bytes: &'r [u8],
}

impl<'r> RawSamples<'r> {
    pub(super) const fn of_bytes(kind: SampleKind, bytes: &'r [u8]) -> Self {
        Self { kind, bytes }
    }

    /// How many there are, all channels.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len() / self.kind.bytes()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One after the other; `S` must be of this [`kind`](Self::kind), or there is none.
    pub fn iter<S: DeviceSample>(&self) -> impl Iterator<Item = S> {
        let bytes = if S::KIND == self.kind { self.bytes } else { &[] };
        bytes.chunks_exact(self.kind.bytes()).map(|bytes| {
            let mut word = [0; 4];
            word.iter_mut().zip(bytes).for_each(|(to, &from)| *to = from);
            S::from_bits(u32::from_le_bytes(word))
        })
    }

    /// A frame of 16-bit samples, with an empty stamp.
    ///
    /// # Errors
    /// When they are not 16-bit samples, not whole sample frames or more than `CAP`.
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

/// Bytes that no journal wrote.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Malformed {
    /// A kind of record or of sample that is not known.
    Unknown {
        /// Its number.
        tag: u8,
    },
    /// More or fewer bytes than such a record has.
    Length,
    /// A value that no half would have taken.
    Value(ConfigError),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { tag } => write!(f, "a record or sample of kind {tag}, which is not known"),
            Self::Length => f.write_str("a record of a length that it cannot have"),
            Self::Value(error) => write!(f, "a record with a bad value: {error}"),
        }
    }
}

impl core::error::Error for Malformed {}

impl From<ConfigError> for Malformed {
    fn from(error: ConfigError) -> Self {
        Self::Value(error)
    }
}

/// What a period's samples come to in 64 bits: FNV-1a over whole samples instead of bytes.
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
    fn a_digest_tells_samples_apart() {
        assert_ne!(digest(&[1i16, 2]), digest(&[2i16, 1]));
        assert_ne!(digest(&[0i16; 3]), digest(&[0i16; 4]));
        assert_eq!(digest(&[0.5f32]), digest(&[0.5f32]));
    }
}
