//! Application side: concatenates pieces of PCM in one buffer.

use core::fmt;

use crate::frame::PcmRef;

/// Reason why pieces of PCM could not be combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CombineError {
    /// There was no piece, hence no format.
    Nothing,
    /// Two pieces have different rates.
    Rates {
        /// Rate of the first piece, in hertz.
        first_hz: u32,
        /// Rate of the piece that differs, in hertz.
        other_hz: u32,
    },
    /// Two pieces have different channel counts.
    Channels {
        /// Channel count of the first piece.
        first: usize,
        /// Channel count of the piece that differs.
        other: usize,
    },
    /// The buffer is too small for all samples.
    Buffer {
        /// Number of samples in all pieces, all channels.
        needed: usize,
        /// Number of samples that fit the buffer.
        capacity: usize,
    },
}

impl fmt::Display for CombineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Nothing => f.write_str("no frames to combine: expected at least one"),
            Self::Rates { first_hz, other_hz } => {
                write!(f, "frames of {first_hz} Hz and {other_hz} Hz: expected one rate")
            }
            Self::Channels { first, other } => {
                write!(f, "frames of {first} and {other} channels: expected one count")
            }
            Self::Buffer { needed, capacity } => {
                write!(f, "{needed} samples to combine: expected at most the buffer's {capacity}")
            }
        }
    }
}

impl core::error::Error for CombineError {}

/// Concatenates pieces of PCM of one rate and one channel count in `buffer` and returns them as one. The
/// pieces may have any length; costs one copy.
///
/// # Errors
/// [`CombineError`] names formats that differ, or else a buffer that is too small. The content of `buffer` is
/// unspecified then.
///
/// ```
/// use handsfree_core::{CombineError, Format, Frame, combine_frames};
///
/// let frame = Frame::<480>::silence(Format::new(48_000, 1)?)?;
/// let other = Frame::<480>::silence(Format::new(16_000, 1)?)?;
/// let mut buffer = [0; 1_440];
/// assert_eq!(combine_frames([&frame; 3].map(Frame::pcm), &mut buffer)?.samples.len(), 1_440);
/// assert_eq!(
///     combine_frames([frame.pcm(), other.pcm()], &mut buffer).unwrap_err(),
///     CombineError::Rates { first_hz: 48_000, other_hz: 16_000 }
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn combine_frames<'f, 'b>(
    frames: impl IntoIterator<Item = PcmRef<'f>>,
    buffer: &'b mut [i16],
) -> Result<PcmRef<'b>, CombineError> {
    let mut format = None;
    let mut needed = 0usize;
    for pcm in frames {
        let first = *format.get_or_insert(pcm.format);
        if first.rate() != pcm.format.rate() {
            let (first_hz, other_hz) = (first.rate_hz(), pcm.format.rate_hz());
            return Err(CombineError::Rates { first_hz, other_hz });
        }
        if first.channels() != pcm.format.channels() {
            let (first, other) = (first.channels(), pcm.format.channels());
            return Err(CombineError::Channels { first, other });
        }
        let end = needed.saturating_add(pcm.samples.len());
        if let Some(space) = buffer.get_mut(needed..end) {
            space.copy_from_slice(pcm.samples);
        }
        needed = end;
    }
    let capacity = buffer.len();
    match (format, buffer.get(..needed)) {
        (None, _) => Err(CombineError::Nothing),
        (Some(_), None) => Err(CombineError::Buffer { needed, capacity }),
        (Some(format), Some(samples)) => Ok(PcmRef { format, samples }),
    }
}
