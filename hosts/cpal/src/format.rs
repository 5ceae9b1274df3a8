//! Interrupt side: cpal's sample formats as the core's.
//!
//! What the core has itself goes straight through. Other formats are converted a piece at a time in an array
//! on the stack, so nothing is allocated for them.

use cpal::{Data, SampleFormat, SizedSample};
use handsfree_core::{DeviceSample, I24};

/// The formats that can be used here, the preferred ones first.
pub(crate) const FORMATS: [SampleFormat; 9] = [
    SampleFormat::I16,
    SampleFormat::F32,
    SampleFormat::I32,
    SampleFormat::I24,
    SampleFormat::F64,
    SampleFormat::U16,
    SampleFormat::U32,
    SampleFormat::U8,
    SampleFormat::I8,
];

/// How much a format is wanted, less is better; `None` for one that is not spoken here. `wide` asks for more
/// than 16 bits, for a quiet microphone that is to be amplified.
pub(crate) fn rank(format: SampleFormat, wide: bool) -> Option<usize> {
    let place = FORMATS.iter().position(|&known| known == format)?;
    Some(if wide && place == 0 { 4 } else { place })
}

/// Samples that are converted at once: more than the channels of any device.
const PIECE_SAMPLES: usize = 512;

/// What is done with a piece of a period in the core's format.
pub(crate) trait PieceIn {
    fn piece<S: DeviceSample>(&mut self, samples: &[S]);
}

/// What writes a piece of a period in the core's format.
pub(crate) trait PieceOut {
    fn piece<S: DeviceSample>(&mut self, samples: &mut [S]);
}

/// A format of cpal's that the core does not have.
trait Foreign: SizedSample {
    type Core: DeviceSample;
    fn to_core(self) -> Self::Core;
    fn from_core(sample: Self::Core) -> Self;
}

macro_rules! foreign {
    ($($format:ty => $core:ty, $to:expr, $from:expr;)*) => {
        $(impl Foreign for $format {
            type Core = $core;
            #[inline]
            fn to_core(self) -> $core {
                let to: fn(Self) -> $core = $to;
                to(self)
            }
            #[inline]
            fn from_core(sample: $core) -> Self {
                let from: fn($core) -> Self = $from;
                from(sample)
            }
        })*
    };
}

foreign! {
    cpal::I24 => I24, |s| I24(s.inner()), |s| cpal::I24::new_unchecked(s.0);
    u8 => i16, |s| (i16::from(s) - 128) << 8, |s| ((i32::from(s) + 0x80).min(i32::from(i16::MAX)) >> 8) as u8 ^ 0x80;
    i8 => i16, |s| i16::from(s) << 8, |s| ((i32::from(s) + 0x80).min(i32::from(i16::MAX)) >> 8) as i8;
    u16 => i16, |s| (s ^ 0x8000) as i16, |s| s as u16 ^ 0x8000;
    u32 => i32, |s| (s ^ 0x8000_0000) as i32, |s| s as u32 ^ 0x8000_0000;
    f64 => f32, |s| s as f32, f64::from;
}

/// Hands what a callback brought on in pieces of at most `longest_sample_frames`; `false` where the format
/// is not spoken here, which no stream is opened with.
pub(crate) fn take_in(
    data: &Data,
    channels: usize,
    longest_sample_frames: usize,
    to: &mut impl PieceIn,
) -> bool {
    fn straight<S: DeviceSample + SizedSample>(data: &Data, longest: usize, to: &mut impl PieceIn) -> bool {
        let Some(samples) = data.as_slice::<S>() else { return false };
        samples.chunks(longest).for_each(|piece| to.piece(piece));
        true
    }
    fn converted<S: Foreign>(data: &Data, longest: usize, to: &mut impl PieceIn) -> bool {
        let Some(samples) = data.as_slice::<S>() else { return false };
        let mut memory = [S::Core::SILENCE; PIECE_SAMPLES];
        for piece in samples.chunks(longest) {
            let memory = memory.get_mut(..piece.len()).unwrap_or_default();
            memory.iter_mut().zip(piece).for_each(|(core, sample)| *core = sample.to_core());
            to.piece(memory);
        }
        true
    }
    let (whole, part) = piece_samples(channels, longest_sample_frames);
    match data.sample_format() {
        SampleFormat::I16 => straight::<i16>(data, whole, to),
        SampleFormat::I32 => straight::<i32>(data, whole, to),
        SampleFormat::F32 => straight::<f32>(data, whole, to),
        SampleFormat::I24 => converted::<cpal::I24>(data, part, to),
        SampleFormat::U8 => converted::<u8>(data, part, to),
        SampleFormat::I8 => converted::<i8>(data, part, to),
        SampleFormat::U16 => converted::<u16>(data, part, to),
        SampleFormat::U32 => converted::<u32>(data, part, to),
        SampleFormat::F64 => converted::<f64>(data, part, to),
        _ => false,
    }
}

/// Has what a callback asks for written in pieces of at most `longest_sample_frames`; `false` where the
/// format is not spoken here.
pub(crate) fn put_out(
    data: &mut Data,
    channels: usize,
    longest_sample_frames: usize,
    from: &mut impl PieceOut,
) -> bool {
    fn straight<S: DeviceSample + SizedSample>(
        data: &mut Data,
        longest: usize,
        from: &mut impl PieceOut,
    ) -> bool {
        let Some(samples) = data.as_slice_mut::<S>() else { return false };
        samples.chunks_mut(longest).for_each(|piece| from.piece(piece));
        true
    }
    fn converted<S: Foreign>(data: &mut Data, longest: usize, from: &mut impl PieceOut) -> bool {
        let Some(samples) = data.as_slice_mut::<S>() else { return false };
        let mut memory = [S::Core::SILENCE; PIECE_SAMPLES];
        for piece in samples.chunks_mut(longest) {
            let memory = memory.get_mut(..piece.len()).unwrap_or_default();
            from.piece(memory);
            piece.iter_mut().zip(memory).for_each(|(sample, core)| *sample = S::from_core(*core));
        }
        true
    }
    let (whole, part) = piece_samples(channels, longest_sample_frames);
    match data.sample_format() {
        SampleFormat::I16 => straight::<i16>(data, whole, from),
        SampleFormat::I32 => straight::<i32>(data, whole, from),
        SampleFormat::F32 => straight::<f32>(data, whole, from),
        SampleFormat::I24 => converted::<cpal::I24>(data, part, from),
        SampleFormat::U8 => converted::<u8>(data, part, from),
        SampleFormat::I8 => converted::<i8>(data, part, from),
        SampleFormat::U16 => converted::<u16>(data, part, from),
        SampleFormat::U32 => converted::<u32>(data, part, from),
        SampleFormat::F64 => converted::<f64>(data, part, from),
        _ => false,
    }
}

/// Samples of a piece as it is, and of one that is converted: whole sample frames, at least one.
fn piece_samples(channels: usize, longest_sample_frames: usize) -> (usize, usize) {
    let channels = channels.clamp(1, PIECE_SAMPLES);
    let longest = longest_sample_frames.max(1);
    (longest * channels, longest.min(PIECE_SAMPLES / channels).max(1) * channels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use handsfree_core::Gain;

    /// Collects what comes, in 16 bits, and where pieces end.
    #[derive(Default)]
    struct Ears {
        heard: Vec<i16>,
        pieces: Vec<usize>,
    }

    impl PieceIn for Ears {
        fn piece<S: DeviceSample>(&mut self, samples: &[S]) {
            self.heard.extend(samples.iter().map(|sample| sample.to_pcm(Gain::UNITY).0));
            self.pieces.push(samples.len());
        }
    }

    /// Writes what it has.
    struct Mouth<'s>(std::slice::Iter<'s, i16>);

    impl PieceOut for Mouth<'_> {
        fn piece<S: DeviceSample>(&mut self, samples: &mut [S]) {
            for (out, sample) in samples.iter_mut().zip(&mut self.0) {
                *out = S::from_pcm(*sample);
            }
        }
    }

    fn data(memory: &mut [u64], samples: usize, format: SampleFormat) -> Data {
        assert!(samples * format.sample_size() <= size_of_val(memory));
        // SAFETY: the memory is long enough and aligned for every format, all of whose bit patterns are
        // samples; it is borrowed as long as the test uses what this returns.
        unsafe { Data::from_parts(memory.as_mut_ptr().cast(), samples, format) }
    }

    #[test]
    fn every_format_carries_every_16_bit_sample_as_far_as_its_bits_reach() {
        let samples: Vec<i16> = (i16::MIN..=i16::MAX).collect();
        let mut memory = vec![0; samples.len()];
        for format in FORMATS {
            let mut data = data(&mut memory, samples.len(), format);
            assert!(put_out(&mut data, 1, 480, &mut Mouth(samples.iter())), "{format}");
            let mut ears = Ears::default();
            assert!(take_in(&data, 1, 480, &mut ears), "{format}");
            let tolerance = if format.sample_size() == 1 { 0x80 } else { 0 };
            let worst = ears.heard.iter().zip(&samples).map(|(a, b)| a.abs_diff(*b)).max();
            // The last step of 8 bits ends below full scale.
            assert!(worst <= Some(if tolerance > 0 { 0xFF } else { 0 }), "{format}: {worst:?}");
            let off = ears.heard.iter().zip(&samples).filter(|(a, b)| a.abs_diff(**b) > tolerance).count();
            assert!(off <= 0x7F, "{format}: {off} of {}", samples.len());
            assert_eq!(ears.heard.len(), samples.len(), "{format}");
            assert_eq!(ears.heard[0x8000], 0, "{format}: silence");
        }
    }

    #[test]
    fn pieces_are_whole_sample_frames_and_none_is_longer_than_granted() {
        let mut memory = vec![0; 4_096];
        for (format, channels, longest) in
            [(SampleFormat::I16, 3, 100), (SampleFormat::U8, 3, 100), (SampleFormat::U8, 64, 480)]
        {
            let samples = 1_000 * channels / channels.min(30);
            let data = data(&mut memory, samples, format);
            let mut ears = Ears::default();
            assert!(take_in(&data, channels, longest, &mut ears));
            assert_eq!(ears.pieces.iter().sum::<usize>(), samples);
            let (last, whole) = ears.pieces.split_last().unwrap();
            assert!(whole.iter().all(|piece| piece % channels == 0 && *piece <= longest * channels));
            assert!(*last <= longest * channels);
        }
    }

    #[test]
    fn a_format_that_is_not_spoken_is_refused() {
        let mut memory = vec![0; 16];
        let mut ears = Ears::default();
        assert!(!take_in(&data(&mut memory, 8, SampleFormat::DsdU8), 1, 8, &mut ears));
        assert!(!put_out(&mut data(&mut memory, 8, SampleFormat::U64), 1, 8, &mut Mouth([].iter())));
        assert!(ears.heard.is_empty());
        assert_eq!(rank(SampleFormat::DsdU8, false), None);
        assert_eq!(rank(SampleFormat::I16, false), Some(0));
        assert!(rank(SampleFormat::I16, true) > rank(SampleFormat::I24, true));
    }
}
